"""The tables of the overview of several arms."""

from __future__ import annotations

import pandas as pd

from evaluation.report import tables
from evaluation.report.blocks import Blocks, Link, Section, Sentences, Table
from evaluation.report.methods import RANKING, stated
from evaluation.report.results import Results
from evaluation.report.tables import note
from evaluation.report.wording import interval, number, p_value
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.table import METRICS, PRIMARY


def comparison(folder: str, results: Results) -> Section:
    """Conclusion and headline of one comparison with the baseline, and the way to its own page."""
    return Section(
        f"{results.names[1]} against {results.names[0]}",
        [*opening(results), *tables.headline(results), Link(f"{folder}/report", "Full comparison")],
    )


def opening(results: Results) -> Blocks:
    """What makes the comparison doubtful, then what it says."""
    warnings = tuple(s for s in results.conclusion if s in results.notes)
    said = tuple(s for s in results.conclusion if s not in results.notes)
    return [Sentences(sentences, kind) for sentences, kind in ((warnings, "warning"), (said, "conclusion")) if sentences]


def ranking(table: pd.DataFrame, rules: ScoringRules | None) -> Blocks:
    """Arms by structure and metric, best first, with the share of bootstrap samples in which they have each rank."""
    places = [c for c in table.columns if c.startswith("rank_")]
    rows: list[list[str]] = []
    lines: list[int] = []
    for (structure, metric), part in table.groupby(["structure", "metric"], sort=False):
        lines.append(len(rows))
        for row in part.sort_values("rank", kind="stable").to_dict("records"):
            shares = [f"{100 * row[place]:.0f} %" for place in places]
            mean = number(row["mean"], METRICS[str(metric)].digits)
            rows.append([str(metric), str(structure), row["arm"], str(row["rank"]), mean, *shares, number(row["kendall_tau"], 2)])
    columns = ["metric", "structure", "arm", "rank", "mean", *(f"rank {i + 1}" for i in range(len(places))), "Kendall τ"]
    groups = [("", 5), ("share of bootstrap samples", len(places)), ("", 1)]
    return [Table(columns, rows, text=3, groups=groups, rules=lines[1:]), note(f"{RANKING} {stated(PRIMARY, rules)}")] if rows else []


def significance(pairs: pd.DataFrame, rules: ScoringRules | None) -> Blocks:
    """Differences between all pairs of arms."""
    rows: list[list[str]] = []
    lines: list[int] = []
    for (structure, metric), part in pairs.groupby(["structure", "metric"], sort=False):
        lines.append(len(rows))
        for row in part.to_dict("records"):
            digits = METRICS[str(metric)].digits
            change = [number(row["difference"], digits, signed=True), interval(row, digits), p_value(row["p_holm"])]
            rows.append([str(metric), str(structure), f"{row['second']} minus {row['first']}", *change])
    text = (
        "Exploratory: p-values are corrected after Holm within one metric and structure only, over all pairs of arms. What is claimed "
        "rests on the comparisons with the baseline above."
    )
    columns = ["metric", "structure", "pair", "difference", "95 % CI", "Holm p"]
    return [Table(columns, rows, text=3, rules=lines[1:]), note(f"{text} {stated(PRIMARY, rules)}")] if rows else []
