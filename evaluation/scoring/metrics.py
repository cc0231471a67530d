"""Metrics of one prediction against its reference, with an explicit rule for empty masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluation.scoring.rules import BY_DEFAULT, DROP, PENALTY, ScoringRules
from evaluation.scoring.surface import Box, boxes, larger_directed, summarise, surface_distances, union
from evaluation.scoring.surfels import surface_dice
from evaluation.scoring.table import (
    BOTH_EMPTY,
    DISTANCES,
    HD95_DIRECTED,
    PREDICTION_EMPTY,
    PREDICTION_MISSING,
    REFERENCE_EMPTY,
    REFERENCE_VOLUME,
    VOLUME,
)

Spacing = tuple[float, ...]
#: Structure -> the label values that make it up (several for nnU-Net's regions).
Labels = Mapping[str, tuple[int, ...]]
Engine = Callable[[np.ndarray, np.ndarray, Spacing], dict[str, float]]
_OVERLAPS = ("Dice", "IoU", "Surface Dice")
_SURFACE = (*DISTANCES, HD95_DIRECTED)


@dataclass(frozen=True)
class Counts:
    """Voxels of one structure by agreement, as in nnU-Net's ``summary.json``."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class Score:
    """Metrics of one structure by name (units in ``table.UNITS``), which mask was empty, if any, and the voxels behind them."""

    values: dict[str, float]
    failure: str = ""
    counts: Counts | None = None  # None for a missing prediction


def _native(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> dict[str, float]:
    directed = surface_distances(prediction, reference, spacing)
    return summarise(*directed) | {HD95_DIRECTED: larger_directed(*directed)}


def _medpy(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> dict[str, float]:
    from medpy.metric import binary  # here because importing it takes seconds

    values = {name: float(getattr(binary, name.lower())(prediction, reference, voxelspacing=spacing)) for name in DISTANCES}
    return values | {HD95_DIRECTED: larger_directed(*surface_distances(prediction, reference, spacing))}  # medpy has none


_ENGINES: dict[str, Engine] = {"native": _native, "medpy": _medpy}


def image_diagonal(shape: tuple[int, ...], spacing: Spacing) -> float:
    """Corner-to-corner length in mm of an image box: no distance inside it can be larger."""
    return float(np.sqrt(sum((n * s) ** 2 for n, s in zip(shape, spacing, strict=True))))


def score(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Spacing,
    labels: Labels,
    rules: ScoringRules = BY_DEFAULT,
    *,
    voxels: int | None = None,
) -> dict[str, Score]:
    """Score every structure of one prediction.

    Dice is counted here for both engines: ``medpy.metric.binary.dc`` of two empty masks is 1 or NaN, depending on the numpy version.

    Args:
        prediction, reference: integer label maps (X, Y, Z), same shape; negative values are background.
        spacing: mm.
        labels: structure -> label values.
        rules: by which the masks are scored.
        voxels: how many voxels count, for the true negatives; all by default (fewer with nnU-Net's ignore label).

    Returns:
        structure -> Score. Both masks empty: every metric NaN. ``failure`` tells which mask was empty.

    Raises:
        ValueError: shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} differ in shape")
    voxels = reference.size if voxels is None else voxels
    boxes_prediction, boxes_reference = boxes(prediction), boxes(reference)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    result: dict[str, Score] = {}
    for structure, values in labels.items():
        found = [where[v] for where in (boxes_prediction, boxes_reference) for v in values if v in where]
        if not found:
            nothing = dict.fromkeys((*_OVERLAPS, *_SURFACE), float("nan")) | {VOLUME: 0.0, REFERENCE_VOLUME: 0.0}
            result[structure] = Score(nothing, BOTH_EMPTY, Counts(0, 0, 0, voxels))
            continue
        box: Box = union(found)
        a, b = _select(prediction[box], values), _select(reference[box], values)
        n_a, n_b = int(np.count_nonzero(a)), int(np.count_nonzero(b))
        both = int(np.count_nonzero(a & b))
        failure = PREDICTION_EMPTY if n_a == 0 else REFERENCE_EMPTY if n_b == 0 else ""
        if failure:
            measured = _one_empty(rules.empty, image_diagonal(reference.shape, spacing))
        else:
            measured = {"Dice": 2 * both / (n_a + n_b), "IoU": both / (n_a + n_b - both)}
            measured |= _ENGINES[rules.engine](a, b, spacing)
            measured["Surface Dice"] = surface_dice(a, b, spacing, rules.tolerance_of(structure))
        measured |= {VOLUME: n_a * voxel_ml, REFERENCE_VOLUME: n_b * voxel_ml}
        result[structure] = Score(measured, failure, Counts(both, n_a - both, n_b - both, voxels - n_a - n_b + both))
    return result


def score_missing(
    reference: np.ndarray, spacing: Spacing, labels: Labels, rules: ScoringRules = BY_DEFAULT, *, voxels: int | None = None
) -> dict[str, Score]:
    """Score a case whose prediction is missing, as ``rules.empty`` says: like an empty one, or NaN.

    Its volume is NaN, not 0 mL: nothing was measured.
    """
    scores = score(np.zeros_like(reference), reference, spacing, labels, rules, voxels=voxels)
    penalised = rules.empty == PENALTY
    nothing = dict.fromkeys((*_OVERLAPS, *_SURFACE), float("nan"))
    return {
        structure: replace(
            one, failure=PREDICTION_MISSING, counts=None, values=one.values | ({} if penalised else nothing) | {VOLUME: float("nan")}
        )
        for structure, one in scores.items()
    }


def _one_empty(policy: str, diagonal: float) -> dict[str, float]:
    overlap = float("nan") if policy == DROP else 0.0
    distance = diagonal if policy == PENALTY else float("nan")
    return dict.fromkeys(_OVERLAPS, overlap) | dict.fromkeys(_SURFACE, distance)


def _select(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    selected: np.ndarray = labels == values[0]
    for value in values[1:]:
        selected |= labels == value
    return selected
