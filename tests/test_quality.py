"""Each defect is found, a sound heart has none."""

import numpy as np
import pytest

from nnunet_synth_aug.labels import LV, MYO, RV
from nnunet_synth_aug.priors import Priors
from nnunet_synth_aug.synthesis.quality import ANATOMY, MOTION, anatomy_defects, missed, motion_defects


def heart(ed_radius=10.0, es_radius=7.0, frames=6) -> np.ndarray:
    """(T, 64, 64, 5): LV disc, ring of constant area, RV disc beside it."""
    x, y = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    mask = np.zeros((frames, 64, 64, 5), np.uint8)
    for t in range(frames):
        radius = ed_radius + (es_radius - ed_radius) * np.sin(np.pi * t / frames)
        outer = np.sqrt(radius**2 + 150)
        r = np.hypot(x - 40, y - 32)
        mask[t][np.hypot(x - 18, y - 32) < 9] = RV
        mask[t][r < outer] = MYO
        mask[t][r < radius] = LV
    return mask


def spoil(name: str) -> np.ndarray:
    mask = heart()
    if name == "missing_RV":
        mask[mask == RV] = 0
    elif name == "fragmented_LV":
        mask[0, :8, :8] = LV
    elif name == "lv_not_enclosed":
        mask[:, 40:, :, :][mask[:, 40:, :, :] == MYO] = 0
    elif name == "rv_detached":
        mask[:, 24:29][mask[:, 24:29] != 0] = 0
        mask[:, :24][mask[:, :24] == MYO] = 0
        mask[mask == RV] = 0
        mask[:, 2:8, 2:8] = RV
    elif name == "no_contraction":
        return heart(es_radius=10.0)
    elif name == "mass_not_conserved":
        mask[2:4][mask[2:4] == MYO] = 0
    return mask


def defects(mask: np.ndarray) -> list[str]:
    return [*anatomy_defects(mask[0]), *motion_defects(mask)]


def test_a_sound_heart_has_no_defect():
    assert defects(heart()) == []


@pytest.mark.parametrize("name", ["missing_RV", "fragmented_LV", "lv_not_enclosed", "rv_detached", "no_contraction", "mass_not_conserved"])
def test_each_defect_is_named(name):
    assert name in defects(spoil(name))


def test_requests_are_met_within_tolerance_or_named():
    asked = Priors(lv_edv=200, lv_ef=60)
    both = ANATOMY | MOTION
    assert missed(asked, Priors(lv_edv=220, lv_ef=52), both) == []
    assert missed(asked, Priors(lv_edv=300, lv_ef=52), both) == ["missed_lv_edv"]
    assert missed(asked, Priors(lv_edv=200, lv_ef=30), both) == ["missed_lv_ef"]
    assert missed(asked, Priors(lv_edv=200), both) == ["missed_lv_ef"]
    assert missed(Priors(), Priors(), both) == []
