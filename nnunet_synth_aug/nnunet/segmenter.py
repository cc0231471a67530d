"""An independent segmenter: nnU-Net trained on real cases alone, on the same fold as the generator.

It judges a generator in the reports, and single hearts in the quality control of a bank.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, sha256
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.nnunet.patients import case_patients, leaked_patients

if TYPE_CHECKING:
    from nnunet_synth_aug.nnunet.target import Target


@dataclass(frozen=True)
class Segmenter:
    """A trained nnU-Net."""

    predictor: Any  # nnUNetPredictor
    target: Target
    provenance: dict[str, Any]  # trainer, plans, configuration, fold, checkpoint hash

    def segment(self, image: np.ndarray, spacing: Spacing, context: tuple[float, float] | None = None) -> np.ndarray:
        """Mask uint8 (X, Y, Z) in this package's labels of grey values (X, Y, Z); ``context`` as in SyntheticSequence."""
        from nnunet_synth_aug.nnunet.predictor import predict_frame

        return predict_frame(self.predictor, self.target, image, spacing, context)

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
    """Load the segmenter of the generator's fold, to judge the generator; see :func:`fold_segmenter`."""
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
    from nnunet_synth_aug.nnunet.predictor import CHECKPOINT, load_predictor  # nnU-Net takes seconds to import

    predictor, target = load_predictor(folder, fold, device)
    if target.dataset != dataset:
        raise UserError(
            f"the segmenter in {folder} was trained on {target.dataset}, not on {dataset}; their patients cannot be told apart, so train a "
            f"segmenter on {dataset}, fold {fold}"
        )
    summary = folder / f"fold_{fold}" / "validation" / "summary.json"
    if str(fold) != "all" and summary.is_file():
        cases = [Path(case["prediction_file"]).name.split(".")[0] for case in read_json(summary)["metric_per_case"]]
        if leaked := leaked_patients(patients, cases, case_patients(dataset, cases)):
            raise UserError(
                f"the segmenter in {folder} held out {', '.join(leaked[:5])}, whom fold {fold} trains on: it was another split then; train "
                "generator and segmenter on the same one"
            )
    checkpoint = folder / f"fold_{fold}" / CHECKPOINT
    return Segmenter(
        predictor,
        target,
        {
            "trainer": predictor.trainer_name,
            "plans": target.plans,
            "configuration": target.configuration,
            "fold": fold,
            "checkpoint_sha256": sha256(checkpoint),
        },
    )
