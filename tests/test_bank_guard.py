"""Nothing gets into a bank, or out of its folder, that does not belong there: locks, sums, names, and pickles that would run programs."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, write_sequences
from nnunet_training import make
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from typer.testing import CliRunner

from evaluation.inputs.arms import generator_patients
from nnunet_synth_aug.cli.app import app, main
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.patients import ungrouped
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.bank.files import DamagedError, load_properties, read_properties
from nnunet_synth_aug.nnunet.bank.lock import bank_lock
from nnunet_synth_aug.nnunet.bank.manifest import bank_status, check_leak, read_manifest, together
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES
from nnunet_synth_aug.nnunet.mixing.dataset import BankDataset
from nnunet_synth_aug.nnunet.mixing.weighting import draw_probabilities
from nnunet_synth_aug.nnunet.refresh.cases import publish, read_case
from nnunet_synth_aug.nnunet.target import Target, load_target
from nnunet_synth_aug.synthesis.folder import read_index, write_index


@pytest.fixture
def bank(project: Project, tmp_path: Path) -> Iterator[tuple[Path, Path, Target]]:
    """The bank of fold 1: its cases, its sequences, and what it is for."""
    fold = project.preprocessed / "synth_aug" / "fold_1"
    sequences = write_sequences(tmp_path / "sequences", count=2, patients=PATIENTS[2:])
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    yield fold / f"{PLANS}_2d", sequences, load_target(731, "2d", PLANS)
    shutil.rmtree(fold)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("ending", CASE_FILES)
@pytest.mark.parametrize("harm", [cut, turn_a_bit])
def test_a_damaged_file_is_found_and_made_again(bank: tuple[Path, Path, Target], ending: str, harm: Callable[[Path], None]) -> None:
    cases, sequences, target = bank
    path = cases / f"synth_00001_t00{ending}"
    good = path.read_bytes()
    harm(path)
    with pytest.raises(UserError, match=r"1 of 4 cases, such as synth_00001_t00, .* run 'synthaug bank -d Dataset731_Hearts") as caught:
        bank_status(target, 1)
    assert "\n" not in str(caught.value)
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    assert path.read_bytes() == good
    assert len(bank_status(target, 1).ids) == 4


def test_cases_of_another_fold_are_refused_though_their_names_fit(bank: tuple[Path, Path, Target], project: Project) -> None:
    """Fold 0's generator may have seen whom fold 1 validates on."""
    cases, sequences, target = bank
    other = project.preprocessed / "synth_aug" / "fold_0" / cases.name
    for ending in CASE_FILES:
        shutil.copy(other / f"synth_00001_t03{ending}", cases / f"synth_00000_t03{ending}")  # both folds' banks show the same hearts
    with pytest.raises(UserError, match="synth_00000_t03, are not those that the bank was made with"):
        bank_status(target, 1)
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    bank_status(target, 1)


def test_a_bank_of_an_earlier_version_is_made_again(bank: tuple[Path, Path, Target]) -> None:
    cases, _, target = bank
    path = cases.parent / f"manifest_{cases.name}.json"
    content = read_json(path)
    write_json(path, content | {"format": 1})
    with pytest.raises(UserError, match=r"format is 1, not 2; run 'synthaug bank"):
        read_manifest(target, 1)


@pytest.mark.parametrize("name", ["../outside", "..", "a/b", "a\\b", "C:x", "", ".hidden", "a\0b"])
def test_ids_lead_to_no_other_folder(bank: tuple[Path, Path, Target], name: str) -> None:
    cases, sequences, target = bank
    path = cases.parent / f"manifest_{cases.name}.json"
    content = read_json(path)
    content["cases"][1]["id"] = name
    write_json(path, content)
    with pytest.raises(UserError, match=r"cases\[1\].id is .*, not a name that leads to no other folder"):
        read_manifest(target, 1)
    index = read_json(sequences / "index.json")
    write_json(sequences / "index.json", index | {"sequences": ["synth_00000", name]})
    with pytest.raises(UserError, match=r"sequences\[1\] is .*, not a name that leads to no other folder"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)


# ------------------------------------------------------------------ the leak guard


