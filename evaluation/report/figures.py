"""Figures of the report; one function each, from tables to a matplotlib Figure (no global state is touched)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluation.analysis.paired import AUGMENTED, BASELINE, MEAN
from evaluation.report.style import AUGMENTED_COLOUR, BASELINE_COLOUR, GREY, INK, RULE, STRUCTURE_COLOURS, sober, unit_label
from evaluation.report.wording import interval, number
from evaluation.scoring.table import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Half the width of a patient's line; structures are 1 apart.
SLOPE = 0.3


def at_a_glance(values: pd.DataFrame, summary: pd.DataFrame, metric: str, structures: list[str], names: tuple[str, str]) -> Figure:
    """Every patient in both arms: a line from baseline to augmented for each structure, with means and intervals.

    Args:
        values: from :func:`evaluation.analysis.paired.patient_values`.
        summary: from :func:`evaluation.analysis.paired.paired_summary`; its mean differences with their intervals are written above.
        metric: which is shown.
        structures: in the order of their colours, which are those of the contours.
        names: of the arms.
    """
    from matplotlib.figure import Figure

    with sober():
        figure = Figure(figsize=(3.35 + 0.95 * max(0, len(structures) - 3), 3.6), layout="constrained")
        axes = figure.subplots()
        for place, structure in enumerate(structures):
            chosen = values[(values["structure"] == structure) & (values["metric"] == metric)]
            _slopes(axes, place, chosen[[BASELINE, AUGMENTED]].to_numpy(float), STRUCTURE_COLOURS[place % len(STRUCTURE_COLOURS)])
            for row in summary[(summary["structure"] == structure) & (summary["metric"] == metric)].to_dict("records"):
                axes.annotate(_change(row), (place, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=6.8)
        axes.set_xlim(-0.5, len(structures) - 0.5)
        axes.set_xticks(range(len(structures)), structures, fontweight="bold")
        axes.tick_params(axis="x", length=0)
        better = "higher" if METRICS[metric].higher_is_better else "lower"
        axes.set_ylabel(f"{unit_label(metric, METRICS[metric].unit)}, {better} is better")
        axes.grid(axis="y", color=RULE, lw=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(textwrap.fill(f"left {names[0]}, right {names[1]}", 48), fontsize=8)
    return figure


def _change(row: dict[Any, Any]) -> str:
    """Mean difference and its interval, that over trainings too where there are several."""
    digits = METRICS[row["metric"]].digits
    kind = "runs" if np.isfinite(row["runs_low"]) else "ci"
    return f"{number(row['difference'], digits, signed=True)}\n{interval(row, digits, kind)}"


def _slopes(axes: Axes, place: int, pairs: np.ndarray, colour: str) -> None:
    """Patients (n, 2) as lines around ``place``, and their means in black."""
    ends = (place - SLOPE, place + SLOPE)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return
    fade = max(0.25, min(0.9, 12 / len(pairs)))
    axes.plot(ends, pairs.T, color=colour, lw=1.1, alpha=fade, marker="o", ms=3, mew=0)
    axes.plot(ends, pairs.mean(axis=0), color=INK, lw=1.8, marker="D", ms=4.5)


def forest_plot(summary: pd.DataFrame, metric: str, names: tuple[str, str]) -> Figure:
    """Mean paired difference with its interval per structure; the side that favours augmentation is named.

    Args:
        summary: from :func:`evaluation.analysis.paired.paired_summary`.
    """
    return _forest(summary[summary["metric"] == metric], metric, names, metric)


def group_forest(breakdown: pd.DataFrame, metric: str, names: tuple[str, str], title: str) -> Figure:
    """The same for every group of patients, or part of their images.

    Args:
        breakdown: one table of :func:`evaluation.analysis.paired.breakdown`.
    """
    return _forest(breakdown[breakdown["metric"] == metric], metric, names, title)


def _forest(rows: pd.DataFrame, metric: str, names: tuple[str, str], title: str) -> Figure:
    """``rows`` with a column ``group`` are set off from each other by its name and n."""
    from matplotlib.figure import Figure

    lines: list[tuple[float, dict[Any, Any]]] = []
    headings: list[tuple[float, str]] = []
    y = 0.0
    grouped: list[tuple[str, pd.DataFrame]] = [("", rows)]
    if "group" in rows:
        grouped = [(str(group), part) for group, part in rows.groupby("group", sort=False)]
    for group, part in grouped:
        if group:
            headings.append((y, f"{group}, n = {part['n'].max()}"))
            y += 1
        for row in part.to_dict("records"):
            lines.append((y, row))
            y += 1
        y += 0.4 if group else 0
    height = 0.85 + (0.23 if headings else 0.36) * y
    with sober():
        figure = Figure(figsize=(4.6, height), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=GREY, lw=1)
        for place, row in lines:
            average = row["structure"] == MEAN
            if np.isfinite(row["ci_low"]):
                axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=AUGMENTED_COLOUR, lw=2, solid_capstyle="butt")
            face = "white" if average else AUGMENTED_COLOUR
            axes.plot(row["difference"], place, marker="D" if average else "s", color=AUGMENTED_COLOUR, ms=5 if headings else 6, mfc=face)
        found = np.abs(rows[["difference", "ci_low", "ci_high"]].to_numpy(float)).ravel()
        reach = max((float(v) for v in found if np.isfinite(v)), default=0.0)
        axes.set_xlim(-1.15 * reach or -1, 1.15 * reach or 1)
        axes.set_ylim(y - 0.5, -0.6)
        ticks = sorted([*headings, *((place, row["structure"]) for place, row in lines)])
        axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
        for place, label in zip([p for p, _ in ticks], axes.get_yticklabels(), strict=True):
            if place in dict(headings):
                label.set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        better = "right" if METRICS[metric].higher_is_better else "left"
        axes.set_xlabel(
            f"difference in {unit_label(metric, METRICS[metric].unit)}, {names[1]} - {names[0]}\n"
            f"(points {better} of zero favour {names[1]})"
        )
        axes.set_title(title)
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.set_axisbelow(True)
    return figure


def bland_altman(values: pd.DataFrame, quantity: str, names: tuple[str, str]) -> Figure:
    """Error against the mean of prediction and reference for both arms, with bias and limits of agreement.

    Args:
        values: from :func:`evaluation.analysis.volumes.clinical_values`.
    """
    from matplotlib.figure import Figure

    chosen = values[values["quantity"] == quantity]
    unit = str(chosen["unit"].iloc[0])
    with sober():
        figure = Figure(figsize=(3.1, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=GREY, lw=0.8)
        styles = ((BASELINE, BASELINE_COLOUR, "o"), (AUGMENTED, AUGMENTED_COLOUR, "^"))
        for (side, colour, marker), name in zip(styles, names, strict=True):
            one = chosen[chosen["model"] == side]
            predicted, reference = one["predicted"].to_numpy(float), one["reference"].to_numpy(float)
            error = predicted - reference
            axes.plot((predicted + reference) / 2, error, marker, color=colour, ms=4, mew=0, alpha=0.75, label=name)
            axes.axhline(error.mean(), color=colour, lw=1.4)
            for limit in (-1.96, 1.96) if error.size > 1 else ():
                axes.axhline(error.mean() + limit * error.std(ddof=1), color=colour, lw=0.9, ls="--")
        axes.set_xlabel(f"mean of prediction and reference [{unit}]")
        axes.set_ylabel(f"prediction - reference [{unit}]")
        axes.set_title(quantity)
        figure.legend(loc="outside lower center", ncol=2, frameon=False, fontsize=8)
    return figure
