"""Draw the anatomy and the stack that belong to a set of priors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_synth_aug.core.labels import MYOCARDIAL_DENSITY
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.phantom.heart import RV_WALL, THETA, Heart, angle_to, contours
from nnunet_synth_aug.data.phantom.physiology import PROTOCOLS
from nnunet_synth_aug.data.phantom.stack import Stack
from nnunet_synth_aug.data.phantom.thorax import Envelope


@dataclass(frozen=True)
class Slices:
    """Through-plane sampling: slices that show the ventricles at ED, those before and after them, distances in mm."""

    n: int
    before: int
    after: int
    distance: float
    slab: float
    length: float  # of the long axis, so that the apex ends inside the last slice
    base: float  # position of the base plane


def draw_slices(rng: np.random.Generator, priors: Priors) -> Slices:
    """Choose slice distance and number so that the stack covers the long axis, keeping what ``priors`` fixes."""
    assert priors.lv_edv is not None and priors.vendor is not None
    protocol = PROTOCOLS[priors.vendor]
    u = rng.random(8)
    length = float(np.clip(75 * (priors.lv_edv / 150) ** 0.26 * (0.94 + 0.12 * u[0]), 58, 94))
    gap = protocol.gap[0] + u[1] * (protocol.gap[1] - protocol.gap[0])
    slab = protocol.slab[0] + u[2] * (protocol.slab[1] - protocol.slab[0])
    if u[7] < 0.4:  # many sites round up to one slice per centimetre
        gap = 10.0 - slab
    offset, apex = -0.5 + 0.12 * (u[3] - 0.5), 0.38 + 0.1 * u[4]
    span = apex - offset - 1  # the long axis is n + span slice distances
    # Scanners set tenths of a millimetre; ten slices would be more than a breath-hold protocol of this kind takes.
    before, after = int(u[5] < 0.3), int(u[6] < 0.4)
    distance = priors.slice_thickness or round(float(max(slab + gap, length / (9 + span))), 1)
    if priors.n_slices is None:
        n = max(round(length / distance - span), 3)
        if n + before + after > 9:
            before = after = 0
    elif priors.slice_thickness is None:
        if priors.n_slices < 6:
            before = after = 0
        n = priors.n_slices - before - after
        distance = round(float(np.clip(length / (n + span), 3, 20)), 1)
    else:  # both are fixed: slices beyond the heart stay empty, half of them at either end
        n = min(priors.n_slices, max(round(length / distance - span), 3))
        before = (priors.n_slices - n) // 2
        after = priors.n_slices - n - before
    return Slices(n, before, after, distance, min(slab, distance), (n + span) * distance, offset * distance)


def draw_heart(rng: np.random.Generator, priors: Priors, slices: Slices) -> Heart:
    """Draw the shape; the sizes are first guesses that the fit corrects."""
    assert priors.lv_edv is not None and priors.lv_mass is not None and priors.rv_edv is not None
    assert priors.lv_ef is not None and priors.rv_ef is not None
    g = rng.standard_normal(12)
    u = rng.random(12)
    septum = 0.3 + 0.15 * g[0]
    flat = {"RV": 0.13 + 0.05 * u[0], "DCM": 0.04}.get(priors.diagnosis or "", 0.03 + 0.03 * u[0])
    contour = (
        1
        + 0.022 * g[1] * np.cos(2 * (THETA - septum))
        + 0.02 * g[2] * np.sin(2 * THETA)
        + 0.01 * g[3] * np.cos(3 * THETA + 6 * u[1])
        + 0.008 * g[4] * np.cos(5 * THETA + 6 * u[2])
        + 0.006 * g[9] * np.cos(4 * THETA + 6 * u[7])
        - flat * np.exp(-np.square(angle_to(THETA, septum) / 0.7))
    )
    wall_factor = 1 + 0.08 * np.cos(THETA - septum) + 0.05 * g[5] * np.cos(THETA + 6 * u[3]) + 0.04 * g[6] * np.cos(2 * THETA + 6 * u[4])
    bulge = (0.0, 0.0, 1.0)
    if priors.diagnosis == "HCM" and u[5] < 0.75:  # the others are concentric
        bulge = (0.5 + 0.6 * u[6], -0.3 + 0.4 * g[7], 0.7 + 0.3 * u[7])
    infarct = (0.0, 0.0, 1.0, 0.5)
    if priors.diagnosis == "MINF":
        # Anteroseptal (LAD), inferior (RCA) or lateral (circumflex) territory.
        territory = septum + (-0.45, 1.35, 2.9)[int(u[8] * 3)] + 0.15 * g[8]
        infarct = (0.85 + 0.13 * u[9], float(territory), 0.7 + 0.4 * u[10], 0.45 + 0.3 * u[11])
    radius = float(np.sqrt(priors.lv_edv * 1000 / (np.pi * 0.6 * slices.length)))
    outside = priors.lv_edv + priors.lv_mass / MYOCARDIAL_DENSITY
    epi = float(np.sqrt(outside * 1000 / (np.pi * 0.66 * slices.length)))
    reach = np.deg2rad(np.clip(80 + 16 * (priors.rv_edv / priors.lv_edv - 1), 68, 105))
    height = float(np.sqrt(epi**2 + priors.rv_edv * 1000 / (0.42 * slices.length * reach)) - epi)
    # The longitudinal share follows the weaker ventricle: both hang on the same atrioventricular plane.
    strength = float(np.clip(min(priors.lv_ef, priors.rv_ef + 5) / 60, 0, 1.15))
    return Heart(
        length=slices.length,
        base=slices.base,
        radius=radius,
        wall=max(epi - radius, 4.0),
        rv_height=height,
        septum=float(septum),
        contour=contour,
        wall_factor=wall_factor,
        bulge=bulge,
        infarct=infarct,
        rv_angles=(float(reach * (1.08 + 0.05 * g[9])), float(reach * (0.98 + 0.05 * g[10]))),
        rv_depth=float(0.8 + 0.1 * u[7]),
        rv_skew=float(0.16 + 0.08 * g[11]),
        shortening=0.145 * strength,
        torsion=0.17 * strength,
        swing=(1.4 * strength * float(np.cos(septum)), 1.4 * strength * float(np.sin(septum))),
        contraction=0.4 * strength,
        rv_contraction=0.3 * strength,
    )


def reach(heart: Heart) -> tuple[float, float, float, float]:
    """How far the heart reaches from the long axis at ED: anterior, posterior, superior, inferior, in mm."""
    outer = heart.radius + heart.wall
    spread = heart.rv_height * 0.9
    return (
        outer + spread * float(np.cos(heart.septum)),
        outer,
        outer + 0.1 * spread,
        outer + 0.2 * spread + spread * max(float(np.sin(heart.septum)), 0.0) * 0.6,
    )


def envelope(heart: Heart) -> Envelope:
    """Anterior and inferior reach of the ventricles with their walls at ED, along the long axis."""
    z = np.linspace(heart.base, heart.base + heart.length, 40)
    rv = np.maximum(contours(heart, z, 0.0).rv, 0) + RV_WALL
    return Envelope(z, (rv * np.cos(THETA)).max(axis=1), (rv * np.sin(THETA)).max(axis=1))


def draw_stack(rng: np.random.Generator, priors: Priors, slices: Slices, heart: Heart) -> Stack:
    """Draw pixel size, field of view, orientation and breath-hold positions."""
    assert priors.vendor is not None
    protocol = PROTOCOLS[priors.vendor]
    g = rng.standard_normal(6)
    u = rng.random(3)
    pixel = round(float(protocol.pixel[0] + u[0] * (protocol.pixel[1] - protocol.pixel[0])), 3)
    anterior, posterior, superior, inferior = reach(heart)
    # A heart-centred crop: about 150-170 mm, more only where the heart needs it.
    wanted = max(150 + 20 * u[1], 1.15 * (anterior + posterior), 1.25 * (superior + inferior))
    n_pixels = int(4 * np.ceil(wanted / pixel / 4))
    depth = slices.before + slices.n + slices.after
    shifts = np.clip(rng.standard_normal((depth, 2)) * 1.1, -2.5, 2.5)
    if u[2] < 0.35:  # one badly repeated breath-hold
        shifts[int(rng.integers(depth))] += rng.uniform(-4.5, 4.5, 2)
    tilt = (float(0.05 + 0.04 * g[0]), float(0.04 * g[1]))
    middle = 0.4 * slices.n * slices.distance
    return Stack(
        shape=(n_pixels, n_pixels, depth),
        spacing=(pixel, pixel, float(slices.distance)),
        slab=slices.slab,
        first=-slices.before * slices.distance,
        rotation=float(np.clip(-0.15 + 0.28 * g[2], -0.8, 0.6)),
        centre=(
            (anterior - posterior) / 2 + tilt[0] * middle + float(np.clip(4 * g[3], -8, 8)),
            (inferior - superior) / 2 + tilt[1] * middle + float(np.clip(4 * g[4], -8, 8)),
        ),
        shifts=shifts,
        tilt=tilt,
    )
