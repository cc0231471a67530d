"""Compare two arms: score, test, and write the table, the numbers and the report."""

from __future__ import annotations

import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.arms import Arm, check_complete, check_pairing, fairness_notes, leaked_patients, read_arm
from evaluation.collect import annotated_structures, collect
from evaluation.dataset import find_dataset, structure_labels
from evaluation.metrics import ENGINES
from evaluation.pairing import SIDES, pair_cases, patient_values, without_failures
from evaluation.report import render
from evaluation.results import Results
from evaluation.statistics import ALPHA, LEVEL, RESAMPLES, SEED
from evaluation.summary import by_group, by_phase, headline, paired_summary, patient_groups, sensitivity
from evaluation.table import METRICS, PRIMARY
from evaluation.volumes import agreement, clinical_values
from evaluation.wording import METHODS, POLICIES, conclusion
from nnunet_synth_aug.console import console
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import write_json, write_text

TABLE, SUMMARY, NUMBERS, REPORT = "metrics.csv", "summary.csv", "comparison.json", "report.html"


@dataclass(frozen=True)
class Comparison:
    """The written files and the tables that one looks at first."""

    out: Path
    report: Path
    headline: pd.DataFrame  # rows structures and "mean"; columns (metric, baseline | augmented | difference | ci_low | ci_high | p_holm)
    summary: pd.DataFrame  # see evaluation.summary.paired_summary
    conclusion: list[str]
    failures: pd.DataFrame


def compare(
    baseline: Path,
    augmented: Path,
    out: Path,
    *,
    gt: Path | None = None,
    dataset: Path | None = None,
    engine: str = "native",
    labels: dict[str, int] | None = None,
    names: tuple[str, str] = ("baseline", "augmented"),
) -> Comparison:
    """Compare the predictions of two arms on the same cases.

    Args:
        baseline, augmented: results folders; see :func:`evaluation.arms.read_arm` for the layouts.
        out: gets ``metrics.csv``, ``summary.csv``, ``comparison.json`` and ``report.html``; may exist.
        gt: folder of ground truth masks; found through the results' path and nnU-Net's folders by default.
        dataset: the dataset's folder in nnUNet_raw or nnUNet_preprocessed; found likewise.
        engine: ``native`` or ``medpy``, for the distances.
        labels: structure -> label value, instead of those of ``dataset.json``.
        names: what the report calls the arms.

    Raises:
        UserError: a folder or file is missing or damaged, or the arms do not match. Nothing is written then.
    """
    if engine not in ENGINES:
        raise UserError(f"there is no metric engine {engine!r}; choose one of {', '.join(ENGINES)}")
    if names[0] == names[1]:
        raise UserError(f"both arms are called {names[0]!r}; give them different names")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose a folder for the report")
    results = evaluate((read_arm(baseline, names[0]), read_arm(augmented, names[1])), gt, dataset, engine, labels)
    _write(out, results)
    return Comparison(out, out / REPORT, headline(results.summary), results.summary, results.conclusion, results.failures)


