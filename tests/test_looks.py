"""Looks of other scanners: contours hold, tissues change as they should, and a bank shows every heart in each."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, sequence, write_sequences
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from scipy.ndimage import binary_erosion

from evaluation.benchmark.study import parse_arm
from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.looks import AROUND, MOST_GAIN, Look, look_of, looked
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.phantom.signal import Scan
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases, in_look
from nnunet_synth_aug.nnunet.bank.manifest import read_manifest
from nnunet_synth_aug.nnunet.target import load_target

SCAN = Scan(3.0, 1.5, 60.0, 1.5)
#: Shows an image as it is.
SAME = Look(SCAN, SCAN, False, 1.0, 1.0, 1.0, ("lung", "muscle", "fat"), (0.0,) * 6, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0)


@pytest.fixture(scope="module")
def heart() -> SyntheticSequence:
    """A phantom with the parts of a chest, of which two frames are enough."""
    made = phantom_subject(0, 3)
    image, mask = (of[:2] for of in (made.source.image.astype(np.float32), made.mask))
    return SyntheticSequence("heart", image, mask, made.source.spacing, 0, 1, 0.05, 0, Priors(), Priors(), context=(100.0, 50.0))


def mean_of(sequence: SyntheticSequence, label: int) -> float:
    """Grey value within a structure at ED, away from its border."""
    inside = binary_erosion(sequence.mask[0] == label, np.ones((3, 3, 1)))
    return float(sequence.image[0][inside].mean())


def test_a_look_that_changes_nothing_changes_nothing(heart):
    shown = looked(heart, SAME, [0, 1])
    white = np.quantile(heart.image[0], 0.995)
    below = heart.image < white
    np.testing.assert_allclose(shown.image[below] / shown.image[below].max(), heart.image[below] / heart.image[below].max(), atol=0.01)
    assert shown.context[1] / shown.context[0] == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(("change", "label"), [({"muscle": 1.5}, MYO), ({"lv_blood": 0.6}, LV), ({"rv_blood": 0.6}, RV)])
def test_a_tissue_changes_alone(heart, change, label):
    plain, shown = looked(heart, SAME, [0]), looked(heart, dataclasses.replace(SAME, **change), [0])
    others = [one for one in (LV, MYO, RV) if one != label]
    scale = mean_of(shown, others[0]) / mean_of(plain, others[0])  # white is where the brightest is
    assert mean_of(shown, others[1]) / mean_of(plain, others[1]) == pytest.approx(scale, rel=0.03)
    assert mean_of(shown, label) / mean_of(plain, label) / scale == pytest.approx(next(iter(change.values())), rel=0.05)


def test_contrast_follows_the_signal_equation():
    """At 3 T the flip angle is smaller and muscle is brighter beside blood; under the own protocol nothing changes."""
    assert SAME.gain("myocardium") == 1
    assert dataclasses.replace(SAME, scan=Scan(3.0, 1.5, 40.0, 3.0)).gain("myocardium") > 1.05
    assert dataclasses.replace(SAME, scan=Scan(3.0, 1.5, 75.0, 1.5)).gain("myocardium") < 0.95


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_every_look_can_be_seen(seed):
    look = Look.drawn(np.random.default_rng(seed))
    shown = looked(sequence(3), look, [0])
    own = sequence(3)
    np.testing.assert_array_equal(shown.mask, own.mask)
    assert np.isfinite(shown.image).all() and shown.image.min() >= 0 and shown.image[0].std() > 0
    np.testing.assert_array_equal(shown.image[1:], own.image[1:])
    assert not shown.image[0][own.image[0] == 0].any()
    assert all(1 / MOST_GAIN <= look.gain(name) <= MOST_GAIN for names in AROUND for name in names)


def test_a_frame_looks_alike_whatever_else_is_asked_for_and_hearts_differ(heart):
    one, both = (looked(heart, look_of("heart", 1), frames) for frames in ([1], [0, 1]))
    np.testing.assert_array_equal(one.image[1], both.image[1])
    assert look_of("heart", 1) == look_of("heart", 1)
    assert len({look_of(name, number) for name in ("heart", "other") for number in (1, 2)}) == 4
    assert look_of("heart", 1, "GE").own.tr > look_of("heart", 1, "Siemens").own.tr * 0.9


@pytest.fixture
def fold1(project: Project) -> Iterator[Path]:
    yield project.preprocessed / "synth_aug" / "fold_1"
    shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


def test_a_bank_shows_every_heart_in_each_look(project: Project, fold1: Path, tmp_path: Path) -> None:
    sequences = write_sequences(tmp_path / "sequences", patients=PATIENTS[2:])
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2)
    manifest = read_manifest(load_target(DATASET, "2d", PLANS), 1)
    assert manifest.content["appearance"]["looks"] == 2
    of_one = manifest.sequences[0]
    assert [(case["id"][-10:], case["look"]) for case in of_one] == [
        (f"_look{look}_t{case['frame']:02d}", look) for look in (1, 2) for case in of_one[:2]
    ]
    cases = nnUNetDatasetBlosc2(str(manifest.folder))
    first, second = (cases.load_case(of_one[number]["id"]) for number in (0, 2))
    np.testing.assert_array_equal(first[1][:], second[1][:])
    assert np.corrcoef(first[0][:].ravel(), second[0][:].ravel())[0, 1] < 0.999
    files = {path.name: path.read_bytes() for path in manifest.folder.iterdir()}
    lost = manifest.folder / f"{of_one[3]['id']}.pkl"
    lost.unlink()
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2)
    assert {path.name: path.read_bytes() for path in manifest.folder.iterdir()} == files
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2)  # in their own look: the others go
    manifest = read_manifest(load_target(DATASET, "2d", PLANS), 1)
    assert "appearance" not in manifest.content
    assert not any("look" in path.name for path in manifest.folder.iterdir())


def test_number_0_is_the_own_look():
    own = sequence(2)
    assert in_look(own, "name", 0, [0]) is own


def test_arms_of_looks():
    arm = parse_arm("copies+phantom_3looks50to00")
    assert (arm.parts, arm.looks, arm.percent, arm.until) == (("copies", "phantom"), 3, 50, 0)
    assert parse_arm("copies50").looks == 0


def test_arms_of_rendered_hearts():
    arm = parse_arm("mix+phantom_donor_2looks50")
    assert (arm.parts, arm.render, arm.looks, arm.percent) == (("generator", "phantom"), "donor", 2, 50)
    assert parse_arm("mix50").render == "decoder"
    with pytest.raises(UserError, match="only generated hearts"):
        parse_arm("copies_donor50")
    assert (parse_arm("mix_painter50").render, parse_arm("mix_painter50").painted) == ("painter", "contoured")
    assert (parse_arm("mix_painter_3unlabelled50").painted, parse_arm("mix_donor_3looks50").painted) == ("unlabelled", "")
    with pytest.raises(UserError, match=r"there is no arm 'mix_2looks_donor50'.* such as .*mix_donor_3looks50"):
        parse_arm("mix_2looks_donor50")


@pytest.mark.parametrize("below", [0.0, -300.0])
def test_negative_grey_values_hide_nothing(heart, below):
    """Z-scored images and those of some programs begin below zero: the same heart in the same look."""
    look = look_of("heart", 1)
    plain, moved = (looked(dataclasses.replace(heart, image=heart.image + offset), look, [0]) for offset in (0.0, below))
    dark = min(float(np.quantile(heart.image[0] + below, 0.001)), 0.0)
    np.testing.assert_allclose(moved.image[0], plain.image[0] + dark, atol=1e-2 * float(plain.image[0].max()))


def test_nothing_but_heart_can_be_seen(heart):
    whole = dataclasses.replace(heart, mask=np.full_like(heart.mask, LV))
    assert np.isfinite(looked(whole, look_of("heart", 1), [0]).image).all()
