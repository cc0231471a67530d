"""Reading the NIfTI files of a source data set, with the checks that every importer needs.

All arrays of a patient are brought onto one grid, that of its image with the slices along the last axis. The headers say how; nothing
is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import load_nifti, unpacked
from nnunet_synth_aug.core.geometry import SAME_SIZE, Grid, Turn, nearest_corner, read_grid, sizes, turn, turned, units

#: The longest believable time between two frames of a cine, in seconds; many headers hold a meaningless 1.
_MAX_FRAME_SECONDS = 0.2
_MIN_FRAME_SECONDS = 0.005
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
#: Sides of a pixel and distances of slices that a short-axis stack may have, in mm. Where a size was lost, headers say 1.
_PIXEL, _SLICES = (0.2, 6.0), (1.2, 30.0)
#: An axis whose voxels are this much longer than those of the others is that of the slices.
_LONGER = 1.3
#: An image holds more values than a mask.
MASK_VALUES = 4


@dataclass(frozen=True)
class Volume:
    """The images of one patient on one grid."""

    path: Path
    array: np.ndarray  # (T, X, Y, Z), slices along Z
    grid: Grid  # of (X, Y, Z)
    stored: Grid  # as the file has it
    frame_seconds: float = 0.0  # 0 if unknown
    notes: list[str] = field(default_factory=list)  # what is to be said of the patient; masks add theirs

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(X, Y, Z)."""
        return self.grid.shape


def find_nifti(folder: Path, stem: str) -> Path | None:
    """The NIfTI file of that stem, compressed or not; if a folder has that name (as some programs unzip), the file in it.

    Raises:
        UserError: the folder of that name holds no such file, or several; or there are two files with other contents.
    """
    found = [path for ending in (".nii.gz", ".nii") if (path := _file_at(folder / f"{stem}{ending}"))]
    if len(found) == 2 and unpacked(found[0]) != unpacked(found[1]):
        raise UserError(f"{found[0]} and {found[1].name} are two images of one name and differ; remove the one that is wrong")
    return found[0] if found else None


def _file_at(path: Path) -> Path | None:
    """The file, or the only one in the folder of that name."""
    if not path.is_dir():
        return path if path.is_file() else None
    inside = [one for one in sorted(path.iterdir()) if one.is_file() and one.name.endswith((".nii", ".nii.gz")) and one.name[0] != "."]
    if len(inside) == 1:
        return inside[0]
    raise UserError(f"{path} is a folder with {len(inside)} NIfTI files where a file is needed; put the right file in its place")


def read_cine(path: Path) -> Volume:
    """Read a cine.

    Args:
        path: 4D NIfTI (X, Y, Z, T).

    Raises:
        UserError: unreadable, not 4D with at least 2 frames, or of sizes that no short-axis stack has.
    """
    array, header = load_cine(path)
    seconds, notes = frame_seconds(header)
    return _volume(path, array, read_grid(path, header), seconds, notes)


def read_image(path: Path) -> Volume:
    """Read a cine, or one volume; the array of a volume has T = 1.

    Raises:
        UserError: unreadable, neither 3D nor 4D, or of sizes that no short-axis stack has.
    """
    array, header = _load(path, 3)
    if array.ndim != 3:
        return read_cine(path)
    return _volume(path, array[..., None], read_grid(path, header), 0.0, [])


def load_cine(path: Path) -> tuple[np.ndarray, Any]:
    """Array (X, Y, Z, T) and header of a cine."""
    array, header = _load(path, 4)
    if array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 1):
        raise UserError(f"{path} has one frame; a cine needs several: copy it again, or remove it to import the ED and ES frames alone")
    if array.ndim != 4:
        raise UserError(f"{path} has {array.ndim} axes where a cine needs 4 (shape {array.shape}); copy it again")
    return array, header


