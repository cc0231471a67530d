"""Fit the geometry so that voxel-counted volumes hold the requested ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, MYOCARDIAL_DENSITY, RV
from nnunet_synth_aug.core.priors import Priors, volume_ml
from nnunet_synth_aug.data.phantom.heart import Heart
from nnunet_synth_aug.data.phantom.stack import Stack, label_frame

TOLERANCE = 0.004  # relative, of each fitted volume


def fit_heart(heart: Heart, stack: Stack, priors: Priors) -> Heart:
    """Adjust radius, wall, RV height and both contractions until the discrete volumes match ``priors``.

    Raises:
        UserError: the requested combination has no heart of this anatomy.
    """
    planes = stack.planes()

    def count(candidate: Heart, activation: float, label: int) -> float:
        return volume_ml(label_frame(stack, planes, candidate, activation), label, stack.spacing)

    assert priors.lv_edv is not None and priors.lv_mass is not None and priors.rv_edv is not None
    assert priors.lv_esv is not None and priors.rv_esv is not None
    for _ in range(6):  # wall and radius move each other's volume a little
        heart = _solve(heart, "radius", lambda h: count(h, 0.0, LV), priors.lv_edv, (8, 62), "lv_edv")
        heart = _solve(heart, "wall", lambda h: count(h, 0.0, MYO), priors.lv_mass / MYOCARDIAL_DENSITY, (3.5, 32), "lv_mass")
        if abs(count(heart, 0.0, LV) / priors.lv_edv - 1) < 2 * TOLERANCE:
            break
    heart = _solve(heart, "rv_height", lambda h: count(h, 0.0, RV), priors.rv_edv, (3, 95), "rv_edv")
    heart = _solve(heart, "contraction", lambda h: count(h, 1.0, LV), priors.lv_esv, (0.97, -0.2), "lv_ef")
    return _solve(heart, "rv_contraction", lambda h: count(h, 1.0, RV), priors.rv_esv, (0.98, -0.9), "rv_ef")


def _with(heart: Heart, field: str, value: float) -> Heart:
    change: dict[str, Any] = {field: value}
    return dataclasses.replace(heart, **change)


def _solve(heart: Heart, field: str, volume: Callable[[Heart], float], target: float, bracket: tuple[float, float], prior: str) -> Heart:
    """Set one field so that ``volume`` is ``target``; the volume grows from ``bracket[0]`` to ``bracket[1]``.

    Regula falsi with the Illinois modification: voxel counts are steps, so a derivative would not help.
    """

    def error(value: float) -> float:
        return volume(_with(heart, field, value)) / target - 1

    start = float(getattr(heart, field))
    low, high = bracket
    at_start = error(start)
    if abs(at_start) < TOLERANCE:
        return heart
    f_low, f_high = (at_start, error(high)) if at_start < 0 else (error(low), at_start)
    low, high = (start, high) if at_start < 0 else (low, start)
    if f_low > 0 or f_high < 0:
        raise UserError(
            f"no phantom heart has {prior} as requested together with the other priors; change {prior} or leave some priors out"
        )
    middle = start
    for step in range(40):
        middle = (low + high) / 2 if step % 5 == 4 else float(low - f_low * (high - low) / (f_high - f_low))
        f_middle = error(middle)
        if abs(f_middle) < TOLERANCE:
            break
        if f_middle < 0:
            low, f_low, f_high = middle, f_middle, f_high / 2
        else:
            high, f_high, f_low = middle, f_middle, f_low / 2
    return _with(heart, field, middle)
