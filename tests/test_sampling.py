"""Scheduling, streaming, resuming and counting, with stand-ins for the networks whose hearts are sound or not by their seeds."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import IncompleteError, UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.synthesis import sample as rounds
from nnunet_synth_aug.synthesis.figures import describe
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence, shortfall, write_sequence
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.quality.control import QualityControl
from nnunet_synth_aug.synthesis.sample import MAX_ANATOMIES, MAX_CYCLES, MAX_UNSHOWN, impossible, sample_accepted, sample_to_folder

GENERATOR: Any = SimpleNamespace(provenance={"generator_hash": "g"}, templates=[SimpleNamespace(closure=1.1), SimpleNamespace(closure=1.0)])
SPACING = (2.0, 2.0, 10.0)
N = 20


def beating(sound: bool, seed: int) -> np.ndarray:
    """Mask (4, 32, 32, 3) whose LV contracts if it is sound; the seed decides how much."""
    x, y = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    mask = np.zeros((4, 32, 32, 3), np.uint8)
    for t, share in enumerate((0, 0.6, 1, 0.5)):
        radius = 6 - share * (1.5 + seed % 7 / 10) * sound
        mask[t][np.hypot(x - 6, y - 16) < 6] = RV
        mask[t][np.hypot(x - 19, y - 16) < 8] = MYO
        mask[t][np.hypot(x - 19, y - 16) < radius] = LV
    return mask


def sound_anatomy(seed: int) -> bool:
    return seed % 3 == 0


def sound_cycle(seed: int) -> bool:
    return seed % 2 == 0


@pytest.fixture
def calls(monkeypatch):
    """Replaces the networks; what is returned records the size of every call and how many sequences lived at most."""
    record = SimpleNamespace(anatomies=[], cycles=[], alive=0)
    made: list[weakref.ref[SyntheticSequence]] = []

    def anatomies(_, requests):
        record.anatomies.append(len(requests))
        return [SimpleNamespace(request=r, spacing=SPACING) for r in requests]

    def masks(_, anatomies):
        return [beating(True, 0)[0] * sound_anatomy(a.request.seed) for a in anatomies]

    def cycles(_, anatomies, seeds):
        record.cycles.append(len(seeds))
        for anatomy, seed in zip(anatomies, seeds, strict=True):
            mask = beating(sound_cycle(seed), seed)
            image = np.random.default_rng(seed).integers(0, 900, mask.shape).astype(np.float32)
            r = anatomy.request
            sequence = SyntheticSequence(
                r.id, image, mask, SPACING, 0, 2, 0.05, r.seed, r.priors, measure(mask[0], mask[2], SPACING), motion_seed=seed
            )
            made.append(weakref.ref(sequence))
            record.alive = max(record.alive, sum(r() is not None for r in made))
            yield sequence
            del sequence

    for name, stand_in in (("sample_anatomies", anatomies), ("anatomy_masks", masks), ("stream_cycles", cycles)):
        monkeypatch.setattr(rounds, name, stand_in)
    return record


def asked(n: int = N) -> list[Request]:
    return [Request(f"synth_{i:05d}", 100 + i, Priors(diagnosis=("DCM", "HCM", None)[i % 3])) for i in range(n)]


def one_at_a_time(request: Request) -> tuple[tuple[int, int] | None, int]:
    """The accepted pair of seeds and the number of rejections, by the plain loop that batching must not change."""
    rejected = 0
    for anatomy, *cycles in np.random.default_rng(request.seed).integers(2**31, size=(MAX_ANATOMIES, 1 + MAX_CYCLES)).tolist():
        if not sound_anatomy(anatomy):
            rejected += 1
            continue
        for cycle in cycles:
            if sound_cycle(cycle):
                return (anatomy, cycle), rejected
            rejected += 1
    return None, rejected


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file; of NIfTI the voxels, because gzip stores the time."""
    out = {}
    for path in sorted(folder.iterdir()):
        out[path.name] = path.read_bytes() if path.suffix in (".json", ".csv") else b""
    for sequence_id in read_index(folder)[0]:
        sequence = read_sequence(folder, sequence_id)
        out[sequence_id] = sequence.image.tobytes() + sequence.mask.tobytes()
    return out


@pytest.mark.parametrize("batch", [1, 3, 8, N])
def test_a_request_tries_the_same_seeds_in_the_same_order_in_any_batch(calls, batch):
    for first in range(0, N, batch):
        for outcome in sample_accepted(GENERATOR, asked()[first : first + batch], QualityControl()):
            seeds, rejected = one_at_a_time(outcome.request)
            assert outcome.sequence is not None
            assert (outcome.sequence.seed, outcome.sequence.motion_seed) == seeds
            assert len(outcome.rejected) == rejected
            assert all(reasons for reasons in outcome.rejected)


