"""The short-axis stack: where every sub-slice samples the anatomy, and the labels that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import label

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.labels import BACKGROUND, LV, MYO, RV
from nnunet_synth_aug.data.phantom.heart import BINS, Contours, Heart, contours

#: Sub-slices per slice. In plane, coverage comes from the distance to the contour, which is exact for straight edges.
SUB_SLICES = 3


@dataclass(frozen=True)
class Plane:
    """One slice: its sub-slices sampled in coordinates of the heart."""

    z: np.ndarray  # (S,) mm
    step: float  # mm between sub-slices
    pixel: float  # mm
    radius: np.ndarray  # (S, P) mm from the long axis, P = X * Y
    bin: np.ndarray  # (S, P) index into a flattened (S, BINS) table

    def restricted(self, pixels: np.ndarray) -> Plane:
        """The same slice at some pixels only."""
        return Plane(self.z, self.step, self.pixel, self.radius[:, pixels], self.bin[:, pixels])

    def look_up(self, table: np.ndarray) -> np.ndarray:
        """Values (S, P) of an angular table (S, BINS)."""
        return np.take(table.astype(np.float32), self.bin)

    def inside(self, radii: np.ndarray) -> np.ndarray:
        """Share (S, P) of each pixel inside a contour (S, BINS), from its distance to the border."""
        slope = (np.roll(radii, -1, axis=1) - np.roll(radii, 1, axis=1)) / (4 * np.pi / BINS)
        # Where the contour runs obliquely through the sub-slice its border is a ramp, not a step.
        present = np.maximum(radii, 0)
        drift = np.gradient(present, axis=0)
        steepness = 1 / np.hypot(self.pixel * np.sqrt(1 + np.square(slope / np.maximum(radii, 1))), drift)
        return np.clip((self.look_up(radii) - self.radius) * self.look_up(steepness) + 0.5, 0, 1)

    def below(self, base: float) -> np.ndarray:
        """Share (S, 1) of each sub-slice on the apical side of the base plane."""
        return np.clip((self.z - base) / self.step + 0.5, 0, 1).astype(np.float32)[:, None]


@dataclass(frozen=True)
class Stack:
    """Grid of the cine and its orientation in the body."""

    shape: tuple[int, int, int]  # X, Y, Z
    spacing: Spacing  # mm
    slab: float  # excited thickness in mm
    first: float  # through-plane position of the first slice; 0 is the first slice that shows the ventricles
    rotation: float  # radians
    centre: tuple[float, float]  # body coordinates (anterior, inferior) at the image centre, mm from the long axis
    shifts: np.ndarray  # (Z, 2) mm: where each breath-hold left the heart
    tilt: tuple[float, float]  # drift of the long axis per mm through plane
    margins: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))  # pixels of X and Y before and beyond the heart's surroundings

    def widened(self, field: float, rng: np.random.Generator) -> Stack:
        """The same pixels and those around them, up to a square of ``field`` mm; the heart is not in its middle."""
        n = int(4 * np.ceil(field / self.spacing[0] / 4))
        if n <= max(self.shape[:2]):
            return self
        margins = []
        for own in self.shape[:2]:
            before = int(np.clip(round((n - own) / 2 + float(rng.normal(0, 15)) / self.spacing[0]), 0, n - own))
            margins.append((before, n - own - before))
        return replace(self, shape=(n, n, self.shape[2]), margins=(margins[0], margins[1]))

    def positions(self, index: int) -> np.ndarray:
        """Through-plane positions (S,) of a slice's sub-slices."""
        offsets = (np.arange(SUB_SLICES) + 0.5) / SUB_SLICES - 0.5
        return self.first + index * self.spacing[2] + offsets * self.slab

    def body(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Body coordinates (X, Y) of a slice in mm: anterior and inferior of the long axis at the first slice."""
        x, y = (
            (np.arange(n) - before - (n - before - beyond - 1) / 2) * mm
            for n, mm, (before, beyond) in zip(self.shape, self.spacing, self.margins, strict=False)
        )
        right, down = np.meshgrid(x, y, indexing="ij")
        cos, sin = np.cos(self.rotation), np.sin(self.rotation)
        # Anterior is to the left and inferior is down in an unrotated short-axis view seen from the apex.
        anterior = -(cos * right + sin * down) + self.centre[0] - self.shifts[index, 0]
        inferior = -sin * right + cos * down + self.centre[1] - self.shifts[index, 1]
        return anterior, inferior

    def plane(self, index: int) -> Plane:
        """Sampling of one slice."""
        anterior, inferior = (axis.reshape(1, -1) for axis in self.body(index))
        z = self.positions(index)
        u, v = anterior - self.tilt[0] * z[:, None], inferior - self.tilt[1] * z[:, None]
        angle = np.round(np.arctan2(v, u) * (BINS / (2 * np.pi))).astype(np.int32) % BINS
        return Plane(
            z=z,
            step=self.slab / SUB_SLICES,
            pixel=self.spacing[0],
            radius=np.hypot(u, v).astype(np.float32),
            bin=angle + np.arange(SUB_SLICES, dtype=np.int32)[:, None] * BINS,
        )

    def planes(self) -> list[Plane]:
        """Every slice of the stack, from the first to the last."""
        return [self.plane(i) for i in range(self.shape[2])]


@dataclass(frozen=True)
class Ventricles:
    """Shares (S, P) of each sub-voxel that the labelled structures fill."""

    lv: np.ndarray
    myo: np.ndarray
    rv: np.ndarray


def ventricles(plane: Plane, c: Contours) -> Ventricles:
    """Fill the sub-voxels of one slice."""
    below = plane.below(c.base)
    endo, epi, rv = plane.inside(c.endo), plane.inside(c.epi), plane.inside(c.rv)
    return Ventricles(lv=endo * below, myo=np.maximum(epi - endo, 0) * below, rv=np.maximum(rv - epi, 0) * below)


def majority(shares: Ventricles) -> np.ndarray:
    """Label (P,) of each voxel of the whole slice: heart where half of it is, and then the structure that fills most of it.

    Deciding on the heart first leaves no gap between cavity and wall where the base plane halves a slice.
    """
    means = np.stack([getattr(shares, name).mean(axis=0) for name in ("rv", "myo", "lv")])
    largest = np.array([RV, MYO, LV], dtype=np.uint8)[np.argmax(means, axis=0)]
    return np.where(means.sum(axis=0) >= 0.5, largest, BACKGROUND).astype(np.uint8)


def without_crumbs(mask: np.ndarray) -> np.ndarray:
    """``mask`` (X, Y) with only the largest piece of the RV: where its crescent ends, it is thinner than a pixel and frays."""
    pieces, n = label(mask == RV, structure=np.ones((3, 3)))
    if n < 2:
        return mask
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.where((mask == RV) & (pieces != largest), BACKGROUND, mask).astype(np.uint8)


def label_frame(stack: Stack, planes: list[Plane], heart: Heart, activation: float) -> np.ndarray:
    """Exact mask (X, Y, Z) of one frame."""
    slices = [majority(ventricles(p, contours(heart, p.z, activation))) for p in planes]
    return np.stack([without_crumbs(s.reshape(stack.shape[:2])) for s in slices], axis=-1)
