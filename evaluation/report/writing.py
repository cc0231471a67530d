"""The files of a comparison: what the report consists of, and tables, numbers and report written together or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.analysis.breakdown import BREAKDOWNS
from evaluation.analysis.paired import SIDES, Margins
from evaluation.analysis.statistics import ALPHA, LEVEL, RESAMPLES, SEED
from evaluation.inputs.arms import Arm, leaked_patients
from evaluation.inputs.interop import PARQUET, write_parquet
from evaluation.inputs.scores import Scored
from evaluation.report import html, markdown, tables
from evaluation.report import plots as pictures
from evaluation.report import provenance as origin
from evaluation.report import ranking as ranks
from evaluation.report.blocks import Blocks, Definitions, Document, Paragraph, Section
from evaluation.report.methods import definitions, methods, versions
from evaluation.report.results import Results
from evaluation.report.seen import seen_priors
from evaluation.scoring.rules import to_json
from evaluation.scoring.table import METRICS, PRIMARY
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json, write_text
from nnunet_synth_aug.core.tables import quoted_table

TABLE, SUMMARY, NUMBERS, REPORT, TEXT = "metrics.csv", "summary.csv", "comparison.json", "report.html", "report.md"
RANKING, SIGNIFICANCE, OVERVIEW = "ranking.csv", "significance.csv", "overview.json"
#: What lies in the folder of a comparison, or in that of several; and what tells that such a folder is ours.
PRODUCTS = (TABLE, PARQUET, SUMMARY, NUMBERS, REPORT, TEXT, RANKING, SIGNIFICANCE, OVERVIEW, markdown.FIGURES)
MARKS = (NUMBERS, OVERVIEW)

_GROUPS_NOTE = (
    "Descriptive but for the tests by vendor and centre; intervals are not corrected for the number of groups, and too narrow in groups of "
    "only a few patients. A patient is counted once in each row. Slice levels are thirds of each structure's stack in the ground truth."
)


def write_results(out: Path, results: Results, images: bool = True) -> None:
    """Write the report of two arms to the folder ``out``, with pictures of patients if ``images``."""
    with _staged(out) as staging:
        _fill(staging, results, images)


def write_overview(
    out: Path, scored: Scored, found: Mapping[str, Results], ranking: pd.DataFrame, pairs: pd.DataFrame, images: bool = True
) -> None:
    """Write the overview of all arms to ``out``, and each comparison to a folder in it.

    Args:
        found: folder name -> comparison with the baseline.
        ranking, pairs: from ``evaluation.analysis.ranking``.
    """
    with _staged(out) as staging:
        for folder, results in found.items():
            (staging / folder).mkdir()
            _fill(staging / folder, results, images)
        write_parquet(staging / PARQUET, scored.table)
        for name, table in ((TABLE, scored.table), (RANKING, _defined(ranking)), (SIGNIFICANCE, _defined(pairs))):
            write_text(staging / name, _csv(table))
        numbers = {
            "format": 1,
            "dataset": scored.dataset.name,
            "arms": list(scored.arms),
            "baseline": next(iter(scored.arms)),
            **to_json(scored.rules),
            "conclusion": {results.names[1]: results.conclusion for results in found.values()},
            "comparisons": {results.names[1]: f"{folder}/{NUMBERS}" for folder, results in found.items()},
            "ranking": _records(ranking),
            "significance": _records(pairs),
        }
        write_json(staging / OVERVIEW, numbers)
        margins = next(iter(found.values())).margins
        _write_report(staging, overview_document(scored, found, ranking, pairs, margins))


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` whose content is moved into ``out``, replacing what has the same names, if all goes well."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".partial-{out.name}-", dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield staging
        out.mkdir(exist_ok=True)
        for file in sorted(staging.iterdir(), key=lambda file: file.name not in MARKS):
            if (out / file.name).is_dir():
                shutil.rmtree(out / file.name)
            file.replace(out / file.name)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    console.print(f"report: {out / REPORT}")


def _unwritable(out: Path, error: OSError) -> UserError:
    return UserError(f"cannot write the report to {out}: {error.strerror or error}; free some space or choose another folder")


def _fill(folder: Path, results: Results, images: bool) -> None:
    write_text(folder / TABLE, _csv(results.table))
    write_parquet(folder / PARQUET, results.table)
    write_text(folder / SUMMARY, _csv(_defined(results.summary)))
    write_json(folder / NUMBERS, as_json(results))
    _write_report(folder, comparison_document(results, images))


def _defined(table: pd.DataFrame) -> pd.DataFrame:
    """With the definition of every row's metric."""
    return table.assign(definition=[METRICS[metric].short for metric in table["metric"]])


def _write_report(folder: Path, document: Document) -> None:
    """The report as HTML, and as Markdown with its pictures as files."""
    write_text(folder / REPORT, html.render(document))
    write_text(folder / TEXT, markdown.render(document))
    if document.pictures:
        (folder / markdown.FIGURES).mkdir()
    for picture in document.pictures:
        for kind, content in picture.files.items():
            (folder / markdown.FIGURES / f"{picture.name}.{kind}").write_bytes(content)