def test_who_lends_pixels_counts_as_seen(bank: tuple[Path, Path, Target]) -> None:
    """A generator of other patients says nothing of those whose pixels show its hearts."""
    cases, _, target = bank
    path = cases.parent / f"manifest_{cases.name}.json"
    content = read_json(path)
    maker = {"patients": ["somebody"], "dataset": "Dataset999_Others", "render": "donor"}
    for donors, leaked in ((PATIENTS[-1:], False), (PATIENTS[:1], True)):
        for generator in ({**maker, "donors": donors}, together({"generator": {**maker, "donors": donors}})):
            write_json(path, content | {"generator": generator})
            if not leaked:
                bank_status(target, 1)
                continue
            with pytest.raises(UserError, match=r"validation patients of fold 1 \(patient001\)"):
                bank_status(target, 1)
            assert generator_patients({"manifest": {"generator": generator}}) == ["somebody", *donors]


@pytest.mark.parametrize("key", ["patients", "phantoms", "pretraining", "donors", "styles"])
def test_parts_hide_nobody(bank: tuple[Path, Path, Target], key: str) -> None:
    cases, _, target = bank
    path = cases.parent / f"manifest_{cases.name}.json"
    content = read_json(path)
    part = content["generator"]
    leaked: Any = [PATIENTS[0]] if key != "pretraining" else {"patients": [PATIENTS[0]]}
    content["generator"] = {"source": "a+b", "patients": part["patients"], "parts": {"a": part}}
    write_json(path, content)
    bank_status(target, 1)
    content["generator"][key] = leaked
    write_json(path, content)
    with pytest.raises(UserError, match=r"validation patients of fold 1 \(patient001\)"):
        bank_status(target, 1)


@pytest.mark.parametrize(
    "generator",
    [{"parts": 5}, {"parts": {"a": 5}}, {"parts": {"a": {"parts": [1]}}}, {"patients": 5}, {"patients": "patient001"}, {"pretraining": []}],
)
def test_numbers_where_objects_belong_are_one_sentence(bank: tuple[Path, Path, Target], generator: dict[str, Any]) -> None:
    target = bank[2]
    with pytest.raises(UserError, match=r"who made the bank of fold 1: .*; run 'synthaug bank") as caught:
        check_leak(generator, target, 1, ["patient003_ED"], ["patient001_ED"])
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ pickles


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_a_program_is_refused_everywhere(bank: tuple[Path, Path, Target], tmp_path: Path) -> None:
    cases, sequences, target = bank
    ran = tmp_path / "ran"
    path = cases / "synth_00000_t00.pkl"
    properties = read_properties(path)
    path.write_bytes(pickle.dumps(properties | {"extra": Evil(ran)}))
    with pytest.raises(UserError, match="are not those that the bank was made with"):
        bank_status(target, 1)
    (cases.parent / f"manifest_{cases.name}.json").unlink()  # else the file is known to be another, and made anew
    with pytest.raises(UserError, match=r"synth_00000_t00\.pkl holds \w+\.system, .*; delete it and run 'synthaug bank' again"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    with pytest.raises(UserError, match=r"holds \w+\.system"):  # the loader
        BankDataset(str(cases), ["synth_00000_t00"]).load_case("synth_00000_t00")
    workshop, live = tmp_path / "workshop", tmp_path / "live"
    workshop.mkdir()
    live.mkdir()
    for ending in CASE_FILES:
        shutil.copy(cases / f"synth_00000_t00{ending}", workshop)
    publish(workshop, live, "synth_00000_t00")
    with pytest.raises(UserError, match=r"holds \w+\.system, .*the training uses the bank's own case"):  # live refresh
        read_case(live, "synth_00000_t00")
    assert not ran.exists()


def test_the_bank_reads_as_nnunet_reads_it(bank: tuple[Path, Path, Target]) -> None:
    cases, _, target = bank
    for case in read_manifest(target, 1).ids:
        (data, seg, none, properties), (data2, seg2, _, properties2) = (
            kind(str(cases), [case]).load_case(case) for kind in (BankDataset, nnUNetDatasetBlosc2)
        )
        assert none is None
        np.testing.assert_array_equal(data[:], data2[:])
        np.testing.assert_array_equal(seg[:], seg2[:])
        assert pickle.dumps(properties) == pickle.dumps(properties2)
        assert (data.chunks, data.blocks, data.dtype) == (data2.chunks, data2.blocks, data2.dtype)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some, max_size=3) | st.tuples(some, some),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(content=st.dictionaries(st.text(max_size=3), plain, max_size=4), protocol=st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_types_are_read(content: dict[str, Any], protocol: int) -> None:
    arrays = {"numbers": np.arange(6).reshape(2, 3), "half": np.float32(0.5), "order": OrderedDict(a=1), "flag": np.bool_(True)}
    read = load_properties(pickle.dumps(arrays | {"content": content}, protocol), Path("a.pkl"), "delete it")
    np.testing.assert_array_equal(read.pop("numbers"), arrays.pop("numbers"))
    assert read == arrays | {"content": content}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_end_in_a_traceback(content: bytes) -> None:
    for text in (content, pickle.dumps({"a": np.arange(3)})[: len(content)] + content):
        with contextlib.suppress(UserError):
            assert isinstance(load_properties(text, Path("a.pkl"), "delete it"), dict)


def test_a_pickle_of_something_else_is_damaged() -> None:
    with pytest.raises(DamagedError, match="no properties"):
        load_properties(pickle.dumps([1]), Path("a.pkl"), "delete it")


# ------------------------------------------------------------------ two at once


def test_two_banks_at_once_name_each_other(project: Project, tmp_path: Path) -> None:
    """The lock is another process's, and it ends with it, killed or not."""
    code = "import sys; from nnunet_synth_aug.nnunet.bank.lock import bank_lock as lock\n"
    code += f"with lock({DATASET!r}, 1): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], env=project.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    sequences = write_sequences(tmp_path / "sequences", count=1, patients=PATIENTS[2:])
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        sentence = rf"process {other.pid} \(since 20\d\d-\d\d-\d\d \d\d:\d\d\) fills the bank of fold 1 of {DATASET}"
        with pytest.raises(UserError, match=sentence):
            build_bank_cases(sequences, 731, 1, "2d", PLANS)
        failed = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "1", "-p", PLANS, "--source", "copies", "-n", "1"])
        assert str(other.pid) in str(failed.exception)
        with bank_lock(DATASET, 0):  # another fold's
            pass
        other.kill()
        other.wait()
        with bank_lock(DATASET, 1), bank_lock(DATASET, 1):  # within itself
            pass
    finally:
        other.kill()
        other.communicate()
        shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


