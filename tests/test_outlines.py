"""Outlines in polar coordinates: what they are, and that a warp to others keeps order, contours and everything beyond the heart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.data.outlines import DIRECTIONS, SMALLEST, UNLIKE, Outlines, Warp, _monotone, outlines, with_whole_base

SPACING = (1.5, 1.5, 8.0)


def warped(image: np.ndarray, mask: np.ndarray, own: Outlines, wanted: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask with other outlines."""
    warp = Warp.between(mask.shape, SPACING, own, wanted)
    return warp.of_image(image), warp.of_mask(mask)


def drawn(cavity: float = 20.0, wall: float = 9.0, rv: float = 25.0, slices: int = 6, size: int = 120) -> np.ndarray:
    """Round ventricles that become smaller towards the apex, slice 0 at the base; the RV lies at the right."""
    x, y = (np.indices((size, size)) - size / 2) * SPACING[0]
    mask = np.zeros((size, size, slices), np.uint8)
    for z in range(slices):
        share = 1 - 0.1 * z
        mask[..., z][np.hypot(x - 18 * share, y) < (rv + 10) * share * 0.9] = RV
        mask[..., z][np.hypot(x, y) < (cavity + wall) * share] = MYO
        mask[..., z][np.hypot(x, y) < cavity * share] = LV
    return mask


def volume(mask: np.ndarray, label: int) -> int:
    return int(np.count_nonzero(mask == label))


