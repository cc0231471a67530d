"""HTML pages: one comparison (conclusion, tables, figures, failures, provenance, definitions), and the overview of several arms."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from evaluation import html
from evaluation import report_figures as pictures
from evaluation import report_ranking as ranks
from evaluation import report_tables as tables
from evaluation.pairing import SIDES
from evaluation.results import Results
from evaluation.sources import Scored
from evaluation.summary import BREAKDOWNS
from evaluation.table import METRICS
from evaluation.wording import METHODS, POLICIES, RANKING

_GROUPS_NOTE = (
    "Descriptive; intervals are not corrected for the number of groups, and too narrow in groups of only a few patients. A patient is "
    "counted once in each row. Slice levels are thirds of each structure's stack in the ground truth."
)


def render(results: Results) -> str:
    """The page as HTML: self-contained, no script, nothing fetched."""
    first, second = results.names
    title = f"{second[:1].upper()}{second[1:]} against {first} on {results.dataset.name}"
    counts = [int(results.summary[f"{side}_runs"].max()) for side in SIDES]
    several = f" of each of {counts[0]} and {counts[1]} trainings" if max(counts) > 1 else ""
    meta = (
        f"{results.table['patient'].nunique()} patients, {results.cases} predictions per arm{several}, structures "
        f"{', '.join(results.labels)}. Differences are {second} minus {first}."
    )
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    definitions = [*((name, metric.definition) for name, metric in METRICS.items()), *POLICIES.items()]
    groups = [tables.breakdown(results.breakdown[what], what, results.names) for what in BREAKDOWNS]
    body = [
        f"<header><h1>{html.escape(title)}</h1>{html.paragraph(meta, 'meta')}</header>",
        html.block([s for s in results.conclusion if s in results.notes], "warning"),
        html.block([s for s in results.conclusion if s not in results.notes], "conclusion"),
        html.section("Headline", tables.headline(results)),
        html.section("Paired differences", tables.differences(results), pictures.forests(results), tables.arms_described(results)),
        html.section("Non-inferiority", tables.noninferiority(results)),
        html.section("Trainings", tables.trainings(results)),
        html.section("Patients", *pictures.paired_plots(results)),
        html.section("Examples", *pictures.examples(results)),
        html.section("Failures", tables.failures(results), tables.without_failures(results)),
        html.section("Phases, slice levels and groups of patients", *groups, html.paragraph(_GROUPS_NOTE, "note") if any(groups) else ""),
        html.section("Clinical volumes", tables.clinical(results), pictures.bland_altman(results)),
        html.section("Synthetic data", tables.synthetic(results)),
        html.section("Arms", tables.arms(results)),
        html.section("Definitions", html.definitions(definitions)),
        html.section("Methods", html.paragraph(METHODS)),
        html.section("Versions", html.paragraph(f"{versions}. Distances by the engine {results.engine}.", "meta")),
    ]
    return html.page(title, "\n".join(part for part in body if part))


def render_overview(scored: Scored, found: Mapping[str, Results], ranking: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """The page of more than two arms.

    Args:
        found: folder of a comparison's own page -> comparison with the baseline.
        ranking, pairs: from ``evaluation.ranking``.
    """
    baseline = next(iter(scored.arms))
    title = f"{len(scored.arms)} arms on {scored.dataset.name}"
    meta = f"{scored.table['patient'].nunique()} patients. Baseline: {baseline}. Structures {', '.join(scored.labels)}."
    body = [
        f"<header><h1>{html.escape(title)}</h1>{html.paragraph(meta, 'meta')}</header>",
        *(ranks.comparison(folder, results) for folder, results in found.items()),
        html.section("Ranking", ranks.ranking(ranking), html.paragraph(RANKING, "note")),
        html.section("Every pair of arms", ranks.significance(pairs)),
        html.section("Methods", html.paragraph(METHODS)),
    ]
    return html.page(title, "\n".join(part for part in body if part))
