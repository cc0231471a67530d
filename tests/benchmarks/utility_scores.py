"""Scores of utility_probe.py, through the evaluation package: per run, and a mix against real only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from utility_workspace import Probe, Run

from evaluation.arms import read_arm
from evaluation.collect import collect
from evaluation.dataset import find_dataset
from evaluation.pairing import pair_cases, patient_values
from evaluation.summary import paired_summary
from evaluation.table import PREDICTION_EMPTY, REFERENCE_EMPTY, read_table
from nnunet_synth_aug.files import write_text
from nnunet_synth_aug.labels import N_CLASSES

SHOWN = ("Dice", "HD", "HD95")
COLUMNS = ("structure", "metric", "unit", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "p", "p_holm")


def score(probe: Probe, run: Run, predictions: Path, dataset: str, labels: dict[str, int]) -> pd.DataFrame:
    """The long table of one run on one test set; kept in the run's folder."""
    path = probe.folder(run) / f"metrics_{dataset}.csv"
    if not path.is_file():
        arm = read_arm(predictions, run.arm)
        found = find_dataset(arm.cases, [predictions], None, probe.raw(dataset))
        wanted = {name: (value,) for name, value in labels.items()}
        table = collect((arm,), found, wanted, frozenset(range(N_CLASSES)), None, "native").assign(seed=str(run.seed))
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return read_table(path)


def averages(table: pd.DataFrame) -> dict[str, float]:
    """Mean over patients by ``STRUCTURE METRIC``, and the number of masks in which a structure was missed or invented."""
    pairs = pair_cases(pd.concat([table, table.assign(model="itself")]), (table["model"].iloc[0], "itself"))
    means = patient_values(pairs).groupby(["structure", "metric"], sort=False)["baseline"].mean()
    missed = table[(table["metric"] == "Dice") & table["failure"].isin([PREDICTION_EMPTY, REFERENCE_EMPTY])]
    shown = [(structure, metric) for structure in dict.fromkeys(table["structure"]) for metric in SHOWN]
    return {f"{s} {m}": round(float(means[s, m]), 4) for s, m in shown} | {"failures": len(missed)}


def compared(tables: dict[str, list[pd.DataFrame]], arm: str) -> list[dict[str, Any]]:
    """Paired differences of one mix from the real-only arm, seeds averaged within a patient; per structure and metric."""
    both = pd.concat([*tables["real"], *tables[arm]], ignore_index=True)
    structures = list(dict.fromkeys(both["structure"]))
    summary = paired_summary(patient_values(pair_cases(both, ("real", arm))), structures)
    rows = summary[summary["metric"].isin(SHOWN) & summary["structure"].isin(structures)]
    return rows[[*COLUMNS, "effect", "verdict"]].to_dict("records")


def append_result(path: Path, row: dict[str, Any]) -> None:
    """Put a run into the table of all runs of this work folder, in the place of the same run if it is there."""
    key = ["arm", "seed", "generator", "iterations"]
    table = pd.DataFrame([row])
    if path.is_file():
        table = pd.concat([pd.read_csv(path, keep_default_na=False, na_values={}), table]).drop_duplicates(key, keep="last")
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