def as_json(results: Results) -> dict[str, Any]:
    """All numbers of the report, machine-readable; NaN becomes null."""
    return {
        "format": 2,
        "dataset": results.dataset.name,
        "names": dict(zip(SIDES, results.names, strict=True)),
        "patients": results.table["patient"].nunique(),
        "cases": results.cases,
        **to_json(results.rules),
        "labels": {k: list(v) for k, v in results.labels.items()},
        "conclusion": results.conclusion,
        "notes": results.notes,
        "headline": _records(headline_long(results.summary)),
        "summary": _records(results.summary),
        "without_failures": _records(results.sensitivity),
        "breakdown": {k: _records(v) for k, v in results.breakdown.items()},
        "dependence": _records(results.dependence),
        "clinical_agreement": _records(results.agreement),
        "failures": _records(results.failures),
        "excluded_both_empty": results.excluded,
        "arms": {side: _arm(runs, results) for side, runs in zip(SIDES, results.arms, strict=True)},
        "statistics": {
            "unit": "patient",
            "alpha": ALPHA,
            "level": LEVEL,
            "resamples": RESAMPLES,
            "seed": SEED,
            "primary": list(PRIMARY),
            "family": results.family,
            "tie_margins": dict(results.margins.ties),
            "noninferiority_margins": dict(results.margins.noninferiority),
            "methods": methods_of(results),
        },
        "definitions": definitions(results.rules),
        "versions": results.versions,
    }


def _arm(runs: tuple[Arm, ...], results: Results) -> dict[str, Any]:
    """How an arm was trained; the trainer, plans and mix ratio are those of its first training."""
    shared = {k: getattr(runs[0], k) for k in ("trainer", "plans", "configuration", "mix_ratio")} if runs else {}
    leaked = {patient for arm in runs for patient in leaked_patients(arm, results.dataset)}
    trainings = [{"seed": arm.seed, "folds": list(arm.folds), "records": arm.records} for arm in runs]
    return {**shared, "leaked_patients": sorted(leaked), "trainings": trainings}


def headline_long(summary: pd.DataFrame) -> pd.DataFrame:
    """The headline with one row per structure and primary metric."""
    rows = summary[summary["metric"].isin(PRIMARY)]
    kept = ["structure", "metric", "unit", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high"]
    kept += ["runs_low", "runs_high", "p_holm", "better", "ties", "worse", "verdict", "noninferiority"]
    return rows[kept].reset_index(drop=True)


def _csv(table: pd.DataFrame) -> str:
    return quoted_table(table).to_csv(index=False, lineterminator="\n")


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def comparison_document(results: Results, images: bool = True) -> Document:
    """The report of two arms.

    Args:
        images: with pictures of patients.
    """
    first, second = results.names
    counts = trainings(results)
    several = f" of each of {counts[0]} and {counts[1]} trainings" if max(counts) > 1 else ""
    meta = (
        f"{results.table['patient'].nunique()} patients, {results.cases} predictions per arm{several}, structures "
        f"{', '.join(results.labels)}. Differences are {second} minus {first}."
    )
    groups: Blocks = []
    for what in BREAKDOWNS:
        groups += [*tables.breakdown(results.breakdown[what], what, results), *tables.dependence(results, what)]
        groups += pictures.group_forests(results, what)
    used = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    engine = f" Distances by the engine {results.rules.engine}." if results.rules else ""
    return Document(
        title=f"{second[:1].upper()}{second[1:]} against {first} on {results.dataset.name}",
        opening=[Paragraph(meta, "meta"), *pictures.at_a_glance(results, images), *ranks.opening(results)],
        sections=[
            Section("Headline", tables.headline(results)),
            Section("Paired differences", [*tables.differences(results), *pictures.forests(results), *tables.arms_described(results)]),
            Section("Non-inferiority", tables.noninferiority(results)),
            Section("Trainings", tables.trainings(results)),
            Section("Most changed and worst cases", pictures.cases(results, images)),
            Section("Failures", [*tables.failures(results), *tables.without_failures(results)]),
            Section("Phases, slice levels and groups of patients", [*groups, Paragraph(_GROUPS_NOTE, "note")] if groups else []),
            Section("Clinical volumes", [*tables.clinical(results), *pictures.bland_altman(results)]),
            Section("Synthetic data", [*origin.synthetic(results), *seen_priors(results)]),
            Section("Arms", origin.arms(results)),
            Section("Definitions", [Definitions(list(definitions(results.rules).items()))]),
            Section("Methods", [Paragraph(methods_of(results))]),
            Section("Versions", [Paragraph(f"{used}.{engine}", "meta")]),
        ],
    )


def trainings(results: Results) -> list[int]:
    """Of each arm."""
    return [int(results.summary[f"{side}_runs"].max()) for side in SIDES]


def methods_of(results: Results) -> str:
    """The paragraph for a paper."""
    patients = results.table["patient"].nunique()
    names, labels = results.names, list(results.labels)
    return methods(names, labels, patients, results.rules, results.margins, results.versions, trainings=trainings(results))


def overview_document(
    scored: Scored, found: Mapping[str, Results], ranking: pd.DataFrame, pairs: pd.DataFrame, margins: Margins | None = None
) -> Document:
    """The report of more than two arms.

    Args:
        found: folder of a comparison's own page -> comparison with the baseline.
        ranking, pairs: from ``evaluation.analysis.ranking``.
    """
    baseline = next(iter(scored.arms))
    patients = scored.table["patient"].nunique()
    each = [max(1, len(runs)) for runs in scored.arms.values()]
    text = methods(list(scored.arms), list(scored.labels), patients, scored.rules, margins or Margins(), versions(), trainings=each)
    return Document(
        title=f"{len(scored.arms)} arms on {scored.dataset.name}",
        opening=[Paragraph(f"{patients} patients. Baseline: {baseline}. Structures {', '.join(scored.labels)}.", "meta")],
        sections=[
            Section("Differences from the baseline", pictures.arm_forests(list(found.values()))),
            *(ranks.comparison(folder, results) for folder, results in found.items()),
            Section("Ranking", ranks.ranking(ranking, scored.rules)),
            Section("Every pair of arms", ranks.significance(pairs, scored.rules)),
            Section("Methods", [Paragraph(text)]),
        ],
    )
