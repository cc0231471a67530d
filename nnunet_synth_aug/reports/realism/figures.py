"""Figures of the realism report; each takes the report's own numbers and writes one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report.style import AUGMENTED_COLOUR, GREY, INK, LOSS, PALE, RULE, sober
from nnunet_synth_aug.core.files import atomic_path

TITLES = {"frechet": "Frechet distance", "kernel": "kernel distance (MMD²)", "density": "density", "coverage": "coverage"}


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def distance_figure(distances: dict[str, dict[str, Any]], path: Path) -> None:
    """Every feature set and metric: real against generated (blue) over real against real at the same size (grey)."""
    from matplotlib.figure import Figure

    names = list(distances)
    with sober():
        figure = Figure(figsize=(11, 1.4 + 0.45 * len(names)), layout="constrained")
        for axes, metric in zip(figure.subplots(1, len(TITLES), sharey=True), TITLES, strict=True):
            for y, name in enumerate(names):
                d = next(d for d in distances[name]["distances"] if d["metric"] == metric)
                for prefix, colour, dy in (("floor", GREY, -0.14), ("matched", AUGMENTED_COLOUR, 0.14)):
                    axes.plot([d[f"{prefix}_low"], d[f"{prefix}_high"]], [y + dy] * 2, color=colour, lw=2.5, solid_capstyle="butt")
                    axes.plot(d[prefix], y + dy, "o", color=colour, ms=5, label=None)
            axes.set_title(TITLES[metric])
            # Frechet distances of different feature sets are orders of magnitude apart.
            if metric == "frechet":
                axes.set_xscale("log")
            axes.grid(axis="x", color=RULE, lw=0.6)
            axes.set_axisbelow(True)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        figure.supxlabel("grey: real against real, blue: real against generated; mean and 95 % range at equal sizes", fontsize=8)
    save(figure, path)


def descriptor_figure(descriptors: dict[str, dict[str, Any]], path: Path) -> None:
    """Shift of every descriptor's mean, generated minus real, in standard deviations of the real hearts."""
    from matplotlib.figure import Figure

    names = [n for n, d in descriptors.items() if np.isfinite(d["shift"])]
    with sober():
        figure = Figure(figsize=(6, 1 + 0.24 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=GREY, lw=1)
        for y, name in enumerate(names):
            d = descriptors[name]
            clear = d["shift_low"] > 0 or d["shift_high"] < 0
            colour = LOSS if clear else PALE
            axes.plot([d["shift_low"], d["shift_high"]], [y, y], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(d["shift"], y, "o", color=colour, ms=4)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xscale("symlog", linthresh=3, linscale=2)  # a few descriptors may be far off, and the others must stay readable
        reach = max([3.0, *(abs(descriptors[n][k]) for n in names for k in ("shift_low", "shift_high"))])
        ticks = [t for t in (1, 2, 3, 10, 30, 100) if t <= 1.05 * reach]
        axes.set_xticks([-t for t in reversed(ticks)] + [0] + ticks, [f"{t}" for t in [-t for t in reversed(ticks)] + [0] + ticks])
        axes.minorticks_off()
        axes.set_xlabel("generated - real, in SD of the real hearts, 95 % interval\n(coloured where the interval excludes 0)")
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.set_axisbelow(True)
    save(figure, path)


def temporal_figure(real: dict[str, list[float]], synthetic: dict[str, list[float]], curves: list[np.ndarray], path: Path) -> None:
    """Closure and jerk of every real and generated cine as points, and the LV volume curves of the generated ones.

    Args:
        real: statistic -> one value per cine.
        synthetic: likewise.
        curves: LV volume (T,) over EDV of each generated heart.
        path: PNG.
    """
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)  # only spreads the points sideways
    with sober():
        figure = Figure(figsize=(10, 3), layout="constrained")
        *points, last = figure.subplots(1, 3)
        for axes, (name, label) in zip(points, (("closure", "last step / mean step"), ("jerk", "second / first differences")), strict=True):
            for x, (values, colour) in enumerate(((real[name], GREY), (synthetic[name], AUGMENTED_COLOUR))):
                y = np.array([v for v in values if np.isfinite(v)])
                axes.plot(x + rng.uniform(-0.15, 0.15, len(y)), y, "o", color=colour, ms=3.5, mew=0, alpha=0.7)
                if len(y):
                    axes.plot([x - 0.25, x + 0.25], [np.median(y)] * 2, color=INK, lw=2)
            axes.set_xlim(-0.5, 1.5)
            axes.set_xticks([0, 1], ["real", "generated"])
            axes.set_ylabel(label)
            axes.set_title(name)
        for curve in curves:
            last.plot(np.linspace(0, 1, len(curve) + 1), [*curve, curve[0]], color=AUGMENTED_COLOUR, lw=0.8, alpha=0.5)
        last.set_xlabel("share of the cycle")
        last.set_ylabel("LV volume / EDV")
        last.set_title("generated volume curves")
    save(figure, path)
