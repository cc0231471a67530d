"""The tables of the overview of several arms as HTML."""

from __future__ import annotations

import pandas as pd

from evaluation import html
from evaluation import report_tables as tables
from evaluation.results import Results
from evaluation.table import METRICS
from evaluation.wording import interval, number, p_value


def comparison(folder: str, results: Results) -> str:
    """Conclusion and headline of one comparison with the baseline, and the way to its own page."""
    title = f"{results.names[1]} against {results.names[0]}"
    warnings = html.block([s for s in results.conclusion if s in results.notes], "warning")
    said = html.block([s for s in results.conclusion if s not in results.notes], "conclusion")
    return html.section(title, warnings, said, tables.headline(results), html.link(f"{folder}/report.html", "Full comparison"))


def ranking(table: pd.DataFrame) -> str:
    """Arms by structure and metric, best first, with the share of bootstrap samples in which they have each rank."""
    places = [c for c in table.columns if c.startswith("rank_")]
    rows: list[list[str]] = []
    rules: list[int] = []
    for (structure, metric), part in table.groupby(["structure", "metric"], sort=False):
        rules.append(len(rows))
        for row in part.sort_values("rank", kind="stable").to_dict("records"):
            shares = [f"{100 * row[place]:.0f} %" for place in places]
            mean = number(row["mean"], METRICS[str(metric)].digits)
            rows.append([str(metric), str(structure), row["arm"], str(row["rank"]), mean, *shares, number(row["kendall_tau"], 2)])
    columns = ["metric", "structure", "arm", "rank", "mean", *(f"rank {i + 1}" for i in range(len(places))), "Kendall τ"]
    groups = [("", 5), ("share of bootstrap samples", len(places)), ("", 1)]
    return html.table(columns, rows, text=3, groups=groups, rules=rules[1:])


def significance(pairs: pd.DataFrame) -> str:
    """Differences between all pairs of arms."""
    rows: list[list[str]] = []
    rules: list[int] = []
    for (structure, metric), part in pairs.groupby(["structure", "metric"], sort=False):
        rules.append(len(rows))
        for row in part.to_dict("records"):
            digits = METRICS[str(metric)].digits
            change = [number(row["difference"], digits, signed=True), interval(row, digits), p_value(row["p_holm"])]
            rows.append([str(metric), str(structure), f"{row['second']} minus {row['first']}", *change])
    note = (
        "Exploratory: p-values are corrected after Holm within one metric and structure only, over all pairs of arms. What is claimed "
        "rests on the comparisons with the baseline above."
    )
    return html.table(["metric", "structure", "pair", "difference", "95 % CI", "Holm p"], rows, text=3, rules=rules[1:]) + html.paragraph(
        note, "note"
    )