def read_frames(paths: tuple[Path, Path]) -> Volume:
    """Read the ED and ES images of a patient from two files; the array has T = 2.

    Raises:
        UserError: unreadable, not 3D, not on the same voxels, or one image twice.
    """
    first, header = _load_3d(paths[0])
    image = _volume(paths[0], first[..., None], read_grid(paths[0], header), 0.0, [])
    second, header = _load_3d(paths[1])
    _refuse_no_image(paths[1], second[..., None])
    other = _onto(image, paths[1], second, read_grid(paths[1], header), "ES image", f"{paths[0].name}")
    if np.array_equal(image.array[0], other):
        raise UserError(f"{paths[0]} and {paths[1].name} hold the same image as ED and ES; copy the right files")
    return Volume(image.path, np.stack([image.array[0], other]), image.grid, image.stored, 0.0, image.notes)


def read_mask(path: Path, labels: Mapping[int, int], image: Volume, *, every_frame: bool = False) -> np.ndarray:
    """Read the mask of one frame, or of all, and translate its labels.

    Args:
        path: NIfTI (X, Y, Z), or (X, Y, Z, T) with ``every_frame``.
        labels: value in the file -> value in this package; 0 stays background.
        image: that it belongs to; if its axes differ, the mask is turned onto them.
        every_frame: whether it has the frames of the cine.

    Returns:
        uint8 (X, Y, Z) or (T, X, Y, Z), on the voxels of ``image``.

    Raises:
        UserError: unreadable, a value that ``labels`` lacks, or other voxels than the image's.
    """
    array, header = _load(path, 4) if every_frame else _load_3d(path)
    if every_frame and (array.ndim != 4 or array.shape[3] != len(image.array)):
        raise UserError(f"{path} has the shape {array.shape} but its cine has {len(image.array)} frames; export both from the same cine")
    array = _onto(image, path, array, read_grid(path, header), "mask", "its image")
    if array.dtype.kind == "f":  # such as 0.9999999 of files with a scale
        whole = np.rint(array)
        array = np.where(np.abs(array - whole) < 1e-3, whole, array)
    if foreign := sorted({float(value) for value in np.unique(array)} - {0.0, *map(float, labels)}):
        values, known = ", ".join(f"{value:g}" for value in foreign[:10]), ", ".join(map(str, sorted(labels)))
        raise UserError(
            f"{path} holds the label {values} where only 0, {known} are known; correct it or import it as the data set it is from"
        )
    mask = np.zeros(array.shape, np.uint8)
    for value, label in labels.items():
        mask[array == value] = label
    return np.moveaxis(mask, -1, 0) if every_frame else mask


def _load(path: Path, ndim: int) -> tuple[np.ndarray, Any]:
    """Array and header; axes of length 1 after the first ``ndim`` are left out."""
    array, header = load_nifti(path)
    while array.ndim > ndim and array.shape[-1] == 1:
        array = array[..., 0]
    return array, header


def _load_3d(path: Path) -> tuple[np.ndarray, Any]:
    array, header = _load(path, 3)
    if array.ndim != 3:
        raise UserError(f"{path} has {array.ndim} axes where 3 are needed (shape {array.shape})")
    return array, header


def _volume(path: Path, array: np.ndarray, stored: Grid, seconds: float, notes: list[str]) -> Volume:
    """The volume of an array (X, Y, Z, T), its slices brought to the last axis."""
    how = _slices_last(stored)
    grid = stored.moved(*how)
    notes = [*stored.notes, *notes]
    if how[0] != (0, 1, 2):
        notes.append("the slices lie along another axis than the last; the axes were exchanged")
    refuse_impossible(path, grid)
    _refuse_no_image(path, array)
    return Volume(path, np.moveaxis(turned(array, how), -1, 0), grid, stored, seconds, notes)


def _slices_last(grid: Grid) -> Turn:
    *others, axis = sorted(range(3), key=lambda one: (grid.spacing[one], one))
    if axis == 2 or grid.spacing[axis] < _LONGER * max(grid.spacing[one] for one in others):
        return (0, 1, 2), (False, False, False)
    return (*sorted(others), axis), (False, False, False)