def test_hearts_share_the_calls_of_the_networks(calls):
    list(sample_accepted(GENERATOR, asked(8), QualityControl()))
    assert calls.anatomies[0] == 8
    assert calls.cycles[0] == 8  # the motion LDM waits until every heart has an anatomy
    assert len(calls.anatomies) < sum(calls.anatomies) / 2


class Shown:
    """Shows every heart brighter, but none whose motion has a seed that five divides."""

    about: ClassVar[dict[str, Any]] = {"render": "donor"}
    keeps_masks: ClassVar[bool] = False

    def __call__(self, heart: SyntheticSequence) -> SyntheticSequence | list[str]:
        return replace(heart, image=heart.image + 1000, donor="somebody") if heart.motion_seed % 5 else ["donor_cannot_follow"]


def test_what_cannot_be_shown_is_tried_again_and_counted(calls, tmp_path):
    sample_to_folder(GENERATOR, asked(), tmp_path, skip_impossible=True, show=Shown())
    ids, provenance = read_index(tmp_path)
    made = [read_sequence(tmp_path, one) for one in ids]
    assert all(one.motion_seed % 5 and one.image.min() >= 1000 and one.donor == "somebody" for one in made)
    assert provenance["render"] == "donor" and provenance["quality"]["reasons"]["donor_cannot_follow"] > 0
    with pytest.raises(UserError, match="another generator, request, quality control or way of showing them"):
        sample_to_folder(GENERATOR, asked(), tmp_path)


def test_a_request_that_no_donor_can_meet_is_given_up_early_and_says_so(calls):
    class Never(Shown):
        def __call__(self, heart: SyntheticSequence) -> list[str]:
            return ["donor_cannot_follow"]

    [outcome] = sample_accepted(GENERATOR, asked(1), QualityControl(), Never())
    assert outcome.sequence is None
    assert sum(reasons == ["donor_cannot_follow"] for reasons in outcome.rejected) == MAX_UNSHOWN
    said = impossible(outcome.request, [["donor_cannot_follow"]] * MAX_UNSHOWN)
    assert "no training patient can be brought to" in said and "--render decoder" in said


def test_a_painter_is_shown_only_hearts_that_are_sound_and_trusted_as_decoded_ones(calls, tmp_path):
    seen: list[SyntheticSequence] = []

    class Painted(Shown):
        keeps_masks = True

        def __call__(self, heart: SyntheticSequence) -> SyntheticSequence:
            seen.append(heart)
            return replace(heart, image=heart.image + 1000)

    shown = [outcome.sequence for outcome in sample_accepted(GENERATOR, asked(), QualityControl(), Painted())]
    plain = [outcome.sequence for outcome in sample_accepted(GENERATOR, asked(), QualityControl())]
    assert len(seen) == len(shown) == N  # none is painted in vain
    for one, decoded in zip(sorted(shown, key=lambda s: s.id), sorted(plain, key=lambda s: s.id), strict=True):
        np.testing.assert_array_equal(one.mask, decoded.mask)
        np.testing.assert_array_equal(one.image, decoded.image + 1000)
        assert one.sound == decoded.sound is not None


def test_contours_that_are_shown_are_checked_as_those_that_were_decoded(calls):
    class Torn(Shown):
        def __call__(self, heart: SyntheticSequence) -> SyntheticSequence | list[str]:
            return replace(heart, mask=np.where(heart.mask == RV, 0, heart.mask).astype(np.uint8)) if heart.motion_seed % 3 else heart

    outcomes = list(sample_accepted(GENERATOR, asked(8), QualityControl(), Torn()))
    assert all(one.sequence is None or one.sequence.motion_seed % 3 == 0 for one in outcomes)
    assert any("missing_RV_at_es" in reasons for one in outcomes for reasons in one.rejected)
    unchecked = list(sample_accepted(GENERATOR, asked(8), QualityControl(check=False), Torn()))
    assert any(one.sequence is not None and one.sequence.motion_seed % 3 for one in unchecked)


def test_folders_of_any_batch_size_are_equal(calls, tmp_path):
    for batch in (1, 8):
        sample_to_folder(GENERATOR, asked(), tmp_path / str(batch), batch=batch)
    assert files(tmp_path / "1") == files(tmp_path / "8")


