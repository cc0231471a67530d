"""Score the predictions of two arms and write down every value in one long table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.arms import Arm, Prediction
from evaluation.dataset import Dataset
from evaluation.metrics import Labels, Score, score
from evaluation.table import COLUMNS, UNITS, validated
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import read_nifti

#: Writers round spacing differently (float32, text): a thousandth is far below any error that would matter.
SPACING_TOLERANCE = 1e-3


def read_mask(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A label map (X, Y, Z) as int16 and its spacing in mm.

    Raises:
        UserError: unreadable, not 3D, NaN, or values that are not whole numbers.
    """
    array, spacing, _ = read_nifti(path, ndim=3)
    mask = np.rint(array).astype(np.int16) if array.dtype.kind == "f" else array.astype(np.int16)
    if not np.array_equal(mask, array):
        raise UserError(
            f"{path} holds values that are no labels (between {array.min()} and {array.max()}); give masks, not images or probabilities"
        )
    return mask, spacing


def check_labels(path: Path, mask: np.ndarray, known: frozenset[int]) -> None:
    """Raise UserError when ``mask`` holds a value outside ``known``."""
    if foreign := sorted({int(v) for v in np.unique(mask)} - known):
        raise UserError(
            f"{path} holds the label{'s' if len(foreign) > 1 else ''} {', '.join(map(str, foreign))}, which the dataset does not define "
            f"(it has {', '.join(map(str, sorted(known)))}); check dataset.json or the label mapping"
        )


def read_pair(prediction: Path, reference: np.ndarray, reference_path: Path, spacing: tuple[float, float, float]) -> np.ndarray:
    """Read a predicted mask and check that it has the reference's grid."""
    mask, own = read_mask(prediction)
    if mask.shape != reference.shape:
        raise UserError(
            f"{prediction} has the shape {mask.shape} but its ground truth {reference_path} has {reference.shape}; "
            "predict on the native grid"
        )
    if not np.allclose(own, spacing, rtol=SPACING_TOLERANCE):
        raise UserError(
            f"{prediction} has the spacing {own} mm but its ground truth {reference_path} has {spacing} mm; predict on the native grid"
        )
    return mask


def collect(
    arms: tuple[Arm, Arm], dataset: Dataset, labels: Labels, known: frozenset[int], ignore: int | None, engine: str
) -> pd.DataFrame:
    """Score every prediction of both arms, each ground truth read once.

    Args:
        arms: baseline and augmented, with the same cases.
        labels: structure -> label values.
        known: values that masks may hold, with 0 and the ignore label.
        ignore: voxels with this value in the ground truth count as background in both masks.
        engine: see :func:`evaluation.metrics.score`.

    Returns:
        The long table of ``evaluation.table``, sorted by case.
    """
    by_case: dict[str, list[tuple[Arm, Prediction]]] = {}
    for arm in arms:
        for prediction in arm.predictions:
            by_case.setdefault(prediction.case, []).append((arm, prediction))
    # An arm whose folder does not tell its folds (predictions of a test set) pairs with one that does.
    folds_known = all(p.fold for arm in arms for p in arm.predictions)
    rows: list[dict[str, Any]] = []
    with progress("scoring", len(by_case)) as bar:
        for done, case in enumerate(sorted(by_case), start=1):
            rows += _score_case(case, by_case[case], dataset, labels, known, ignore, engine, folds_known)
            bar.advance(done, case)
    return validated(pd.DataFrame(rows, columns=list(COLUMNS)))


def _score_case(
    case: str,
    predictions: list[tuple[Arm, Prediction]],
    dataset: Dataset,
    labels: Labels,
    known: frozenset[int],
    ignore: int | None,
    engine: str,
    folds_known: bool,
) -> list[dict[str, Any]]:
    reference_path = dataset.ground_truth[case]
    reference, spacing = read_mask(reference_path)
    check_labels(reference_path, reference, known)
    outside = reference == ignore if ignore is not None else None
    if outside is not None:
        reference = np.where(outside, 0, reference)
    rows: list[dict[str, Any]] = []
    for arm, prediction in predictions:
        mask = read_pair(prediction.path, reference, reference_path, spacing)
        check_labels(prediction.path, mask, known)
        if outside is not None:
            mask = np.where(outside, 0, mask)
        scores = score(mask, reference, spacing, labels, engine)
        rows += _rows(case, arm, prediction, dataset, scores, folds_known)
    return rows


def _rows(
    case: str, arm: Arm, prediction: Prediction, dataset: Dataset, scores: dict[str, Score], folds_known: bool
) -> list[dict[str, Any]]:
    info = dataset.cases[case]
    common = {
        "dataset": dataset.name,
        "vendor": info.vendor,
        "diagnosis": info.diagnosis,
        "patient": info.patient,
        "phase": info.phase,
        "fold": prediction.fold if folds_known else "",
        "seed": arm.seed,
        "model": arm.name,
        "mix_ratio": arm.mix_ratio,
        # Relative, so that the table can be shared without the layout of somebody's disk.
        "prediction_file": prediction.path.resolve().relative_to(arm.folder.resolve()).as_posix(),
    }
    return [
        {**common, "structure": structure, "metric": metric, "value": value, "unit": UNITS[metric], "failure": one.failure}
        for structure, one in scores.items()
        for metric, value in one.values.items()
    ]


def annotated_structures(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Structures that any ground truth holds, and those that none does (not annotated: not to be scored)."""
    volumes = table[table["metric"] == "Reference volume"].groupby("structure", sort=False)["value"].max()
    return [s for s in volumes.index if volumes[s] > 0], [s for s in volumes.index if volumes[s] <= 0]
