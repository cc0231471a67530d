"""Surface Dice: values worked out by hand, laws, and DeepMind's library as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import surface_distance
from benchmarks.metrics import SIDES, some_mask
from test_evaluation_metrics import ADVERSARIAL

from evaluation.scoring.metrics import score
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.surfels import _areas, surface_dice


def oracle(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    distances = surface_distance.compute_surface_distances(second > 0, first > 0, spacing)
    return float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance))


def test_areas_are_those_of_the_library() -> None:
    for spacing in ((1.0, 1.0, 1.0), (1.4, 1.5625, 10.0)):
        expected = surface_distance.lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        assert _areas(spacing) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_library_on_random_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        shape = tuple(int(n) for n in (*rng.integers(1, 25, 2), rng.integers(1, 8)))
        spacing = tuple(float(s) for s in rng.choice(SIDES, 3))
        pair = some_mask(rng, shape), some_mask(rng, shape)
        distances = surface_distance.compute_surface_distances(pair[1] > 0, pair[0] > 0, spacing)
        for tolerance in (0.0, 1.4, 2.0, 10.0):
            mine = surface_dice(pair[0] > 0, pair[1] > 0, spacing, tolerance)
            expected = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
            assert mine == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_score_equals_the_library_through_the_crop(case: str) -> None:
    spacing = (1.4, 1.4, 10.0)
    for tolerance in (1.0, 3.0, 25.0):
        mine = score(*ADVERSARIAL[case], spacing, {"A": (1,)}, ScoringRules(tolerance={"A": tolerance}))["A"].values["Surface Dice"]
        assert mine == pytest.approx(oracle(*ADVERSARIAL[case], spacing, tolerance), rel=1e-12, abs=1e-12)


def test_worked_out_by_hand() -> None:
    # A slab and the same slab one voxel longer in x: beyond 1 voxel from the end the surfaces coincide.
    long = np.zeros((12, 4, 4), bool)
    long[1:11] = True
    assert surface_dice(long, long, (1.0, 1.0, 1.0), 0.0) == 1.0
    shifted = np.roll(long, 1, axis=0)
    assert surface_dice(long, shifted, (1.0, 1.0, 1.0), 1.0) == 1.0  # equal to the tolerance counts as within
    assert surface_dice(long, shifted, (1.1, 1.0, 1.0), 1.0) < 1.0
    # One voxel: the corners of a 1 mm cube, cut to an octahedron of 8 triangles with 0.216506 mm² each.
    one, far = np.zeros((9, 3, 3), bool), np.zeros((9, 3, 3), bool)
    one[1, 1, 1] = far[7, 1, 1] = True
    assert _areas((1.0, 1.0, 1.0))[1] == pytest.approx(np.sqrt(3) / 8)
    assert surface_dice(one, far, (1.0, 1.0, 1.0), 4.99) == 0.0
    assert surface_dice(one, far, (1.0, 1.0, 1.0), 5.0) == 0.5  # the four facing corners of each, of eight


def test_laws() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        pair = some_mask(rng, (14, 13, 5)) > 0, some_mask(rng, (14, 13, 5)) > 0
        spacing = (1.4, 1.4, 8.0)
        values = [surface_dice(*pair, spacing, tolerance) for tolerance in (0.0, 1.0, 2.0, 5.0, 100.0)]
        assert values == sorted(values)
        assert values[-1] == 1.0
        assert surface_dice(pair[1], pair[0], spacing, 2.0) == pytest.approx(values[2], rel=1e-14)
