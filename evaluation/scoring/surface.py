"""Distances between the surfaces of two binary masks, in mm.

Definitions are those of ``medpy.metric.binary``: the surface is every voxel of the mask with a face
neighbour outside it (6 neighbours in 3D; the image border counts as outside), located at its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

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
        first to second, second to first; one entry per surface voxel, in the order of the array.
    """
    edges = border(first), border(second)
    return nearest(edges[0], edges[1], spacing), nearest(edges[1], edges[0], spacing)


def nearest(points: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...], limit: float = np.inf) -> np.ndarray:
    """Distance in mm from each True of ``points`` to the nearest True of ``targets`` (boolean, same shape).

    Most surfaces lie close together: all offsets within a few voxels are looked up first, in the order of their length, and a
    search tree serves the rest. Distances are computed from whole voxels in the order of operations of scipy's
    ``distance_transform_edt``, on which medpy rests; they can differ from its values in the last bit, where two targets are
    equally far.

    Args:
        limit: mm; a distance above it is returned as infinite, which saves the search.

    Returns:
        One entry per True of ``points``, in the order of the array.
    """
    steps, lengths = _offsets(tuple(spacing), min(limit, _NEAR * min(spacing)))
    reach = np.abs(steps).max(axis=0)
    padded = np.zeros(np.add(targets.shape, 2 * reach), bool)
    padded[tuple(slice(r, r + n) for r, n in zip(reach, targets.shape, strict=True))] = targets
    looked_up = padded.ravel()
    strides = np.array([int(np.prod(padded.shape[axis + 1 :])) for axis in range(targets.ndim)])
    at = np.stack(np.unravel_index(np.flatnonzero(points), points.shape), axis=1)
    centres, jumps = (at + reach) @ strides, steps @ strides
    distances = np.where(looked_up[centres], 0.0, np.inf)  # most surfaces coincide in many voxels
    apart = np.flatnonzero(distances)
    for block in range(0, len(apart), _BLOCK):
        asked = apart[block : block + _BLOCK]
        hits = looked_up[centres[asked, None] + jumps]
        first = hits.argmax(axis=1)
        found = hits[np.arange(len(first)), first]
        distances[asked[found]] = lengths[first[found]]
    far = np.flatnonzero(np.isinf(distances))
    if far.size and limit > _NEAR * min(spacing):
        from scipy.spatial import cKDTree  # here because few pairs of masks need it, and the import takes a while

        scale = np.asarray(spacing, float)
        places = np.argwhere(targets)
        # Neither balanced nor compact: surfaces are spread evenly, and the tree is asked only once.
        tree = cKDTree(places * scale, balanced_tree=False, compact_nodes=False)
        away = tree.query(at[far] * scale)[1]
        distances[far] = _length(places[away] - at[far], spacing)
        distances[distances > limit] = np.inf
    return distances


#: Offsets up to so many of the smallest voxel side are looked up; from 3 to 5 the speed is nearly the same.
_NEAR = 4
#: Points looked up at once, which bounds the memory for masks of noise.
_BLOCK = 1 << 14


@lru_cache(maxsize=256)
def _offsets(spacing: tuple[float, ...], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Every step (n, axes) in voxels to a voxel centre within ``radius`` mm, shortest first, and the lengths in mm."""
    reach = [int(radius / s * (1 + 1e-9)) for s in spacing]
    steps = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, len(spacing))
    lengths = _length(steps, spacing)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius]
    return steps[order], lengths[order]


def _length(steps: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Length in mm of each step (n, axes) in voxels."""
    sides = steps.T.astype(float) * np.asarray(spacing, float)[:, None]
    lengths: np.ndarray = np.sqrt(np.add.reduce(sides * sides, axis=0))
    return lengths


def summarise(to_second: np.ndarray, to_first: np.ndarray) -> dict[str, float]:
    """HD, HD95 and ASSD in mm; HD95 and ASSD of the pooled list of both directions, as medpy 0.5."""
    pooled = np.concatenate([to_second, to_first])
    return {"HD": float(pooled.max()), "HD95": float(np.percentile(pooled, 95)), "ASSD": float(pooled.mean())}


def larger_directed(to_second: np.ndarray, to_first: np.ndarray) -> float:
    """HD95 as MONAI and others define it, in mm: the larger of the 95th percentiles of the two directions."""
    return float(max(np.percentile(to_second, 95), np.percentile(to_first, 95)))
