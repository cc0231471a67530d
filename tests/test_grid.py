"""Native geometry -> grid: volumes, positions, padding and grey values survive."""

import numpy as np
import pytest

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.labels import LV, MYO
from nnunet_synth_aug.core.priors import volume_ml
from nnunet_synth_aug.data.warp import smooth_warp
from nnunet_synth_aug.model.config import GridConfig
from nnunet_synth_aug.model.grid import Grid, Placement, choose_grid, place, to_grid

CONFIG = GridConfig(size=(64, 64, 8))


def sequence(shape=(80, 90, 6), spacing=(1.5, 1.5, 9.0), centre=(40, 45), slices=slice(None), frames=3) -> Sequence:
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    r = np.hypot(x - centre[0], y - centre[1])
    mask = np.zeros((frames, *shape), np.uint8)
    mask[:, r < 16] = MYO
    mask[:, r < 11] = LV
    keep = np.zeros(shape[2], bool)
    keep[slices] = True
    mask[..., ~keep] = 0
    image = np.where(mask == LV, 800, np.where(mask == MYO, 300, 100)).astype(np.float32)
    image += 50 * np.arange(frames, dtype=np.float32)[:, None, None, None]
    return Sequence(image, mask, spacing, ed=0, es=1, labelled=(0, 1))


def test_field_of_view_follows_the_cohort_but_not_beyond_the_heart():
    assert choose_grid(CONFIG, [(120.0, 140.0), (150.0, 130.0), (100.0, 160.0)]).fov == pytest.approx(150, abs=0.01)
    assert choose_grid(CONFIG, [(340.0, 400.0)]).fov == pytest.approx(CONFIG.max_fov, abs=0.01)


@pytest.mark.parametrize("pixel", [1.5, 2.0, 2.4])
def test_volumes_survive_resampling(pixel):
    source = sequence()
    got = to_grid(source, Grid(CONFIG.size, pixel), CONFIG)
    for label in (LV, MYO):
        expected = volume_ml(source.mask[0], label, source.spacing)
        assert volume_ml(got.mask[0].numpy(), label, got.spacing) == pytest.approx(expected, rel=0.05)


def test_scaling_multiplies_areas_and_rotation_keeps_them():
    source, grid = sequence(), Grid(CONFIG.size, 2.0)
    base = place(source, grid)
    plain = to_grid(source, grid, CONFIG)
    larger = to_grid(source, grid, CONFIG, Placement(base.centre, angle=30.0, scale=1.1))
    before, after = (volume_ml(g.mask[0].numpy(), LV, g.spacing) for g in (plain, larger))
    assert after / before == pytest.approx(1.21, rel=0.05)


def test_the_grid_is_centred_on_a_heart_in_a_large_image():
    source = sequence(shape=(160, 160, 6), centre=(50, 100))
    got = to_grid(source, Grid(CONFIG.size, 1.5), CONFIG)
    middle = np.argwhere(got.mask[0].numpy() > 0).mean(0)[:2]
    assert middle == pytest.approx([31.5, 31.5], abs=1)
    assert got.valid[..., 1:7].all()
    assert got.context is not None  # the grid shows a part of the image, whose z-score must be imitated


def test_a_small_image_is_padded_and_marked():
    source = sequence(shape=(40, 40, 4), centre=(20, 20))
    got = to_grid(source, Grid(CONFIG.size, 1.5), CONFIG)
    assert got.valid.sum() == 40 * 40 * 4
    assert got.valid[..., :2].sum() == got.valid[..., 6:].sum() == 0  # centred in Z
    assert (got.image[:, ~got.valid] == 0).all()
    assert got.context is None


def test_too_many_slices_are_cut_around_the_labelled_ones():
    source = sequence(shape=(80, 90, 14), slices=slice(5, 11))
    got = to_grid(source, Grid(CONFIG.size, 2.0), CONFIG)
    assert not got.cut
    assert (got.mask[0] > 0).any(0).any(0).sum() == 6
    assert to_grid(sequence(shape=(80, 90, 14)), Grid(CONFIG.size, 2.0), CONFIG).cut


def test_grey_values_are_scaled_once_per_sequence_so_that_brightening_survives():
    got = to_grid(sequence(), Grid(CONFIG.size, 1.5), CONFIG)
    inside = got.mask[0] == MYO
    means = [float(got.image[t].float()[inside].mean()) for t in range(3)]
    assert means[0] < means[1] < means[2]
    assert got.image.abs().max() <= 1


def test_chosen_frames_keep_their_meaning():
    source = sequence(frames=6)
    got = to_grid(source, Grid(CONFIG.size, 1.5), CONFIG, frames=[0, 1, 4])
    assert (got.ed, got.es, got.labelled) == (0, 1, (0, 1))
    whole = to_grid(source, Grid(CONFIG.size, 1.5), CONFIG)
    assert (got.image[2] == whole.image[4]).all()


def test_a_deformed_heart_keeps_its_structures_and_its_volumes_follow_from_its_mask():
    source, grid = sequence(), Grid(CONFIG.size, 2.0)
    base, plain = place(source, grid), to_grid(source, grid, CONFIG)
    volumes = []
    for seed in range(12):
        warp = smooth_warp(grid.size[:2], (grid.pixel, grid.pixel), 3.5, np.random.default_rng(seed))
        got = to_grid(source, grid, CONFIG, Placement(base.centre, warp=warp))
        # Image and mask are deformed alike: the grey values under each label stay those of the structure.
        image = got.image.float().numpy()
        for label in (LV, MYO):
            inside, was = (g.mask[0].numpy() == label for g in (got, plain))
            assert np.median(image[0][inside]) == pytest.approx(float(np.median(plain.image[0].numpy()[was])), abs=0.02)
        volumes.append(volume_ml(got.mask[0].numpy(), LV, got.spacing))
    before = volume_ml(plain.mask[0].numpy(), LV, plain.spacing)
    assert np.mean(volumes) == pytest.approx(before, rel=0.15)
    assert np.std(volumes) > 0.04 * before
