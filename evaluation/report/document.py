"""What the reports consist of: that of one comparison, and the overview of several arms."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from evaluation.analysis.pairing import SIDES
from evaluation.analysis.summary import BREAKDOWNS, Margins
from evaluation.inputs.sources import Scored
from evaluation.report import plots as pictures
from evaluation.report import provenance as origin
from evaluation.report import ranking as ranks
from evaluation.report import tables
from evaluation.report.blocks import Blocks, Definitions, Document, Paragraph, Section
from evaluation.report.methods import definitions, methods
from evaluation.report.results import Results
from evaluation.report.seen import seen_priors
from evaluation.report.versions import versions

_GROUPS_NOTE = (
    "Descriptive; intervals are not corrected for the number of groups, and too narrow in groups of only a few patients. A patient is "
    "counted once in each row. Slice levels are thirds of each structure's stack in the ground truth."
)


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
        groups += [*tables.breakdown(results.breakdown[what], what, results), *pictures.group_forests(results, what)]
    used = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    engine = f" Distances by the engine {results.rules.engine}." if results.rules else ""
    return Document(
        title=f"{second[:1].upper()}{second[1:]} against {first} on {results.dataset.name}",
        opening=[Paragraph(meta, "meta"), *ranks.opening(results)],
        sections=[
            Section("Headline", tables.headline(results)),
            Section("Paired differences", [*tables.differences(results), *pictures.forests(results), *tables.arms_described(results)]),
            Section("Non-inferiority", tables.noninferiority(results)),
            Section("Trainings", tables.trainings(results)),
            Section("Patients", pictures.paired_plots(results)),
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
