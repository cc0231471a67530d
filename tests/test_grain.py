"""Grain that is drawn has the statistics of the grain that was measured."""

import numpy as np
import pytest

from nnunet_synth_aug.grain import FREQUENCIES, GREYS, Grain, frequency_bins, grain_of, grey_centres


def known(still=0.4):
    spread = tuple(0.05 + 0.1 * (grey_centres() + 1))  # brighter is rougher
    amplitude = tuple(np.linspace(0.2, 1.8, FREQUENCIES))  # more of the high frequencies
    return Grain(spread, amplitude, still)


def ramp(t=6, x=48, y=40, z=5):
    """Frames that hold every grey value."""
    return np.broadcast_to(np.linspace(-0.99, 0.99, x)[None, :, None, None], (t, x, y, z)).astype(np.float32)


def measured(grain, patients=12, seed=0):
    rng = np.random.default_rng(seed)
    images = [ramp() for _ in range(patients)]
    inside = np.ones(images[0].shape[1:], bool)
    return grain_of([grain.draw(image, rng) for image in images], images, [inside] * patients)


def test_what_is_drawn_measures_as_what_was_given():
    back = measured(known())
    np.testing.assert_allclose(back.spread, known().spread, rtol=0.08)
    assert back.still == pytest.approx(0.4, abs=0.03)
    given, found = np.array(known().amplitude), np.array(back.amplitude)
    populated = np.bincount(frequency_bins(48, 40).ravel(), minlength=FREQUENCIES) > 20
    ratio = (found / given)[populated]
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.15)


@pytest.mark.parametrize("still", [0.0, 1.0])
def test_grain_stands_still_or_changes_with_every_frame(still):
    field = known(still).draw(ramp(), np.random.default_rng(1))
    steps = np.abs(np.diff(field, axis=0)).max()
    assert steps == 0 if still == 1 else steps > 0.1
    assert measured(known(still)).still == pytest.approx(still, abs=0.02)


def test_it_depends_on_the_seed_alone_and_not_on_anything_outside():
    draw = [known().draw(ramp(), np.random.default_rng(s)) for s in (3, 3, 4)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert np.abs(draw[0] - draw[2]).max() > 0.1
    inside = np.zeros(ramp().shape[1:], bool)
    inside[8:40, 8:32] = True
    spoiled = draw[0] + np.where(inside, 0, 100).astype(np.float32)
    clean = grain_of([draw[0]], [ramp()], [inside])
    assert grain_of([spoiled], [ramp()], [inside]) == clean


def test_json_and_perfect_reconstructions():
    assert Grain.from_json(known().to_json()) == known()
    nothing = grain_of([np.zeros_like(ramp())], [ramp()], [np.ones(ramp().shape[1:], bool)])
    assert nothing.spread == (0.0,) * GREYS
    assert not nothing.draw(ramp(), np.random.default_rng(0)).any()
