"""Contours of ground truth and both arms on the image, for the patients who changed most and those who came out worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluation.analysis.paired import AUGMENTED, BASELINE, MEAN
from evaluation.report.style import STRUCTURE_COLOURS, sober
from evaluation.scoring.masks import LabelMaps, as_scored, read_mask
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.geometry import turned
from nnunet_synth_aug.core.labels import PHASES
from nnunet_synth_aug.core.volumes import Volume, onto, read_volume, slice_axis, turn_onto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Shown around the structures.
MARGIN_MM = 22.0
#: Pixels between panels.
GAP = 4

#: Patients shown for each reason.
CHANGED, WORST = 4, 3
_ORDINALS = ("", "2nd ", "3rd ", "4th ")


@dataclass(frozen=True)
class Selected:
    """One patient to show, and why."""

    patient: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """Files of one case; ``image`` is None where it was not found, a prediction where it is missing."""

    phase: str
    image: Path | None
    reference: Path
    predictions: tuple[Path | None, Path | None]  # baseline, augmented


def select_patients(values: pd.DataFrame) -> list[Selected]:
    """The largest losses and gains of Dice, the worst of the augmented arm by Dice and by HD, and the median change, in this order.

    All by the average over structures. A patient chosen twice is shown once, with all reasons.

    Args:
        values: from :func:`evaluation.analysis.paired.patient_values`.
    """
    of_mean = values[values["structure"] == MEAN]
    dice, hd = (of_mean[of_mean["metric"] == metric].set_index("patient") for metric in ("Dice", "HD"))
    gain = (dice[AUGMENTED] - dice[BASELINE]).sort_values(kind="stable")
    lost, won = gain[gain < 0].head(CHANGED), gain[gain > 0].iloc[::-1].head(CHANGED)
    middle = gain.iloc[(len(gain) - 1) // 2 :][:1]
    lowest, farthest = (
        dice[AUGMENTED].sort_values(kind="stable").head(WORST),
        hd[AUGMENTED].sort_values(kind="stable").iloc[::-1].head(WORST),
    )
    found = {"largest loss": lost, "largest gain": won, "lowest Dice": lowest, "largest HD": farthest, "median change": middle}
    reasons: dict[str, list[str]] = {}
    for text, series in found.items():
        for place, patient in enumerate(series.index, start=1):
            reasons.setdefault(str(patient), []).append(f"{_ORDINALS[place - 1]}{text}")
    return [Selected(patient, tuple(texts)) for patient, texts in reasons.items()]


def shown_slices(reference: np.ndarray, augmented: np.ndarray) -> dict[str, int]:
    """The middle slice of the ground truth, and the slice with most voxels wrong in the augmented arm (X, Y, Z).

    When the middle slice is the worst, the next worst is shown too.
    """
    filled = np.flatnonzero(np.any(reference > 0, axis=(0, 1)))
    middle = int(filled[len(filled) // 2]) if filled.size else reference.shape[2] // 2
    wrong = np.count_nonzero(reference != augmented, axis=(0, 1))
    order = [int(z) for z in np.argsort(-wrong, kind="stable") if z != middle]
    return {"middle": middle, "worst": order[0] if order else middle}


def overlay(cases: list[Shown], names: tuple[str, str], maps: tuple[LabelMaps, LabelMaps], rules: ScoringRules) -> Figure:
    """One row per phase; middle slice and worst slice, each as ground truth, baseline and augmented.

    In the panels of the arms the ground truth is the white contour, visible where the arm departs from it.

    Args:
        cases: of one patient, one per phase.
        maps: of each arm; all structures of their ``labels`` are drawn, and predictions translated as they were for scoring.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    labels = maps[0].labels
    with sober():
        figure = Figure(figsize=(11.4, 1.9 * len(cases) + 0.45), layout="constrained", dpi=110)
        for i, (axes, case) in enumerate(zip(figure.subplots(len(cases), squeeze=False)[:, 0], cases, strict=True)):
            image, (reference, *predicted), spacing = _read(case, maps, rules)
            masks = {"ground truth": reference, **dict(zip(names, predicted, strict=True))}
            chosen = shown_slices(reference, masks[names[1]])
            window = _window(reference, spacing)
            shown = [
                (image[..., z], None if mask is reference else reference[..., z], mask[..., z])
                for z in chosen.values()
                for mask in masks.values()
            ]
            middles = _row(axes, [[None if one is None else one[window].T for one in panel] for panel in shown], labels, spacing)
            if i == 0:
                titles = [name if column else f"{which} slice: {name}" for which in chosen for column, name in enumerate(masks)]
                for x, title in zip(middles, titles, strict=True):
                    axes.annotate(title, (x, 1), (0, 3), ("data", "axes fraction"), "offset points", ha="center", fontsize=9)
            said = f"{case.phase or 'case'}, slices {' and '.join(str(z + 1) for z in chosen.values())} of {reference.shape[2]}"
            axes.set_ylabel(said, fontsize=8)
        keys = [Line2D([], [], color=c, lw=2) for _, c in zip(labels, STRUCTURE_COLOURS, strict=False)]
        keys.append(Line2D([], [], color="white", lw=1.2, path_effects=_outline()))
        figure.legend(keys, [*labels, "ground truth"], loc="outside lower center", ncol=len(keys), frameon=False, fontsize=8.5)
    return figure


