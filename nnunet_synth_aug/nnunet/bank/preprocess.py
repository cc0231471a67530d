"""One labelled 3D frame through the plans' own preprocessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.nnunet.target import Target

#: A case in the order in which its files appear; the last one makes it complete.
CASE_FILES = (".b2nd", "_seg.b2nd", ".pkl")


def preprocess_frame(
    image: np.ndarray, mask: np.ndarray, spacing: Spacing, target: Target, context: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Preprocess as nnU-Net does its own cases.

    Args:
        image: (X, Y, Z) grey values.
        mask: (X, Y, Z) in the dataset's label values.
        spacing: mm, (x, y, z).
        target: plans and configuration.
        context: mean and standard deviation to normalise with in place of the image's own, where the
            configuration uses the z-score; see SyntheticSequence.context.

    Returns:
        image float32 (1, Z, Y, X), segmentation int16 (1, Z, Y, X) (axes before the plans' transpose), properties.
    """
    if not np.any(image):
        raise UserError("a synthetic frame is empty (all voxels are 0); remove its sequence and sample again")
    properties: dict[str, Any] = {"spacing": list(spacing[::-1])}  # nnU-Net's readers give (z, y, x)
    data = np.ascontiguousarray(image.transpose(2, 1, 0), dtype=np.float32)[None]
    # int16: nnU-Net writes -1 outside the nonzero region, which an unsigned array cannot hold.
    seg = np.ascontiguousarray(mask.transpose(2, 1, 0), dtype=np.int16)[None]
    preprocessor = target.configuration_manager.preprocessor_class(verbose=False)
    out, out_seg, properties = preprocessor.run_case_npy(
        data, seg, properties, target.plans_manager, target.configuration_manager, target.dataset_json
    )
    out = out.astype(np.float32, copy=False)
    if context is not None and target.configuration_manager.normalization_schemes[0] == "ZScoreNormalization":
        _normalise_by_context(out, out_seg, data, seg, target, context)
    return out, out_seg.astype(np.int16, copy=False), properties


def _normalise_by_context(
    out: np.ndarray, out_seg: np.ndarray, data: np.ndarray, seg: np.ndarray, target: Target, context: tuple[float, float]
) -> None:
    """Turn (x - own mean) / own std into (x - context mean) / context std, in place.

    Afterwards and not before, because nnU-Net's normalisation would undo it. It is an affine map, which commutes with
    resampling: interpolation weights add up to one.
    """
    order = [0, *(axis + 1 for axis in target.plans_manager.transpose_forward)]
    own, own_seg, _ = crop_to_nonzero(data.transpose(order), seg.transpose(order).copy())
    inside: Any = Ellipsis
    if target.configuration_manager.use_mask_for_norm[0]:
        # nnU-Net normalises inside the nonzero region only and leaves 0 outside; so does this.
        inside, own = out_seg >= 0, own[own_seg >= 0]
    mean, std = context
    out[inside] = out[inside] * (max(float(own.std()), 1e-8) / std) + (float(own.mean()) - mean) / std


def save_case(folder: Path, case: str, data: np.ndarray, seg: np.ndarray, properties: dict[str, Any], target: Target) -> None:
    """Write the three files of a preprocessed case with nnU-Net's own chunk sizes."""
    patch = tuple(target.configuration_manager.patch_size)
    blocks, chunks = comp_blosc2_params(data.shape, patch, data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(seg.shape, patch, seg.itemsize)
    nnUNetDatasetBlosc2.save_case(
        data, seg, properties, str(folder / case), chunks=chunks, blocks=blocks, chunks_seg=chunks_seg, blocks_seg=blocks_seg
    )
