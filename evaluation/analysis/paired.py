"""From rows to one number per patient and arm, the paired differences of these, and their tests.

The patient is the unit of every test. ED and ES of one heart are not independent, nor are seeds or folds that score the
same patient: they are averaged first. Both arms of a pair always rest on the same cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evaluation.analysis.statistics import ALPHA, holm, mean_intervals, over_runs, signed_rank
from evaluation.scoring.levels import LEVEL_METRICS
from evaluation.scoring.table import BOTH_EMPTY, METRICS, PRIMARY, REFERENCE_EMPTY

BASELINE, AUGMENTED = "baseline", "augmented"
SIDES = (BASELINE, AUGMENTED)
#: The row that averages the structures; described, outside the tested family.
MEAN = "mean"
CASE = ("structure", "metric", "patient", "phase", "fold")

BETTER, WORSE = "better with augmentation", "worse with augmentation"
NO_EVIDENCE, MIXED = "no evidence of a difference", "inconclusive: the mean difference and the ranks point in opposite directions"
ONLY_THESE = "these trained networks differ, but not by more than another training could change"
NOT_WORSE, BEYOND, UNDECIDED = "not worse by more than the margin", "worse by more than the margin", "not decided by these patients"
#: Averages of differences below this are rounding noise of the mean, not a win or a loss.
TIE = 1e-10


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


@dataclass(frozen=True)
class Margins:
    """What was fixed in advance, by metric and in its unit.

    ``ties``: differences of a patient up to this count as tied. ``noninferiority``: the largest loss that would be
    accepted. Metrics that are not named have no margin, and tie only when equal.
    """

    ties: Mapping[str, float] = field(default_factory=dict)
    noninferiority: Mapping[str, float] = field(default_factory=dict)


def paired_summary(
    values: pd.DataFrame,
    structures: list[str],
    runs: Runs | None = None,
    models: tuple[str, str] = (BASELINE, AUGMENTED),
    margins: Margins | None = None,
) -> pd.DataFrame:
    """Describe both arms and their paired difference, and test the primary family.

    Args:
        values: from :func:`patient_values`.
        structures: the tested ones, in order; the average over them follows as ``mean``, untested.
        runs: from :func:`training_values`, for the spread between trainings.
        models: names of the two arms in ``runs``.

    Returns:
        One row per structure and metric: n patients; mean, sd, median, q1, q3 per arm; ``difference``
        (augmented - baseline) with ``ci_low``, ``ci_high``; ``p`` and ``p_holm`` (NaN outside the primary
        family structures x {Dice, HD}); ``effect`` (rank-biserial, positive favours augmented) and ``dz`` (mean over SD
        of the differences, same sign); patients ``better``, ``ties``, ``worse``; number of trainings and SD of their means
        per arm, and with at least two in each ``runs_low``, ``runs_high``, ``p_runs`` (:func:`over_runs`);
        ``verdict`` ("" outside the primary family); ``margin`` and ``noninferiority`` (NaN and "" without margin).
    """
    margins = margins or Margins()
    scored = {*values["metric"], *PRIMARY}
    keys = [(s, m) for s in [*structures, MEAN] for m in METRICS if m in scored]
    table = pd.DataFrame(described(values, keys, margins))
    table = table.join(pd.DataFrame([_over_runs(runs, models, *key) for key in keys]))
    table["margin"] = table["metric"].map(dict(margins.noninferiority)).astype(float)
    table["noninferiority"] = [_noninferiority(row) for row in table.to_dict("records")]
    return corrected([table])[0]


def corrected(summaries: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The summaries with ``p_holm`` and ``verdict`` from one family: their structures x primary metrics.

    With several trainings per arm a hypothesis is rejected only when both the signed-rank test over patients and the
    test over patients and trainings reject it: the larger p-value enters the correction.
    """
    tables = pd.concat(summaries, keys=range(len(summaries)))
    tested = tables["metric"].isin(PRIMARY) & (tables["structure"] != MEAN)
    for column in ("p", "p_runs"):
        tables[column] = tables[column].where(tested)
    these = holm(tables["p"].to_numpy(float))
    tables["p_holm"] = holm(np.fmax(tables["p"].to_numpy(float), tables["p_runs"].to_numpy(float)))
    records = zip(tables.to_dict("records"), these, tested, strict=True)
    tables["verdict"] = [_verdict(row, p) if member else "" for row, p, member in records]
    return [table.droplevel(0) for _, table in tables.groupby(level=0)]