def test_memory_holds_a_few_sequences_however_many_are_asked_for(calls, tmp_path):
    sample_to_folder(GENERATOR, asked(40), tmp_path, batch=16)
    assert calls.alive <= 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed") / "whole"


@pytest.mark.parametrize(("killed_at", "finished"), [(1, 0), (6, 0), (24, 8)])
def test_a_killed_run_resumes_with_the_same_results(calls, tmp_path, whole, killed_at, finished):
    count = 0

    def agreement(sequence):
        nonlocal count
        count += 1
        if count == killed_at:
            raise KeyboardInterrupt
        return {"LV": sequence.motion_seed % 5 / 4}  # rejects three in five

    options: dict[str, Any] = {"batch": 4, "quality": QualityControl(True, agreement), "skip_impossible": True}
    requests = asked(12)
    with pytest.raises(KeyboardInterrupt):
        sample_to_folder(GENERATOR, requests, tmp_path, **options)
    log = tmp_path / "rejections.json"
    assert (len(read_json(log)) if log.is_file() else 0) == finished
    ids = sample_to_folder(GENERATOR, requests, tmp_path, **options)
    count = 1000
    assert ids == sample_to_folder(GENERATOR, requests, whole, **options)  # is there already for the second of these tests
    assert files(tmp_path) == files(whole)
    assert "image_mask_disagree" in read_index(whole)[1]["quality"]["reasons"]


def test_a_finished_folder_is_not_sampled_again_and_may_grow(calls, tmp_path):
    sample_to_folder(GENERATOR, asked(6), tmp_path, batch=4)
    sampled = len(calls.cycles)
    before = files(tmp_path)
    sample_to_folder(GENERATOR, asked(6), tmp_path, batch=4)
    assert len(calls.cycles) == sampled
    assert len(sample_to_folder(GENERATOR, asked(9), tmp_path, batch=4)) == 9
    assert {k: v for k, v in files(tmp_path).items() if k in before and k.startswith("synth")} == {
        k: v for k, v in before.items() if k.startswith("synth")
    }


def test_acceptance_is_counted_over_all_and_per_diagnosis(calls, tmp_path):
    sample_to_folder(GENERATOR, asked(), tmp_path)
    quality = read_index(tmp_path)[1]["quality"]
    rejected = [one_at_a_time(r)[1] for r in asked()]
    assert quality["accepted"] == quality["requests"] == N
    assert quality["tries"] == N + sum(rejected)
    assert set(quality["by_diagnosis"]) == {"DCM", "HCM", "unspecified"}
    dcm = quality["by_diagnosis"]["DCM"]
    tries = 7 + sum(rejected[::3])
    assert dcm == {"requests": 7, "first_try": rejected[::3].count(0), "tries": tries, "accepted": 7, "acceptance_rate": 7 / tries}
    assert 0 < quality["first_try"] == rejected.count(0) < N
    for key in ("requests", "first_try", "tries", "accepted"):
        assert sum(group[key] for group in quality["by_diagnosis"].values()) == quality[key]
    assert set(quality["reasons"]) == {"missing_RV", "missing_MYO", "missing_LV", "no_contraction"}
    assert quality["reasons"]["missing_LV"] + quality["reasons"]["no_contraction"] == sum(rejected)
    assert f"DCM 7 of {dcm['tries']}" in describe(tmp_path, GENERATOR)[-1]
    figures = read_json(tmp_path / "figures.json")
    assert figures["quality"] == quality
    assert figures["priors_open_loop"] == {}
    assert (figures["frames"], figures["frames_with_defect"]) == (4 * N, {})


def test_a_request_beyond_the_generator_is_left_out_or_named_after_the_others_are_written(calls, tmp_path):
    wanted = [replace(r, priors=Priors(lv_edv=500.0)) if i == 1 else r for i, r in enumerate(asked(4))]
    assert len(sample_to_folder(GENERATOR, wanted, tmp_path / "bank", skip_impossible=True)) == 3
    quality = read_index(tmp_path / "bank")[1]["quality"]
    assert quality["given_up"] == ["synth_00001"]
    assert quality["by_diagnosis"]["unspecified"]["accepted"] == 1
    assert shortfall(tmp_path / "bank") == f"3 of 4 hearts in {tmp_path / 'bank'} passed the quality control"
    with pytest.raises(IncompleteError, match=r"synth_00001: none of 16 samples .*missed_lv_edv 16x.*; the 3 that passed are in"):
        sample_to_folder(GENERATOR, wanted, tmp_path / "sample")
    assert len(list((tmp_path / "sample").glob("*_image.nii.gz"))) == 3
    kept = [f"synth_{i:05d}" for i in (0, 2, 3)]
    assert read_index(tmp_path / "sample")[0] == kept
    assert [line.split(",")[0] for line in (tmp_path / "sample" / "priors.csv").read_text().splitlines()[1:]] == kept


