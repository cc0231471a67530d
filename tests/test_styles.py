"""Looks of patients whom nobody has contoured: their grey values, sharpness and noise, on hearts of others."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, write_sequences
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from scipy.ndimage import gaussian_filter

from evaluation.benchmark.study import parse_arm
from evaluation.inputs.arms import generator_patients
from nnunet_synth_aug.core.cases import Sequence, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.importers.acdc import list_acdc, read_acdc
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.styles import OF_BLOOD, OF_MUSCLE, Style, moving_centre, style_for, style_of, styled, whole_scaled
from nnunet_synth_aug.nnunet.bank import originals
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.bank.manifest import bank_status
from nnunet_synth_aug.nnunet.bank.originals import unlabelled_styles
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.reports.cards.write import renew_card

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def hearts() -> dict[str, SyntheticSequence]:
    """ED and ES of two phantoms on the scanners of two vendors."""
    found = {}
    for number, vendor in enumerate(("Siemens", "GE")):
        one = phantom_subject(number, 70, vendor=vendor)
        frames = [one.source.ed, one.source.es]
        image = one.source.image[frames].astype(np.float32)
        found[vendor] = SyntheticSequence(vendor, image, one.mask[frames], one.source.spacing, 0, 1, 0.04, 0, Priors(), Priors())
    return found


def bare(heart: SyntheticSequence, image: np.ndarray | None = None) -> Sequence:
    """Images without contours."""
    image = heart.image if image is None else image
    return Sequence(image, np.zeros(image.shape, np.uint8), heart.spacing, 0, len(image) - 1)


def as_shown(heart: SyntheticSequence) -> np.ndarray:
    """As nnU-Net's z-score by the context shows it."""
    assert heart.context is not None
    return (heart.image - heart.context[0]) / heart.context[1]


def contoured(heart: SyntheticSequence, shown: np.ndarray) -> np.ndarray:
    """Muscle and blood by the contours, at the quantiles that the rim of the cavity shows (2,)."""
    return np.array([np.quantile(shown[heart.mask == MYO], OF_MUSCLE), np.quantile(shown[np.isin(heart.mask, (LV, RV))], OF_BLOOD)])


@pytest.mark.skipif(not (DATA / "acdc_edes").is_dir(), reason=f"the real ACDC volumes are not in {DATA}")
def test_blood_and_muscle_are_found_without_contours():
    errors = []
    for one in read_acdc(DATA / "acdc_edes", list_acdc(DATA / "acdc_edes")[::7]):
        shown = np.stack([whole_scaled(frame) for frame in one.image.astype(np.float32)])
        mask = np.stack([one.masks["ED"], one.masks["ES"]])
        plain = Sequence(one.image.astype(np.float32), np.zeros(shown.shape, np.uint8), one.spacing, 0, 1)
        by_contours = np.array([np.quantile(shown[mask == MYO], OF_MUSCLE), np.quantile(shown[np.isin(mask, (LV, RV))], OF_BLOOD)])
        errors.append(np.abs(np.array(style_of(one.patient, plain).levels[1:3]) - by_contours))
    assert (np.mean(errors, axis=0) < (0.3, 0.6)).all()


def test_a_heart_gets_the_grey_values_of_the_patient(hearts):
    own, target = hearts["Siemens"], style_of("target", bare(hearts["GE"]))
    shown = styled(own, target, (0, 1))
    before = contoured(own, np.stack([whole_scaled(one) for one in own.image]))
    found = contoured(own, as_shown(shown))
    assert np.abs(found - target.levels[1:3]).max() < 0.15 < np.abs(before - target.levels[1:3]).max()
    np.testing.assert_array_equal(shown.mask, own.mask)


def test_a_patients_own_style_changes_its_heart_little(hearts):
    own = hearts["Siemens"]
    shown = styled(own, style_of("own", bare(own)), (0, 1))
    first, second = (np.corrcoef(own.image[t].ravel(), shown.image[t].ravel())[0, 1] for t in (0, 1))
    assert min(first, second) > 0.95


