"""From rows to one number per patient and arm: the patient is the unit of every test.

ED and ES of one heart are not independent, nor are seeds or folds that score the same patient: they are
averaged first. Both arms of a pair always rest on the same cases.
"""

from __future__ import annotations

import pandas as pd

from evaluation.table import BOTH_EMPTY, METRICS, REFERENCE_EMPTY

BASELINE, AUGMENTED = "baseline", "augmented"
SIDES = (BASELINE, AUGMENTED)
#: The row that averages the structures; described, outside the tested family.
MEAN = "mean"
CASE = ("structure", "metric", "patient", "phase", "fold", "seed")


def pair_cases(table: pd.DataFrame, models: tuple[str, str]) -> pd.DataFrame:
    """Put the arms side by side.

    Where the ground truth lacks the structure and exactly one arm predicts it, the arm that was right gets
    the perfect score (Dice 1, distances 0): left at NaN, the pair would vanish and hide the other arm's error.

    Args:
        table: long table (``evaluation.table``).
        models: names of baseline and augmented in its column ``model``.

    Returns:
        One row per structure, metric and case (columns ``CASE``), with ``baseline``, ``augmented`` (NaN in
        both where both masks of both arms are empty) and ``failure_baseline``, ``failure_augmented``.
    """
    scored = table[table["metric"].isin(METRICS)]
    seeds = [set(scored.loc[scored["model"] == model, "seed"]) for model in models]
    if seeds[0] != seeds[1]:  # known for one arm only, or other seeds on purpose: nothing to pair by
        scored = scored.assign(seed="")
    sides = []
    for model, side in zip(models, SIDES, strict=True):
        one = scored[scored["model"] == model].set_index(list(CASE))[["value", "failure"]]
        sides.append(one.rename(columns={"value": side, "failure": f"failure_{side}"}))
    # `one_to_one` and the absence of NaN in `failure` are guaranteed by the table's contract and equal case sets.
    pairs = sides[0].join(sides[1], how="outer", validate="one_to_one").reset_index()
    perfect = pairs["metric"].map({name: metric.perfect for name, metric in METRICS.items()})
    for side, other in (SIDES, SIDES[::-1]):
        right = (pairs[f"failure_{side}"] == BOTH_EMPTY) & (pairs[f"failure_{other}"] == REFERENCE_EMPTY)
        pairs[side] = pairs[side].where(~right, perfect)
    return pairs


def without_failures(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs in which no arm has an empty mask; for the sensitivity table."""
    return pairs[(pairs["failure_baseline"] == "") & (pairs["failure_augmented"] == "")]


def patient_values(pairs: pd.DataFrame) -> pd.DataFrame:
    """One value per patient: the mean over ED and ES within fold and seed, then over folds and seeds.

    Returns:
        Columns structure, metric, patient, baseline, augmented; excluded pairs (NaN) take no part. The
        structure ``mean`` is the average over structures, for patients who have all of them.
    """
    known = pairs.dropna(subset=list(SIDES))
    run = ["structure", "metric", "patient", "fold", "seed"]
    per_run = known.groupby(run, sort=False)[list(SIDES)].mean().reset_index()
    values = per_run.groupby(["structure", "metric", "patient"], sort=False)[list(SIDES)].mean().reset_index()
    n_structures = pairs["structure"].nunique()
    groups = values.groupby(["metric", "patient"], sort=False)
    complete = groups["structure"].transform("count") == n_structures
    averaged = values[complete].groupby(["metric", "patient"], sort=False)[list(SIDES)].mean().reset_index()
    averaged.insert(0, "structure", MEAN)
    return pd.concat([values, averaged], ignore_index=True)
