"""Papillary muscles and trabeculae: dark in the image, part of the cavities in the masks, as in ACDC's contours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from nnunet_synth_aug.data.phantom.heart import BINS, THETA, Contours, angle_to
from nnunet_synth_aug.data.phantom.stack import Plane

LEVELS = 48  # depths at which the trabeculae are tabulated


@dataclass(frozen=True)
class Papillary:
    """One papillary muscle: direction, distance from the axis relative to the cavity, radius in mm, and its depth range."""

    angle: float
    distance: float
    radius: float
    start: float
    end: float
    stretch: float  # radial over circumferential size
    skew: float  # how ragged the outline is
    density: float  # share of muscle; the rest is blood between its strands


@dataclass(frozen=True)
class Details:
    """Everything inside the cavities that is not blood."""

    papillaries: tuple[Papillary, ...]
    lv_trabeculae: np.ndarray  # (LEVELS, BINS) depth in mm
    rv_trabeculae: np.ndarray  # (LEVELS, BINS)

    def lv_muscle(self, plane: Plane, c: Contours, pixels: np.ndarray) -> np.ndarray:
        """Share (S, P) of muscle among what lies inside the endocardium; ``pixels`` (S, P) is `plane.look_up(c.endo)`."""
        muscle = np.clip((plane.radius - pixels + plane.look_up(_level(self.lv_trabeculae, c.depth))) / plane.pixel + 0.5, 0, 1)
        for papillary in self.papillaries:
            along = np.clip(np.minimum(c.depth - papillary.start, papillary.end - c.depth) / 0.12, 0, 1)
            size = papillary.radius * np.sqrt(along)[:, None]
            if not size.any():
                continue
            cavity = np.maximum(c.endo[:, _bin(papillary.angle)], 0)[:, None]
            # A contracted cavity pushes the papillary muscles towards its centre; they stay off the axis.
            centre = np.maximum(papillary.distance * cavity, 0.3 * cavity).astype(np.float32)
            offset = angle_to(THETA, papillary.angle)
            radial = plane.radius * plane.look_up(np.broadcast_to(np.cos(offset), c.endo.shape)) - centre
            across = plane.radius * plane.look_up(np.broadcast_to(np.sin(offset), c.endo.shape))
            distance = np.hypot(radial / papillary.stretch, across) * (1 + papillary.skew * np.sin(0.7 * radial + 2 * c.depth[:, None] * 9))
            muscle = np.maximum(muscle, papillary.density * np.clip((size - distance) / plane.pixel + 0.5, 0, 1) * (size > 0))
        return muscle

    def rv_muscle(self, plane: Plane, c: Contours, pixels: np.ndarray) -> np.ndarray:
        """Share (S, P) of muscle among what lies inside the RV; ``pixels`` (S, P) is `plane.look_up(c.rv)`."""
        depth = plane.look_up(_level(self.rv_trabeculae, c.depth))
        # Strands with blood between them: a soft inner border, never fully dark.
        return 0.75 * np.clip((plane.radius - pixels + depth) / np.maximum(0.5 * depth, plane.pixel) + 0.5, 0, 1)


def _bin(angle: float) -> int:
    return round(angle / (2 * np.pi) * BINS) % BINS


def _level(table: np.ndarray, depth: np.ndarray) -> np.ndarray:
    return table[np.clip(np.round(depth * (LEVELS - 1)).astype(int), 0, LEVELS - 1)]


def _comb(rng: np.random.Generator, height: float, ridge: float, growth: float) -> np.ndarray:
    """Ridges (LEVELS, BINS) up to about ``height`` mm, ``ridge`` degrees wide, running along the axis, denser at the apex."""
    noise = gaussian_filter(rng.standard_normal((LEVELS, BINS)), (3.5, ridge * BINS / 360), mode=("nearest", "wrap"))
    noise /= noise.std()
    along = (1 - growth + growth * np.linspace(0, 1, LEVELS))[:, None]
    return height * np.clip(noise - 0.5, 0, 1.6) / 1.1 * along


def draw_details(rng: np.random.Generator, septum: float, radius: float) -> Details:
    """Draw the two papillary muscles (opposite the septum) and both trabecular layers."""
    papillaries = []
    for side in (-1, 1):
        heads = 1 if rng.random() < 0.6 else 2
        angle = septum + np.pi + side * rng.uniform(0.75, 1.05)
        for head in range(heads):
            papillaries.append(
                Papillary(
                    angle=float(angle + (head - (heads - 1) / 2) * rng.uniform(0.3, 0.42)),
                    distance=float(rng.uniform(0.62, 0.82)),
                    radius=float(np.clip(0.17 * radius, 2.8, 5.5) * rng.uniform(0.85, 1.2) / heads**0.5),
                    start=float(rng.uniform(0.1, 0.28)),
                    end=float(rng.uniform(0.66, 0.82)),
                    stretch=float(rng.uniform(0.9, 1.7)),
                    skew=float(rng.uniform(0.1, 0.3)),
                    density=float(rng.uniform(0.75, 1.0)),
                )
            )
    return Details(tuple(papillaries), _comb(rng, rng.uniform(3.0, 6.0), 2.4, 0.8), _comb(rng, rng.uniform(4, 9), 3.4, 0.8))
