"""Compare arms: score, test, and write the tables, the numbers and the reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pandas as pd

from evaluation.analysis.breakdown import breakdown, sensitivity
from evaluation.analysis.dependence import dependence, in_one_family
from evaluation.analysis.paired import (
    Margins,
    Runs,
    corrected,
    headline,
    pair_cases,
    paired_summary,
    patient_values,
    training_values,
    without_failures,
)
from evaluation.analysis.ranking import rankings, significance_map
from evaluation.analysis.volumes import agreement, clinical_values
from evaluation.inputs.arms import fairness_notes
from evaluation.inputs.scores import Scored, Where, read_sources
from evaluation.report.methods import stated, versions
from evaluation.report.results import Results
from evaluation.report.wording import conclusion
from evaluation.report.wording import dependence as dependence_in_words
from evaluation.report.writing import MARKS, PRODUCTS, REPORT, write_overview, write_results
from evaluation.scoring.rules import BY_DEFAULT, ScoringRules
from evaluation.scoring.table import METRICS, PRIMARY
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import refuse_read_only
from nnunet_synth_aug.core.others_files import refuse_to_replace

Paths = Path | Sequence[Path]


@dataclass(frozen=True)
class Comparison:
    """The written files and the tables that one looks at first."""

    out: Path
    report: Path
    headline: pd.DataFrame  # rows structures and "mean"; columns (metric, baseline | augmented | difference | ci_low | ci_high | p_holm)
    summary: pd.DataFrame  # see evaluation.analysis.paired.paired_summary
    conclusion: list[str]
    failures: pd.DataFrame
    definitions: str  # one line for the foot of a table of the primary metrics


@dataclass(frozen=True)
class Overview:
    """More than two arms: every comparison with the baseline, by arm, and the ranking of all."""

    report: Path
    comparisons: dict[str, Comparison]
    ranking: pd.DataFrame  # see evaluation.analysis.ranking.rankings


def compare(
    baseline: Paths,
    augmented: Paths,
    out: Path,
    *,
    names: tuple[str, str] = ("baseline", "augmented"),
    rules: ScoringRules = BY_DEFAULT,
    margins: Margins | None = None,
    images: bool = True,
    **where: Unpack[Where],
) -> Comparison:
    """Compare two arms on the same cases.

    Args:
        baseline, augmented: the results folder of each arm, or one per training (seed), or ``metrics.csv`` files; see
            :func:`evaluation.inputs.scores.read_sources`.
        out: gets ``metrics.csv``, ``summary.csv``, ``comparison.json``, ``report.html``, ``report.md`` and ``figures``; may exist.
        names: what the report calls the arms.
        margins: of ties and of non-inferiority.
        images: show patients; without, the report holds no picture of any.
        rules: by which masks are scored.
        where: see :class:`evaluation.inputs.scores.Where`.

    Raises:
        UserError: a folder or file is missing or damaged, or the arms do not match. Nothing is written then.
    """
    if names[0] == names[1]:
        raise UserError(f"both arms are called {names[0]!r}; give them different names")
    sources = {name: [paths] if isinstance(paths, Path) else list(paths) for name, paths in zip(names, (baseline, augmented), strict=True)}
    _check_arguments(sources, out, margins)
    [results] = evaluate(read_sources(sources, rules, **where), margins)
    write_results(out, results, images)
    return _comparison(out, results)


def compare_arms(
    arms: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    rules: ScoringRules = BY_DEFAULT,
    margins: Margins | None = None,
    images: bool = True,
    **where: Unpack[Where],
) -> Overview:
    """Compare every arm with the first one, all tests in one family, and rank them.

    Args:
        arms: name -> results folders or tables, the baseline first, at least three; other arguments as in :func:`compare`.
        out: gets an overview (``report.html``, ``ranking.csv``, ``significance.csv``, ``overview.json``), ``metrics.csv``
            of all arms, and a folder per compared arm with the files of :func:`compare`.

    Raises:
        UserError: as :func:`compare`.
    """
    _check_arguments(arms, out, margins)
    scored = read_sources(arms, rules, **where)
    found = evaluate(scored, margins)
    runs = training_values(scored.table, tuple(arms))
    ranking, pairs = (make(runs, list(arms), list(scored.labels)) for make in (rankings, significance_map))
    folders = {results.names[1]: folder_name(results.names[1]) for results in found}
    write_overview(out, scored, {folders[results.names[1]]: results for results in found}, ranking, pairs, images)
    return Overview(out / REPORT, {results.names[1]: _comparison(out / folders[results.names[1]], results) for results in found}, ranking)


def folder_name(arm: str) -> str:
    """Name of the folder of an arm's comparison with the baseline."""
    return re.sub(r"[^\w.-]+", "_", arm).strip("._") or "arm"