# ------------------------------------------------------------------ other sequences, and fewer than asked for


@pytest.fixture
def plain_dataset(project: Project) -> Iterator[Project]:
    """The project as one that nobody imported: copies are made of its cases."""
    cohort, aside = project.raw / "cohort.json", project.root / "cohort.json"
    cohort.rename(aside)
    yield project
    aside.rename(cohort)
    shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


def fill(*words: str) -> None:
    done = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "1", "-p", PLANS, "--gif", "0", "--frames", "2", *words])
    if done.exception is not None:
        raise done.exception


def test_sequences_that_were_made_otherwise_are_replaced_only_when_asked(plain_dataset: Project) -> None:
    sequences = plain_dataset.preprocessed / "synth_aug" / "fold_1" / "sequences"
    fill("--source", "copies", "-n", "2")
    (sequences / "notes.txt").write_text("mine")
    before = sorted(sequences.iterdir())
    for other in (["--source", "bent", "-n", "1"], ["--source", "copies", "-n", "2", "--seed", "5"]):
        with pytest.raises(UserError, match="holds sequences that were made otherwise; add --replace, which deletes them first"):
            fill(*other)
    assert sorted(sequences.iterdir()) == before
    fill("--source", "bent", "-n", "1", "--replace")
    target = load_target(731, "2d", PLANS)
    assert {case["sequence"] for case in bank_status(target, 1).content["cases"]} == {"copy_00000"}
    assert bank_status(target, 1).content["generator"]["source"] == "bent"
    assert (sequences / "notes.txt").read_text() == "mine"
    assert not list(sequences.glob("copy_00001*"))


