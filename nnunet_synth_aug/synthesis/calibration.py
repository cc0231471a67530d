"""Closed-loop calibration: what the generator missed is mended on the sample itself, and recorded.

The open loop tells how good a generator is; the closed loop is what a user wants. Two exact handles exist: the
pixel size (volumes scale with its square, nothing is resampled) and one gain on the motion (EF grows with it).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Pixels change by at most this share: beyond, the anatomy would be another one.
MAX_PIXEL_CHANGE = 0.08
GAINS = (0.5, 2.2)
#: Percentage points of EF at which the search stops, and the most gains it may try, the open loop's 1 included.
EF_TOLERANCE, MAX_TRIES = 1.5, 6


def pixel_scale(requested_edv: float | None, measured_edv: float | None) -> float:
    """Factor on the in-plane pixel size that brings EDV to the request, within +-8 %."""
    if requested_edv is None or not measured_edv:
        return 1.0
    return float(np.clip(np.sqrt(requested_edv / measured_edv), 1 - MAX_PIXEL_CHANGE, 1 + MAX_PIXEL_CHANGE))


def motion_gains(
    efs_of: Callable[[list[int], list[float]], list[float]], requested: dict[int, float], open_loop: dict[int, float]
) -> dict[int, float]:
    """Gains on the motion at which EFs are the requested ones, by bisection in step; the best of those tried.

    Args:
        efs_of: EFs [%] of the given hearts at the given gains; each call decodes one frame per heart.
        requested: EF [%] by heart.
        open_loop: EF [%] by heart at gain 1.
    """
    tried = {heart: {1.0: open_loop[heart]} for heart in requested}
    between = {heart: (1.0, GAINS[1]) if open_loop[heart] < ef else (GAINS[0], 1.0) for heart, ef in requested.items()}

    def error(heart: int, gain: float) -> float:
        return abs(tried[heart][gain] - requested[heart])

    for _ in range(MAX_TRIES - 1):
        hearts = [h for h in requested if min(error(h, gain) for gain in tried[h]) > EF_TOLERANCE]
        if not hearts:
            break
        gains = [(between[h][0] * between[h][1]) ** 0.5 for h in hearts]
        for heart, gain, ef in zip(hearts, gains, efs_of(hearts, gains), strict=True):
            tried[heart][gain] = ef
            low, high = between[heart]
            between[heart] = (gain, high) if ef < requested[heart] else (low, gain)
    return {heart: min(tried[heart], key=lambda gain: error(heart, gain)) for heart in requested}
