"""Sizes of voxels that nnU-Net reads otherwise than this package does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import nifti_header
from nnunet_synth_aug.core.geometry import SAME_SIZE, pixdim, read_grid, sizes
from nnunet_synth_aug.core.paths import raw_folder
from nnunet_synth_aug.core.volumes import NIFTI
from nnunet_synth_aug.nnunet.target import Target, training_files


def refuse_other_sizes(target: Target) -> int:
    """:func:`refuse_sizes` of a dataset that was planned."""
    return refuse_sizes(target.dataset, target.dataset_json)


def refuse_sizes(dataset: str, dataset_json: dict[str, Any]) -> int:
    """Look at the header of every training image of a dataset, as far as it is in nnUNet_raw; return how many were looked at.

    Raises:
        UserError: ``pixdim`` of an image, which nnU-Net takes, is not what its ``sform`` says: a network trained on such images believes
            in another size of the heart than everything else here.
    """
    if not str(dataset_json["file_ending"]).endswith(NIFTI):
        return 0
    try:
        files = training_files(raw_folder(dataset), dataset_json)
        images = [path for one in files.values() if (path := Path(one["images"][0])).is_file()]
    except (UserError, KeyError, TypeError, AttributeError, OSError, AssertionError, ValueError, IndexError):
        return 0  # neither a training nor most banks need nnUNet_raw
    for path in images:
        header = nifti_header(path)
        read, meant = pixdim(header), read_grid(path, header).spacing
        if not np.allclose(read, meant, rtol=SAME_SIZE):
            raise UserError(
                f"{path} says {sizes(read)} mm in pixdim, which nnU-Net takes, but {sizes(meant)} mm in sform; correct pixdim and run "
                "nnU-Net's planning and preprocessing again"
            )
    return len(images)
