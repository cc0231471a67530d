"""Score the predictions of all arms and write down every value in one long table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluation.arms import Arm, Prediction
from evaluation.dataset import Dataset
from evaluation.metrics import Labels, Score, Tolerance
from evaluation.policies import PENALTY, checked
from evaluation.scoring import CaseFiles, Rules, score_cases
from evaluation.table import COLUMNS, REFERENCE_VOLUME, TOLERANCE_MM, UNITS, validated
from nnunet_synth_aug.console import progress


def collect(
    arms: Sequence[Arm],
    dataset: Dataset,
    labels: Labels,
    known: frozenset[int] | None,
    ignore: int | None,
    engine: str,
    *,
    empty: str = PENALTY,
    tolerance: Tolerance = TOLERANCE_MM,
    workers: int = 1,
) -> pd.DataFrame:
    """Score every prediction of all arms, each ground truth read once.

    Args:
        arms: with the same cases.
        labels: structure -> label values.
        known: values that masks may hold, with 0 and the ignore label; None: any.
        ignore: voxels with this value in the ground truth count as background in both masks.
        engine: see :func:`evaluation.metrics.score`, as for ``empty`` and ``tolerance``.
        workers: processes. More than one needs a main module that may be imported (``if __name__ == "__main__"``).

    Returns:
        The long table of ``evaluation.table``, sorted by case.
    """
    rules = Rules(labels, known, ignore=ignore, engine=engine, empty=checked(empty), tolerance=tolerance)
    return long_table(score_arms(arms, dataset, rules, workers), dataset)


@dataclass(frozen=True)
class ScoredCase:
    """One prediction and its scores by structure; ``prediction`` is None where the arm lacks the case."""

    arm: Arm
    case: str
    prediction: Prediction | None
    scores: dict[str, Score]


def score_arms(arms: Sequence[Arm], dataset: Dataset, rules: Rules, workers: int = 1, missing: Collection[str] = ()) -> list[ScoredCase]:
    """Every prediction with its scores, sorted by case; every arm lacks the ``missing`` cases."""
    by_case: dict[str, list[tuple[Arm, Prediction | None]]] = {case: [(arm, None) for arm in arms] for case in missing}
    for arm in arms:
        for prediction in arm.predictions:
            by_case.setdefault(prediction.case, []).append((arm, prediction))
    files = [
        CaseFiles(case, dataset.ground_truth[case], tuple(p.path if p else None for _, p in by_case[case])) for case in sorted(by_case)
    ]
    scored: list[ScoredCase] = []
    with progress("scoring", len(files)) as bar:
        for done, (one, scores) in enumerate(zip(files, score_cases(files, rules, workers), strict=True), start=1):
            scored += [ScoredCase(arm, one.case, p, values) for (arm, p), values in zip(by_case[one.case], scores, strict=True)]
            bar.advance(done, one.case)
    return scored


def long_table(scored: Sequence[ScoredCase], dataset: Dataset) -> pd.DataFrame:
    """The long table of ``evaluation.table``. Structures that were not contoured in a case (``cohort.json``) are left out of it."""
    # An arm whose folder does not tell its folds (predictions of a test set) pairs with one that does.
    folds_known = all(one.prediction.fold for one in scored if one.prediction)
    return validated(pd.DataFrame([row for one in scored for row in _rows(one, dataset, folds_known)], columns=list(COLUMNS)))


def _rows(scored: ScoredCase, dataset: Dataset, folds_known: bool) -> list[dict[str, Any]]:
    info, arm, prediction = dataset.cases[scored.case], scored.arm, scored.prediction
    common = {
        "dataset": dataset.name,
        "vendor": info.vendor,
        "diagnosis": info.diagnosis,
        "patient": info.patient,
        "phase": info.phase,
        "fold": prediction.fold if prediction and folds_known else "",
        "seed": arm.seed,
        "model": arm.name,
        "mix_ratio": arm.mix_ratio,
        # Relative, so that the table can be shared without the layout of somebody's disk.
        "prediction_file": prediction.path.resolve().relative_to(arm.folder.resolve()).as_posix() if prediction else "",
    }
    return [
        {**common, "structure": structure, "metric": metric, "value": value, "unit": UNITS[metric], "failure": one.failure}
        for structure, one in scored.scores.items()
        if info.annotated is None or structure in info.annotated
        for metric, value in one.values.items()
    ]


def annotated_structures(table: pd.DataFrame, defined: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Structures that any ground truth holds, and those of the table or ``defined`` that none does (not annotated: not to be scored)."""
    volumes = table[table["metric"] == REFERENCE_VOLUME].groupby("structure", sort=False)["value"].max()
    held = [s for s in volumes.index if volumes[s] > 0]
    return held, [s for s in dict.fromkeys([*volumes.index, *defined]) if s not in held]
