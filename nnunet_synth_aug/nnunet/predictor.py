"""A trained nnU-Net that has never seen a synthetic case, and what it makes of one frame."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.nnunet.bank.preprocess import preprocess_frame
from nnunet_synth_aug.nnunet.mixing.exposure import FILE
from nnunet_synth_aug.nnunet.mixing.mixture import BASE_NAME
from nnunet_synth_aug.nnunet.target import Target, label_lookup, refuse_unsupported

CHECKPOINT = "checkpoint_final.pth"


def load_predictor(folder: Path, fold: int | str, device: torch.device) -> tuple[nnUNetPredictor, Target]:
    """Load one fold of a results folder ``TRAINER__PLANS__CONFIGURATION``.

    Raises:
        UserError: not such a folder, the fold is not trained, it was trained on synthetic cases, or its configuration or
            labels cannot be used.
    """
    parts = folder.resolve().name.split("__")
    if len(parts) != 3 or not (folder / "plans.json").is_file() or not (folder / "dataset.json").is_file():
        raise UserError(
            f"{folder} is not an nnU-Net results folder; give nnUNet_results/DatasetNNN_Name/TRAINER__PLANS__CONFIGURATION of a training"
        )
    if not (folder / f"fold_{fold}" / CHECKPOINT).is_file():
        number = read_json(folder / "plans.json")["dataset_name"]
        raise UserError(
            f"{folder} has no finished fold {fold}, the fold of the generator; train it with "
            f"'nnUNetv2_train {number} {parts[2]} {fold} -tr {parts[0]} -p {parts[1]}'"
        )
    _refuse_synthetic(folder / f"fold_{fold}", parts[0])
    with contextlib.redirect_stdout(io.StringIO()):  # it announces on a CPU that it is on a CPU
        predictor = nnUNetPredictor(device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), use_folds=(fold,), checkpoint_name=CHECKPOINT)
    plans = predictor.plans_manager
    target = Target(plans.dataset_name, plans.plans_name, parts[2], plans, predictor.configuration_manager, predictor.dataset_json)
    refuse_unsupported(target)
    label_lookup(target)
    return predictor, target


def _refuse_synthetic(fold: Path, trainer: str) -> None:
    """A segmenter that learnt from this package's generators cannot judge one."""
    record = fold / FILE
    if not record.is_file():
        if trainer.startswith(BASE_NAME):
            raise UserError(f"{record} is missing, so {trainer} may have seen synthetic cases; give a segmenter trained by nnUNetTrainer")
        return
    if (drawn := read_json(record)["synthetic_samples"]) > 0:
        raise UserError(
            f"the segmenter in {fold} was trained on {drawn} synthetic samples, so it is no independent judge; "
            f"give one trained on real cases only (nnUNetTrainer or {BASE_NAME}_mix00)"
        )


def predict_frame(
    predictor: nnUNetPredictor, target: Target, image: np.ndarray, spacing: Spacing, context: tuple[float, float] | None = None
) -> np.ndarray:
    """Segment one frame on its own grid, through the preprocessing of the bank.

    nnU-Net's z-score makes grey values arbitrary up to an affine map, so that a frame that shows a real case's whole field of
    view needs nothing. One that shows less of it would be normalised by the heart alone; ``context`` mends that, as in the bank.

    Args:
        predictor, target: from :func:`load_predictor`.
        image: (X, Y, Z) grey values.
        spacing: mm.
        context: see SyntheticSequence.context.

    Returns:
        mask uint8 (X, Y, Z) in this package's labels.
    """
    if not image.any():  # nothing to see, and nothing that nnU-Net could normalise
        return np.zeros(image.shape, np.uint8)
    data, _, properties = preprocess_frame(image, np.zeros(image.shape, np.uint8), spacing, target, context)
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
    found = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, properties
    )
    mask = np.zeros(found.shape, np.uint8)
    for label, value in enumerate(label_lookup(target)):
        if label:
            mask[found == value] = label
    return np.ascontiguousarray(mask.transpose(2, 1, 0))  # (Z, Y, X) -> (X, Y, Z)
