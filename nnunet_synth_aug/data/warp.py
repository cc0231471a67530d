"""Sequences deformed in their own geometry: image and contours are moved by one smooth map, the same in all slices and frames."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.data.remodel import RadialMap

#: Over what distance [mm] a deformed heart is deformed alike: about the radius of a left ventricle. Much shorter ones would bend walls.
WARP_LENGTH = 25.0


def smooth_warp(size: tuple[int, int], pixel: tuple[float, float], spread: float, rng: np.random.Generator) -> torch.Tensor:
    """A random displacement (2, X, Y) in mm with this standard deviation, smooth over :data:`WARP_LENGTH`.

    White noise under a Gaussian of that length, so that its gradient has a standard deviation of spread / (sqrt(2) WARP_LENGTH): at 0.15
    or less the map practically never folds.

    Args:
        size: (X, Y) pixels.
        pixel: their sides in mm.
        spread: standard deviation in mm.
        rng: where the noise is from.
    """
    lengths = [WARP_LENGTH / mm for mm in pixel]
    around = [round(3 * length) for length in lengths]  # filtered with a margin, so that the edge moves as much as the middle
    white = rng.standard_normal((2, *(n + 2 * margin for n, margin in zip(size, around, strict=True))))
    smooth = gaussian_filter(white, (0, *lengths), truncate=3)
    inner = smooth[:, around[0] : around[0] + size[0], around[1] : around[1] + size[1]]
    return torch.from_numpy(spread * 2 * math.sqrt(math.pi) * math.sqrt(lengths[0] * lengths[1]) * inner).float()


def deformed(sequence: Sequence, warp: torch.Tensor | None, maps: tuple[RadialMap, ...]) -> Sequence:
    """A sequence whose every point shows what lay where the maps take it from.

    Images are interpolated by cubic splines, because linear interpolation would blur them, within the grey values of their frame. What
    the maps take from beyond the image is its edge.

    Args:
        sequence: in its own geometry.
        warp: (2, X, Y) in mm, of :func:`smooth_warp`; None for none.
        maps: of ``remodelling.radial_maps``, applied after it.

    Returns:
        of the same shape and spacing.
    """
    shape, mm = sequence.image.shape[1:3], sequence.spacing
    sides = [(torch.arange(n, dtype=torch.float64) + 0.5) * side for n, side in zip(shape, mm[:2], strict=True)]
    x, y = torch.meshgrid(*sides, indexing="ij")
    if warp is not None:
        x, y = x + warp[0], y + warp[1]
    for remodel in maps:
        x, y = remodel(x, y)
    points = np.stack([(x / mm[0] - 0.5).numpy(), (y / mm[1] - 0.5).numpy()])
    image, mask = np.empty_like(sequence.image), np.zeros_like(sequence.mask)
    for t, z in np.ndindex(sequence.image.shape[0], sequence.image.shape[3]):
        image[t, ..., z] = map_coordinates(sequence.image[t, ..., z], points, order=3, mode="nearest")
        mask[t, ..., z] = _moved(sequence.mask[t, ..., z], points)
    low, high = (limit(sequence.image, axis=(1, 2, 3), keepdims=True) for limit in (np.min, np.max))
    return replace(sequence, image=np.clip(image, low, high), mask=mask)


def _moved(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Labels (X, Y) at ``points`` (2, X, Y): the one with the largest share of the four pixels around; of equals the nearest's."""
    present = np.unique(labels)
    if len(present) == 1:
        return np.full_like(labels, present[0])
    nearest = map_coordinates(labels, points, order=0, mode="nearest")
    own = ((labels == one).astype(np.float32) for one in present)
    shares = [map_coordinates(part, points, order=1, mode="nearest") for part in own]
    return present[np.argmax([share + 0.01 * (nearest == one) for one, share in zip(present, shares, strict=True)], axis=0)]
