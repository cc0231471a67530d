"""How much of the heart's cycle a cine covers.

Retrospectively gated cines cover it whole: the last frame is one step before the first. Prospectively
gated ones stop early, and treating their last frame as the neighbour of the first would bend the motion.
"""

from __future__ import annotations

import numpy as np

#: Ratios below this are within the spread of fully gated cines (upper quartile 1.34 on ACDC).
CLOSED = 1.5
#: No prospective protocol skips more than this share of the cycle.
MAX_CYCLE = 1.4


def closure_ratio(frames: np.ndarray) -> float:
    """Last-to-first step over mean step of a cine; 1 for evenly moving, closed motion.

    Args:
        frames: (T, ...) any representation; steps are mean absolute differences.
    """
    if len(frames) < 3:
        return 1.0
    flat = frames.reshape(len(frames), -1).astype(np.float32)
    steps = np.abs(np.diff(flat, axis=0)).mean(axis=1)
    return float(np.abs(flat[-1] - flat[0]).mean() / max(float(steps.mean()), 1e-12))


def cycle_frames(frames: np.ndarray) -> float:
    """Length of the whole cycle in frames (>= T); frame t has the phase 2 pi (t - ED) / cycle_frames.

    The missing stretch is as long as its displacement takes at the cine's mean speed: a last-to-first
    step of r mean steps adds r - 1 frames.
    """
    n, ratio = len(frames), closure_ratio(frames)
    return float(n) if ratio < CLOSED else min(n - 1 + ratio, MAX_CYCLE * n)
