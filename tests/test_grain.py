"""Grain that is drawn has the size of the noise that was measured, and structure is not taken for noise."""

import numpy as np
import pytest

from nnunet_synth_aug.grain import GREYS, Grain, grain_of, grey_centres

KNOWN = Grain(tuple(0.01 + 0.02 * (grey_centres() + 1)))  # brighter is noisier


def ramp(t=6, x=96, y=60, z=5):
    """Frames that hold every grey value."""
    return np.broadcast_to(np.linspace(-0.9, 0.9, x)[None, :, None, None], (t, x, y, z)).astype(np.float32)


def everywhere(image):
    return np.ones(image.shape[1:], bool)


def test_what_is_drawn_measures_as_what_was_given():
    rng = np.random.default_rng(0)
    images = [ramp() + KNOWN.draw(ramp(), rng) for _ in range(6)]
    back = grain_of(images, [everywhere(i) for i in images])
    np.testing.assert_allclose(back.spread[1:-1], KNOWN.spread[1:-1], rtol=0.1)


def test_structure_is_not_noise():
    blocks = np.kron(np.random.default_rng(1).uniform(-0.8, 0.8, (12, 12)), np.ones((8, 8)))[None, :, :, None].astype(np.float32)
    assert max(grain_of([blocks], [everywhere(blocks)]).spread) < 1e-6
    noisy = blocks + 0.02 * np.random.default_rng(2).standard_normal(blocks.shape).astype(np.float32)
    assert np.mean(grain_of([noisy], [everywhere(noisy)]).spread) == pytest.approx(0.02, rel=0.5)


def test_pixels_slices_and_frames_are_independent():
    noise = KNOWN.draw(np.zeros((20, 40, 40, 6), np.float32), np.random.default_rng(3))
    for axis in range(4):
        ahead, behind = noise.take(range(1, noise.shape[axis]), axis), noise.take(range(noise.shape[axis] - 1), axis)
        assert abs(np.corrcoef(ahead.ravel(), behind.ravel())[0, 1]) < 0.01


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
    assert Grain.from_json(KNOWN.to_json()) == KNOWN
    nothing = grain_of([ramp()], [everywhere(ramp())])
    assert max(nothing.spread) < 1e-5
    assert len(nothing.spread) == GREYS
