"""The painter: codes of patches, styles, slices to learn from, and hearts that are drawn around contours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.model.config import TrainConfig
from nnunet_synth_aug.model.painter.codes import SIDE, Basis
from nnunet_synth_aug.model.painter.network import folded
from nnunet_synth_aug.model.painter.painter import BLACK, SPAN, Painter, PainterConfig, load_painter, train_painter
from nnunet_synth_aug.model.painter.slices import (
    TOLD,
    PatientSlices,
    Slice,
    SliceSampler,
    Style,
    contrasted,
    heart,
    labels_resampled,
    resampled,
    scaled,
    style_of,
)

CPU = torch.device("cpu")
#: Grey values of background, RV, MYO and LV in the images below, from -1 to 1.
GREYS = np.array([-0.6, 0.3, -0.4, 0.8], np.float32)
SMALL = PainterConfig(side=48, width=24, blocks=2, train=TrainConfig(steps=2, batch_size=4, learning_rate=4e-3, ema_decay=0.9))


def ring(side: int = 64, shift: float = 0.0) -> np.ndarray:
    """A mask (side, side): LV in a ring of MYO, and RV beside them."""
    x, y = np.meshgrid(np.arange(side) - side / 2 - shift, np.arange(side) - side / 2, indexing="ij")
    mask = np.zeros((side, side), np.uint8)
    mask[(x - 14) ** 2 + y**2 < 9**2] = RV
    mask[x**2 + y**2 < 12**2] = MYO
    mask[x**2 + y**2 < 8**2] = LV
    return mask


def patient(name: str, rng: np.random.Generator, depth: int = 4) -> Sequence:
    """Two frames whose grey values follow the contours, with some noise; pixels of 2 mm."""
    mask = np.stack([np.stack([ring(shift=float(rng.uniform(-4, 4))) for _ in range(depth)], -1) for _ in range(2)])
    image = (GREYS[mask] + rng.normal(0, 0.05, mask.shape) + 1) * 100
    return Sequence(image.astype(np.float32), mask, (2.0, 2.0, 8.0), 0, 1, (0, 1))


def taught(n: int = 3) -> list[PatientSlices]:
    found = [PatientSlices.of(f"p{i}", patient(f"p{i}", np.random.default_rng(i)), 2.0) for i in range(n)]
    return [one for one in found if one is not None]


@given(st.integers(0, 2**31))
def test_all_components_give_a_slice_back(seed: int) -> None:
    image = torch.randn(12, 16, 24, generator=torch.Generator().manual_seed(seed))
    basis = Basis.of(image, torch.ones_like(image), SIDE**2)
    torch.testing.assert_close(basis.image(basis.code(image)), image, atol=1e-3, rtol=0)
    assert basis.code(image).var() == pytest.approx(1, abs=0.35)


def test_components_of_what_is_not_valid_do_not_count() -> None:
    image = torch.ones(1, 16, 16)
    image[:, 8:] = 100
    valid = torch.ones_like(image)
    valid[:, 15] = 0
    assert Basis.of(image, valid, 1).spread[0] == pytest.approx(SIDE)  # a patch of ones has the length 8


def test_a_folded_mask_has_every_pixel_of_every_structure() -> None:
    mask = torch.from_numpy(ring())[None]
    found = folded(mask)
    assert found.shape == (1, 3 * SIDE**2, 8, 8)
    assert [float(found[:, k * SIDE**2 : (k + 1) * SIDE**2].sum()) for k in range(3)] == [int((mask == k).sum()) for k in (1, 2, 3)]


def test_the_margin_is_part_of_the_heart() -> None:
    mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
    mask[0, 8, 8] = LV
    assert int(heart(mask).sum()) == 7 * 7


@given(st.floats(0.7, 1.4))
def test_a_style_in_another_contrast_is_that_of_the_patient_in_it(gamma: float) -> None:
    slices = taught(1)[0].slices
    style = style_of("p", slices, 2.0, (0.0, 1.0))
    shown = style_of("p", [Slice(contrasted(one.image, gamma), one.mask) for one in slices], 2.0, (0.0, 1.0))
    assert style is not None and shown is not None
    np.testing.assert_allclose(style.told(gamma), shown.told(), atol=0.03)


def test_a_style_knows_the_grey_values_of_the_structures() -> None:
    style = taught(1)[0].style
    order = np.argsort([*style.greys, style.around[-1][TOLD[2]]])
    assert order.tolist() == [3, 1, 0, 2]  # background, MYO, RV, LV
    assert Style.from_json(style.to_json()) == style


def test_a_part_of_the_chest_has_the_greys_of_that_part_and_the_normalisation_of_the_whole() -> None:
    shown = patient("p", np.random.default_rng(0))
    dark = ((0, 0), (60, 60), (60, 60), (0, 0))  # 368 mm, beyond 128 mm nothing but dark air
    whole = replace(shown, image=np.pad(shown.image, dark, constant_values=1.0), mask=np.pad(shown.mask, dark))
    found = PatientSlices.of("p", whole, 2.0)
    assert found is not None
    style = found.style
    medians = [style.around_in(side)[20] for side in (120.0, 200.0, 250.0, 368.0)]
    assert medians[0] > medians[1] == medians[2] == medians[3] == -1  # dark air is more than half of all squares but the smallest
    assert style.around_in(360) == style.around[-1]
    assert style.context(350) is None
    context = style.context(200)
    assert context is not None
    as_nnunet = [scaled(whole.image[t]) for t in range(2)]
    assert context == pytest.approx((np.mean(as_nnunet), np.std(as_nnunet)), abs=0.02)


def test_who_shows_no_lv_has_no_style() -> None:
    shown = patient("p", np.random.default_rng(0))
    shown.mask[shown.mask == LV] = MYO
    assert PatientSlices.of("p", shown, 2.0) is None


def test_black_borders_do_not_count_in_the_scale() -> None:
    image = np.random.default_rng(0).uniform(50, 150, (20, 20, 3))
    framed = np.pad(image, ((10, 10), (10, 10), (0, 0)))
    np.testing.assert_allclose(scaled(framed)[10:30, 10:30], scaled(image))
    assert scaled(np.zeros((4, 4, 1))).min() == -1


@given(st.floats(0.6, 3.0))
def test_image_and_contours_lie_alike_on_other_pixels(spacing: float) -> None:
    mask = np.repeat(ring()[..., None], 2, -1)
    image = resampled(np.where(mask == LV, 1.0, -1.0).astype(np.float32), (spacing, spacing, 8.0), 2.0)
    labels = labels_resampled(mask, (spacing, spacing, 8.0), 2.0)
    assert image.shape == labels.shape
    assert np.mean((image > 0) == (labels == LV)) > 0.97


def test_squares_of_image_and_contours_fit_each_other() -> None:
    image, mask, style = SliceSampler(taught(), 96).draw(np.random.default_rng(0), 8)
    assert image.shape == mask.shape == (8, 96, 96) and style.shape == (8, 8)
    assert image.min() >= -1 and image.max() <= 1
    for one, labels in zip(image, mask, strict=True):
        assert one[labels == LV].mean() > one[labels == RV].mean() > one[labels == MYO].mean()


def test_a_painter_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    shown = patient("q", np.random.default_rng(9))
    painter = train_painter(taught(), SMALL, tmp_path / "painter.safetensors", {}, CPU)
    again = load_painter(tmp_path / "painter.safetensors", CPU)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["painter.json", "painter.losses.jsonl", "painter.safetensors"]
    assert again.styles == painter.styles and again.config == SMALL

    def painted(one: Painter, seed: int) -> np.ndarray:
        return one.paint(shown.image[0], shown.mask[0], (1.4, 1.7, 8.0), one.styles["p1"], np.random.default_rng(seed))

    found = painted(painter, 1)
    assert found.shape == shown.image[0].shape and found.dtype == np.float32
    assert found.min() >= BLACK and found.max() <= BLACK + SPAN
    np.testing.assert_array_equal(found, painted(again, 1))
    assert not np.array_equal(found, painted(again, 2))


def test_hearts_are_painted_around_their_contours(tmp_path: Path) -> None:
    longer = replace(SMALL, train=replace(SMALL.train, steps=120, batch_size=8))
    painter = train_painter(taught(6), longer, tmp_path / "painter.safetensors", {}, CPU)
    mask = np.repeat(ring(shift=6.0)[..., None], 3, -1)
    plain = np.full(mask.shape, 40.0, np.float32)  # the image itself tells nothing
    plain[0] = 200
    found = painter.paint(plain, mask, (2.0, 2.0, 8.0), painter.styles["p0"], np.random.default_rng(0))
    means = [float(found[mask == label].mean()) for label in (MYO, RV, LV)]
    assert means[0] + 20 < means[1] < means[2] - 20


def test_nobody_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no patient shows RV, MYO and LV"):
        train_painter([], SMALL, tmp_path / "painter.safetensors", {}, CPU)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    train_painter(taught(), SMALL, path := tmp_path / "painter.safetensors", {}, CPU)
    from nnunet_synth_aug.model.training.checkpoint import load_checkpoint, save_checkpoint

    tensors, header = load_checkpoint(path)
    save_checkpoint(path, {name: t for name, t in tensors.items() if name != "codes.spread"}, header)
    with pytest.raises(UserError, match="is not a painter of this version"):
        load_painter(path, CPU)


def test_the_loss_of_a_patient_is_the_same_whoever_came_before_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    one, two, three = taught()
    painter = train_painter([one], SMALL, tmp_path / "painter.safetensors", {}, CPU)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = painter.loss(one)
    assert torch.equal(before, torch.get_rng_state())
    assert painter.loss(two) not in (first, painter.loss(three))
    torch.rand(5)
    assert painter.loss(one) == first


def test_a_painter_that_trains_on_a_patient_fits_that_patient_better(tmp_path: Path) -> None:
    one = taught(1)[0]
    longer = replace(SMALL, train=replace(SMALL.train, steps=30))
    before, after = (train_painter([one], config, tmp_path / str(n) / "p.safetensors", {}, CPU) for n, config in enumerate((SMALL, longer)))
    assert after.loss(one) < before.loss(one)
