"""Outlines of a heart in polar coordinates, and the warp that gives one heart the outlines of another.

Around the centre of the LV every slice has, in each direction, the radius of the cavity, the thickness of the wall, and what lies between
the wall and the outer border of the RV. A heart is warped to another one's outlines along the radius: source radii rise with target radii
(monotone cubic interpolation, Fritsch and Butland, SIAM J. Sci. Stat. Comput. 1984), so nothing folds, and beyond a circle around the heart
nothing moves. Pixels and contours take the same way: contours fit their image as well as the donor's own do. Outlines are smooth, because
they are where the donor's tissue should go, not where a contour is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV

#: Directions, and steps of the radius in mm up to its largest.
DIRECTIONS, STEP, LARGEST = 72, 0.5, 110.0
ANGLES = np.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
#: Over what angle outlines are smooth, in directions, and over how many slices.
SMOOTH, SMOOTH_SLICES = 2.5, 0.6
#: Thickness that is taken for what lies beyond the wall where no RV does [mm], and the smallest cavity that is warped.
BESIDE, SMALLEST = 6.0, 2.0
#: A wall thinner than this is a gap in contours [mm].
THINNEST = 0.5
#: Tissue becomes at most so many times as thick, or as thin.
MOST_STRETCH = 3.0
#: How many times as thick as in another heart of that size cavity, wall and what is beside it may be in one place. What lies between two
#: patients in 98 of 100 places is a little wider (tests/benchmarks/walls.py).
UNLIKE = (1.3, 1.8, 2.0)
#: A basal slice with less of the next one's area is cut through the heart's border.
PARTIAL = 0.6
#: How far beyond the heart the warp reaches: so many times its radius, and so many mm.
REACH = (1.2, 15.0)


@dataclass(frozen=True)
class Outlines:
    """Thickness of three layers in mm, each (Z, DIRECTIONS): of slices that hold LV or muscle, from the base to the apex."""

    cavity: np.ndarray
    wall: np.ndarray
    beside: np.ndarray  # from the wall to the RV's outer border; BESIDE where there is none
    slices: tuple[int, ...]  # of the stack
    centre: np.ndarray  # (Z, 2) in pixels
    septum: float  # direction from LV to RV

    def on(self, other: Outlines) -> Outlines:
        """These outlines at the slices, and turned to the septum, of another heart: equal shares of the way from base to apex."""
        count = len(self.slices)
        wanted = np.linspace(0, count - 1, len(other.slices)) if count > 1 else np.zeros(len(other.slices))
        turned = np.mod((ANGLES - other.septum + self.septum) * (DIRECTIONS / (2 * math.pi)), DIRECTIONS)
        where = np.meshgrid(wanted, turned, indexing="ij")

        def moved(layer: np.ndarray) -> np.ndarray:
            padded = np.concatenate([layer, layer[:, :1]], axis=1)
            return map_coordinates(padded, where, order=1, mode="nearest")

        return replace(other, cavity=moved(self.cavity), wall=moved(self.wall), beside=moved(self.beside))

    def scaled(self, cavity: float = 1.0, wall: float = 1.0, beside: float = 1.0) -> Outlines:
        """With layers so many times as thick; beside the heart only what an RV makes thicker than BESIDE."""
        rv = BESIDE + (self.beside - BESIDE) * beside
        return replace(self, cavity=self.cavity * cavity, wall=self.wall * wall, beside=rv)

    def near(self, other: Outlines) -> Outlines:
        """With no layer, in any slice and direction, farther from another heart's of the same slices than UNLIKE.

        What counts is the relative thickness: both hearts may be of any size.
        """

        def bounded(layer: np.ndarray, theirs: np.ndarray, least: float, most: float) -> np.ndarray:
            ratio = np.log(np.maximum(layer, least) / np.maximum(theirs, least))
            whole = np.average(ratio, weights=theirs)
            return np.maximum(theirs, least) * np.exp(whole + np.clip(ratio - whole, -math.log(most), math.log(most)))

        cavity, wall, beside = UNLIKE
        return replace(
            self,
            cavity=bounded(self.cavity, other.cavity, SMALLEST, cavity),
            wall=bounded(self.wall, other.wall, SMALLEST, wall),
            beside=bounded(self.beside, other.beside, BESIDE, beside),
        )

    def with_wall_like(self, other: Outlines, share: float) -> Outlines:
        """With a wall that is thick and thin around a slice as another heart's of the same slices is; its mean in a slice is kept.

        Args:
            other: whose wall.
            share: 0 changes nothing but gaps, which become THINNEST; 1 takes the other's relative thickness in every direction; between
                lie geometric means.
        """
        own, theirs = (np.maximum(wall, THINNEST) / np.maximum(wall, THINNEST).mean(1, keepdims=True) for wall in (self.wall, other.wall))
        mixed = own ** (1 - share) * theirs**share
        return replace(self, wall=self.wall.mean(1, keepdims=True) * mixed / mixed.mean(1, keepdims=True))


def outlines(mask: np.ndarray, spacing: Spacing) -> Outlines:
    """The outlines of one frame.

    Args:
        mask: uint8 (X, Y, Z).
        spacing: mm.

    Raises:
        UserError: no slice has LV or muscle, or there is no RV to tell the direction.
    """
    if not ((mask == LV) | (mask == MYO)).any() or not (mask == RV).any():
        raise UserError("a heart without LV, muscle or RV has no outlines; leave the patient out")
    slices = _from_base(mask)
    centres = np.stack([_centre(mask[..., z]) for z in slices])
    left, right = ((np.argwhere(mask == label)[:, :2].mean(0)) * spacing[:2] for label in (LV if (mask == LV).any() else MYO, RV))
    layers = [_layers(mask[..., z], centre, spacing) for z, centre in zip(slices, centres, strict=True)]
    cavity, wall, beside = (_smooth(np.stack(layer)) for layer in zip(*layers, strict=True))
    septum = math.atan2(right[1] - left[1], right[0] - left[0])
    return Outlines(cavity, wall, beside, tuple(int(z) for z in slices), centres, septum)


def with_whole_base(mask: np.ndarray) -> np.ndarray:
    """A mask (X, Y, Z) without basal slices that hold only part of the heart: these tell no outline.

    Such a slice has less than PARTIAL of the LV and muscle of the next one.
    """
    area = ((mask == LV) | (mask == MYO)).sum((0, 1))
    out = mask.copy()
    for z, following in pairwise(_from_base(mask)):
        if area[z] >= PARTIAL * area[following]:
            break
        out[..., z] = 0
    return out


def _from_base(mask: np.ndarray) -> np.ndarray:
    """Slices of one frame that hold LV or muscle, from the base to the apex.

    The heart narrows towards the apex. The slices at both ends do not count where there are others: the basal one may hold part of a heart.
    """
    heart = np.flatnonzero(((mask == LV) | (mask == MYO)).any((0, 1)))
    area = (mask == LV).sum((0, 1)) + 0.5 * (mask == RV).sum((0, 1))
    inner = heart[1:-1] if heart.size > 3 else heart
    third = max(inner.size // 3, 1)
    return heart if area[inner[:third]].sum() >= area[inner[-third:]].sum() else heart[::-1]


def _centre(labels: np.ndarray) -> np.ndarray:
    return np.argwhere(labels == (LV if (labels == LV).any() else MYO)).mean(0)


def _layers(labels: np.ndarray, centre: np.ndarray, spacing: Spacing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thickness of cavity, wall and what is beside it, (DIRECTIONS,) each."""
    radii = np.arange(0, LARGEST, STEP)
    points = [centre[axis] + radii * of(ANGLES)[:, None] / spacing[axis] for axis, of in enumerate((np.cos, np.sin))]
    seen = map_coordinates(labels, points, order=0, mode="constant")
    cavity, wall = ((seen == label).sum(1) * STEP for label in (LV, MYO))
    rv = seen == RV
    outer = np.where(rv.any(1), LARGEST - STEP * rv[:, ::-1].argmax(1), 0.0)
    return cavity, wall, np.maximum(outer - cavity - wall, BESIDE)