def _check_arguments(sources: Mapping[str, Sequence[Path]], out: Path, margins: Margins | None) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose a folder for the report")
    refuse_read_only(out)
    if len({folder_name(name) for name in sources}) < len(sources):
        raise UserError(f"the arms {', '.join(sources)} need names that still differ as names of folders")
    refuse_to_replace(out, PRODUCTS, MARKS, "synthaug compare")
    for name in list(sources)[1:] if len(sources) > 2 else ():
        if not any((out / folder_name(name) / mark).is_file() for mark in MARKS):
            refuse_to_replace(out, [folder_name(name)], [], "synthaug compare")
    for what, limits in (("tie", margins.ties), ("margin", margins.noninferiority)) if margins else ():
        for metric, value in limits.items():
            if metric not in METRICS:
                raise UserError(f"there is no metric {metric!r} to give a {what} for; choose from {', '.join(METRICS)}")
            if not 0 < value < float("inf"):
                raise UserError(f"the {what} of {metric} is {value:g}; it must be a positive number")


def evaluate(scored: Scored, margins: Margins | None = None) -> list[Results]:
    """Everything of :func:`compare` but the reading and the writing: one result per arm after the first."""
    baseline, *others = scored.arms
    margins = margins or Margins()
    structures = list(scored.labels)
    models = [(baseline, other) for other in others]
    pairs = [pair_cases(scored.table, pair) for pair in models]
    values = [patient_values(p) for p in pairs]
    runs: list[Runs] = [training_values(scored.table, pair) for pair in models]
    summaries = corrected([paired_summary(v, structures, r, m, margins) for v, r, m in zip(values, runs, models, strict=True)])
    family = sum(int(summary["p_holm"].notna().sum()) for summary in summaries)
    by_group = in_one_family([dependence(scored.table, v, structures) for v in values])
    return [
        _results(scored, *each, margins=margins, family=family, compared=len(others))
        for each in zip(models, pairs, values, summaries, by_group, strict=True)
    ]


def _results(
    scored: Scored,
    names: tuple[str, str],
    pairs: pd.DataFrame,
    values: pd.DataFrame,
    summary: pd.DataFrame,
    by_group: pd.DataFrame,
    *,
    margins: Margins,
    family: int,
    compared: int,
) -> Results:
    arms = (scored.arms[names[0]], scored.arms[names[1]])
    structures = list(scored.labels)
    table = scored.table[scored.table["model"].isin(names)].reset_index(drop=True)
    notes = [note for first in arms[0] for second in arms[1] for note in fairness_notes(first, second, scored.dataset)]
    notes += scored.notes
    if scored.absent:
        notes.append(f"Not scored, because no ground truth holds it: {', '.join(scored.absent)}.")
    if (pairs["baseline"] == pairs["augmented"]).all():
        notes.append(f"{names[0]} and {names[1]} have the same value in every case: are they the same predictions?")
    notes = list(dict.fromkeys(notes))
    clinical = clinical_values(table, names)
    groups = breakdown(table, pairs, structures)
    sentences = [*conclusion(summary, names, notes, family), *dependence_in_words(by_group, groups)]
    if compared > 1:
        sentences.append(f"Holm's correction is over the {family} hypotheses of the {compared} arms that were compared with {names[0]}.")
    return Results(
        names=names,
        arms=arms,
        dataset=scored.dataset,
        labels=scored.labels,
        rules=scored.rules,
        maps=(scored.maps[names[0]], scored.maps[names[1]]) if all(arms) else None,
        margins=margins,
        table=table,
        pairs=pairs,
        values=values,
        summary=summary,
        family=family,
        sensitivity=sensitivity(without_failures(pairs), structures),
        breakdown=groups,
        dependence=by_group,
        clinical=clinical,
        agreement=agreement(clinical),
        conclusion=sentences,
        notes=notes,
        versions=versions(),
    )


def _comparison(out: Path, results: Results) -> Comparison:
    return Comparison(
        out, out / REPORT, headline(results.summary), results.summary, results.conclusion, results.failures, stated(PRIMARY, results.rules)
    )
