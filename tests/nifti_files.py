"""NIfTI files of which every part of the header is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np


class Bare(nib.Nifti1Image):
    """nibabel fills in places that were left out; here they stay as they are."""

    def update_header(self) -> None:
        pass


def opened(path: Path) -> Any:
    return nib.load(path)


def voxels(path: Path) -> np.ndarray:
    return np.asanyarray(opened(path).dataobj)


def saved(
    path: Path,
    array: np.ndarray,
    sform: Any = None,
    qform: Any = None,
    pixdim: Any = (1.5, 1.25, 8.0),
    step: float = 0.03,
    units: tuple[str, str] = ("mm", "sec"),
) -> Path:
    """Save an array (X, Y, Z[, T]) with exactly this header; places that are not given are not said."""
    image: Any = Bare(array, None, nib.Nifti1Image(array, None).header)
    image.header.set_xyzt_units(*units)
    if qform is not None:
        image.header.set_qform(np.asarray(qform, float), 1)
    if sform is not None:
        image.header.set_sform(np.asarray(sform, float), 1)
    image.header["pixdim"][1:5] = [*pixdim, step]
    image.to_filename(path)
    return path
