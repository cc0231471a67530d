"""Where the voxels of a NIfTI file lie: its header understood or refused, and arrays turned onto another grid.

A header gives sizes twice, in ``pixdim`` and in the columns of its ``sform``, and places up to twice, in ``sform`` and ``qform``.
Axes are those of NIfTI: world coordinates in mm, x to the right, y to the front, z upwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError

#: Sizes that differ by less than this share are the same number, written twice.
SAME_SIZE = 1e-3
#: Grids whose corners are closer than this share of a voxel are one grid.
SAME_PLACE = 0.1
#: A grid with right angles may replace one without if no corner moves by more than this share of a voxel.
MOST_MOVED = 0.5
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


#: Axes as in ``array.transpose(axes)``, and which of the new axes are flipped then.
Turn = tuple[tuple[int, ...], tuple[bool, ...]]


@dataclass(frozen=True)
class Grid:
    """The voxels of one file."""

    shape: tuple[int, int, int]
    affine: np.ndarray  # (4, 4), voxel -> mm
    spacing: tuple[float, float, float]  # mm
    oriented: bool = True  # whether the header says where the voxels lie
    notes: tuple[str, ...] = ()  # what had to be decided, as sentences

    def corners(self) -> np.ndarray:
        """The eight outermost voxel centres in mm (8, 3)."""
        ends = np.array(list(product(*((0, n - 1) for n in self.shape))), float)
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]

    def moved(self, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Grid:
        """The grid of ``array.transpose(axes)``, flipped along the new axes that ``flips`` names."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
            turn[old, new], turn[old, 3] = (-1, self.shape[old] - 1) if flip else (1, 0)
        x, y, z = axes
        shape, spacing = (self.shape[x], self.shape[y], self.shape[z]), (self.spacing[x], self.spacing[y], self.spacing[z])
        return Grid(shape, self.affine @ turn, spacing, self.oriented, self.notes)


def read_grid(path: Path, header: Any) -> Grid:
    """What a NIfTI header says of its voxels.

    Args:
        path: for the sentences.
        header: nibabel's.

    Raises:
        UserError: sizes that contradict each other, are not positive, or a place that is none.
    """
    factor, zooms = _MM.get(units(header)[0], 1.0), pixdim(header)
    if len(zooms) < 3:
        raise UserError(f"{path} has {len(zooms)} axes; at least 3 are needed")
    if not (zooms > 0).all():
        raise UserError(f"{path} has the spacing {zooms.tolist()} mm in its header; every spacing must be positive")
    notes = [] if factor == 1 else [f"sizes in the header are in {units(header)[0]}s and were turned into mm"]
    sform, qform = (_form(header, name, factor) for name in ("sform", "qform"))
    affine, spacing, said = _decide(path, zooms, sform, qform)
    shape = header.get_data_shape()
    return Grid(
        (int(shape[0]), int(shape[1]), int(shape[2])),
        affine,
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        sform is not None or qform is not None,
        (*notes, *said),
    )


def pixdim(header: Any) -> np.ndarray:
    """Sizes of the voxels in mm (X, Y, Z) by ``pixdim``, which ITK takes whatever ``sform`` says."""
    factor = _MM.get(units(header)[0], 1.0)
    # float32 zooms turn 1.4 into 1.399999976: six decimals of a millimetre are beyond any scanner.
    return np.array([round(float(size) * factor, 6) for size in header.get_zooms()[:3]])


def units(header: Any) -> tuple[str, str]:
    """What nibabel calls the units of sizes and of time; "unknown" also where the header has none that exists."""
    try:
        space, time = header.get_xyzt_units()
    except KeyError:
        return "unknown", "unknown"
    return space, time


def _form(header: Any, name: str, factor: float) -> np.ndarray | None:
    """``sform`` or ``qform`` of a header in mm; None where it is not said, or is none."""
    try:
        matrix, code = getattr(header, f"get_{name}")(coded=True)
    except Exception:  # a quaternion that is none
        return None
    return None if not code or matrix is None else np.array([[factor], [factor], [factor], [1.0]]) * matrix


def _decide(
    path: Path, zooms: np.ndarray, sform: np.ndarray | None, qform: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Affine and spacing of a file, and what had to be decided."""
    if sform is not None and not _is_place(sform):
        if qform is None:
            raise UserError(f"{path} has an sform that is no place in space (a zero or infinite column); correct the header")
        sform = None
    if sform is None:  # a qform takes its sizes from pixdim
        return (np.diag([*zooms, 1.0]) if qform is None else qform), zooms, ()
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if np.allclose(lengths, zooms, rtol=SAME_SIZE):
        return sform, zooms, ()
    if np.allclose(lengths, 1, rtol=SAME_SIZE):  # as in most files of ACDC's download
        sized = sform @ np.diag([*zooms, 1.0]) if qform is None else qform
        return sized, zooms, ("sform says 1 x 1 x 1 mm; the sizes in pixdim were taken",)
    if np.allclose(zooms, 1, rtol=SAME_SIZE):
        return sform, np.round(lengths, 6), ("pixdim says 1 x 1 x 1 mm; the sizes in sform were taken",)
    raise UserError(f"{path} says {sizes(zooms)} mm in pixdim but {sizes(lengths)} mm in sform; correct the one that is wrong")


def _is_place(affine: np.ndarray) -> bool:
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(affine[:3, :3] / np.where(lengths > 0, lengths, 1))) > 0.01)


def sizes(values: Any) -> str:
    """``1.5 x 1.5 x 8`` for a sentence."""
    return " x ".join(f"{float(value):.4g}" for value in values)


def turn(grid: Grid, onto: Grid) -> Turn | None:
    """How an array on ``grid`` is turned onto the grid ``onto``; None where no turn brings the voxels to the same places."""
    to_voxels = np.linalg.inv(onto.affine)
    wanted = onto.corners() @ to_voxels[:3, :3].T
    for axes in permutations(range(3)):
        if tuple(grid.shape[axis] for axis in axes) != onto.shape:
            continue
        for flips in product((False, True), repeat=3):
            here = grid.moved(axes, flips).corners() @ to_voxels[:3, :3].T
            if np.abs(here - wanted).max() < SAME_PLACE:
                return axes, flips
    return None


def turned(array: np.ndarray, how: Turn) -> np.ndarray:
    """An array (X, Y, Z[, T]) after :func:`turn`; a view."""
    axes, flips = how
    array = array.transpose(*axes, *range(3, array.ndim))
    return np.flip(array, tuple(axis for axis, flip in enumerate(flips) if flip))


def nearest_corner(grid: Grid, other: Grid) -> float:
    """The largest distance in mm of a corner of one grid from the nearest corner of the other."""
    apart = np.linalg.norm(grid.corners()[:, None] - other.corners()[None], axis=-1)
    return float(apart.min(axis=1).max())


def right_angled(grid: Grid) -> tuple[np.ndarray, float]:
    """The nearest affine whose axes are at right angles, which ITK and so nnU-Net insist on; the grid's middle stays where it is.

    Returns:
        affine (4, 4) with columns of the grid's spacing, and by how many voxels the corner that moves most is moved.
    """
    left, _, right = np.linalg.svd(grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0))
    affine = np.eye(4)
    affine[:3, :3] = left @ right * np.asarray(grid.spacing)
    middle = (np.array(grid.shape) - 1) / 2
    affine[:3, 3] = grid.affine[:3, :3] @ middle + grid.affine[:3, 3] - affine[:3, :3] @ middle
    change = Grid(grid.shape, affine, grid.spacing).corners() - grid.corners()
    return affine, float(np.abs(change @ np.linalg.inv(affine[:3, :3]).T).max())
