"""Metrics of predictions against their references, with an explicit rule for empty masks: of one case, and of many by several processes.

Nothing here loads pandas, which would slow the start of every process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from evaluation.scoring.levels import level_scores
from evaluation.scoring.masks import LabelMaps, Labels, as_scored, check_labels, read_mask, where_counted
from evaluation.scoring.remarks import Remarks, exchanged, lost_sizes
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
from nnunet_synth_aug.core.volumes import onto

Spacing = tuple[float, ...]
Engine = Callable[[np.ndarray, np.ndarray, Spacing], dict[str, float]]
_OVERLAPS = ("Dice", "IoU", "Surface Dice")
_SURFACE = (*DISTANCES, HD95_DIRECTED)
#: A worker takes seconds to start, a case some 50 ms to score.
_CASES_PER_WORKER, _MOST_WORKERS = 40, 16


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


@dataclass(frozen=True)
class CaseFiles:
    """One reference and its predictions, one per arm or fold; None for a missing one."""

    case: str
    reference: Path
    predictions: tuple[Path | None, ...]


@dataclass(frozen=True)
class ScoredFile:
    """Scores of one prediction by structure, and what else was noticed."""

    scores: dict[str, Score]
    remarks: Remarks = field(default_factory=Remarks)


def score_case(files: CaseFiles, maps: LabelMaps, rules: ScoringRules) -> list[ScoredFile]:
    """Scores of every prediction of one case, in their order; the reference is read once."""
    truth = read_mask(files.reference)
    check_labels(files.reference, truth.array, maps.known)
    counted = truth.array != maps.ignore if maps.ignore is not None else None
    reference, spacing = where_counted(counted, truth.array), truth.grid.spacing
    voxels = reference.size if counted is None else int(np.count_nonzero(counted))
    lost = lost_sizes(truth.grid)
    result = []
    for path in files.predictions:
        if path is None:
            result.append(ScoredFile(score_missing(reference, spacing, maps.labels, rules, voxels=voxels), Remarks(lost_sizes=lost)))
            continue
        prediction = read_mask(path)
        mask, turned = onto(prediction, truth)
        check_labels(path, mask, maps.known if maps.prediction_labels is None else maps.prediction_known)
        mask = as_scored(mask, maps, rules, counted)
        scores = score(mask, reference, spacing, maps.labels, rules, voxels=voxels)
        for structure, values in level_scores(mask, reference, maps.labels).items():
            scores[structure].values.update(values)
        swapped = exchanged(mask, reference, maps.labels, {name: one.values["Dice"] for name, one in scores.items()})
        result.append(ScoredFile(scores, Remarks(turned, not (prediction.grid.oriented and truth.grid.oriented), lost, swapped)))
    return result


def usable_cores() -> int:
    """Cores that this process may use, which a cluster or ``taskset`` may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_for(n: int) -> int:
    """How many processes are worth their start for ``n`` predictions."""
    return max(1, min(usable_cores(), _MOST_WORKERS, n // _CASES_PER_WORKER))


def score_cases(cases: Sequence[CaseFiles], maps: LabelMaps, rules: ScoringRules, workers: int = 1) -> Iterator[list[ScoredFile]]:
    """:func:`score_case` of every case, in their order, by ``workers`` processes (1: this one)."""
    if workers <= 1:
        yield from (score_case(files, maps, rules) for files in cases)
        return
    # Spawned, not forked: a progress bar's thread or the caller's torch may hold locks that a fork would inherit.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(partial(score_case, maps=maps, rules=rules), cases, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