def _smooth(layer: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(
        gaussian_filter1d(layer.astype(np.float64), SMOOTH, axis=1, mode="wrap"), SMOOTH_SLICES, axis=0, mode="nearest"
    )


@dataclass(frozen=True)
class Warp:
    """Where every pixel around a heart takes its value from, slice by slice: one way for image and contours."""

    slices: tuple[int, ...]
    boxes: tuple[tuple[slice, slice], ...]
    points: tuple[tuple[np.ndarray, np.ndarray], ...]  # in pixels, of every box

    @staticmethod
    def between(shape: tuple[int, ...], spacing: Spacing, own: Outlines, wanted: Outlines) -> Warp:
        """The one that gives a frame other outlines.

        Args:
            shape: of the frame, (X, Y, Z).
            spacing: mm.
            own: the frame's outlines.
            wanted: what they become, of :meth:`Outlines.on`.
        """
        found = [_sources(shape[:2], spacing, own, wanted, row) for row in range(len(own.slices))]
        return Warp(own.slices, tuple(box for box, _ in found), tuple(points for _, points in found))

    def of_image(self, image: np.ndarray) -> np.ndarray:
        """Grey values, float32 (X, Y, Z)."""
        out = image.copy()
        for z, box, points in zip(self.slices, self.boxes, self.points, strict=True):
            shown = map_coordinates(image[..., z], points, order=3, mode="nearest")
            out[(*box, z)] = np.clip(shown, image[..., z].min(), image[..., z].max())
        return out

    def of_mask(self, mask: np.ndarray) -> np.ndarray:
        """Contours, uint8 (X, Y, Z): in every pixel the label with the largest share."""
        out = mask.copy()
        for z, box, points in zip(self.slices, self.boxes, self.points, strict=True):
            shares = [map_coordinates((mask[..., z] == one).astype(np.float32), points, order=1, mode="nearest") for one in (RV, MYO, LV)]
            every = np.stack([1 - sum(shares), *shares])
            out[(*box, z)] = np.array([0, RV, MYO, LV], mask.dtype)[every.argmax(0)]
        return out


def _sources(
    shape: tuple[int, ...], spacing: Spacing, own: Outlines, wanted: Outlines, row: int
) -> tuple[tuple[slice, slice], tuple[np.ndarray, np.ndarray]]:
    """Where the pixels of a box around the heart take their values from, in pixels."""
    before, after = _limits(own, row), _limits(wanted, row)
    after = _stretched(before, after)
    reach = max(float(before[-1].max()), float(after[-1].max())) * REACH[0] + REACH[1]
    before, after = (np.concatenate([limits, np.full((1, DIRECTIONS), reach)]) for limits in (before, after))
    centre = own.centre[row]
    low = [max(math.floor(c - reach / mm), 0) for c, mm in zip(centre, spacing, strict=False)]
    high = [min(math.ceil(c + reach / mm) + 1, n) for c, mm, n in zip(centre, spacing, shape, strict=False)]
    x, y = np.meshgrid(*(np.arange(a, b, dtype=np.float64) for a, b in zip(low, high, strict=True)), indexing="ij")
    dx, dy = (x - centre[0]) * spacing[0], (y - centre[1]) * spacing[1]
    radius = np.hypot(dx, dy)
    angle = np.mod(np.arctan2(dy, dx) * (DIRECTIONS / (2 * math.pi)), DIRECTIONS)
    source = _monotone(radius, _at(after, angle), _at(before, angle))
    factor = np.where(radius > 1e-6, source / np.maximum(radius, 1e-6), 1.0)
    return (slice(low[0], high[0]), slice(low[1], high[1])), (centre[0] + (x - centre[0]) * factor, centre[1] + (y - centre[1]) * factor)


def _limits(of: Outlines, row: int) -> np.ndarray:
    """Outer radius of the layers, rising, (3, DIRECTIONS)."""
    return np.cumsum([np.maximum(of.cavity[row], SMALLEST), np.maximum(of.wall[row], SMALLEST), of.beside[row]], axis=0)


def _stretched(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """``after`` with no layer stretched or crushed by more than MOST_STRETCH."""
    own, wanted = (np.diff(limits, axis=0, prepend=0) for limits in (before, after))
    return np.cumsum(np.clip(wanted, own / MOST_STRETCH, own * MOST_STRETCH), axis=0)


def _at(limits: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Limits (K, DIRECTIONS) at angles in directions, (K, ...)."""
    first = np.floor(angle).astype(int) % DIRECTIONS
    share = angle - np.floor(angle)
    return limits[:, first] * (1 - share) + limits[:, (first + 1) % DIRECTIONS] * share


def _monotone(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Monotone cubic interpolation with knots (K, ...) and values of its own at every x, 0 at 0; the identity beyond the last knot."""
    zero = np.zeros_like(knots[:1])
    knots, values = np.concatenate([zero, knots]), np.concatenate([zero, values])
    width = np.diff(knots, axis=0)
    secant = np.diff(values, axis=0) / width
    slopes = np.concatenate([secant[:1], 2 * secant[1:] * secant[:-1] / (secant[1:] + secant[:-1]), np.ones_like(secant[:1])])
    slopes[-1] = np.minimum(slopes[-1], 3 * secant[-1])
    part = np.clip((x[None] >= knots[1:-1]).sum(0), 0, len(width) - 1)[None]

    def of(array: np.ndarray, shift: int = 0) -> np.ndarray:
        return np.take_along_axis(array, part + shift, axis=0)[0]

    h = of(width)
    t = np.clip((x - of(knots)) / h, 0, 1)
    left, right = of(values), of(values, 1)
    inside = (
        left * (1 + 2 * t) * (1 - t) ** 2
        + right * t**2 * (3 - 2 * t)
        + h * (of(slopes) * t * (1 - t) ** 2 - of(slopes, 1) * t**2 * (1 - t))
    )
    return np.where(x < knots[-1], inside, x)