@pytest.mark.parametrize("change", ["blurred", "noisy"])
def test_sharpness_and_noise_follow_the_patient(hearts, change):
    own = hearts["Siemens"]
    noise = np.random.default_rng(0).normal(0, 0.2 * own.image.std(), own.image.shape)
    other = gaussian_filter(own.image, (0, 2, 2, 0)) if change == "blurred" else own.image + noise
    target, plain = style_of("other", bare(own, other.astype(np.float32))), style_of("own", bare(own))
    shown = as_shown(styled(own, target, (0, 1)))
    found = style_of("shown", bare(own, shown))
    key = "sharpness" if change == "blurred" else "noise"
    now, wanted, before = (getattr(one, key) for one in (found, target, plain))
    assert abs(now - wanted) < 0.5 * abs(before - wanted)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_every_style_keeps_contours_and_black_borders(seed):
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 300, (3, 24, 20, 3)).astype(np.float32)
    image[..., :2, :, :] = 0
    mask = rng.integers(0, 4, image.shape).astype(np.uint8)
    heart = SyntheticSequence("heart", image, mask, (2.0, 2.0, 8.0), 0, 2, 0.04, 0, Priors(), Priors())
    dark, muscle, blood, bright = np.cumsum(rng.uniform(0.05, 2, 4)) - 3
    style = Style("p", (float(dark), float(muscle), float(blood), float(bright)), float(rng.uniform(0, 1)), float(rng.uniform(0, 0.5)))
    assert Style.from_json(style.to_json()) == style
    shown = styled(heart, style, [1])
    assert np.isfinite(shown.image).all()
    np.testing.assert_array_equal(shown.image[[0, 2]], image[[0, 2]])
    np.testing.assert_array_equal(shown.image[1] == 0, image[1] == 0)
    np.testing.assert_array_equal(shown.mask, mask)
    np.testing.assert_array_equal(styled(heart, style, [0, 1]).image[1], shown.image[1])


def test_the_heart_is_where_it_beats_and_one_volume_is_taken_in_the_middle(hearts):
    own = hearts["Siemens"]
    spacing = np.array(own.spacing[:2])
    heart = (np.argwhere(own.mask.any((0, 3))).mean(0) + 0.5) * spacing
    assert np.linalg.norm(np.array(moving_centre(own.image, own.spacing)) - heart) < 40
    np.testing.assert_allclose(moving_centre(own.image[:1], own.spacing), np.array(own.image.shape[1:3]) * spacing / 2)


def test_looks_of_a_heart_are_of_different_patients_and_every_patient_serves():
    styles = [Style(name, (0.0, 1.0, 2.0, 3.0), 0.1, 0.0) for name in "abcd"]
    drawn = {heart: [style_for(styles, heart, number).patient for number in (1, 2, 3)] for heart in map(str, range(40))}
    assert all(len(set(names)) == 3 for names in drawn.values())
    counts = [sum(names[0] == name for names in drawn.values()) for name in "abcd"]
    assert min(counts) >= 4


# ------------------------------------------------------------------ in a bank


@pytest.fixture
def fold1(project: Project):
    yield
    shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


def test_a_bank_in_patients_looks_names_them_and_is_refused_where_one_is_validated_on(
    project: Project, fold1, tmp_path, hearts, monkeypatch
) -> None:
    sequences = write_sequences(tmp_path / "sequences", patients=PATIENTS[2:])
    target = load_target(DATASET, "2d", PLANS)
    styles = [style_of(name, bare(heart)) for name, heart in zip(("B1", "B2"), hearts.values(), strict=True)]
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2, styles=styles)
    manifest = bank_status(target, 1)
    assert list(manifest.styles) == styles
    assert {"B1", "B2"} < set(generator_patients({"manifest": manifest.content}))
    cases, of_one = nnUNetDatasetBlosc2(str(manifest.folder)), manifest.sequences[0]
    assert [case["look"] for case in of_one] == [1, 1, 2, 2]
    first, second = (cases.load_case(of_one[number]["id"]) for number in (0, 2))
    np.testing.assert_array_equal(first[1][:], second[1][:])
    assert not np.array_equal(first[0][:], second[0][:])
    files = {path.name: path.read_bytes() for path in manifest.folder.iterdir()}
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2, styles=styles)
    assert {path.name: path.read_bytes() for path in manifest.folder.iterdir()} == files
    renew_card(manifest.folder.parent)
    assert "each in 2 looks of 2 patients without contours" in (manifest.folder.parent / "README.md").read_text()
    leaking = [*styles, dataclasses.replace(styles[0], patient=PATIENTS[0])]  # fold 1 validates on this one
    with pytest.raises(UserError, match=r"validation patients of fold 1 \(patient001\)"):
        build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2, styles=leaking)
    monkeypatch.setattr(originals, "is_imported", lambda _: False)
    with pytest.raises(UserError, match=r"--appearance unlabelled needs patients without contours.*as it was not imported"):
        unlabelled_styles(target, 1)


def test_arms_of_patients_looks():
    arm = parse_arm("mix+phantom_donor_3unlabelled50to00_DA5")
    assert (arm.looks, arm.appearance, arm.render, arm.base) == (3, "unlabelled", "donor", "DA5")
    assert parse_arm("copies_3looks50").appearance == "scanners"
