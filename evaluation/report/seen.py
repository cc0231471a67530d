"""Which hearts the optimiser saw: what they were asked for and what they measure, from a training's ``synth_aug.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.inputs.arms import Arm
from evaluation.report.blocks import Blocks, Gallery, plot
from evaluation.report.results import Results
from evaluation.report.style import AUGMENTED_COLOUR, GREY, sober
from evaluation.report.tables import note
from nnunet_synth_aug.core.priors import FROM_MASKS, VARIABLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"lv_edv": "LV EDV", "lv_ef": "LV EF", "rv_edv": "RV EDV", "rv_ef": "RV EF", "lv_mass": "LV mass"}
#: Share of the range that a bar is wide at least.
NARROW = 1 / 16
_LOOKS: dict[str, dict[str, Any]] = {
    "measured": {"color": GREY, "fill": True, "alpha": 0.35, "label": "measured"},
    "requested": {"color": AUGMENTED_COLOUR, "fill": False, "lw": 1.6, "label": "requested"},
}


def seen_priors(results: Results) -> Blocks:
    """One row of histograms per arm that mixed hearts in, of its first training; nothing where none was counted."""
    drawn = []
    for runs in results.arms:
        arm = next(iter(runs), None)
        fold, counted = _first(arm)
        if arm is None or counted is None:
            continue
        name = f"{arm.name}, fold {fold}" if fold else arm.name
        alt = f"Clinical priors of the synthetic samples that {name} was trained on"
        drawn.append(plot(histograms(counted, name), f"seen_priors_{arm.name}_{fold}", alt))
    if not drawn:
        return []
    text = (
        "Synthetic samples that the optimiser saw, by what hearts were asked for and by what their masks measure. Bars join tenths of "
        "the bank; their area is the share of the samples. Of the first training and fold of each arm."
    )
    return [Gallery(tuple(drawn)), note(text)]


def _first(arm: Arm | None) -> tuple[str, dict[str, Any] | None]:
    """The first fold of an arm that counted its samples by prior."""
    for fold, record in sorted(arm.records.items()) if arm is not None else ():
        counted = record.get("priors")
        if isinstance(counted, dict) and any(counted.get("samples", {}).values()):
            return fold, counted
    return "", None


def histograms(counted: Mapping[str, Any], title: str) -> Figure:
    """Densities of the priors, requested and measured.

    Args:
        counted: ``deciles`` and ``samples``, each kind -> prior -> list, as the trainer writes them.
        title: of the row.
    """
    from matplotlib.figure import Figure

    names = [n for n in FROM_MASKS if any(n in counted["deciles"].get(kind, {}) for kind in _LOOKS)]
    with sober():
        figure = Figure(figsize=(2.1 * max(len(names), 1), 2.2), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, max(len(names), 1)))
        for axis, name in zip(axes, names, strict=False):
            for kind, look in _LOOKS.items():
                edges, samples = counted["deciles"].get(kind, {}).get(name), counted["samples"].get(kind, {}).get(name)
                if edges and samples and sum(samples):
                    limits, heights = densities(np.asarray(edges, float), np.asarray(samples, float))
                    axis.stairs(heights, limits, **look)
            axis.set_title(_TITLES[name])
            axis.set_xlabel(VARIABLES[name].unit)
            axis.set_yticks([])
        keys, labels = axes[0].get_legend_handles_labels()
        if keys:
            figure.legend(keys, labels, loc="outside lower center", ncol=2, frameon=False, fontsize=8)
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def densities(edges: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the bars and their heights, with an area of 1.

    Args:
        edges: rising, some may be equal. Tenths narrower than :data:`NARROW` of the range become one bar with the next: a few hearts of
            nearly one value would be a spike. All hearts with one value make a bar of a hundredth of the value.
        samples: of each interval.
    """
    least = max((edges[-1] - edges[0]) * NARROW, abs(edges[-1]) * 0.01, 1e-6)
    limits, counts = [float(edges[0])], []
    carried = 0.0
    for edge, count in zip(edges[1:], samples, strict=True):
        carried += float(count)
        if edge - limits[-1] >= least:
            limits.append(float(edge))
            counts.append(carried)
            carried = 0.0
    if not counts:
        limits.append(limits[0] + least)
        counts.append(carried)
    else:
        counts[-1] += carried
    heights = np.asarray(counts) / np.diff(limits) / max(sum(counts), 1.0)
    return np.asarray(limits), heights
