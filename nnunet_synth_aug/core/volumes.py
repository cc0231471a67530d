"""Volumes as files hold them, in every format that nnU-Net's 3D readers take, and on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import load_nifti
from nnunet_synth_aug.core.geometry import Grid, Turn, nearest_corner, read_grid, turn, turned

NIFTI = (".nii.gz", ".nii")
#: Those of nnU-Net's ``SimpleITKIO`` and ``NibabelIO``.
ENDINGS = (*NIFTI, ".mha", ".nrrd", ".gipl")
#: Writers round spacing differently (float32, text): a thousandth is far below any error that would matter.
SPACING_TOLERANCE = 1e-3
_AS_IT_IS: Turn = ((0, 1, 2), (False, False, False))


@dataclass(frozen=True)
class Volume:
    """An array (X, Y, Z) and where it lies; ``other``: the place in a NIfTI ``qform``, which some readers take instead of ``sform``."""

    path: Path
    array: np.ndarray
    grid: Grid
    other: Grid | None = None


def slice_axis(shape: tuple[int, ...]) -> int:
    """The axis of a volume's slices: the one with less than half the voxels of each other axis, else the last, as files have it."""
    fewest, next_fewest, _ = sorted(shape)
    return shape.index(fewest) if 2 * fewest < next_fewest else 2


def ending_of(name: str) -> str:
    """The ending of a file's name in ``ENDINGS``, or ""."""
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def read_volume(path: Path) -> Volume:
    """An image or a mask.

    Raises:
        UserError: unreadable, not 3D, several values per voxel, or NaN.
    """
    if not path.name.endswith(NIFTI):
        return _read_by_itk(path)
    array, header = load_nifti(path, ndim=3)
    grid = read_grid(path, header)
    try:
        qform, _ = header.get_qform(coded=True)
    except Exception:  # a quaternion that is none, or a header of the days before
        qform = None
    return Volume(path, array, grid, None if qform is None else replace(grid, affine=qform))


def _read_by_itk(path: Path) -> Volume:
    """What nnU-Net reads by SimpleITK, whose arrays are (Z, Y, X) and whose axes point to the left and to the back."""
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    import SimpleITK as sitk  # noqa: N813  # here because most data is NIfTI, and importing it takes a while

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} is not a complete {ending_of(path.name)} file; copy it again from its source") from error
    if image.GetDimension() != 3:
        raise UserError(f"{path} has {image.GetDimension()} axes where 3 are needed (shape {image.GetSize()})")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"{path} holds several values per voxel where one grey value or label is needed; export it again as plain numbers")
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path} holds {int((~np.isfinite(array)).sum())} NaN or infinite voxels; repair or leave out this case")
    x, y, z = (round(abs(float(size)), 6) for size in image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    # A .gipl file holds no directions: the place that ITK gives it may not be the one it was written with.
    return Volume(path, array, Grid(array.shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, (x, y, z), path.suffix != ".gipl"))


def turn_onto(volume: Volume, reference: Volume) -> Turn | None:
    """How axes are permuted and flipped so that every voxel comes to its place in ``reference``; None where no turn does that.

    Where a header does not say where its voxels lie, as in ``.gipl`` files, equal shape and spacing are taken for equal grids. So are a
    ``qform`` of one file that equals the ``sform`` of the other (writers keep the one that they read) and places that differ by rounded
    spacing.
    """
    oriented = volume.grid.oriented and reference.grid.oriented
    if oriented and (found := turn(volume.grid, reference.grid)):
        return found
    if volume.grid.shape != reference.grid.shape or not _same_spacing(volume, reference):
        return None
    pairs = [(own, theirs) for own in (volume.grid, volume.other) for theirs in (reference.grid, reference.other) if own and theirs]
    return _AS_IT_IS if not oriented or any(turn(_resized(*pair), pair[1]) == _AS_IT_IS for pair in pairs) else None


def onto(prediction: Volume, reference: Volume) -> tuple[np.ndarray, bool]:
    """The prediction's array on the grid of its ground truth, and whether it had to be turned.

    Raises:
        UserError: the grids differ by more than the order and the direction of their axes.
    """
    how = turn_onto(prediction, reference)
    if how is not None:
        return (prediction.array, False) if how == _AS_IT_IS else (np.ascontiguousarray(turned(prediction.array, how)), True)
    own, theirs = prediction.grid, reference.grid
    if own.shape != theirs.shape:
        raise UserError(
            f"{prediction.path} has the shape {own.shape} but its ground truth {reference.path} has {theirs.shape}; "
            "predict on the native grid"
        )
    if not _same_spacing(prediction, reference):
        raise UserError(
            f"{prediction.path} has the spacing {own.spacing} mm but its ground truth {reference.path} has {theirs.spacing} mm; "
            "predict on the native grid"
        )
    raise UserError(
        f"{prediction.path} lies elsewhere in space than its ground truth {reference.path} (corners up to "
        f"{nearest_corner(own, theirs):.3g} mm away); write it with the geometry of the image that was segmented"
    )


def _same_spacing(volume: Volume, reference: Volume) -> bool:
    return np.allclose(volume.grid.spacing, reference.grid.spacing, rtol=SPACING_TOLERANCE)


def _resized(grid: Grid, reference: Grid) -> Grid:
    """The grid with the reference's spacing."""
    scale = np.append(np.divide(reference.spacing, grid.spacing), 1.0)
    return replace(grid, affine=grid.affine * scale, spacing=reference.spacing)
