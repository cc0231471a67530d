"""From rows to one number per patient and arm: the patient is the unit of every test.

ED and ES of one heart are not independent, nor are seeds or folds that score the same patient: they are
averaged first. Both arms of a pair always rest on the same cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.scoring.levels import LEVEL_METRICS
from evaluation.scoring.table import BOTH_EMPTY, METRICS, REFERENCE_EMPTY

BASELINE, AUGMENTED = "baseline", "augmented"
SIDES = (BASELINE, AUGMENTED)
#: The row that averages the structures; described, outside the tested family.
MEAN = "mean"
CASE = ("structure", "metric", "patient", "phase", "fold")


def comparable(table: pd.DataFrame, models: tuple[str, ...]) -> pd.DataFrame:
    """The scored rows of ``models``, with a value wherever they can be compared.

    Where the ground truth lacks the structure and some prediction has it, the predictions that are right get the
    perfect score (Dice 1, distances 0): left at NaN, the pair would vanish and hide the error of the others.

    Args:
        table: long table (``evaluation.scoring.table``).
        models: names in its column ``model``.
    """
    scored = table[table["metric"].isin([*METRICS, *LEVEL_METRICS]) & table["model"].isin(models)].reset_index(drop=True)
    invented = scored["failure"].eq(REFERENCE_EMPTY).groupby([scored[c] for c in ("structure", "patient", "phase")]).transform("any")
    perfect = scored["metric"].map({name: metric.perfect for name, metric in METRICS.items()})  # NaN for slice levels: no stack
    return scored.assign(value=scored["value"].where(~(invented & scored["failure"].eq(BOTH_EMPTY)), perfect))


def pair_cases(table: pd.DataFrame, models: tuple[str, str]) -> pd.DataFrame:
    """Put the arms side by side, seeds averaged within each arm.

    Returns:
        One row per structure, metric and case (columns ``CASE``), with ``baseline``, ``augmented`` (NaN in
        both where both masks of both arms are empty) and ``failure_baseline``, ``failure_augmented`` ("" unless
        a seed of the arm failed).
    """
    scored = comparable(table, models)
    # Of several seeds' failures any one is kept: "" sorts before every other.
    averaged = scored.groupby(["model", *CASE], sort=False).agg(value=("value", "mean"), failure=("failure", "max")).reset_index()
    sides = []
    for model, side in zip(models, SIDES, strict=True):
        one = averaged[averaged["model"] == model].set_index(list(CASE))[["value", "failure"]]
        sides.append(one.rename(columns={"value": side, "failure": f"failure_{side}"}))
    # The absence of NaN in `failure` is guaranteed by the table's contract and equal case sets.
    return sides[0].join(sides[1], how="outer", validate="one_to_one").reset_index()


def without_failures(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs in which no arm has an empty mask; for the sensitivity table."""
    return pairs[(pairs["failure_baseline"] == "") & (pairs["failure_augmented"] == "")]


def patient_values(pairs: pd.DataFrame) -> pd.DataFrame:
    """One value per patient: the mean over ED and ES within a fold, then over folds.

    Returns:
        Columns structure, metric, patient, baseline, augmented; excluded pairs (NaN) take no part. The
        structure ``mean`` is the average over structures, for patients who have all of them.
    """
    known = pairs.dropna(subset=list(SIDES))
    per_fold = known.groupby(["structure", "metric", "patient", "fold"], sort=False)[list(SIDES)].mean().reset_index()
    values = per_fold.groupby(["structure", "metric", "patient"], sort=False)[list(SIDES)].mean().reset_index()
    return _with_mean(values, ["metric", "patient"], list(SIDES))


def _with_mean(values: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Append the average over structures, for the groups that have all of them."""
    groups = values.groupby(by, sort=False)
    complete = groups["structure"].transform("count") == values["structure"].nunique()
    averaged = values[complete].groupby(by, sort=False)[columns].mean().reset_index()
    averaged.insert(0, "structure", MEAN)
    return pd.concat([values, averaged], ignore_index=True)


@dataclass(frozen=True)
class Runs:
    """Values of each training: columns structure, metric, patient, model, run, value.

    ``by_fold``: every patient was predicted by the network of each fold, so that a fold is a training, and its
    networks in two arms belong together (the same training patients). Otherwise a seed is a training.
    """

    values: pd.DataFrame
    by_fold: bool

    def matrices(self, models: tuple[str, ...], structure: str, metric: str) -> list[np.ndarray]:
        """(patients, trainings) of each arm, the patients being those that every training of every arm has."""
        chosen = self.values[(self.values["structure"] == structure) & (self.values["metric"] == metric)]
        wide = chosen.pivot(index="patient", columns=["model", "run"], values="value").dropna()
        return [wide.loc[:, wide.columns.get_level_values("model") == model].to_numpy(float) for model in models]


def training_values(table: pd.DataFrame, models: tuple[str, ...]) -> Runs:
    """What every single training gives each patient, phases averaged; for the spread between trainings."""
    scored = comparable(table, models).dropna(subset=["value"])
    scored = scored[scored["metric"].isin(METRICS)]
    folds = scored.groupby("patient")["fold"].nunique()
    by_fold = bool(len(folds)) and bool((folds > 1).all())
    scored = scored.assign(run=scored["fold"] if by_fold else scored["seed"])
    keys = ["structure", "metric", "patient", "model", "run"]
    # Within a training every (fold, seed) first averages its phases, as in `patient_values`.
    each = scored.groupby([*dict.fromkeys([*keys, "fold", "seed"])], sort=False)["value"].mean().reset_index()
    values = each.groupby(keys, sort=False)["value"].mean().reset_index()
    return Runs(_with_mean(values, ["metric", "patient", "model", "run"], ["value"]), by_fold)
