"""Specks of a decoded mask go, everything else stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.synthesis.quality.defects import frame_defects
from nnunet_synth_aug.synthesis.specks import without_specks


def heart() -> np.ndarray:
    """A ring with its cavity, and an RV beside it."""
    x, y = np.mgrid[:48, :48]
    radius = np.hypot(x - 28, y - 24)
    mask = np.zeros((48, 48, 5), np.uint8)
    mask[(np.hypot(x - 14, y - 24) < 8) & (radius >= 10)] = RV
    mask[radius < 10] = MYO
    mask[radius < 6] = LV
    return mask


BACKGROUND = np.zeros((48, 48, 5), np.uint8)


def test_a_sound_heart_stays_as_it_is():
    assert np.array_equal(without_specks(heart(), BACKGROUND), heart())
    assert not without_specks(BACKGROUND, BACKGROUND).any()


@pytest.mark.parametrize("label", [RV, MYO, LV])
def test_a_speck_takes_the_second_best_label(label):
    mask, second = heart(), BACKGROUND.copy()
    mask[3:5, 40:42, 2] = label
    assert np.array_equal(without_specks(mask, second), heart())
    inside = heart()
    inside[12:14, 23:25, 2] = LV  # within the RV
    second[12:14, 23:25, 2] = RV
    assert np.array_equal(without_specks(inside, second), heart())


def test_a_fragment_is_a_defect_and_stays_one():
    mask = heart()
    mask[2:10, 38:46] = RV
    assert np.array_equal(without_specks(mask, BACKGROUND), mask)
    assert "fragmented_RV" in frame_defects(mask)


def test_rings_of_neighbouring_slices_are_held_together_by_their_cavity():
    mask = heart()
    mask[..., 0] = 0
    mask[26:31, 22:27, 0] = MYO  # an apex without a cavity, under the LV of the next slice
    assert np.array_equal(without_specks(mask, BACKGROUND), mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_only_voxels_of_a_structure_change_and_only_to_the_second_best(seed):
    rng = np.random.default_rng(seed)
    best, second = heart(), rng.integers(0, 4, (48, 48, 5)).astype(np.uint8)
    noisy = rng.random(best.shape) < 0.01
    best[noisy] = rng.integers(0, 4, int(noisy.sum()))
    tidy = without_specks(best, second)
    changed = tidy != best
    assert np.array_equal(tidy[changed], second[changed])
    assert (best[changed] > 0).all()