def test_what_is_the_same_is_not_replaced_and_what_is_left_over_goes(plain_dataset: Project) -> None:
    sequences = plain_dataset.preprocessed / "synth_aug" / "fold_1" / "sequences"
    fill("--source", "bent", "-n", "1")
    made = (sequences / "copy_00000.json").stat().st_mtime_ns
    fill("--source", "bent", "-n", "2", "--replace")  # what is the same stays: a killed command goes on
    assert (sequences / "copy_00000.json").stat().st_mtime_ns == made
    fill("--source", "copies+bent", "-n", "2", "--replace")
    assert sorted(path.name for path in sequences.iterdir()) == ["bent", "copies"]
    fill("--source", "bent", "-n", "1", "--replace")
    assert not [path for path in sequences.iterdir() if path.is_dir()]


def test_fewer_hearts_than_asked_for_end_with_a_code_of_their_own(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(job: Any) -> list[str]:
        write_sequences(job.folder, count=1, patients=PATIENTS[2:])
        ids, provenance = read_index(job.folder)
        groups = {"DCM": {"requests": 2, "accepted": 1}, "HCM": {"requests": 2, "accepted": 0}}
        write_index(job.folder, ids, provenance | {"quality": {"requests": 4, "accepted": 1, "by_diagnosis": groups}})
        return []

    monkeypatch.setattr("nnunet_synth_aug.synthesis.sources.generated.make", make)
    words = ["synthaug", "bank", "-d", "731", "-f", "1", "-p", PLANS, "-n", "4", "--gif", "0", "--looks", "1"]
    try:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 3
        said = capsys.readouterr().err
        assert re.search(r"synthaug: 1 of 4 hearts in \S+ passed the quality control, and none with HCM; .*--allow-fewer", said)
        assert len(bank_status(load_target(731, "2d", PLANS), 1).ids) == 4  # what could be made is a bank
        monkeypatch.setattr(sys, "argv", [*words, "--allow-fewer"])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0
        assert "none with HCM" in capsys.readouterr().out
    finally:
        shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


def test_bank_and_trainer_say_where_nothing_groups_the_cases(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, aside = project.raw / "cohort.json", project.root / "cohort.json"
    cases = load_target(731, "2d", PLANS).cases()
    note = "every case counts as a patient of its own"
    said: list[str] = []

    def every_case_alone(patients: dict[str, str]) -> str:
        assert set(patients) == set(cases)
        return ungrouped({f"heart{number}": f"heart{number}" for number in range(len(patients))})

    for module in ("core.patients", "nnunet.trainer"):
        monkeypatch.setattr(f"nnunet_synth_aug.{module}.ungrouped", every_case_alone)
    cohort.rename(aside)  # copies of a dataset that nobody imported
    try:
        done = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "1", "-p", PLANS, "--source", "copies", "-n", "1", "--gif", "0"])
        assert done.exception is None
        assert note in done.stdout
        made = make("nnUNetTrainerSynthAug_mix50", fold=1)
        monkeypatch.setattr(made, "print_to_log_file", lambda *words, **_: said.append(" ".join(map(str, words))))
        made._open_bank()
        assert any(line.startswith(note) for line in said)
    finally:
        aside.rename(cohort)
        shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


# ------------------------------------------------------------------ any damage


@settings(
    max_examples=int(os.environ.get("SYNTHAUG_FUZZ", "150")), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_damage_to_a_manifest_ends_in_a_traceback(bank: tuple[Path, Path, Target], data: st.DataObject) -> None:
    cases, _, target = bank
    path = cases.parent / f"manifest_{cases.name}.json"
    good = path.read_bytes()
    whole = read_json(path)
    place = data.draw(st.sampled_from(places(whole)))
    other = data.draw(st.sampled_from([None, True, -1, 1e300, "", "../x", [], {}, [1], {"a": 1}, [[]], "phantom", {"patients": 5}]))
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    if place:
        inner[place[-1]] = other
    path.write_text(json.dumps(whole if place else other))
    try:
        try:
            opened = bank_status(target, 1)
            assert opened.hash and opened.provenance and opened.sequences and opened.generator_hash != 0
            draw_probabilities(opened.content["cases"], {})
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
    finally:
        path.write_bytes(good)
