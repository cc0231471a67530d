"""Grain that is drawn has the size of the noise that was measured, and structure is not taken for noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_synth_aug.model.grid import Gridded
from nnunet_synth_aug.model.noise import GREYS, Grain, grain_of, grey_centres, noise_level

KNOWN = Grain(tuple(0.01 + 0.02 * (grey_centres() + 1)))  # brighter is noisier
SHARED = replace(KNOWN, correlation=0.5)


def ramp(t=6, x=96, y=60, z=5):
    """Frames that hold every grey value."""
    return np.broadcast_to(np.linspace(-0.9, 0.9, x)[None, :, None, None], (t, x, y, z)).astype(np.float32)


def everywhere(image):
    return np.ones(image.shape[1:], bool)


@pytest.mark.parametrize("known", [KNOWN, SHARED])
def test_what_is_drawn_measures_as_what_was_given(known):
    rng = np.random.default_rng(0)
    images = [ramp() + known.draw(ramp(), rng) for _ in range(6)]
    back = grain_of(images, [everywhere(i) for i in images])
    np.testing.assert_allclose(back.spread[1:-1], known.spread[1:-1], rtol=0.1)
    assert back.correlation == pytest.approx(known.correlation, abs=0.03)


def test_structure_and_steady_motion_are_not_noise():
    """Edges, however sharp, and what passes at constant speed: an image that slides, one that brightens."""
    blocks = np.kron(np.random.default_rng(1).uniform(-0.8, 0.8, (6, 6)), np.ones((16, 16)))[None, :, :, None].astype(np.float32)
    still = np.repeat(blocks, 5, axis=0)
    brightening = still * np.linspace(0.5, 1, 5, dtype=np.float32)[:, None, None, None]
    sliding = np.concatenate([np.roll(blocks, t, axis=1) for t in range(5)])  # an edge changes one pixel in sixteen per frame
    for cine in (still, brightening, sliding):
        assert max(grain_of([cine], [everywhere(cine)]).spread) < 1e-6
        noisy = cine + 0.02 * np.random.default_rng(2).standard_normal(cine.shape).astype(np.float32)
        assert np.mean(grain_of([noisy], [everywhere(noisy)]).spread) == pytest.approx(0.02, rel=0.35)


@pytest.mark.parametrize("known", [KNOWN, SHARED])
def test_only_neighbours_in_plane_share_noise(known):
    noise = known.draw(np.zeros((20, 40, 40, 6), np.float32), np.random.default_rng(3))
    assert noise.std() == pytest.approx(np.interp(0, grey_centres(), known.spread), rel=0.02)
    for axis in range(4):
        ahead, behind = noise.take(range(1, noise.shape[axis]), axis), noise.take(range(noise.shape[axis] - 1), axis)
        expected = known.correlation if axis in (1, 2) else 0.0
        assert np.corrcoef(ahead.ravel(), behind.ravel())[0, 1] == pytest.approx(expected, abs=0.01)


def test_it_depends_on_the_seed_alone_and_not_on_anything_outside():
    draw = [KNOWN.draw(ramp(), np.random.default_rng(s)) for s in (3, 3, 4)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert np.abs(draw[0] - draw[2]).max() > 0.02
    inside = np.zeros(ramp().shape[1:], bool)
    inside[16:80, 8:52] = True
    clean = ramp() + draw[0]
    spoiled = clean + np.where(inside, 0, 100).astype(np.float32)
    assert grain_of([spoiled], [inside]) == grain_of([clean], [inside])


def test_clipped_pixels_do_not_count():
    clean = 0.05 * np.random.default_rng(5).standard_normal((4, 60, 60, 3)).astype(np.float32)
    half = clean.copy()
    half[:, :30] = 1.0
    assert np.median(grain_of([half], [everywhere(half)]).spread) == pytest.approx(0.05, rel=0.1)


def test_json_and_images_without_noise():
    assert Grain.from_json(SHARED.to_json()) == SHARED
    assert Grain.from_json({"spread": list(KNOWN.spread)}) == KNOWN  # of generators from before neighbours shared noise
    assert grain_of([], []) == Grain((0.0,) * GREYS)
    nothing = grain_of([ramp()], [everywhere(ramp())])
    assert max(nothing.spread) < 1e-5
    assert len(nothing.spread) == GREYS


@pytest.mark.parametrize("level", [0.4, 1.0, 2.5])
def test_one_heart_may_be_noisier_than_its_cohort(level):
    image = ramp() + SHARED.draw(ramp(), np.random.default_rng(6), level)
    valid, mask = torch.ones(image.shape[1:], dtype=torch.bool), torch.zeros(image.shape, dtype=torch.uint8)
    heart = Gridded(torch.from_numpy(image).half(), mask, valid, (1, 1, 9), 0, 1, (), (), False, (0, 1), None)
    assert noise_level(heart, SHARED) == pytest.approx(level, rel=0.05)
    assert noise_level(replace(heart, image=heart.image[:2]), SHARED) == 1.0  # ED and ES alone tell nothing
    assert noise_level(heart, Grain((0.0,) * GREYS)) == 1.0