def test_they_are_the_radii():
    found = outlines(drawn(), SPACING)
    assert found.slices == (0, 1, 2, 3, 4, 5)
    assert found.cavity[0] == pytest.approx(20, abs=1.0) and found.wall[0] == pytest.approx(9, abs=1.0)
    assert found.septum == pytest.approx(0, abs=0.02)
    assert found.beside[0, 0] > 15 > found.beside[0, DIRECTIONS // 2]


def test_own_outlines_change_nothing():
    mask, own = drawn(), outlines(drawn(), SPACING)
    image = np.random.default_rng(0).uniform(0, 100, mask.shape).astype(np.float32)
    shown, moved = warped(image, mask, own, own)
    np.testing.assert_array_equal(moved, mask)
    np.testing.assert_allclose(shown, image, atol=1e-2)


@pytest.mark.parametrize(("cavity", "wall"), [(1.3, 1.0), (0.75, 1.0), (1.0, 1.6), (1.2, 0.7)])
def test_layers_get_the_thickness_asked_for_and_the_chest_stays(cavity, wall):
    mask, own = drawn(), outlines(drawn(), SPACING)
    image = np.where(mask == LV, 100, np.where(mask == MYO, 30, 60)).astype(np.float32)
    shown, moved = warped(image, mask, own, own.scaled(cavity, wall))
    expected = outlines(moved, SPACING)
    np.testing.assert_allclose(expected.cavity[:4], own.cavity[:4] * cavity, atol=1.2)
    np.testing.assert_allclose(expected.wall[:4], own.wall[:4] * wall, atol=1.5)
    # Pixels go with the contours.
    assert np.median(shown[moved == LV]) == pytest.approx(100, abs=1) and np.median(shown[moved == MYO]) == pytest.approx(30, abs=1)
    far = np.hypot(*((np.indices(mask.shape[:2]) - 60) * SPACING[0])) > 85
    np.testing.assert_array_equal(shown[far], image[far])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_heart_with_its_slices_the_other_way_has_the_same_outlines(turns):
    own, other = outlines(drawn(), SPACING), outlines(np.rot90(drawn(), turns)[..., ::-1], SPACING)
    assert other.slices == (5, 4, 3, 2, 1, 0)
    back = other.on(own)
    for layer in ("cavity", "wall", "beside"):
        np.testing.assert_allclose(getattr(back, layer), getattr(own, layer), atol=1.0)


def test_another_stack_gets_the_outlines_from_base_to_apex():
    few, many = outlines(drawn(slices=4), SPACING), outlines(drawn(cavity=26, slices=6), SPACING)
    shown = many.on(few)
    assert len(shown.cavity) == 4
    np.testing.assert_allclose(shown.cavity[[0, -1]], many.cavity[[0, -1]], atol=0.3)
    moved = Warp.between(drawn(slices=4).shape, SPACING, few, shown).of_mask(drawn(slices=4))
    assert volume(moved, LV) == pytest.approx(volume(drawn(cavity=26, slices=6), LV) * 4 / 6, rel=0.1)


@settings(max_examples=50)
@given(st.lists(st.floats(1, 40), min_size=3, max_size=6), st.lists(st.floats(1, 40), min_size=6, max_size=6))
def test_radii_keep_their_order(after, before):
    knots, values = (np.cumsum(part[: len(after)]) for part in (after, before))
    scale = knots[-1] / values[-1]  # the last of both is where nothing moves
    values = values * scale

    def sources(x: np.ndarray) -> np.ndarray:
        return _monotone(x, *(np.repeat(part[:, None], x.size, axis=1) for part in (knots, values)))

    x = np.linspace(0, knots[-1] * 1.2, 400)
    assert (np.diff(sources(x)) >= -1e-9).all()
    np.testing.assert_allclose(sources(knots), values)
    np.testing.assert_array_equal(sources(x)[x >= knots[-1]], x[x >= knots[-1]])


@settings(max_examples=50)
@given(st.floats(0, 1), st.integers(0, 2**31))
def test_a_wall_gets_anothers_thick_and_thin_and_keeps_its_mean(share, seed):
    rng = np.random.default_rng(seed)
    own = outlines(drawn(), SPACING)
    one, other = (dataclasses.replace(own, wall=rng.uniform(1, 15, own.wall.shape)) for _ in range(2))
    wall = one.with_wall_like(other, share).wall
    np.testing.assert_allclose(wall.mean(1), one.wall.mean(1))

    def thin(layer: np.ndarray) -> np.ndarray:
        return layer.min(1) / layer.mean(1)

    np.testing.assert_allclose(thin(one.with_wall_like(other, 1).wall), thin(other.wall))
    np.testing.assert_allclose(one.with_wall_like(other, 0).wall, one.wall)
    np.testing.assert_allclose(one.with_wall_like(one, share).wall, one.wall)


@settings(max_examples=50)
@given(st.floats(0.5, 2), st.integers(0, 2**31))
def test_near_another_heart_nothing_is_far_from_it_and_sizes_stay_free(scale, seed):
    rng = np.random.default_rng(seed)
    other = outlines(drawn(), SPACING)
    same = other.scaled(scale, scale).near(other)
    for layer in ("cavity", "wall"):
        np.testing.assert_allclose(getattr(same, layer), getattr(other, layer) * scale, rtol=0.02)
    wild = dataclasses.replace(other, cavity=rng.uniform(1, 60, other.cavity.shape), beside=rng.uniform(6, 90, other.beside.shape))
    for layer, most in zip(("cavity", "wall", "beside"), UNLIKE, strict=True):
        ratio = getattr(wild.near(other), layer) / np.maximum(getattr(other, layer), SMALLEST)
        assert ratio.max() / ratio.min() <= most**2 * 1.001


def test_a_basal_slice_with_part_of_the_heart_is_left_out():
    mask = drawn()
    np.testing.assert_array_equal(with_whole_base(mask), mask)
    partial = mask.copy()
    partial[:64, :, 0] = 0
    kept = with_whole_base(partial)
    assert not kept[..., 0].any()
    np.testing.assert_array_equal(kept[..., 1:], mask[..., 1:])
    np.testing.assert_array_equal(with_whole_base(partial[..., ::-1])[..., ::-1], kept)
    assert not with_whole_base(np.zeros_like(mask)).any()


@pytest.mark.parametrize("slices", [4, 5, 6, 8])
@pytest.mark.parametrize("turn", [1, -1])
def test_a_cut_base_is_not_taken_for_the_apex(slices, turn):
    mask = drawn(slices=slices)
    mask[:70, :, 0] = 0  # a little of the heart is left
    mask = mask[..., ::turn]
    found = outlines(with_whole_base(mask), SPACING)
    base_first = tuple(range(1, slices)) if turn == 1 else tuple(range(slices - 2, -1, -1))
    assert found.slices == base_first


def test_a_layer_is_not_stretched_without_limit():
    mask, own = drawn(), outlines(drawn(), SPACING)
    moved = Warp.between(mask.shape, SPACING, own, dataclasses.replace(own, wall=own.wall * 20)).of_mask(mask)
    assert (moved == MYO).any() and (moved == LV).any()


@pytest.mark.parametrize("missing", [RV, (LV, MYO)])
def test_half_a_heart_has_none(missing):
    mask = drawn()
    mask[np.isin(mask, missing)] = 0
    with pytest.raises(UserError, match="has no outlines"):
        outlines(mask, SPACING)
