"""Live refresh without a training: replaced cases on disk, which hearts are made, counting."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks.refresh import run
from nnunet_fixture import DATASET, PLANS, Project, sequence, write_sequences
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases, write_case
from nnunet_synth_aug.nnunet.bank.manifest import Manifest, read_manifest
from nnunet_synth_aug.nnunet.mixing.dataset import LiveDataset, MixedDataset
from nnunet_synth_aug.nnunet.mixing.exposure import Exposure
from nnunet_synth_aug.nnunet.mixing.settings import resolve_settings
from nnunet_synth_aug.nnunet.refresh import cases as refresh_cases
from nnunet_synth_aug.nnunet.refresh import process as refresh_generator
from nnunet_synth_aug.nnunet.refresh.cases import VERSION, case_file, live_folder, publish, read_case, read_journal
from nnunet_synth_aug.nnunet.refresh.process import HeartReplacer, bank_quality_control
from nnunet_synth_aug.nnunet.refresh.trainer_side import RefreshSettings
from nnunet_synth_aug.nnunet.target import label_lookup, load_target
from nnunet_synth_aug.synthesis.folder import write_sequence
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.sample import Outcome

GENERATOR: Any = dataclasses.make_dataclass("Templates", ["config", "templates"])(
    GeneratorConfig(), [dataclasses.make_dataclass("Template", ["priors"])(Priors(diagnosis=d, lv_ef=50.0)) for d in ("NOR", "DCM")]
)


def put(project: Project, tmp_path: Path, case: str, number: int, version: int) -> None:
    """Heart ``number`` as ``version`` of ``case`` in tmp_path/live."""
    target = load_target(731, "2d", PLANS)
    for name in ("work", "live"):
        (tmp_path / name).mkdir(exist_ok=True)
    write_case(sequence(number), 0, label_lookup(target), target, tmp_path / "work", case, {VERSION: version})
    publish(tmp_path / "work", tmp_path / "live", case)


def bank(project: Project) -> Manifest:
    return read_manifest(load_target(731, "2d", PLANS), 0)


def test_a_replaced_case_is_read_and_the_others_are_the_banks(project: Project, tmp_path: Path) -> None:
    manifest = bank(project)
    replaced, untouched = manifest.ids[:2]
    plain, live = nnUNetDatasetBlosc2(str(manifest.folder)), LiveDataset(manifest.folder, manifest.ids, tmp_path / "live")
    before = live.load_case(replaced)
    put(project, tmp_path, replaced, 7, 1)
    first = live.load_case(replaced)
    put(project, tmp_path, replaced, 8, 2)
    case_file(tmp_path / "live", replaced).unlink()  # whatever happens to the files, what was read stays
    data, seg, previous, properties = first
    np.testing.assert_array_equal(np.asarray(before[0][:]), np.asarray(plain.load_case(replaced)[0][:]))
    assert not np.array_equal(data[:], before[0][:])
    assert (data.dtype, seg.dtype, previous) == (np.float32, np.int16, None)
    assert (data.chunks, data.blocks) == (before[0].chunks, before[0].blocks)
    assert {int(label): len(v) for label, v in properties["class_locations"].items() if len(v)} == {
        label: int((seg[:] == label).sum()) for label in (1, 2, 3)
    }
    both = MixedDataset(nnUNetDatasetBlosc2(str(project.preprocessed / f"{PLANS}_2d")), live)  # type: ignore[arg-type]
    put(project, tmp_path, replaced, 9, 3)
    for case in ("patient001_ED", replaced, untouched):
        both.load_case(case)
    assert both.loaded == [0, 3, 0]


def test_a_moments_refusal_is_waited_for_and_damage_is_named(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = bank(project).ids[0]
    put(project, tmp_path, case, 7, 1)
    path, read, replace = case_file(tmp_path / "live", case), Path.read_bytes, refresh_cases.os.replace
    refusals = [OSError(errno.ESTALE, "Stale file handle"), PermissionError("in use")]

    def refuse_first(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return read(*arguments) if len(arguments) == 1 else replace(*arguments)

    monkeypatch.setattr(refresh_cases, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(Path, "read_bytes", refuse_first)
    assert read_case(tmp_path / "live", case) is not None
    monkeypatch.setattr(Path, "read_bytes", read)
    refusals = [PermissionError("in use")]
    monkeypatch.setattr(refresh_cases.os, "replace", refuse_first)
    put(project, tmp_path, case, 8, 2)
    found = read_case(tmp_path / "live", case)
    assert found is not None
    assert found[3][VERSION] == 2
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:1000] + b"?" + content[1001:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"synth_00000_t00\.zip is damaged .*delete it"):
            read_case(tmp_path / "live", case)


def test_readers_see_whole_cases_while_a_writer_replaces_them_and_is_killed(tmp_path: Path) -> None:
    """A short run of tests/benchmarks/refresh.py: nnU-Net's worker processes, SIGKILL, a second writer."""
    found = run(tmp_path, count=24, bank=4, seed=0, kill_after=12)
    assert found["readers"] == 2
    assert found["killed_after"] >= 12
    assert found["loads"] == found["whole"] > 0
    assert found["wrong"] == {}
    assert found["versions_read"] > 4
    assert found["last_version_on_disk_everywhere"]


