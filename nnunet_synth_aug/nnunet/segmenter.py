"""The segmenter: nnU-Net trained on real cases alone, on the same fold as the generator.

It measures generators in the reports, single hearts in the quality control of a bank, and frames without contours for a generator.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_object, sha256
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.nnunet.patients import case_patients, leaked_patients

# nnU-Net takes seconds to import: functions do so when they need it.
if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_synth_aug.nnunet.target import Target

CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class Segmenter:
    """A trained nnU-Net that has never seen a synthetic case."""

    nnunet: nnUNetPredictor
    target: Target
    provenance: dict[str, Any]  # trainer, plans, configuration, fold, checkpoint hash

    def segment(self, image: np.ndarray, spacing: Spacing, context: tuple[float, float] | None = None) -> np.ndarray:
        """Segment one frame on its own grid, through the preprocessing of the bank.

        nnU-Net's z-score makes grey values arbitrary up to an affine map, so that a frame that shows a real case's whole field of
        view needs nothing. One that shows less of it would be normalised by the heart alone; ``context`` mends that, as in the bank.

        Args:
            image: (X, Y, Z) grey values.
            spacing: mm.
            context: see SyntheticSequence.context.

        Returns:
            mask uint8 (X, Y, Z) in this package's labels.
        """
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        from nnunet_synth_aug.nnunet.bank.preprocess import preprocess_frame
        from nnunet_synth_aug.nnunet.target import label_lookup

        if not image.any():  # nothing to see, and nothing that nnU-Net could normalise
            return np.zeros(image.shape, np.uint8)
        data, _, properties = preprocess_frame(image, np.zeros(image.shape, np.uint8), spacing, self.target, context)
        logits = self.nnunet.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        found = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, self.nnunet.plans_manager, self.nnunet.configuration_manager, self.nnunet.label_manager, properties
        )
        mask = np.zeros(found.shape, np.uint8)
        for label, value in enumerate(label_lookup(self.target)):
            if label:
                mask[found == value] = label
        return np.ascontiguousarray(mask.transpose(2, 1, 0))  # (Z, Y, X) -> (X, Y, Z)

    def agreement(self, sequence: SyntheticSequence) -> dict[str, float]:
        """Dice per structure between its masks and the sequence's, ED and ES pooled; NaN where neither has the structure.

        The labelled frames of real cohorts are ED and ES, so a segmenter knows these two best.
        """
        frames = sorted({sequence.ed, sequence.es})
        found = np.stack([self.segment(sequence.image[t], sequence.spacing, sequence.context) for t in frames])
        return {name: _dice(found == label, sequence.mask[frames] == label) for name, label in STRUCTURES.items()}


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else float("nan")


def load_segmenter(folder: Path, generator: Generator, device: torch.device) -> Segmenter:
    """Load the segmenter of the generator's own fold; see :func:`fold_segmenter`."""
    about = generator.provenance
    return fold_segmenter(folder, about["dataset"], about["fold"], about["patients"], device)


def fold_segmenter(folder: Path, dataset: str, fold: int | str, patients: Iterable[str], device: torch.device) -> Segmenter:
    """Load the segmenter of a fold.

    Args:
        folder: nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION.
        dataset: name of the dataset.
        fold: number, or "all".
        patients: training patients of the fold, whom the segmenter must not have held out.
        device: where to run.

    Raises:
        UserError: it was trained on synthetic cases, on another dataset or on another split, or cannot be loaded.
    """
    nnunet, target = _load(folder, fold, device)
    if target.dataset != dataset:
        raise UserError(
            f"the segmenter in {folder} was trained on {target.dataset}, not on {dataset}; their patients cannot be told apart, so train a "
            f"segmenter on {dataset}, fold {fold}"
        )
    summary = folder / f"fold_{fold}" / "validation" / "summary.json"
    if str(fold) != "all" and summary.is_file():
        cases = [Path(case["prediction_file"]).name.split(".")[0] for case in read_object(summary, "metric_per_case")["metric_per_case"]]
        if leaked := leaked_patients(patients, cases, case_patients(dataset, cases)):
            raise UserError(
                f"the segmenter in {folder} held out {', '.join(leaked[:5])}, whom fold {fold} trains on: it was another split then; train "
                "generator and segmenter on the same one"
            )
    checkpoint = folder / f"fold_{fold}" / CHECKPOINT
    return Segmenter(
        nnunet,
        target,
        {
            "trainer": nnunet.trainer_name,
            "plans": target.plans,
            "configuration": target.configuration,
            "fold": fold,
            "checkpoint_sha256": sha256(checkpoint),
        },
    )


def _load(folder: Path, fold: int | str, device: torch.device) -> tuple[nnUNetPredictor, Target]:
    """Load one fold of a results folder ``TRAINER__PLANS__CONFIGURATION``.

    Raises:
        UserError: not such a folder, the fold is not trained, it was trained on synthetic cases, or its configuration or
            labels cannot be used.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_synth_aug.nnunet.target import Target, label_lookup, refuse_unsupported

    parts = folder.resolve().name.split("__")
    if len(parts) != 3 or not (folder / "plans.json").is_file() or not (folder / "dataset.json").is_file():
        raise UserError(
            f"{folder} is not an nnU-Net results folder; give nnUNet_results/DatasetNNN_Name/TRAINER__PLANS__CONFIGURATION of a training"
        )
    if not (folder / f"fold_{fold}" / CHECKPOINT).is_file():
        number = read_object(folder / "plans.json", "dataset_name")["dataset_name"]
        raise UserError(
            f"{folder} has no finished fold {fold}, the fold of the generator; train it with "
            f"'nnUNetv2_train {number} {parts[2]} {fold} -tr {parts[0]} -p {parts[1]}'"
        )
    _refuse_synthetic(folder / f"fold_{fold}", parts[0])
    with contextlib.redirect_stdout(io.StringIO()):  # it announces on a CPU that it is on a CPU
        nnunet = nnUNetPredictor(device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False)
        nnunet.initialize_from_trained_model_folder(str(folder), use_folds=(fold,), checkpoint_name=CHECKPOINT)
    plans = nnunet.plans_manager
    target = Target(plans.dataset_name, plans.plans_name, parts[2], plans, nnunet.configuration_manager, nnunet.dataset_json)
    refuse_unsupported(target)
    label_lookup(target)
    return nnunet, target


def _refuse_synthetic(fold: Path, trainer: str) -> None:
    """A segmenter that learnt from this package's generators cannot say how good they are."""
    from nnunet_synth_aug.nnunet.mixing.exposure import FILE
    from nnunet_synth_aug.nnunet.mixing.mixture import BASE_NAME

    record = fold / FILE
    if not record.is_file():
        if trainer.startswith(BASE_NAME):
            raise UserError(f"{record} is missing, so {trainer} may have seen synthetic cases; give a segmenter trained by nnUNetTrainer")
        return
    if (drawn := read_object(record, "synthetic_samples")["synthetic_samples"]) > 0:
        raise UserError(
            f"the segmenter in {fold} was trained on {drawn} synthetic samples, so it is not independent; "
            f"give one trained on real cases only (nnUNetTrainer or {BASE_NAME}_mix00)"
        )
