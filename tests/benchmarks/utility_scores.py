"""Scores of utility_probe.py, from the reports of its study: per run, and a mix against real only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.scoring.table import PREDICTION_EMPTY, REFERENCE_EMPTY, read_table
from nnunet_synth_aug.core.files import read_json, write_text

SHOWN = ("Dice", "HD", "HD95")
COLUMNS = ("structure", "metric", "unit", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "p", "p_holm")


def run_scores(report: Path, arms: list[str], seeds: list[int]) -> dict[tuple[str, int], dict[str, float]]:
    """Mean over patients by ``STRUCTURE METRIC`` of every arm and seed, and in how many masks a structure was missed or invented.

    Args:
        report: the report's folder of one test set.
        arms: in the order of the study.
        seeds: likewise.
    """
    table = read_table(report / "metrics.csv")
    scores = {}
    for arm in arms:
        of_arm = table[table["model"] == arm]
        for seed, (_, rows) in zip(seeds, of_arm.groupby("seed", sort=False), strict=True):  # in the order in which they were given
            shown = rows[rows["metric"].isin(SHOWN)].dropna(subset=["value"])
            means = shown.groupby(["structure", "metric", "patient"], sort=False)["value"].mean().groupby(level=[0, 1], sort=False).mean()
            missed = (rows["metric"] == "Dice") & rows["failure"].isin([PREDICTION_EMPTY, REFERENCE_EMPTY])
            found = {f"{structure} {metric}": round(float(value), 4) for (structure, metric), value in means.items()}
            scores[arm, seed] = found | {"failures": int(missed.sum())}
    return scores


def compared(comparison: Path) -> list[dict[str, Any]]:
    """Paired differences of one mix from the real-only arm, seeds averaged within a patient; per structure and metric."""
    rows = [row for row in read_json(comparison)["summary"] if row["metric"] in SHOWN]
    return [{key: row[key] for key in (*COLUMNS, "effect", "verdict")} for row in rows]


def by_diagnosis(comparison: Path) -> list[dict[str, Any]]:
    """The same differences for each group of patients, without tests: few patients each."""
    rows: list[dict[str, Any]] = read_json(comparison)["breakdown"]["diagnosis"]
    return rows


def append_result(path: Path, row: dict[str, Any]) -> None:
    """Put a run into the table of all runs of this work folder, in the place of the same run if it is there."""
    key = ["arm", "seed", "generator", "iterations"]
    table = pd.DataFrame([row])
    if path.is_file():
        table = pd.concat([pd.read_csv(path, keep_default_na=False, na_values={}), table]).drop_duplicates(key, keep="last")
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