@pytest.fixture
def hearts(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Stands in for the networks: every request becomes a heart of the tests, but every fifth is given up. Lists the requests."""
    asked: list[Request] = []

    def sample(_: Any, requests: list[Request], quality: Any, show: Any) -> Any:
        assert quality.check
        for request in reversed(requests):  # they end in any order
            asked.append(request)
            number = int(request.id[-5:])
            made = dataclasses.replace(sequence(50 + number), id=request.id, seed=request.seed, requested=request.priors)
            yield (
                Outcome(request, None, [["missing_LV"]] * 16)
                if number % 5 == 4
                else Outcome(request, made, [["rv_detached", "missing_RV"]])
            )

    monkeypatch.setattr(refresh_generator, "sample_accepted", sample)
    return asked


def replacer(project: Project, folder: Path) -> HeartReplacer:
    manifest = bank(project)
    for case in manifest.content["cases"]:
        case["requested"]["diagnosis"] = "DCM"
    return HeartReplacer(GENERATOR, manifest, load_target(731, "2d", PLANS), folder / "live", folder / "journal.jsonl")


def versions(project: Project, folder: Path) -> list[int]:
    dataset = LiveDataset(bank(project).folder, bank(project).ids, folder / "live")
    return [dataset.load_case(case)[3].get(VERSION, 0) for case in bank(project).ids]


def test_rate_rounds_resume_and_record(project: Project, tmp_path: Path, hearts: list[Request]) -> None:
    """Nine cases of three sequences: hearts go round, in whole, at most at the rate, and an interrupted round goes on."""
    maker = replacer(project, tmp_path)
    assert [len(list(maker.allow(2))) for _ in range(3)] == [0, 1, 1]  # 6 cases are two hearts
    assert versions(project, tmp_path) == [1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert len(list(maker.allow(6))) == 2
    assert versions(project, tmp_path) == [2, 2, 2, 1, 1, 1, 1, 1, 1]
    journal = tmp_path / "journal.jsonl"
    with journal.open("a") as stream:
        stream.write('{"heart": 4, "versi')  # killed while writing
    (tmp_path / "live" / ".partial" / "synth_00001_t00.b2nd").write_bytes(b"half")

    again = replacer(project, tmp_path)
    assert again.counts == maker.counts
    assert len(list(again.allow(6))) == 2  # number 4 is given up and costs the same
    assert versions(project, tmp_path) == [2, 2, 2, 1, 1, 1, 2, 2, 2]
    assert again.counts | {"seed": 0} == {
        "replaced": 15,
        "hearts": 5,
        "given_up": 1,
        "rejections": {"rv_detached": 5, "missing_RV": 5, "missing_LV": 16},
        "seed": 0,
    }
    entries = read_journal(journal)
    assert sorted(entry["heart"] for entry in entries) == list(range(6))
    assert len({(case, entry["version"]) for entry in entries for case in entry["cases"]}) == 15
    assert len({request.seed for request in hearts}) == 6
    assert {request.priors.diagnosis for request in hearts} == {"DCM"}  # of their places
    assert all(request.calibrate for request in hearts)
    assert entries[0]["cases"] == {"synth_00000_t00": 0, "synth_00000_t01": 1, "synth_00000_t03": 3}
    assert set(entries[0]) == {"heart", "version", "cases", "rejected", "seed", "motion_seed", "requested", "measured"}
    assert [p.name for p in (tmp_path / "live" / ".partial").iterdir()] == []


@pytest.mark.parametrize("imitated", [False, True])
def test_a_replaced_heart_is_shown_in_the_looks_of_its_place(
    project: Project, tmp_path: Path, hearts: list[Request], imitated: bool
) -> None:
    """Of other scanners, or painted: in one look the whole heart darkens from left to right, in the other it brightens."""
    manifest, target = bank(project), load_target(731, "2d", PLANS)
    paint: Any = None
    if imitated:
        ramp = np.linspace(1, 100, sequence(50).image.shape[1], dtype=np.float32)[:, None, None]

        def shown(heart: SyntheticSequence, name: str, look: int, frames: Iterable[int]) -> SyntheticSequence:
            image = heart.image.copy()
            image[[*frames]] = ramp if look == 1 else ramp[::-1]
            return dataclasses.replace(heart, image=image)

        paint = SimpleNamespace(shown=shown)
    entries = manifest.sequences[0]
    for entry, look in zip(entries, (1, 1, 2), strict=True):
        entry["look"] = look
    list(HeartReplacer(GENERATOR, manifest, target, tmp_path / "live", tmp_path / "journal.jsonl", paint=paint).allow(3))
    [journal] = read_journal(tmp_path / "journal.jsonl")
    assert list(journal["cases"].values()) == [0, 3, 0]  # ED and ES in the first look, ED in the second
    first, _, second = (read_case(tmp_path / "live", entry["id"]) for entry in entries)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first[1][:], second[1][:])
    assert not np.allclose(first[0][:], second[0][:], atol=0.05)
    if imitated:
        rising, falling = (float(case[0][0, 0, 0, -1] - case[0][0, 0, 0, 0]) for case in (first, second))
        assert rising > 1 and falling < -1


def test_a_replaced_case_is_what_the_bank_would_hold(project: Project, tmp_path: Path, hearts: list[Request]) -> None:
    list(replacer(project, tmp_path).allow(3))
    heart: SyntheticSequence = dataclasses.replace(sequence(50), id="synth_00000")
    sequences = write_sequences(tmp_path / "sequences", 1)
    everyone = project.preprocessed / "synth_aug" / "fold_all"
    try:
        write_sequence(sequences, heart)
        build_bank_cases(sequences, 731, "all", "2d", PLANS, frames=3)
        kept = nnUNetDatasetBlosc2(str(everyone / f"{PLANS}_2d"))
        for case in kept.identifiers:
            there = read_case(tmp_path / "live", case)
            assert there is not None
            np.testing.assert_array_equal(there[0][:], kept.load_case(case)[0][:])
            np.testing.assert_array_equal(there[1][:], kept.load_case(case)[1][:])
    finally:
        shutil.rmtree(everyone, ignore_errors=True)


def test_quality_control_is_the_banks(project: Project) -> None:
    manifest = bank(project)

    def judged(**provenance: Any) -> bool:
        content = manifest.content | {"generator": manifest.content["generator"] | provenance}
        return bank_quality_control(Manifest(content, manifest.folder)).check

    assert judged()
    assert judged(quality={"checked": True, "image_mask_checked": False})
    assert not judged(quality={"checked": False})
    with pytest.raises(UserError, match="holds phantom, which no generator can refresh"):
        judged(source="phantom")
    with pytest.raises(UserError, match="checked by a segmenter"):
        judged(quality={"checked": True, "image_mask_checked": True})


def resolved(refresh: Any) -> RefreshSettings | None:
    return resolve_settings({"synth_aug": {"refresh": refresh}}, None, None).refresh


def test_settings(tmp_path: Path) -> None:
    assert resolved({"per_epoch": 8}) == RefreshSettings(8, "same", None)
    assert resolved({"per_epoch": 1, "device": "cuda:1", "generator": "/g"}) == RefreshSettings(1, "cuda:1", "/g")
    for bad, message in (
        (8, "refresh is 8; it must be a mapping with the keys per_epoch, device, generator"),
        ({"rate": 8}, "refresh has the unknown key 'rate'; choose from per_epoch, device, generator"),
        ({}, "refresh lacks the key 'per_epoch'"),
        ({"per_epoch": 0}, "at least 1"),
        ({"per_epoch": True}, "at least 1"),
        ({"per_epoch": 8, "device": "gpu"}, "must be same, cpu, mps, cuda or cuda:1"),
        ({"per_epoch": 8, "generator": 3}, "must be the folder"),
    ):
        with pytest.raises(UserError, match=message):
            resolved(bad)
    one, other = (live_folder(tmp_path, tmp_path / results / "trainer__plans__2d" / "fold_0") for results in "ab")
    assert one != other
    assert one.name.startswith("trainer__plans__2d_")


CASES = [{"id": "s1"}, {"id": "s2"}]


def test_versions_are_counted_as_cases(tmp_path: Path) -> None:
    path = tmp_path / "synth_aug.json"
    first = Exposure(path, {"ratio": 0.5}, CASES)
    for epoch, (keys, numbers) in enumerate([(["r1", "s1"], [0, 0]), (["s1", "s1"], [1, 1]), (["s2", "s1"], [0, 2])]):
        first.start_epoch()
        first.add(keys, np.array(numbers))
        first.refresh = {"replaced": 3 * epoch}
        line = first.end_epoch(epoch)
    assert "4 distinct synthetic cases seen (in 2 places, 6 replaced so far)" in line
    first.write()
    record = read_json(path)
    assert record["first_seen"] == {"s1": 0, "s1@1": 1, "s2": 2, "s1@2": 2}
    assert [epoch["replaced"] for epoch in record["epochs"]] == [0, 3, 6]
    assert record["refresh"] == {"replaced": 6}
    again = Exposure(path, {"ratio": 0.5}, CASES)
    assert again.resume(2)
    assert again.summary()["distinct_synthetic_cases"] == 2


def test_a_bank_that_changed_is_not_refreshed(project: Project, tmp_path: Path) -> None:
    job = {"dataset": DATASET, "fold": 0, "configuration": "2d", "plans": PLANS, "manifest_hash": "another"}
    write_json(tmp_path / "job.json", job)
    with pytest.raises(UserError, match="changed since the training started"):
        refresh_generator.open_replacer(read_json(tmp_path / "job.json"), tmp_path)
