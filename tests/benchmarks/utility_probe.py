"""The end metric in miniature: does nnU-Net segment unseen patients better with synthetic data, when it has ten patients?

    ACDC=FOLDER SUNNYBROOK=FOLDER python tests/benchmarks/utility_probe.py tests/benchmarks/ten_patients.yaml --out probe \\
        --label "small, seed 0" --json docs/utility/NAME.json

Runs a study file of ``synthaug benchmark`` and keeps its figures in the form that docs/results/utility.md shows. Another generator.name
in the same --out adds a generator and shares the real-only runs. A killed probe goes on where it stopped when started again.
The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.benchmark.conclude import FIGURES, conclude
from evaluation.benchmark.main import run_study
from evaluation.benchmark.patients import split_patients
from evaluation.benchmark.reading import read_study
from evaluation.benchmark.study import VALIDATION, GeneratorSettings, Study
from evaluation.benchmark.workspace import Workspace
from evaluation.scoring.table import PREDICTION_EMPTY, REFERENCE_EMPTY, read_table
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json, write_json

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


def comparisons(report: Path, arms: list[str], names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Paired differences of every mix from the real-only arm by test set, seeds averaged within a patient."""

    def rows(path: str) -> list[dict[str, Any]]:
        summary = read_json((report / path).with_name("comparison.json"))["summary"]
        return [{key: row[key] for key in (*COLUMNS, "effect", "verdict")} for row in summary if row["metric"] in SHOWN]

    found = read_json(report / FIGURES)["comparisons"]
    return {arm: {names[test]: rows(by_arm[arm]["report"]) for test, by_arm in found.items()} for arm in arms}


def by_diagnosis(report: Path, arms: list[str]) -> dict[str, Any]:
    """The same differences for each group of patients, without tests: few patients each."""
    found = read_json(report / FIGURES)["comparisons"][VALIDATION]
    return {arm: read_json((report / found[arm]["report"]).with_name("comparison.json"))["breakdown"]["diagnosis"] for arm in arms}


def fit_options(settings: GeneratorSettings) -> list[str]:
    """What of ``synthaug fit`` is not its default."""
    options = ["--pretrain", settings.pretrain] if settings.pretrain != "none" else []
    options += ["--seed", str(settings.seed)] if settings.seed else []
    return [*options, *(["--segmenter"] if settings.segmenter else []), *(word for one in settings.set_ for word in ("--set", one))]


def about_generator(at: Workspace, study: Study, label: str) -> dict[str, Any]:
    """What is to be reported of the generator and its bank; without a generator, of the banks of the controls."""
    bank = {"label": label, "sequences": study.bank.sequences, "frames": study.bank.frames, "segmenter": study.bank.segmenter}
    if not any(arm.needs_generator for arm in study.all_arms):
        return bank | {"generator": None, "fit": [], "fit_seconds": {}, "bank": None}
    meta = read_json(at.generator(0) / "generator.json")
    mix = next((arm for arm in study.all_arms if arm.is_sampled), None)  # controls alone have none
    return bank | {
        "generator": study.generator.preset if study.generator.folder is None else study.generator.folder.name,
        "fit": fit_options(study.generator),
        "fit_seconds": {stage: entry["seconds"] for stage, entry in meta["finished"].items()},
        "bank": None if mix is None else read_json(at.bank(mix, 0) / "sequences" / "figures.json"),
    }


def probe(study: Study, out: Path, label: str) -> dict[str, Any]:
    """Every step of the study, and of fold 0 its figures."""
    at = Workspace(out.resolve(), study)
    report = run_study(study, at.out).parent
    heart = conclude(replace(study, largest_heart=True), at, "report_largest_heart").parent
    names = {VALIDATION: study.data.source.upper(), **{test.name: test.name for test in study.tests}}
    arms, seeds = [arm.name for arm in study.all_arms], list(study.seeds)
    scores = {name: run_scores(report / test, arms, seeds) for test, name in names.items()}
    split = read_json(at.splits)[0]
    patients = split_patients(split, at.raw)
    iterations = (study.training.epochs or 1000) * (study.training.iterations or 250)  # nnU-Net's own
    return {
        "format": 1,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "settings": {"iterations": iterations, "seeds": seeds, "arms": arms},
        "patients": {
            "train": len(patients["train"]),
            "diagnoses": list(study.data.diagnoses),
            "unlabelled": len(split.get("unlabelled", [])),
            "test": len(patients["val"]),
            "split_hash": hash_json(split),
        },
        "generator": about_generator(at, study, label),
        "runs": [
            {"arm": arm, "seed": seed, "generator": label if arm != "real" else "", "iterations": iterations}
            | {f"{name} {key}": value for name, found in scores.items() for key, value in found[arm, seed].items()}
            for seed in seeds
            for arm in arms
        ],
        "comparisons": comparisons(report, arms[1:], names),
        "largest_heart": comparisons(heart, arms[1:], names),
        "by_diagnosis": by_diagnosis(report, arms[1:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="study file, or the name of a ready study")
    parser.add_argument("--out", type=Path, required=True, help="work folder; the same command resumes")
    parser.add_argument("--label", required=True, help="what tables call the generator")
    parser.add_argument("--json", type=Path, help="where the figures go besides OUT, e.g. docs/utility/NAME.json")
    a = parser.parse_args()
    try:
        figures = probe(read_study(a.study), a.out, a.label)
    except UserError as error:
        print(f"utility_probe: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for path in filter(None, (a.out / "utility.json", a.json)):
        write_json(path, figures)
    print(json.dumps(read_json(a.out / "utility.json")))


if __name__ == "__main__":
    main()