def refuse_impossible(path: Path, grid: Grid) -> None:
    """Raise UserError for voxels of which no short-axis stack is made: every volume would be wrong."""
    (x, y, z), n_slices = grid.spacing, grid.shape[2]
    if n_slices > min(grid.shape[:2]):
        raise UserError(
            f"{path} has {n_slices} slices of {grid.shape[0]} x {grid.shape[1]} pixels, so its axes are not x, y, slice; "
            "store them in that order, with the sizes in the same order in the header"
        )
    if x == y == z == 1:
        raise UserError(
            f"{path} says that its voxels are 1 x 1 x 1 mm, so their size was lost; write it into the header (pixdim and sform)"
        )
    if not (all(_PIXEL[0] <= side <= _PIXEL[1] for side in (x, y)) and _SLICES[0] <= z <= _SLICES[1]):
        raise UserError(
            f"{path} says that its voxels are {sizes(grid.spacing)} mm, which no short-axis stack has; correct pixdim and sform"
        )


def _refuse_no_image(path: Path, array: np.ndarray) -> None:
    """Raise UserError for values that no image has."""
    if array.dtype.kind == "f" and float(np.abs(array).max()) > float(np.finfo(np.float32).max):
        raise UserError(f"{path} holds grey values of {float(np.abs(array).max()):.0e}, which no scanner writes; export it again")
    if len(values := np.unique(array[..., 0])) <= MASK_VALUES:
        raise UserError(
            f"{path} holds the values {', '.join(f'{value:g}' for value in values)} alone, so it is a mask or empty; put the image there"
        )


def frame_seconds(header: Any) -> tuple[float, list[str]]:
    """Seconds between frames, 0 if unknown, and what had to be decided."""
    value, unit = float(header.get_zooms()[3]), units(header)[1]
    if _MIN_FRAME_SECONDS <= value * _SECONDS.get(unit, 1.0) < _MAX_FRAME_SECONDS:
        return round(value * _SECONDS.get(unit, 1.0), 6), []
    said = f"{value:g} {unit if unit in _SECONDS else '(of no unit)'} between frames in the header"
    for other, factor in (("msec", 1e-3), ("sec", 1.0)):
        if _MIN_FRAME_SECONDS <= value * factor < _MAX_FRAME_SECONDS:
            return round(value * factor, 6), [f"{said}; taken as {other}"]
    return 0.0, [f"{said}, which no cine has; the time between frames counts as unknown"]


def _onto(image: Volume, path: Path, array: np.ndarray, grid: Grid, what: str, whose: str) -> np.ndarray:
    """An array (X, Y, Z[, T]) of a file, turned onto the voxels of ``image``."""
    told = list(grid.notes)
    if grid.oriented != image.stored.oriented and grid.shape == image.stored.shape and _same(grid.spacing, image.stored.spacing):
        grid = Grid(grid.shape, image.stored.affine, grid.spacing)
        told.append(f"image and {what} do not both say where they lie; they were laid on each other voxel by voxel")
    how = turn(grid, image.grid)
    if how is None:
        raise UserError(_difference(path, grid, image, whose))
    if how != turn(image.stored, image.grid):
        told.append(f"the {what} is stored in other axes than the image; it was turned as its header says")
    image.notes.extend(note for note in told if note not in image.notes)
    return turned(array, how)


def _same(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return bool(np.allclose(one, other, rtol=SAME_SIZE))


def _difference(path: Path, grid: Grid, image: Volume, whose: str) -> str:
    """Why a file's voxels are not those of the image."""
    own, wanted = grid, image.stored
    if sorted(own.shape) != sorted(wanted.shape):
        return f"{path} has the shape {own.shape} but {whose} has {wanted.shape}; export both from the same frame"
    if not np.allclose(sorted(own.spacing), sorted(wanted.spacing), rtol=SAME_SIZE):
        return f"{path} has the spacing {own.spacing} mm but {whose} has {wanted.spacing} mm; correct the header that is wrong"
    return (
        f"{path} lies elsewhere than {whose}: its corners are up to {nearest_corner(own, wanted):.3g} mm away, which is more than axes "
        "in another order; export both from the same frame, or correct the header that is wrong"
    )
