"""Analytic ventricles: polar contours about the long axis that conserve myocardial volume when they move.

A wall element at relative depth x (0 base plane, 1 epicardial apex) and angle theta keeps its x and theta. When the long axis
shortens by the factor s and the endocardium moves from e0 to e, incompressibility fixes the epicardium:
``epi^2 = e^2 + (epi0^2 - e0^2) / s``. So myocardial volume is exact at every phase, and wall thickening follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Angles per contour; half a degree is 0.4 mm at the outer border of a large heart.
BINS = 720
THETA = np.arange(BINS, dtype=np.float64) * (2 * np.pi / BINS)
#: A radius that no pixel reaches, where a slice lies beyond the structure.
ABSENT = -50.0
RV_WALL = 2.8  # mm, not labelled


def angle_to(theta: np.ndarray | float, centre: float) -> np.ndarray:
    """Signed angle from ``centre`` in (-pi, pi]."""
    return np.angle(np.exp(1j * (np.asarray(theta) - centre)))


@dataclass(frozen=True)
class Heart:
    """Geometry at ED and how it moves; lengths in mm, angles in radians in the body frame (0 anterior, pi/2 inferior)."""

    length: float  # base plane to epicardial apex
    base: float  # through-plane position of the base plane at ED; the first slice is centred on 0
    radius: float  # endocardial, at the widest level
    wall: float  # thickness
    rv_height: float  # free wall above the LV epicardium
    septum: float  # direction from the LV to the RV
    contour: np.ndarray  # (BINS,) relative endocardial radius
    wall_factor: np.ndarray  # (BINS,) relative wall thickness
    bulge: tuple[float, float, float]  # septal hypertrophy: relative height, angle from the septum, angular width
    infarct: tuple[float, float, float, float]  # severity 0..1, angle, half-width in angle, depth x of its centre
    rv_angles: tuple[float, float]  # angular reach of the RV from the septum, superior and inferior
    rv_depth: float  # depth x where the RV ends
    rv_skew: float
    contraction: float = 0.3  # share of the endocardial radius lost at ES
    rv_contraction: float = 0.2
    shortening: float = 0.13  # share of the long axis lost at ES
    torsion: float = 0.1  # rotation of the apex at ES
    swing: tuple[float, float] = (0.0, 0.0)  # in-plane shift at ES


@dataclass(frozen=True)
class Contours:
    """Radii (S, BINS) in mm from the long axis at S through-plane positions; ABSENT where a structure is not there."""

    depth: np.ndarray  # (S,) x of each position, below 0 above the base plane
    base: float  # through-plane position of the base plane now
    endo: np.ndarray
    epi: np.ndarray
    rv: np.ndarray  # outer border of the RV cavity; equals epi away from it


def _taper(x: np.ndarray) -> np.ndarray:
    """Relative radius over depth: a blunt half ellipsoid, slightly narrower at the base; 0 from x = 1 on."""
    waist = 1 - 0.07 * np.square(np.clip(1 - x / 0.22, 0, 1))
    return np.sqrt(np.clip(1 - np.clip(x, 0, 1) ** 2.8, 0, None)) * waist


def _wall(heart: Heart, x: np.ndarray) -> np.ndarray:
    """Wall thickness (S, BINS) at ED."""
    height, offset, width = heart.bulge
    bulge = height * np.exp(-np.square(angle_to(THETA, heart.septum + offset) / width)) * np.exp(-np.square((x - 0.32) / 0.42))[:, None]
    return heart.wall * (heart.wall_factor * (1 - 0.18 * x[:, None]) * (1 - 0.28 * _infarct(heart, x)) + bulge)


def _infarct(heart: Heart, x: np.ndarray) -> np.ndarray:
    """Severity (S, BINS) of the akinesia: a plateau with smooth borders."""
    severity, angle, width, centre = heart.infarct
    if severity == 0:
        return np.zeros((x.size, BINS))
    around = np.exp(-((angle_to(THETA, angle) / width) ** 4))
    along = np.exp(-(((x - centre) / 0.45) ** 4))
    return severity * along[:, None] * around


def contours(heart: Heart, z: np.ndarray, activation: float) -> Contours:
    """Contours at through-plane positions ``z`` (S,) in mm for a contraction between 0 (ED) and 1 (ES)."""
    stretch = 1 - heart.shortening * activation
    apex = heart.base + heart.length
    depth = 1 - (apex - np.asarray(z, dtype=np.float64)) / (stretch * heart.length)
    x = np.clip(depth, 0, 1.05)
    wall = _wall(heart, x)
    endo_end = 1 - 0.75 * heart.wall / heart.length
    # The relative contour is rounder towards the apex, where the septum no longer flattens it.
    relative = 1 + (heart.contour - 1) * (1 - 0.7 * x[:, None])
    endo0 = heart.radius * relative * _taper(x / endo_end)[:, None]
    epi0 = np.maximum((heart.radius * relative + wall) * _taper(x)[:, None], endo0)
    mobility = (0.93 + 0.15 * x[:, None]) * (1 - 0.1 * np.exp(-np.square(angle_to(THETA, heart.septum) / 0.8)))
    endo = endo0 * np.maximum(1 - heart.contraction * mobility * (1 - _infarct(heart, x)) * activation, 0.05)
    epi = np.sqrt(endo**2 + (epi0**2 - endo0**2) / stretch)

    twist = heart.torsion * activation / (2 * np.pi) * BINS
    if twist:
        endo, epi = (_rotated(r, twist * (x - 0.35)) for r in (endo, epi))
    rv = epi + _rv_height(heart, x, activation)
    swing = activation * (heart.swing[0] * np.cos(THETA) + heart.swing[1] * np.sin(THETA))
    present_endo, present_epi = (x < endo_end)[:, None] & (endo > 0.3), (x < 1)[:, None] & (epi > 0.3)
    return Contours(
        depth=depth,
        base=apex - stretch * heart.length,
        endo=np.where(present_endo, np.maximum(endo + swing, 0.0), ABSENT),
        epi=np.where(present_epi, np.maximum(epi + swing, 0.0), ABSENT),
        rv=np.where(present_epi, np.maximum(rv + swing, 0.0), ABSENT),
    )


def _rotated(radii: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Rotate each row of (S, BINS) by a fractional number of bins."""
    whole = np.floor(bins).astype(int)[:, None]
    share = (bins - np.floor(bins))[:, None]
    position = np.arange(BINS) - whole
    return (1 - share) * np.take_along_axis(radii, position % BINS, axis=1) + share * np.take_along_axis(
        radii, (position - 1) % BINS, axis=1
    )


