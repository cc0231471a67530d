"""The preset that a device gets, and what the screen says of it."""

from __future__ import annotations

import pytest

from nnunet_synth_aug.model.config import PRESETS
from nnunet_synth_aug.model.cost import COSTS, preset_for, told


@pytest.mark.parametrize(("device", "preset"), [("cpu", "small"), ("mps", "small"), ("cuda", "base"), ("cuda:1", "base")])
def test_the_device_chooses_the_preset(device, preset):
    assert preset_for(device) == preset


def test_every_preset_has_a_cost_and_says_who_chose_it():
    assert set(COSTS) == set(PRESETS)
    assert "chosen by the device" in told("small", True)
    assert "chosen" not in told("small", False)
    assert "100 MB" in told("small", False)
