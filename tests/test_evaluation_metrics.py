"""Metrics: values worked out by hand, and medpy as the oracle over many random and adversarial masks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.metrics import SIDES, random_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medpy.metric import binary

from evaluation.scoring.metrics import image_diagonal, score
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.surface import border, nearest, surface_distances
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti
from nnunet_synth_aug.core.labels import STRUCTURES

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ONE = {"A": (1,)}


def masks_of(*boxes: tuple[slice, ...], shape: tuple[int, ...] = (20, 20, 6)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for box in boxes:
        mask[box] = 1
    return mask


def assert_equals_medpy(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], label: int = 1) -> None:
    mine = score(prediction, reference, spacing, {"A": (label,)})["A"].values
    a, b = prediction == label, reference == label
    for metric, oracle in (("HD", binary.hd), ("HD95", binary.hd95), ("ASSD", binary.assd)):
        assert mine[metric] == pytest.approx(oracle(a, b, voxelspacing=spacing), rel=1e-13, abs=1e-13)
    assert mine["IoU"] == binary.jc(a, b)
    assert mine["Dice"] == binary.dc(a, b)


def test_values_worked_out_by_hand() -> None:
    # Two voxels, 3 apart along x (2 mm) and 1 along z (10 mm).
    one, other = np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 4), np.uint8)
    one[1, 2, 1], other[4, 2, 2] = 1, 1
    values = score(one, other, (2.0, 2.0, 10.0), ONE)["A"].values
    assert values["Dice"] == 0
    assert values["HD"] == values["HD95"] == values["ASSD"] == math.sqrt(6**2 + 10**2)
    assert values["Volume"] == pytest.approx(0.04)
    # A 4x4x1 plate and the same plate shifted by one voxel: 12 of 16 voxels shared.
    plate, shifted = masks_of(np.s_[2:6, 2:6, 1:2]), masks_of(np.s_[3:7, 2:6, 1:2])
    values = score(plate, shifted, (1.5, 1.5, 8.0), ONE)["A"].values
    assert values["Dice"] == 0.75
    assert values["IoU"] == 12 / 20
    assert values["HD"] == 1.5
    # Every voxel of a one-slice plate is surface: 4 of 16 in each direction lie 1.5 mm away, the others 0.
    assert values["ASSD"] == pytest.approx(4 * 1.5 / 16)


def test_surface_of_a_cube_and_the_image_border() -> None:
    assert border(np.ones((3, 3, 3), bool)).sum() == 26  # all but the centre: beyond the image is outside
    assert border(np.ones((4, 1, 1), bool)).all()
    to_second, to_first = surface_distances(masks_of(np.s_[0:2, :, :]) > 0, masks_of(np.s_[0:4, :, :]) > 0, (1.0, 1.0, 1.0))
    assert to_second.max() <= to_first.max() == 2.0


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_equals_medpy_on_random_masks(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12))
    spacing = data.draw(st.tuples(*[st.sampled_from(SIDES)] * 3))
    masks = []
    for _ in range(2):
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        mask = rng.random(shape) < data.draw(st.sampled_from([0.02, 0.2, 0.5, 0.9, 1.0]))
        mask[tuple(rng.integers(0, shape))] = True  # medpy refuses empty masks
        masks.append(mask.astype(np.uint8))
    assert_equals_medpy(masks[0], masks[1], spacing)


@pytest.mark.parametrize("seed", range(4))
def test_equals_medpy_on_thousands_of_masks(seed: int) -> None:
    for prediction, reference, spacing in random_pairs(500, seed):
        assert_equals_medpy(prediction, reference, spacing)


BLOB, FAR = np.s_[5:12, 6:13, 2:4], np.s_[18:20, 0:1, 5:6]
ADVERSARIAL = {
    "one voxel against a blob": (masks_of(np.s_[3:4, 3:4, 3:4]), masks_of(BLOB)),
    "one voxel each, opposite corners": (masks_of(np.s_[0:1, 0:1, 0:1]), masks_of(np.s_[19:20, 19:20, 5:6])),
    "touching every border": (masks_of(np.s_[0:20, 0:20, 0:6]), masks_of(BLOB)),
    "several components": (masks_of(BLOB, FAR, np.s_[0:2, 0:2, 0:1]), masks_of(BLOB)),
    "missing slices": (masks_of(np.s_[5:12, 6:13, 0:2]), masks_of(np.s_[5:12, 6:13, 0:6])),
    "ring": (np.where(masks_of(np.s_[7:10, 8:11, 2:4]), 0, masks_of(BLOB)), masks_of(BLOB)),
    "identical": (masks_of(BLOB, FAR), masks_of(BLOB, FAR)),
}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 10.0), (10.0, 1.0, 1.0)])
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_equals_medpy_on_adversarial_masks(case: str, spacing: tuple[float, ...]) -> None:
    assert_equals_medpy(*ADVERSARIAL[case], spacing)


def test_empty_masks_follow_the_policy() -> None:
    empty, blob = masks_of(), masks_of(BLOB)
    spacing = (1.5, 1.5, 10.0)
    both = score(empty, empty, spacing, ONE)["A"]
    assert both.failure == "both empty"
    assert all(math.isnan(both.values[m]) for m in ("Dice", "IoU", "HD", "HD95", "ASSD"))
    assert both.values["Volume"] == 0
    diagonal = math.sqrt((20 * 1.5) ** 2 + (20 * 1.5) ** 2 + 60**2)
    assert image_diagonal((20, 20, 6), spacing) == pytest.approx(diagonal)
    for prediction, reference, failure in ((empty, blob, "prediction empty"), (blob, empty, "reference empty")):
        one = score(prediction, reference, spacing, ONE)["A"]
        assert one.failure == failure
        assert one.values["Dice"] == one.values["IoU"] == 0
        assert one.values["HD"] == one.values["HD95"] == one.values["ASSD"] == pytest.approx(diagonal)


def test_worst_case_exceeds_every_real_distance() -> None:
    corners = score(*ADVERSARIAL["one voxel each, opposite corners"], (1.0, 2.0, 9.0), ONE)["A"].values
    assert corners["HD"] < image_diagonal((20, 20, 6), (1.0, 2.0, 9.0))


def test_labels_are_scored_apart_and_regions_together() -> None:
    rng = np.random.default_rng(1)
    prediction, reference = rng.integers(0, 4, (9, 8, 5)), rng.integers(0, 4, (9, 8, 5))
    scores = score(prediction, reference, (1.0, 1.0, 3.0), {**{n: (v,) for n, v in STRUCTURES.items()}, "heart": (1, 3)})
    for name, value in STRUCTURES.items():
        a, b = prediction == value, reference == value
        assert scores[name].values["HD95"] == pytest.approx(binary.hd95(a, b, voxelspacing=(1.0, 1.0, 3.0)))
    a, b = np.isin(prediction, (1, 3)), np.isin(reference, (1, 3))
    assert scores["heart"].values["Dice"] == 2 * (a & b).sum() / (a.sum() + b.sum())
    assert scores["heart"].values["ASSD"] == pytest.approx(binary.assd(a, b, voxelspacing=(1.0, 1.0, 3.0)))


def test_far_and_near_points_have_the_same_distances() -> None:
    """What lies within the offsets that are looked up, and what the search tree finds, joins without a gap."""
    rng = np.random.default_rng(3)
    points, targets = np.zeros((40, 40, 9), bool), np.zeros((40, 40, 9), bool)
    points[rng.integers(0, 40, 300), rng.integers(0, 40, 300), rng.integers(0, 9, 300)] = True
    targets[20, 20, 4] = targets[3, 30, 1] = True
    spacing = (1.4, 1.1, 6.0)
    places, others = np.argwhere(points) * spacing, np.argwhere(targets) * spacing
    expected = np.linalg.norm(places[:, None] - others, axis=2).min(axis=1)
    assert nearest(points, targets, spacing) == pytest.approx(expected, rel=1e-13)
    limited = nearest(points, targets, spacing, limit=9.0)
    assert limited[expected < 9] == pytest.approx(expected[expected < 9], rel=1e-13)
    assert np.isinf(limited[expected > 9]).all()
    assert (expected < 4).any()
    assert (expected > 9).any()


def test_hd95_of_either_definition() -> None:
    """Far points in one direction only: pooling dilutes them, the larger of the directed percentiles does not."""
    reference = masks_of(np.s_[2:12, 2:12, 2:3])
    prediction = masks_of(np.s_[2:12, 2:12, 2:3], np.s_[14:18, 3:5, 2:3])
    values = score(prediction, reference, (1.0, 1.0, 10.0), ONE)["A"].values
    there, back = surface_distances(prediction > 0, reference > 0, (1.0, 1.0, 10.0))
    assert values["HD95"] == np.percentile(np.concatenate([there, back]), 95)
    assert values["HD95 max of directed"] == max(np.percentile(there, 95), np.percentile(back, 95)) > values["HD95"]


def test_engines_agree_and_an_unknown_one_is_refused() -> None:
    pair = ADVERSARIAL["several components"]
    native, other = (score(*pair, (1.2, 1.2, 7.0), ONE, ScoringRules(engine))["A"] for engine in ("native", "medpy"))
    assert native.values == pytest.approx(other.values, rel=1e-13)
    with pytest.raises(UserError, match="no metric engine 'magic'"):
        ScoringRules("magic")
    with pytest.raises(ValueError, match="differ in shape"):
        score(pair[0], pair[1][1:], (1.0, 1.0, 1.0), ONE)


@pytest.mark.parametrize("patient", ["patient001", "patient029", "patient094"])
def test_equals_medpy_on_real_hearts(patient: str) -> None:
    folder = DATA / "acdc_edes" / patient
    if not folder.is_dir():
        pytest.skip(f"real patient data not found in {folder}")
    ed, es = sorted(folder.glob("*_gt.nii.gz"))
    reference, spacing, _ = read_nifti(ed, ndim=3)
    other, _, _ = read_nifti(es, ndim=3)
    for label in STRUCTURES.values():  # ES against ED: a large, realistic disagreement
        assert_equals_medpy(other, reference, spacing, label)