def _rv_height(heart: Heart, x: np.ndarray, activation: float) -> np.ndarray:
    """Height (S, BINS) of the RV free wall above the LV epicardium."""
    relative = np.clip(x / heart.rv_depth, 0, 1)[:, None]
    offset = angle_to(THETA, heart.septum)
    reach = np.where(offset < 0, heart.rv_angles[0] * (1 - 0.38 * relative), heart.rv_angles[1] * (1 - 0.15 * relative))
    around = np.clip(1 - np.abs(offset / reach) ** 2.0, 0, 1) ** 0.85
    skew = 1 + heart.rv_skew * np.clip(offset / reach, -1, 1)
    along = (1 - relative**2.2) ** 0.8
    height = heart.rv_height * along * around * skew * (1 - heart.rv_contraction * activation)
    # A crescent thinner than its own trabeculae holds no cavity: it closes instead of leaving slivers.
    return height * np.clip((height.max(axis=1, keepdims=True) - 2) / 4, 0, 1)


def volumes(heart: Heart, activation: float, levels: int = 240) -> tuple[float, float, float]:
    """LV cavity, myocardium and RV cavity in mL by integrating the analytic contours."""
    stretch = 1 - heart.shortening * activation
    step = stretch * heart.length / levels
    z = heart.base + heart.length - stretch * heart.length + (np.arange(levels) + 0.5) * step
    c = contours(heart, z, activation)

    def area(radii: np.ndarray) -> np.ndarray:
        return 0.5 * np.square(np.maximum(radii, 0)).sum(axis=1) * (2 * np.pi / BINS)

    lv, epi, rv = area(c.endo).sum(), area(c.epi).sum(), area(c.rv).sum()
    return float(lv * step / 1000), float((epi - lv) * step / 1000), float((rv - epi) * step / 1000)
