"""Scores of every training as a small table that stays when the training goes, and what follows from such tables.

``FOLDER/ARM_seed_S.csv`` has a row for every frame and structure: Dice and HD as predicted, and of the largest heart alone. A study of many
trainings can so be made on several machines, one training after the other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from evaluation.benchmark.study import VALIDATION, Arm, Study
from evaluation.benchmark.workspace import Workspace
from evaluation.compare import evaluate
from evaluation.inputs.scores import read_sources
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.table import COLUMNS, REFERENCE_VOLUME, UNITS

SHOWN = ["structure", "metric", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "p_holm"]
WHOSE = ["vendor", "centre", "diagnosis", "patient", "phase", "structure"]
#: The ends of the columns' names.
RULES = {"": ScoringRules(), " alone": ScoringRules(largest_heart=True)}
KEPT = ("Dice", "HD")


def keep(study: Study, at: Workspace, folder: Path, which: Iterable[tuple[Arm, int]]) -> None:
    """Score these finished trainings of a study: arm and seed of each."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = {VALIDATION: at.raw, **{test.name: at.test_raw(test) for test in study.tests}}
    with patch.dict(os.environ, at.environment()):  # where the study's splits are; test sets may lie elsewhere
        for arm, seed in which:
            parts = []
            for test, dataset in datasets.items():
                where = at.model(arm, seed) if test == VALIDATION else at.predictions(arm, seed, test)
                both = [_wide(read_sources({arm.name: [where]}, rules, dataset=dataset).table, end) for end, rules in RULES.items()]
                parts.append(pd.concat(both, axis=1).reset_index().assign(test=test))
            table = pd.concat(parts).rename(columns={REFERENCE_VOLUME: "mL"})
            table = table[["test", *WHOSE, "mL", *(f"{name}{end}" for end in RULES for name in (*KEPT, "failure"))]]
            table.to_csv(folder / f"{arm.name}_seed_{seed}.csv", index=False, float_format="%.4g")


def _wide(table: pd.DataFrame, end: str) -> pd.DataFrame:
    """A row for every frame and structure."""
    wanted = (*KEPT, REFERENCE_VOLUME) if not end else KEPT
    found = table[table["metric"].isin(wanted)].pivot(index=WHOSE, columns="metric", values="value")
    found["failure"] = table[table["metric"] == KEPT[0]].set_index(WHOSE)["failure"]
    return found.rename(columns={name: f"{name}{end}" for name in (*KEPT, "failure")})


def trainings(folder: Path) -> dict[str, set[int]]:
    """Arm -> seeds whose scores are there."""
    found: dict[str, set[int]] = {}
    for path in sorted(folder.glob("*_seed_*.csv")):
        arm, _, seed = path.stem.rpartition("_seed_")
        found.setdefault(arm, set()).add(int(seed))
    return found


def long_table(folder: Path, arm: str, seed: int, end: str) -> pd.DataFrame:
    """The table of a training as the evaluation reads it, its test set as ``dataset``."""
    wide = pd.read_csv(folder / f"{arm}_seed_{seed}.csv", dtype=str, keep_default_na=False)
    wide = wide.rename(columns={"mL": REFERENCE_VOLUME, "test": "dataset"})
    rows = [
        wide.assign(metric=name, value=pd.to_numeric(wide[column]), failure=wide[f"failure{end}"])
        for name, column in {**{name: f"{name}{end}" for name in KEPT}, REFERENCE_VOLUME: REFERENCE_VOLUME}.items()
    ]
    table = pd.concat(rows)
    table = table.assign(fold="0", seed=str(seed), model=arm, mix_ratio="", prediction_file="", unit=table["metric"].map(UNITS))
    return table[list(COLUMNS)]


def differences(folder: Path, baseline: str = "real", pooled: Mapping[str, Iterable[str]] | None = None) -> dict[str, Any]:
    """Every arm against the baseline over the seeds that both have, by test set and pooled, as predicted and of the largest heart alone.

    Arms with the same seeds are tested in one family.

    Args:
        pooled: test sets by the name of what they make together; by default all are ``pooled``.
    """
    seeds = trainings(folder)
    families: dict[tuple[int, ...], list[str]] = {}
    for arm, own in seeds.items():
        if arm != baseline and (common := own & seeds[baseline]):
            families.setdefault(tuple(sorted(common)), []).append(arm)
    found: dict[str, Any] = {}
    for common, arms in families.items():
        for end, rules in RULES.items():
            table = pd.concat([long_table(folder, arm, seed, end) for arm in (baseline, *arms) for seed in common])
            parts = {str(name): part for name, part in table.groupby("dataset")}
            for name, tests in (pooled or {"pooled": list(parts)}).items():
                parts[name] = table[table["dataset"].isin(list(tests))].assign(dataset=name)
            for name, part in parts.items():
                where = found.setdefault(f"{name}{' without islands' * rules.largest_heart}", {})
                where |= {arm: {"seeds": list(common), "rows": rows} for arm, rows in compared(part, (baseline, *arms), rules).items()}
    return found


def poorly_found(folder: Path, below: float = 0.7) -> dict[str, dict[str, list[float]]]:
    """Test set -> arm -> patients with less Dice as predicted, a mean over frames and structures, of one training; and all patients."""
    found: dict[str, dict[str, list[float]]] = {}
    for arm, seeds in trainings(folder).items():
        table = pd.concat([long_table(folder, arm, seed, "") for seed in sorted(seeds)])
        means = table[table["metric"] == "Dice"].groupby(["dataset", "seed", "patient"])["value"].mean()
        for test, own in means.groupby("dataset"):
            n = len(seeds)
            found.setdefault(str(test), {})[arm] = [round(float((own < below).sum()) / n, 2), len(own) // n]
    return found


def compared(table: pd.DataFrame, arms: tuple[str, ...], rules: ScoringRules) -> dict[str, list[dict[str, Any]]]:
    """Of a long table, every arm against the first: rows of Dice and HD."""
    with tempfile.TemporaryDirectory() as folder:
        table.to_csv(path := Path(folder) / "metrics.csv", index=False)
        results = evaluate(read_sources({arm: [path] for arm in arms}, rules))
    found = {one.names[1]: one.summary.loc[one.summary["metric"].isin(KEPT), SHOWN].round(4).astype(object) for one in results}
    return {arm: rows.where(rows.notna(), None).to_dict("records") for arm, rows in found.items()}
