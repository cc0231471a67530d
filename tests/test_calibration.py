"""The closed loop finds what the open loop missed, within its limits."""

import pytest

from nnunet_synth_aug.synthesis.calibration import GAINS, MAX_DECODES, motion_gain, pixel_scale


@pytest.mark.parametrize(("slope", "wanted"), [(30, 45), (60, 40), (30, 31), (25, 50)])
def test_gain_reaches_the_ef(slope, wanted):
    calls = []

    def ef_of(gain):
        calls.append(gain)
        return slope * gain

    assert slope * motion_gain(ef_of, wanted) == pytest.approx(wanted, abs=2.5)
    assert len(calls) <= MAX_DECODES


def test_gain_stays_within_its_limits_and_never_makes_it_worse():
    assert GAINS[0] <= motion_gain(lambda g: 5 * g, 80) <= GAINS[1]
    assert motion_gain(lambda g: 20.0, 60) == 1.0


def test_pixel_scale_is_exact_for_volumes_and_capped():
    assert pixel_scale(110, 100) ** 2 == pytest.approx(1.1)
    assert pixel_scale(300, 100) == pytest.approx(1.08)
    assert pixel_scale(None, 100) == 1.0
    assert pixel_scale(100, None) == 1.0
