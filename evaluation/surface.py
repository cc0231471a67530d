"""Distances between the surfaces of two binary masks, in mm.

Definitions are those of ``medpy.metric.binary``: the surface is every voxel of the mask with a face
neighbour outside it (6 neighbours in 3D; the image border counts as outside), located at its centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

Box = tuple[slice, ...]


def boxes(labels: np.ndarray) -> dict[int, Box]:
    """Bounding box of every positive value in an integer label map."""
    outer = _extent(labels)
    if outer is None:
        return {}
    found = ndimage.find_objects(np.ascontiguousarray(labels[outer]))
    return {value: _shifted(box, outer) for value, box in enumerate(found, start=1) if box is not None}


def _extent(labels: np.ndarray) -> Box | None:
    """Bounding box of everything that is not 0; each axis is searched in what the ones before it left."""
    box: list[slice] = []
    for axis in range(labels.ndim):
        others = tuple(i for i in range(labels.ndim) if i != axis)
        filled = np.flatnonzero(labels[tuple(box)].any(axis=others))
        if not filled.size:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _shifted(box: Box, outer: Box) -> Box:
    return tuple(slice(inner.start + o.start, inner.stop + o.start) for inner, o in zip(box, outer, strict=True))


def union(parts: Sequence[Box]) -> Box:
    """The smallest box that holds all of ``parts`` (at least one)."""
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*parts, strict=True))


def border(mask: np.ndarray) -> np.ndarray:
    """Surface voxels of a boolean mask: the mask without those whose face neighbours all belong to it."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        lower: list[slice] = [slice(None)] * mask.ndim
        upper: list[slice] = [slice(None)] * mask.ndim
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        inside[tuple(lower)] &= mask[tuple(upper)]
        inside[tuple(upper)] &= mask[tuple(lower)]
        # No neighbour beyond the image: its outermost voxels are surface.
        for edge in (0, -1):
            outermost: list[slice | int] = [slice(None)] * mask.ndim
            outermost[axis] = edge
            inside[tuple(outermost)] = False
    return mask & ~inside


def surface_distances(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm from each surface voxel of one mask to the nearest surface voxel of the other.

    Args:
        first, second: boolean, same shape, neither empty. Cropping both to a box that holds both changes
            nothing: outside it there is only background, as beyond the image border.
        spacing: mm per axis.

    Returns:
        first to second, second to first; one entry per surface voxel.
    """
    edge_first, edge_second = border(first), border(second)
    return _nearest(edge_first, edge_second, spacing), _nearest(edge_second, edge_first, spacing)


def _nearest(points: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance from each voxel of ``points`` to the nearest of ``targets`` (boolean, same shape).

    The transform finds the nearest target of every voxel; distances are then computed for ``points`` alone, in the
    order of operations of ``distance_transform_edt``, so that they are the same to the last bit.
    """
    nearest = ndimage.distance_transform_edt(~targets, sampling=spacing, return_distances=False, return_indices=True)
    offsets = (nearest[:, points] - np.stack(np.nonzero(points))).astype(float)
    offsets *= np.asarray(spacing, float)[:, None]
    distances: np.ndarray = np.sqrt(np.add.reduce(offsets * offsets, axis=0))
    return distances


def summarise(to_second: np.ndarray, to_first: np.ndarray) -> dict[str, float]:
    """HD, HD95 and ASSD in mm; HD95 and ASSD of the pooled list of both directions, as medpy 0.5."""
    pooled = np.concatenate([to_second, to_first])
    return {"HD": float(pooled.max()), "HD95": float(np.percentile(pooled, 95)), "ASSD": float(pooled.mean())}