def described(values: pd.DataFrame, keys: Sequence[tuple[str, str]], margins: Margins | None = None) -> list[dict[str, Any]]:
    """One row per (structure, metric) of ``keys``: both arms and their paired difference, as in :func:`paired_summary`, uncorrected."""
    arms = {key: one[list(SIDES)].to_numpy(float) for key, one in values.groupby(["structure", "metric"], sort=False)}
    empty = np.zeros((0, 2))
    chosen = [arms.get(key, empty) for key in keys]
    intervals = _intervals([one[:, 1] - one[:, 0] for one in chosen])
    return [_row(*key, one, *ci, margins or Margins()) for key, one, ci in zip(keys, chosen, intervals, strict=True)]


def _intervals(differences: list[np.ndarray]) -> list[tuple[float, float]]:
    """Bootstrap intervals; those of equally many patients are made together."""
    found: dict[int, tuple[float, float]] = {}
    for size in {d.size for d in differences}:
        members = [i for i, d in enumerate(differences) if d.size == size]
        low, high = mean_intervals(np.stack([differences[i] for i in members], axis=1))
        found |= {i: (float(a), float(b)) for i, a, b in zip(members, low, high, strict=True)}
    return [found[i] for i in range(len(differences))]


def _row(structure: str, metric: str, arms: np.ndarray, low: float, high: float, margins: Margins) -> dict[str, Any]:
    """``arms``: (patients, 2), baseline first."""
    definition = METRICS[metric]
    d = arms[:, 1] - arms[:, 0]
    row: dict[str, Any] = {"structure": structure, "metric": metric, "unit": definition.unit, "n": d.size}
    for side, x in zip(SIDES, arms.T, strict=True):
        q1, median, q3 = np.quantile(x, [0.25, 0.5, 0.75]) if x.size else (np.nan,) * 3
        row |= {f"{side}_mean": x.mean() if x.size else np.nan, f"{side}_sd": x.std(ddof=1) if x.size > 1 else np.nan}
        row |= {f"{side}_median": median, f"{side}_q1": q1, f"{side}_q3": q3}
    test = signed_rank(d)
    gain = d * definition.sign
    spread = gain.std(ddof=1) if d.size > 1 else 0.0
    tie = margins.ties.get(metric, 0.0) + TIE
    return row | {
        "difference": d.mean() if d.size else np.nan,
        "ci_low": low,
        "ci_high": high,
        "p": test.p,
        "effect": test.rank_biserial * definition.sign,
        "dz": gain.mean() / spread if spread > TIE else np.nan,
        "better": int((gain > tie).sum()),
        "ties": int((np.abs(gain) <= tie).sum()),
        "worse": int((gain < -tie).sum()),
    }


def _over_runs(runs: Runs | None, models: tuple[str, str], structure: str, metric: str) -> dict[str, float]:
    arms = [np.zeros((0, 0))] * 2 if runs is None else runs.matrices(models, structure, metric)
    row: dict[str, float] = {}
    for side, x in zip(SIDES, arms, strict=True):
        spread = x.mean(axis=0).std(ddof=1) if len(x) and x.shape[1] > 1 else np.nan
        row |= {f"{side}_runs": x.shape[1], f"{side}_run_sd": float(spread)}
    found = over_runs(*arms, paired=runs is not None and runs.by_fold)
    return row | {"runs_low": found.low, "runs_high": found.high, "p_runs": found.p}


def _verdict(row: dict[Any, Any], p_these: float) -> str:
    """The test decides whether there is a difference; its direction must be that of both mean and ranks."""
    if not row["p_holm"] < ALPHA:
        return ONLY_THESE if p_these < ALPHA else NO_EVIDENCE
    gain = row["difference"] * METRICS[row["metric"]].sign
    if gain > 0 and row["effect"] > 0:
        return BETTER
    return WORSE if gain < 0 and row["effect"] < 0 else MIXED


def _noninferiority(row: dict[Any, Any]) -> str:
    """Whether the interval of the gain, the wider one where trainings vary, lies above minus the margin."""
    if not np.isfinite(row["margin"]):
        return ""
    bounds = np.array([row[k] for k in ("ci_low", "ci_high", "runs_low", "runs_high")], float) * METRICS[row["metric"]].sign
    if np.isnan(bounds[:2]).any():
        return UNDECIDED
    return NOT_WORSE if np.nanmin(bounds) > -row["margin"] else BEYOND if np.nanmax(bounds) < -row["margin"] else UNDECIDED


HEADLINE_COLUMNS = (BASELINE, AUGMENTED, "difference", "ci_low", "ci_high", "p_holm")


def headline(summary: pd.DataFrame) -> pd.DataFrame:
    """Primary metrics only: rows structures and ``mean``; columns (metric, one of ``HEADLINE_COLUMNS``)."""
    renamed = summary.rename(columns={f"{side}_mean": side for side in SIDES})
    parts = {m: renamed[renamed["metric"] == m].set_index("structure")[list(HEADLINE_COLUMNS)] for m in PRIMARY}
    return pd.concat(parts, axis=1)