def worst_cases(cases: list[tuple[str, Shown]], names: tuple[str, str], maps: tuple[LabelMaps, LabelMaps], rules: ScoringRules) -> Figure:
    """One row per case: its slice with most voxels wrong in the augmented arm, as ground truth, baseline and augmented.

    Args:
        cases: a title, and the case.
        names, maps, rules: as in :func:`overlay`.
    """
    from matplotlib.figure import Figure

    with sober():
        figure = Figure(figsize=(4.1, 1.7 * len(cases) + 0.1), layout="constrained", dpi=150)
        for i, (axes, (title, case)) in enumerate(zip(figure.subplots(len(cases), squeeze=False)[:, 0], cases, strict=True)):
            image, (reference, *predicted), spacing = _read(case, maps, rules)
            z, window = shown_slices(reference, predicted[1])["worst"], _window(reference, spacing)
            panels: list[list[np.ndarray | None]] = [
                [image[..., z][window].T, None if mask is reference else reference[..., z][window].T, mask[..., z][window].T]
                for mask in (reference, *predicted)
            ]
            middles = _row(axes, panels, maps[0].labels, spacing)
            for x, name in zip(middles, ("ground truth", *names), strict=True) if i == 0 else ():
                axes.annotate(shortened(name), (x, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=8)
            axes.set_xlabel(f"{title}, slice {z + 1} of {reference.shape[2]}", fontsize=7.5, labelpad=2)
    return figure


def shortened(name: str, most: int = 20) -> str:
    """A long name of an arm, cut for the head of a narrow panel."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _read(
    case: Shown, maps: tuple[LabelMaps, LabelMaps], rules: ScoringRules
) -> tuple[np.ndarray, list[np.ndarray], tuple[float, float, float]]:
    """Image, ground truth and both predictions (X, Y, slices) of a case on one grid, and its spacing in mm."""
    truth = read_mask(case.reference)
    arrays = [_image(case.image, truth), truth.array]
    arrays += [_predicted(path, truth, one, rules) for path, one in zip(case.predictions, maps, strict=True)]
    across = slice_axis(truth.array.shape)
    image, *masks = (np.moveaxis(array, across, 2) for array in arrays)
    x, y = (size for axis, size in enumerate(truth.grid.spacing) if axis != across)
    return image, masks, (x, y, truth.grid.spacing[across])


def _predicted(path: Path | None, truth: Volume, maps: LabelMaps, rules: ScoringRules) -> np.ndarray:
    """The prediction as it was scored; nothing where it is missing."""
    if path is None:
        return np.zeros_like(truth.array)
    return as_scored(onto(read_mask(path), truth)[0], maps, rules)


def _outline() -> list[object]:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=2.2, foreground="#555555")]


def _image(path: Path | None, truth: Volume) -> np.ndarray:
    """The image on the grid of its ground truth, scaled to 0..1 between its 1st and 99.5th percentile; black where there is none."""
    if path is None:
        return np.zeros(truth.array.shape, np.float32)
    volume = read_volume(path)
    how = turn_onto(volume, truth)
    image = volume.array if how is None else turned(volume.array, how)
    if image.shape != truth.array.shape:
        raise UserError(f"{path} has the shape {image.shape} but its ground truth has {truth.array.shape}; remake the dataset")
    low, high = np.percentile(image, [1, 99.5])
    scaled: np.ndarray = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def _window(reference: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """A square in mm around the ground truth (stray voxels of a prediction would shrink the heart); everything when it is empty."""
    found = np.argwhere(np.any(reference > 0, axis=2))
    if not len(found):
        return slice(None), slice(None)
    low, high = found.min(axis=0), found.max(axis=0)
    half_mm = max((h - k) * s for h, k, s in zip(high, low, spacing, strict=False)) / 2 + MARGIN_MM
    centre = (low + high) / 2
    starts = [max(round(c - half_mm / s), 0) for c, s in zip(centre, spacing, strict=False)]
    stops = [round(c + half_mm / s) + 1 for c, s in zip(centre, spacing, strict=False)]
    return slice(starts[0], stops[0]), slice(starts[1], stops[1])


def _row(
    axes: Axes, panels: list[list[np.ndarray | None]], labels: Mapping[str, tuple[int, ...]], spacing: tuple[float, float, float]
) -> list[float]:
    """Panels side by side in one axes, which is many times faster than axes of their own; the middle of each along x.

    Args:
        panels: image, ground truth and mask (Y, X) of each; the ground truth is None where it is the mask itself.
    """
    image, reference, mask = (_side_by_side([panel[k] for panel in panels]) for k in range(3))
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=spacing[1] / spacing[0], interpolation="bilinear")
    for values, colour in zip(labels.values(), STRUCTURE_COLOURS, strict=False):
        # The truth lies below: white shows only where the arm departs from it.
        for shown, line, width in ((reference, "white", 1.0), (mask, colour, 1.3)):
            inside = np.where(np.isnan(shown), np.nan, np.isin(shown, values))
            if np.nansum(inside):
                axes.contour(inside, levels=[0.5], colors=[line], linewidths=width)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    wide = image.shape[1] + GAP
    return [(k + 0.5) * wide / len(panels) - GAP / 2 - 0.5 for k in range(len(panels))]


def _side_by_side(pieces: list[np.ndarray | None]) -> np.ndarray:
    """Pictures of one shape with gaps between, which are NaN: white, and no contour runs through them; None is all gap."""
    [shape] = {piece.shape for piece in pieces if piece is not None}
    gap = np.full((shape[0], GAP), np.nan)
    joined = [part for piece in pieces for part in (np.full(shape, np.nan) if piece is None else piece, gap)]
    return np.concatenate(joined[:-1], axis=1)


def phases_first(phase: str) -> tuple[int, str]:
    """Sort key: ED before ES before anything else."""
    return (PHASES.index(phase) if phase in PHASES else len(PHASES), phase)
