"""Weaker beats are frames of the same cine, not blends of two."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_synth_aug.model.weaker_beat import beaten, contraction

ES = 6
LEVELS = torch.tensor([0, 0.1, 0.25, 0.5, 0.75, 0.95, 1, 0.8, 0.5, 0.3, 0.2, 0.2, 0.1], dtype=torch.float64)


def cycle(bend: float = 0.0, roll: int = 0) -> torch.Tensor:
    """Residuals (T, 2, 1, 1, 1) of a contraction along a straight or a bent way."""
    path = torch.stack([LEVELS, bend * LEVELS * (1 - LEVELS)], dim=1)[..., None, None, None].float()
    return path.roll(roll, 0)


@given(st.floats(0, 1), st.integers(0, 12))
@settings(deadline=None)
def test_on_a_straight_way_it_is_the_product(gain, roll):
    source = cycle(roll=roll)
    made = beaten(source, roll, (ES + roll) % len(LEVELS), gain)
    torch.testing.assert_close(made, gain * source, atol=1e-6, rtol=1e-5)
    assert not made[roll].any()  # ED stays


@given(st.floats(0.05, 0.95))
@settings(deadline=None)
def test_on_a_bent_way_it_stays_on_the_way(gain):
    made = beaten(cycle(bend=2), 0, ES, gain)[:, :, 0, 0, 0].double()
    level = made[:, 0]
    # Between two frames the way is their chord; a blend with ED would be on the chord from ED, which is 2 * level * (1 - LEVELS).
    nodes = LEVELS[: ES + 1]
    on_the_way = torch.stack([_chord(nodes, value) for value in level])
    torch.testing.assert_close(made[: ES + 1, 1], on_the_way[: ES + 1], atol=0.02, rtol=0)
    torch.testing.assert_close(level, gain * LEVELS, atol=1e-5, rtol=1e-4)


def _chord(nodes: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    after = int(torch.searchsorted(nodes, value).clamp(1, len(nodes) - 1))
    low, high = nodes[after - 1], nodes[after]
    share = (value - low) / (high - low)
    return (1 - share) * 2 * low * (1 - low) + share * 2 * high * (1 - high)


def test_stronger_beats_are_multiplied_and_two_frames_are_scaled():
    torch.testing.assert_close(beaten(cycle(2), 0, ES, 1.1), 1.1 * cycle(2))
    torch.testing.assert_close(beaten(cycle(2), 0, ES, 1.0), cycle(2))
    two = cycle(2)[[0, ES]]
    torch.testing.assert_close(beaten(two, 0, 1, 0.5), 0.5 * two)


def test_a_recording_that_ends_early_shows_its_systole_instead():
    short = cycle(bend=2)[:9]  # ends half contracted
    made = beaten(short, 0, ES, 0.4)[:, 0, 0, 0, 0]
    torch.testing.assert_close(made, 0.4 * LEVELS[:9].float(), atol=1e-5, rtol=1e-4)


def test_contraction_rises_to_es_and_falls_from_there():
    noisy = cycle(2).double()
    noisy[3] *= 0.2
    level = contraction(noisy, ES)
    assert level[0] == 0
    assert level[ES] == pytest.approx(1)
    assert (level[: ES + 1].diff() >= 0).all()
    assert (level[ES:].diff() <= 0).all()