def evaluate(arms: tuple[Arm, Arm], gt: Path | None, dataset: Path | None, engine: str, wanted: dict[str, int] | None) -> Results:
    """Everything of :func:`compare` but the writing."""
    check_pairing(*arms)
    found = find_dataset(arms[0].cases, [arm.folder for arm in arms], gt, dataset)
    for arm in arms:
        check_complete(arm, found)
    description = next((arm.dataset_json for arm in arms if arm.dataset_json), found.dataset_json)
    defined, ignore = structure_labels(description)
    labels = structure_labels(None, wanted)[0] if wanted else defined
    known = {0, *(v for values in (*defined.values(), *labels.values()) for v in values)} | ({ignore} if ignore is not None else set())
    names = (arms[0].name, arms[1].name)
    table = collect(arms, found, labels, frozenset(known), ignore, engine)
    structures, absent = annotated_structures(table)
    if not structures:
        raise UserError(f"no ground truth of {found.name} holds any of {', '.join(labels)}; check the labels")
    table = table[table["structure"].isin(structures)].reset_index(drop=True)
    notes = fairness_notes(*arms, found)
    if absent:
        notes.append(f"Not scored, because no ground truth holds it: {', '.join(absent)}.")
    pairs = pair_cases(table, names)
    values = patient_values(pairs)
    summary = paired_summary(values, structures)
    clinical = clinical_values(table, names)
    return Results(
        arms=arms,
        dataset=found,
        labels={s: labels[s] for s in structures},
        engine=engine,
        table=table,
        pairs=pairs,
        values=values,
        summary=summary,
        sensitivity=sensitivity(without_failures(pairs), structures),
        phases=by_phase(pairs, structures),
        groups={k: by_group(values, patient_groups(table, k), structures) for k in ("vendor", "diagnosis")},
        clinical=clinical,
        agreement=agreement(clinical),
        conclusion=conclusion(summary, names, notes),
        notes=notes,
        versions=_versions(),
    )


def _write(out: Path, results: Results) -> None:
    """Write all files beside ``out`` and move them in when every one is complete."""
    page = render(results)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".partial-{out.name}-", dir=out.parent))
    try:
        write_text(staging / TABLE, results.table.to_csv(index=False, lineterminator="\n"))
        write_text(staging / SUMMARY, results.summary.to_csv(index=False, lineterminator="\n"))
        write_json(staging / NUMBERS, as_json(results))
        write_text(staging / REPORT, page)
        out.mkdir(exist_ok=True)
        for name in (TABLE, SUMMARY, NUMBERS, REPORT):
            (staging / name).replace(out / name)
    except OSError as error:
        raise UserError(f"cannot write the report to {out}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    console.print(f"report: {out / REPORT}")


def as_json(results: Results) -> dict[str, Any]:
    """All numbers of the report, machine-readable; NaN becomes null."""
    return {
        "format": 1,
        "dataset": results.dataset.name,
        "names": dict(zip(SIDES, results.names, strict=True)),
        "patients": results.table["patient"].nunique(),
        "cases": len(results.arms[0].cases),
        "engine": results.engine,
        "labels": {k: list(v) for k, v in results.labels.items()},
        "conclusion": results.conclusion,
        "notes": results.notes,
        "headline": _records(headline_long(results.summary)),
        "summary": _records(results.summary),
        "without_failures": _records(results.sensitivity),
        "phases": _records(results.phases),
        "groups": {k: _records(v) for k, v in results.groups.items()},
        "clinical_agreement": _records(results.agreement),
        "failures": _records(results.failures),
        "excluded_both_empty": results.excluded,
        "arms": {
            side: {
                "trainer": arm.trainer,
                "plans": arm.plans,
                "configuration": arm.configuration,
                "folds": list(arm.folds),
                "mix_ratio": arm.mix_ratio,
                "records": arm.records,
                "leaked_patients": sorted(leaked_patients(arm, results.dataset)),
            }
            for side, arm in zip(SIDES, results.arms, strict=True)
        },
        "statistics": {
            "unit": "patient",
            "alpha": ALPHA,
            "level": LEVEL,
            "resamples": RESAMPLES,
            "seed": SEED,
            "family": list(PRIMARY),
            "methods": METHODS,
        },
        "definitions": {**{k: m.definition for k, m in METRICS.items()}, **POLICIES},
        "versions": results.versions,
    }


def headline_long(summary: pd.DataFrame) -> pd.DataFrame:
    """The headline with one row per structure and primary metric."""
    rows = summary[summary["metric"].isin(PRIMARY)]
    kept = ["structure", "metric", "unit", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "p_holm", "verdict"]
    return rows[kept].reset_index(drop=True)


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _versions() -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    for package in ("nnunet-synth-aug", "numpy", "scipy", "pandas", "matplotlib", "nibabel", "medpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
