"""When the heart contracts: a periodic activation curve with systole, E wave, diastasis and A wave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator


@dataclass(frozen=True)
class Cycle:
    """Timing of one cine.

    Attributes:
        n_frames: frames acquired.
        coverage: acquired share of the cycle; below 1 for prospective gating.
        es_phase: phase of end-systole in (0, 1), exactly on a frame.
        seconds: length of the cycle.
        late_filling: share of the stroke volume that is still missing in diastasis (filled by the A wave).
    """

    n_frames: int
    coverage: float
    es_phase: float
    seconds: float
    late_filling: float

    @property
    def phases(self) -> np.ndarray:
        """Phase of every frame, (n_frames,), from 0; phase 1 is frame 0 of the next beat."""
        return np.arange(self.n_frames) * self.coverage / self.n_frames

    @property
    def frame_seconds(self) -> float:
        """Time between frames [s]."""
        return self.seconds * self.coverage / self.n_frames

    def activation(self, phase: np.ndarray) -> np.ndarray:
        """Contraction in [0, 1] at any phase: 0 at ED (integers), 1 at ``es_phase``, periodic with period 1."""
        es, late = self.es_phase, self.late_filling
        fill = 1 - es
        knots = [
            0.0,
            0.2 * es,
            0.55 * es,
            0.85 * es,
            es,
            es + 0.1 * fill,
            es + 0.32 * fill,
            es + 0.52 * fill,
            1 - 0.24 * fill,
            1 - 0.1 * fill,
            1.0,
        ]
        values = [0.0, 0.12, 0.62, 0.95, 1.0, 0.94, late + 0.22, late + 0.03, late - 0.03, 0.35 * late, 0.0]
        return PchipInterpolator(knots, values)(np.mod(phase, 1.0))


def draw_cycle(rng: np.random.Generator, frames: tuple[int, int], diagnosis: str) -> Cycle:
    """Draw the timing; about 15 % of the cines are prospectively gated and miss the end of the cycle."""
    n_frames = int(rng.integers(frames[0], frames[1] + 1))
    coverage = float(rng.uniform(0.8, 0.9)) if rng.random() < 0.15 else 1.0
    rate = float(np.clip(rng.normal(68, 9), 48, 95))  # beats per minute
    # Systole takes a larger share of a short cycle.
    es = np.clip(0.345 + 0.002 * (rate - 68) + rng.normal(0, 0.015), 0.3, 0.44)
    step = coverage / n_frames
    late = {"HCM": 0.38, "MINF": 0.34}.get(diagnosis, 0.27) + rng.uniform(-0.04, 0.06)
    # End-systole lies exactly on a frame, or no frame would hold the smallest volume.
    return Cycle(n_frames, coverage, round(float(es) / step) * step, 60 / rate, float(late))
