"""Requested against measured values, drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.files import atomic_path
from nnunet_synth_aug.core.labels import DIAGNOSES


def write_scatter(
    path: Path, points: list[dict[str, Any]], results: dict[str, dict[str, Any]], variables: dict[str, tuple[str, str]]
) -> None:
    """One row of panels per source of the measurement, one panel per variable: points by diagnosis, the identity line, r, CCC and n.

    Args:
        path: PNG.
        points: rows of ``controllability.csv``.
        results: source -> group -> variable -> agreement.
        variables: variable -> title, unit.
    """
    from matplotlib.figure import Figure

    from evaluation.report.style import GREY, INK, PALE, STRUCTURE_COLOURS, sober

    colours = dict(zip(DIAGNOSES, STRUCTURE_COLOURS, strict=True))
    shown = [name for name in variables if any(name in one.get("all", {}) for one in results.values())]
    groups = [d for d in (*DIAGNOSES, "") if any(p["diagnosis"] == d for p in points)]
    with sober():
        figure = Figure(figsize=(2.6 * len(shown), 3.6 * len(results) + 0.4), layout="constrained")
        grid = figure.subplots(len(results), len(shown), squeeze=False)
        for axes_row, (source, result) in zip(grid, results.items(), strict=True):
            for axes, name in zip(axes_row, shown, strict=True):
                rows = [p for p in points if p["source"] == source and p["variable"] == name and p["measured"] is not None]
                title, unit = variables[name]
                for group in groups:
                    xy = [(p["requested"], p["measured"]) for p in rows if p["diagnosis"] == group]
                    axes.plot(*(zip(*xy, strict=True) if xy else ([], [])), "o", ms=4, mew=0.4, mec=INK, color=colours.get(group, PALE))
                if rows:
                    values = [p[c] for p in rows for c in ("requested", "measured")]
                    margin = 0.05 * (max(values) - min(values)) + 1e-6
                    limits = (min(values) - margin, max(values) + margin)
                    axes.plot(limits, limits, color=GREY, lw=1, zorder=0)
                    axes.set(xlim=limits, ylim=limits)
                axes.set_box_aspect(1)
                axes.set_title(f"{title} [{unit}]" if unit else title)
                axes.set_xlabel(f"requested\n{_caption(result.get('all', {}).get(name))}")
            axes_row[0].set_ylabel(f"measured: {source}")
        if any(groups):
            handles = [figure.axes[0].plot([], [], "o", ms=4, mew=0.4, mec=INK, color=colours.get(g, PALE))[0] for g in groups]
            figure.legend(handles, [g or "unknown" for g in groups], loc="outside lower center", ncol=6, frameon=False)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=150)


def _caption(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "not measurable"
    lines = [f"{label} {_estimate(figures[key])}" for label, key in (("r", "r"), ("CCC", "ccc"))]
    return "\n".join([*lines, f"n = {figures['n']} of {figures['clusters']} patients' priors"])


def _estimate(estimate: dict[str, float]) -> str:
    if not math.isfinite(estimate["value"]):
        return "undefined"
    interval = f" [{estimate['low']:.2f}, {estimate['high']:.2f}]" if math.isfinite(estimate["low"]) else ""
    return f"{estimate['value']:.2f}{interval}"
