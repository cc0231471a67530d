"""Each defect is found in every frame that counts, and sound hearts, drawn or real, have none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nnunet_synth_aug.core.labels import DIAGNOSES, LV, MYO, RV, VENDORS
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.importers.acdc import read_acdc
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.phantom.physiology import slot
from nnunet_synth_aug.synthesis.quality.contours import torn_slices
from nnunet_synth_aug.synthesis.quality.defects import (
    ANATOMY,
    MOTION,
    defective_frames,
    disagreement,
    frame_defects,
    minima,
    missed,
    motion_defects,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FRAMES, ES = 8, 4


def heart(radii: np.ndarray | None = None) -> np.ndarray:
    """(T, 64, 64, 5): LV disc of the given radii, ring of constant area, RV disc beside it."""
    if radii is None:
        radii = 10 - 3 * np.sin(np.pi * np.arange(FRAMES) / FRAMES)
    x, y = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    mask = np.zeros((len(radii), 64, 64, 5), np.uint8)
    for t, radius in enumerate(radii):
        r = np.hypot(x - 40, y - 32)
        mask[t][np.hypot(x - 18, y - 32) < 9] = RV
        mask[t][r < np.sqrt(radius**2 + 150)] = MYO
        mask[t][r < radius] = LV
    return mask


def spoil(frame: np.ndarray, defect: str) -> None:
    """Give one frame (X, Y, Z) a defect, in place."""
    if defect.startswith("missing"):
        frame[frame == {"RV": RV, "MYO": MYO, "LV": LV}[defect[8:]]] = 0
    elif defect.startswith("fragmented"):
        frame[:8, :20] = {"RV": RV, "MYO": MYO, "LV": LV}[defect[11:]]
    elif defect == "lv_not_enclosed":
        frame[40:][frame[40:] == MYO] = 0
    elif defect == "rv_detached":
        frame[frame == RV] = 0
        frame[2:12, 2:12] = RV


FRAME_DEFECTS = [f"{kind}_{name}" for kind in ("missing", "fragmented") for name in ("RV", "MYO", "LV")] + [
    "lv_not_enclosed",
    "rv_detached",
]


def test_a_sound_heart_has_no_defect():
    assert frame_defects(heart()[0]) == []
    assert motion_defects(heart(), ES) == []
    assert not defective_frames(heart())


@pytest.mark.parametrize("defect", FRAME_DEFECTS)
def test_each_defect_is_named_in_the_frame_that_has_it(defect):
    mask = heart()
    spoil(mask[0], defect)
    found = [defect, "lv_not_enclosed"] if defect == "fragmented_LV" else [defect]  # a stray cavity has no wall
    assert frame_defects(mask[0]) == found
    mask = heart()
    spoil(mask[ES], defect)
    assert f"{defect}_at_es" in motion_defects(mask, ES)
    assert defective_frames(mask) == Counter(found)


@pytest.mark.parametrize("defect", FRAME_DEFECTS)
def test_other_frames_may_be_defective_for_a_quarter_of_the_cycle_but_never_lack_a_structure(defect):
    mask = heart()
    for n, t in enumerate((2, 3, 6), 1):
        spoil(mask[t], defect)
        named = f"{defect}_in_cycle" in motion_defects(mask, ES)
        assert named == (n > 2 or defect.startswith("missing"))


def test_an_apical_slice_may_lose_its_cavity():
    mask = heart()
    apex = mask[2:6, :, :, 4]
    apex[apex == LV] = MYO
    assert motion_defects(mask, ES) == []


@pytest.mark.parametrize(
    ("defect", "mask"),
    [
        ("no_contraction", heart(np.full(FRAMES, 10.0))),
        ("ed_not_largest", heart(np.array([9, 10.5, 10, 8, 7, 7.5, 8, 8.5]))),
        ("several_contractions", heart(np.array([10, 8, 7, 8, 10, 8, 7, 8.0]))),
    ],
)
def test_each_defect_of_the_volume_curve_is_named(defect, mask):
    assert motion_defects(mask, 4) == [defect]


def test_myocardium_that_vanishes_in_part_of_the_cycle_is_named():
    mask = heart()
    thin = mask[2:5]
    thin[(thin == MYO) & (np.arange(5) > 1)] = 0
    assert "mass_not_conserved" in motion_defects(mask, ES)


def test_minima_are_counted_over_the_closed_cycle_and_wiggles_are_not():
    phi = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    beat = 100 + 30 * np.cos(phi)
    rng = np.random.default_rng(0)
    for shift in range(24):
        assert minima(np.roll(beat, shift)) == 1
        assert minima(np.roll(beat + rng.normal(0, 2, 24), shift)) == 1
        assert minima(np.roll(100 + 30 * np.cos(2 * phi), shift)) == 2
        assert minima(np.roll(100 + 30 * np.cos(3 * phi), shift)) == 3
    assert minima(np.full(12, 50.0)) == 0
    assert minima(beat * 7) == minima(beat)


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in (4, 8, 12, 16))])
def test_phantoms_of_all_groups_and_vendors_pass(masks_only, first):
    assert {slot(i) for i in range(20)} == {(d, v) for d in DIAGNOSES for v in VENDORS}
    for index in range(first, first + 4):
        subject = phantom_subject(index, seed=21)
        assert (index, frame_defects(subject.mask[0]), motion_defects(subject.mask, subject.source.es)) == (index, [], [])
        assert not any(torn_slices(frame).any() for frame in subject.mask)


@pytest.mark.parametrize("n_slices", [3, 4, 5])
def test_phantoms_of_few_slices_pass(masks_only, n_slices):
    for index in range(n_slices, n_slices + 3):
        subject = phantom_subject(index, seed=5, priors=Priors(n_slices=n_slices))
        assert (index, frame_defects(subject.mask[0]), motion_defects(subject.mask, subject.source.es)) == (index, [], [])


@pytest.mark.skipif(not (DATA / "acdc_cine").is_dir(), reason=f"the real ACDC copies are not in {DATA}")
@pytest.mark.parametrize("copy", ["acdc_cine", "acdc_edes"])
def test_manual_contours_of_patients_pass(copy):
    """ED and ES of every patient, as a cycle of two frames."""
    for subject in read_acdc(DATA / copy):
        mask = np.stack([subject.masks["ED"], subject.masks["ES"]])
        measured = measure(mask[0], mask[1], subject.spacing)
        assert (subject.patient, frame_defects(mask[0]), motion_defects(mask, 1)) == (subject.patient, [], [])
        assert missed(measured, measured, ANATOMY | MOTION) == []


def test_requests_are_met_within_tolerance_or_named():
    asked = Priors(lv_edv=200, lv_ef=60)
    both = ANATOMY | MOTION
    assert missed(asked, Priors(lv_edv=220, lv_ef=52), both) == []
    assert missed(asked, Priors(lv_edv=300, lv_ef=52), both) == ["missed_lv_edv"]
    assert missed(asked, Priors(lv_edv=200, lv_ef=30), both) == ["missed_lv_ef"]
    assert missed(asked, Priors(lv_edv=200), both) == ["missed_lv_ef"]
    assert missed(Priors(), Priors(), both) == []


def test_an_independent_segmenter_may_disagree():
    assert disagreement({"RV": 0.5, "MYO": 0.6, "LV": 0.7}, 0.6) == []
    assert disagreement({"RV": 0.2, "MYO": 0.6, "LV": 0.7}, 0.6) == ["image_mask_disagree"]
    assert disagreement({"RV": float("nan"), "LV": 0.7}, 0.6) == []
    assert disagreement({"RV": float("nan")}, 0.6) == ["image_mask_disagree"]
