"""Score the predictions of all arms and write down every value in one long table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluation.inputs.arms import Arm, Prediction
from evaluation.inputs.dataset import Dataset
from evaluation.scoring.case import CaseFiles, Rules, score_cases
from evaluation.scoring.metrics import Score
from evaluation.scoring.table import COLUMNS, REFERENCE_VOLUME, UNITS, validated
from nnunet_synth_aug.core.console import progress


@dataclass(frozen=True)
class ScoredCase:
    """One prediction and its scores by structure; ``prediction`` is None where the arm lacks the case."""

    arm: Arm
    case: str
    fold: str  # of the prediction, or in which it is missing; "" where unknown
    prediction: Prediction | None
    scores: dict[str, Score]


#: Case and fold of a prediction.
Place = tuple[str, str]


def score_arms(
    arms: Sequence[Arm], dataset: Dataset, rules: Sequence[Rules], workers: int = 1, missing: Sequence[Collection[Place]] = ()
) -> list[ScoredCase]:
    """Every prediction with its scores, sorted by case; the ground truth of a case is read once for all arms with equal rules.

    Args:
        rules: of each arm; they differ where label maps do.
        workers: processes. More than one needs a main module that may be imported (``if __name__ == "__main__"``).
        missing: of each arm, what it lacks.
    """
    groups: list[tuple[Rules, dict[str, list[tuple[int, str, Prediction | None]]]]] = []
    for i, (arm, one) in enumerate(zip(arms, rules, strict=True)):
        by_case = next((cases for known, cases in groups if known == one), None)
        if by_case is None:
            groups.append((one, by_case := {}))
        for prediction in arm.predictions:
            by_case.setdefault(prediction.case, []).append((i, prediction.fold, prediction))
        for case, fold in sorted(missing[i]) if missing else ():
            by_case.setdefault(case, []).append((i, fold, None))
    scored: list[tuple[str, int, ScoredCase]] = []
    done = 0
    with progress("scoring", sum(len(by_case) for _, by_case in groups)) as bar:
        for one, by_case in groups:
            files = [
                CaseFiles(case, dataset.ground_truth[case], tuple(p.path if p else None for _, _, p in by_case[case]))
                for case in sorted(by_case)
            ]
            for case_files, scores in zip(files, score_cases(files, one, workers), strict=True):
                case = case_files.case
                for (i, fold, p), values in zip(by_case[case], scores, strict=True):
                    scored.append((case, i, ScoredCase(arms[i], case, fold, p, values)))
                bar.advance(done := done + 1, case)
    return [one for _, _, one in sorted(scored, key=lambda entry: entry[:2])]


def long_table(scored: Sequence[ScoredCase], dataset: Dataset) -> pd.DataFrame:
    """The long table of ``evaluation.scoring.table``. Structures that were not contoured in a case (``cohort.json``) are left out of it."""
    # An arm whose folder does not tell its folds (predictions of a test set) pairs with one that does.
    folds_known = all(one.fold for one in scored)
    return validated(pd.DataFrame([row for one in scored for row in _rows(one, dataset, folds_known)], columns=list(COLUMNS)))


def _rows(scored: ScoredCase, dataset: Dataset, folds_known: bool) -> list[dict[str, Any]]:
    info, arm, prediction = dataset.cases[scored.case], scored.arm, scored.prediction
    common = {
        "dataset": dataset.name,
        "vendor": info.vendor,
        "diagnosis": info.diagnosis,
        "patient": info.patient,
        "phase": info.phase,
        "fold": scored.fold if folds_known else "",
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
