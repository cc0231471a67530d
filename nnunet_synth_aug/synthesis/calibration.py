"""Closed-loop calibration: what the generator missed is mended on the sample itself, and recorded.

The open loop is what a generator is judged by; the closed loop is what a user wants. Two exact handles exist: the
pixel size (volumes scale with its square, nothing is resampled) and one gain on the motion (EF grows with it).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Pixels change by at most this share: beyond, the anatomy would be another one.
MAX_PIXEL_CHANGE = 0.08
GAINS = (0.5, 2.2)
#: Percentage points of EF at which the search stops, and the most single-frame decodes it may take.
EF_TOLERANCE, MAX_DECODES = 1.5, 6


def pixel_scale(requested_edv: float | None, measured_edv: float | None) -> float:
    """Factor on the in-plane pixel size that brings EDV to the request, within +-8 %."""
    if requested_edv is None or not measured_edv:
        return 1.0
    return float(np.clip(np.sqrt(requested_edv / measured_edv), 1 - MAX_PIXEL_CHANGE, 1 + MAX_PIXEL_CHANGE))


def motion_gain(ef_of: Callable[[float], float], requested_ef: float) -> float:
    """Gain on the motion at which the EF [%] is the requested one, by bisection; the best of those tried.

    Args:
        ef_of: EF [%] at a gain; each call decodes one frame.
        requested_ef: %.
    """
    tried = {1.0: ef_of(1.0)}
    low, high = GAINS
    if tried[1.0] < requested_ef:
        low = 1.0
    else:
        high = 1.0
    while len(tried) < MAX_DECODES and min(abs(ef - requested_ef) for ef in tried.values()) > EF_TOLERANCE:
        gain = (low * high) ** 0.5
        tried[gain] = ef_of(gain)
        if tried[gain] < requested_ef:
            low = gain
        else:
            high = gain
    return min(tried, key=lambda gain: abs(tried[gain] - requested_ef))
