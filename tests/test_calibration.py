"""The closed loop finds what the open loop missed, within its limits."""

import pytest

from nnunet_synth_aug.synthesis.closed_loop import EF_TOLERANCE, GAINS, MAX_TRIES, motion_gains, pixel_scale

HEARTS = {0: (30, 45), 3: (60, 40), 4: (30, 31), 7: (25, 50)}  # EF per unit of gain, EF wanted


def search(hearts: dict[int, tuple[float, float]]) -> tuple[dict[int, float], list[list[int]]]:
    """Gains found for hearts whose EF is proportional to the gain, and the hearts of every decoding."""
    calls = []

    def efs_of(which, gains):
        calls.append(list(which))
        return [hearts[h][0] * gain for h, gain in zip(which, gains, strict=True)]

    return motion_gains(efs_of, {h: wanted for h, (_, wanted) in hearts.items()}, {h: slope for h, (slope, _) in hearts.items()}), calls


def test_gains_reach_the_ef_in_few_decodings():
    gains, calls = search(HEARTS)
    for heart, (slope, wanted) in HEARTS.items():
        assert slope * gains[heart] == pytest.approx(wanted, abs=2.5)
    assert len(calls) <= MAX_TRIES - 1
    assert all(4 not in which for which in calls)  # met already: 30 for 31


def test_a_heart_does_not_depend_on_its_companions():
    together, _ = search(HEARTS)
    assert together == {heart: search({heart: HEARTS[heart]})[0][heart] for heart in HEARTS}


def test_gain_stays_within_its_limits_and_never_makes_it_worse():
    assert GAINS[0] <= search({0: (5, 80)})[0][0] <= GAINS[1]
    assert motion_gains(lambda which, gains: [20.0] * len(which), {0: 60}, {0: 20}) == {0: 1.0}
    assert search({0: (60, 60 + EF_TOLERANCE)}) == ({0: 1.0}, [])
    assert search({}) == ({}, [])


def test_pixel_scale_is_exact_for_volumes_and_capped():
    assert pixel_scale(110, 100) ** 2 == pytest.approx(1.1)
    assert pixel_scale(300, 100) == pytest.approx(1.08)
    assert pixel_scale(None, 100) == 1.0
    assert pixel_scale(100, None) == 1.0
