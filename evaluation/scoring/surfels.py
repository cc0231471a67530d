"""Surface Dice at a tolerance, with surfaces weighted by their area in mm².

Definition of Nikolov et al. (JMIR 2021;23(7):e26151), equal to ``compute_surface_dice_at_tolerance`` of DeepMind's library
``surface-distance``: a surface runs between voxels, through the corners at which the eight voxels around
are not all alike, and each corner counts with the area of its marching-cubes triangles. That makes the result independent of
how finely a side of the voxel grid samples the surface, which matters where slices are 10 mm apart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from evaluation.scoring.surface import nearest

#: Triangles of each 2x2x2 neighbourhood, codes 0 to 127 (128 to 255 mirror them): three digits per triangle, the absolute
#: components of its normal in eighths of a voxel side. From ``surface_distance/lookup_tables.py``, copyright 2018 Google Inc.,
#: Apache License 2.0; reduced to what an area needs. Other marching-cubes tables differ where the neighbourhood is ambiguous.
_TRIANGLES = """
000 111 111 220220 111 202202 111111 111222400 111 111111 202202 111222400 220220 111222400 111222400 400400 111 022022
111111 040111222 111111 004111222 111111111 111111222222 111111 022022111 111202202 022111202333 111220220 022111220333
111111222400 111222400 111 111111 022022 040111222 111111 111202202 022022111 022111202333 111111 111111111 004111222
111111222222 111220220 111111222400 022111220333 111222400 220220 040111222 040111222 040040 111220220 111202220333
040111111222 040111222 111220220 040111111222 111202220333 040111222 220220220220 111220220 111220220 220220 111 111111
111111 111220220 022022 004111222 022022111 022111220333 111111 111111111 111202202 111111222400 040111222 111111222222
022111202333 111222400 202202 004111222 111202202 111202220333 004111222 004004 004111111222 004111222 111202202
004111111222 202202202202 111202202 111202220333 004111222 111202202 202202 111111 111111111 022022111 040111111222
022022111 004111111222 022022022022 022022111 111111111 111111111111 004111111222 111111111 040111111222 111111111
022022111 111111 111222400 111111222222 022111202333 040111222 022111220333 004111222 022022111 022022 111111222400
111111111 111202202 111111 111220220 111111 111111 111
"""


def surface_dice(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    """Share of both surfaces, by area, that lies within ``tolerance`` mm of the other.

    Args:
        first, second: boolean (X, Y, Z), same shape, neither empty; cropping them to a box that holds both changes nothing.
        spacing: mm.
        tolerance: mm; a distance equal to it counts as within.
    """
    areas = _areas(tuple(spacing))
    codes = [_neighbourhoods(mask) for mask in (first, second)]
    surfaces = [(code > 0) & (code < 255) for code in codes]
    within = total = 0.0
    for own, other in ((0, 1), (1, 0)):
        area = areas[codes[own][surfaces[own]]]
        within += float(area[nearest(surfaces[own], surfaces[other], spacing, tolerance) <= tolerance].sum())
        total += float(area.sum())
    return within / total


def _neighbourhoods(mask: np.ndarray) -> np.ndarray:
    """Code (uint8) of the eight voxels around every voxel corner, (X + 1, Y + 1, Z + 1); outside the array is background.

    The voxel with the lowest indices is the highest bit; the last axis varies first.
    """
    codes: np.ndarray = np.pad(mask, 1).astype(np.uint8)
    for axis, shift in ((2, 1), (1, 2), (0, 4)):
        moved = np.moveaxis(codes, axis, 0)
        codes = np.moveaxis((moved[:-1] << shift) | moved[1:], 0, axis)
    return codes


_NORMALS = np.array([[[int(d) for d in entry.ljust(12, "0")[i : i + 3]] for i in (0, 3, 6, 9)] for entry in _TRIANGLES.split()])


@lru_cache(maxsize=256)
def _areas(spacing: tuple[float, ...]) -> np.ndarray:
    """Area in mm² of each of the 256 neighbourhoods."""
    x, y, z = spacing
    half = np.linalg.norm(_NORMALS * (np.array([y * z, x * z, x * y]) / 8), axis=2).sum(axis=1)
    return np.concatenate([half, half[::-1]])
