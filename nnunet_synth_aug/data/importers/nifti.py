"""Reading the NIfTI files of a source data set, with the checks that every importer needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti

#: The longest believable time between two frames of a cine, in seconds; many headers hold a meaningless 1.
_MAX_FRAME_SECONDS = 0.2


def find_nifti(folder: Path, stem: str) -> Path | None:
    """The NIfTI file of that stem, compressed or not."""
    return next((path for ending in (".nii.gz", ".nii") if (path := folder / f"{stem}{ending}").is_file()), None)


def read_cine(path: Path) -> tuple[np.ndarray, Spacing, np.ndarray, float]:
    """Read a cine.

    Args:
        path: 4D NIfTI (X, Y, Z, T).

    Returns:
        image (T, X, Y, Z), spacing in mm, affine, seconds between frames (0 if unknown).

    Raises:
        UserError: unreadable, or not 4D with at least 2 frames.
    """
    array, spacing, affine = read_nifti(path)
    if array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 1):
        raise UserError(f"{path} has one frame; a cine needs several: copy it again, or remove it to import the ED and ES frames alone")
    if array.ndim != 4:
        raise UserError(f"{path} has {array.ndim} axes where a cine needs 4 (shape {array.shape}); copy it again")
    step = float(nib.load(path).header.get_zooms()[3])  # type: ignore[attr-defined]
    return np.moveaxis(array, -1, 0), spacing, affine, step if 0 < step < _MAX_FRAME_SECONDS else 0.0


def read_frames(paths: tuple[Path, Path]) -> tuple[np.ndarray, Spacing, np.ndarray]:
    """Read the ED and ES images of a patient from two files.

    Returns:
        image (2, X, Y, Z), spacing in mm, affine.

    Raises:
        UserError: unreadable, not 3D, or of different shape or spacing.
    """
    (first, spacing, affine), (second, second_spacing, _) = (read_nifti(path, ndim=3) for path in paths)
    if first.shape != second.shape or not np.allclose(spacing, second_spacing, rtol=1e-3):
        raise UserError(
            f"{paths[1]} differs from {paths[0].name} in shape or spacing ({second.shape}, {first.shape}); export both from the same cine"
        )
    return np.stack([first, second]), spacing, affine


def read_mask(path: Path, labels: Mapping[int, int], image_shape: tuple[int, ...], spacing: Spacing) -> np.ndarray:
    """Read the mask of one frame, or of all, and translate its labels.

    Args:
        path: NIfTI (X, Y, Z) or (X, Y, Z, T).
        labels: value in the file -> value in this package; 0 stays background.
        image_shape: (X, Y, Z) or (X, Y, Z, T) of the image it belongs to.
        spacing: of that image, in mm.

    Returns:
        uint8, shaped like the file.

    Raises:
        UserError: unreadable, a value that ``labels`` lacks, or another shape or spacing than the image.
    """
    array, mask_spacing, _ = read_nifti(path, ndim=len(image_shape))
    if array.shape != image_shape:
        raise UserError(f"{path} has the shape {array.shape} but its image has {image_shape}; export both from the same frame")
    if not np.allclose(mask_spacing, spacing, rtol=1e-3):
        raise UserError(f"{path} has the spacing {mask_spacing} mm but its image has {spacing} mm; correct the header that is wrong")
    if foreign := sorted({float(value) for value in np.unique(array)} - {0.0, *map(float, labels)}):
        values, known = ", ".join(f"{value:g}" for value in foreign), ", ".join(map(str, sorted(labels)))
        raise UserError(
            f"{path} holds the label {values} where only 0, {known} are known; correct it or import it as the data set it is from"
        )
    mask = np.zeros(array.shape, np.uint8)
    for value, label in labels.items():
        mask[array == value] = label
    return mask