def test_a_reason_names_only_what_was_asked_for(calls, tmp_path):
    """The volumes of a heart that nobody set are drawn near a training patient's."""
    drawn = Priors(diagnosis="HCM", lv_edv=500.0)
    for asked_for, said in ((Priors(diagnosis="HCM"), "unlike its patient 16x"), (Priors(), "unlike its patient 16x")):
        with pytest.raises(UserError, match=said) as caught:
            sample_to_folder(GENERATOR, [replace(asked(1)[0], priors=drawn, asked=asked_for)], tmp_path / str(bool(asked_for)))
        assert "lv_edv" not in str(caught.value)
        assert ("HCM" in str(caught.value)) == bool(asked_for.specified())
        assert ("ask for values nearer" in str(caught.value)) == bool(asked_for.specified())


def test_a_diagnosis_that_is_missing_altogether_is_said(calls, tmp_path):
    wanted = [replace(r, priors=replace(r.priors, lv_edv=500.0)) if r.priors.diagnosis == "HCM" else r for r in asked(6)]
    sample_to_folder(GENERATOR, wanted, tmp_path, skip_impossible=True)
    assert shortfall(tmp_path).endswith(f"4 of 6 hearts in {tmp_path} passed the quality control, and none with HCM")


def test_a_segmenter_that_disagrees_rejects_everything_it_is_asked_about(calls, tmp_path):
    with pytest.raises(UserError, match="passed the quality control"):
        sample_to_folder(GENERATOR, asked(1), tmp_path, quality=QualityControl(True, lambda s: {"RV": 0.4, "MYO": 0.5, "LV": 0.8}))
    rejected = read_json(tmp_path / "rejections.json")["synth_00000"]
    assert len(rejected) > MAX_ANATOMIES  # sound cycles, too
    assert all(reasons == ["image_mask_disagree"] for reasons in rejected if not reasons[0].startswith(("missing", "no_contraction")))
    assert ["image_mask_disagree"] in rejected
    with pytest.raises(UserError, match="choose another folder"):
        sample_to_folder(GENERATOR, asked(1), tmp_path)


def test_a_bank_says_which_segmenter_checked_it_and_how_strictly(calls, tmp_path):
    def checked_by(name: str) -> QualityControl:
        return QualityControl(True, lambda s: {"RV": 0.7, "MYO": 0.7, "LV": 0.8}, 0.7, {"checkpoint_sha256": name})

    sample_to_folder(GENERATOR, asked(1), tmp_path, quality=checked_by("a"))
    quality = read_index(tmp_path)[1]["quality"]
    assert (quality["image_mask_checked"], quality["min_agreement"], quality["segmenter"]) == (True, 0.7, {"checkpoint_sha256": "a"})
    sample_to_folder(GENERATOR, asked(2), tmp_path, quality=checked_by("a"))  # it may grow
    with pytest.raises(UserError, match="way of showing them; choose another folder"):
        sample_to_folder(GENERATOR, asked(2), tmp_path, quality=checked_by("b"))


def test_open_and_closed_loop_stand_side_by_side(calls, tmp_path):
    sample_to_folder(GENERATOR, [replace(r, priors=Priors(lv_ef=60.0)) for r in asked(2)], tmp_path)
    for sequence_id, ef in (("synth_00000", 40.0), ("synth_00001", 50.0)):
        closed = replace(
            read_sequence(tmp_path, sequence_id), calibration=(1.0, 1.4), measured=Priors(lv_ef=58.0), open_loop=Priors(lv_ef=ef)
        )
        write_sequence(tmp_path, closed)
        back = read_sequence(tmp_path, sequence_id)
        assert back.open_loop == Priors(lv_ef=ef)
    lines = describe(tmp_path, GENERATOR)
    figures = read_json(tmp_path / "figures.json")
    assert figures["priors"]["lv_ef_percent"]["mean_absolute_error"] == 2.0
    assert figures["priors_open_loop"]["lv_ef_percent"] == {
        "n": 2,
        "mean_requested": 60.0,
        "mean_measured": 45.0,
        "mean_absolute_error": 15.0,
    }
    assert figures["closed_loop"]
    assert "measured 58.0 (open loop 45.0), mean absolute error 2.0 (open loop 15.0)" in lines[0]
