"""Statistics of motion: of the image for every cine, of the masks where every frame has one."""

from __future__ import annotations

import math

import numpy as np

from nnunet_synth_aug.core.labels import LV, MYO
from nnunet_synth_aug.data.cycle import closure_ratio
from nnunet_synth_aug.reports.cines import Cine
from nnunet_synth_aug.synthesis.quality.defects import minima


def jerk(frames: np.ndarray, cycle: float) -> float:
    """Second-difference energy over first-difference energy per unit of cardiac phase.

    A signal sin(k phi) gives k^2 (up to the step size), so the square root of the figure is the mean harmonic number of
    the motion, weighted by speed; noise between frames raises it towards (cycle / pi)^2.

    Args:
        frames: (T, ...), T of at least 3.
        cycle: frames of the whole cardiac cycle.
    """
    step = 2 * math.pi / cycle
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    first, second = np.diff(flat, axis=0), np.diff(flat, 2, axis=0)
    return float((second**2).mean() / max(float((first**2).mean()), 1e-12) / step**2)


def label_flips(mask: np.ndarray) -> float:
    """Label changes per cycle of a mask (T, ...), over the voxels that change at all; the least possible is 2."""
    changes = np.count_nonzero(mask != np.roll(mask, -1, axis=0), axis=0)
    return float(changes[changes > 0].mean()) if changes.any() else 0.0


def image_statistics(cine: Cine) -> dict[str, float]:
    """closure: last-to-first step over mean step (1 for even, closed motion); jerk: see :func:`jerk`, in the heart's region."""
    if not cine.moving:
        return {"closure": math.nan, "jerk": math.nan}
    heart = cine.mask[list(cine.labelled)].any(axis=0) if cine.labelled else cine.valid
    region = heart & cine.valid
    return {"closure": closure_ratio(cine.image), "jerk": jerk(cine.image[:, region if region.any() else cine.valid], cine.cycle)}


def mask_statistics(cine: Cine) -> dict[str, float]:
    """Plausibility of the LV volume curve, spread of the myocardial mass, restlessness of the labels; empty without all masks."""
    if not cine.moving or len(cine.labelled) < len(cine.mask):
        return {}
    lv, myo = (np.count_nonzero(cine.mask == label, axis=(1, 2, 3)).astype(float) for label in (LV, MYO))
    return {
        "lv_minima": float(minima(lv)),
        "es_fraction": ((int(lv.argmin()) - cine.ed) / cine.cycle) % 1.0,
        "mass_variation": float(myo.std() / max(myo.mean(), 1.0)),
        "label_flips": label_flips(cine.mask),
    }


def volume_curve(cine: Cine) -> np.ndarray:
    """LV volume (T,) as a share of that at ED."""
    lv = np.count_nonzero(cine.mask == LV, axis=(1, 2, 3)).astype(float)
    return lv / max(lv[cine.ed], 1.0)
