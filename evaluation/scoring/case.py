"""Reading and scoring one case, and many of them by several processes, which is why nothing here loads pandas."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from evaluation.scoring.levels import level_scores
from evaluation.scoring.metrics import Labels, Score, score, score_missing
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti

#: Writers round spacing differently (float32, text): a thousandth is far below any error that would matter.
SPACING_TOLERANCE = 1e-3
#: A worker takes seconds to start, a case some 50 ms to score.
_CASES_PER_WORKER, _MOST_WORKERS = 40, 16


@dataclass(frozen=True)
class LabelMaps:
    """What the values of both masks mean.

    ``labels`` and ``known`` (values a mask may hold, with 0 and the ignore label; None: any) are those of the reference;
    ``prediction_labels`` and ``prediction_known`` are the predictions', where their label map is another one.
    """

    labels: Labels
    known: frozenset[int] | None = None
    prediction_labels: Labels | None = None
    prediction_known: frozenset[int] | None = None
    ignore: int | None = None  # voxels with this value in the reference count as background in both masks


@dataclass(frozen=True)
class CaseFiles:
    """One reference and its predictions, one per arm or fold; None for a missing one."""

    case: str
    reference: Path
    predictions: tuple[Path | None, ...]


def read_mask(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A label map (X, Y, Z) as int16 and its spacing in mm.

    Raises:
        UserError: unreadable, not 3D, NaN, or values that are not whole numbers.
    """
    array, spacing, _ = read_nifti(path, ndim=3)
    mask = np.rint(array).astype(np.int16) if array.dtype.kind == "f" else array.astype(np.int16)
    if not np.array_equal(mask, array):
        raise UserError(
            f"{path} holds values that are no labels (between {array.min()} and {array.max()}); give masks, not images or probabilities"
        )
    return mask, spacing


def check_labels(path: Path, mask: np.ndarray, known: frozenset[int] | None) -> None:
    """Raise UserError when ``mask`` holds a value outside ``known``."""
    if known is not None and (foreign := sorted({int(v) for v in np.unique(mask)} - known)):
        raise UserError(
            f"{path} holds the label{'s' if len(foreign) > 1 else ''} {', '.join(map(str, foreign))}, which the dataset does not define "
            f"(it has {', '.join(map(str, sorted(known)))}); check dataset.json or the label mapping"
        )


def read_pair(prediction: Path, reference: np.ndarray, reference_path: Path, spacing: tuple[float, float, float]) -> np.ndarray:
    """Read a predicted mask and check that it has the reference's grid."""
    mask, own = read_mask(prediction)
    if mask.shape != reference.shape:
        raise UserError(
            f"{prediction} has the shape {mask.shape} but its ground truth {reference_path} has {reference.shape}; "
            "predict on the native grid"
        )
    if not np.allclose(own, spacing, rtol=SPACING_TOLERANCE):
        raise UserError(
            f"{prediction} has the spacing {own} mm but its ground truth {reference_path} has {spacing} mm; predict on the native grid"
        )
    return mask


def translated(mask: np.ndarray, own: Labels, wanted: Labels) -> np.ndarray:
    """A label map with the values of ``own`` replaced by those of ``wanted``; what belongs to no structure becomes 0.

    Raises:
        UserError: a value belongs to two structures.
    """
    table = np.zeros(max(int(mask.max(initial=0)), *(v for values in own.values() for v in values)) + 1, mask.dtype)
    taken: set[int] = set()
    for structure, values in own.items():
        if taken & set(values):
            raise UserError(
                f"the label {min(taken & set(values))} belongs to {structure} and to another structure, so that it cannot be translated; "
                "give predictions and ground truth the same label values"
            )
        taken |= set(values)
        table[list(values)] = wanted[structure][0]
    result: np.ndarray = table[np.maximum(mask, 0)]
    return result


def score_case(files: CaseFiles, maps: LabelMaps, rules: ScoringRules) -> list[dict[str, Score]]:
    """Scores by structure of every prediction of one case, in their order; the reference is read once."""
    reference, spacing = read_mask(files.reference)
    check_labels(files.reference, reference, maps.known)
    counted = reference != maps.ignore if maps.ignore is not None else None
    reference = _only(counted, reference)
    voxels = reference.size if counted is None else int(np.count_nonzero(counted))
    result = []
    for path in files.predictions:
        if path is None:
            result.append(score_missing(reference, spacing, maps.labels, rules, voxels=voxels))
            continue
        mask = read_pair(path, reference, files.reference, spacing)
        check_labels(path, mask, maps.known if maps.prediction_labels is None else maps.prediction_known)
        mask = as_scored(mask, maps, rules, counted)
        scores = score(mask, reference, spacing, maps.labels, rules, voxels=voxels)
        for structure, values in level_scores(mask, reference, maps.labels).items():
            scores[structure].values.update(values)
        result.append(scores)
    return result


def as_scored(mask: np.ndarray, maps: LabelMaps, rules: ScoringRules, counted: np.ndarray | None = None) -> np.ndarray:
    """A prediction in the reference's label values, where voxels count, and without islands if the rules say so."""
    if maps.prediction_labels is not None:
        mask = translated(mask, maps.prediction_labels, maps.labels)
    mask = _only(counted, mask)
    return without_islands(mask) if rules.largest_heart else mask


def _only(counted: np.ndarray | None, mask: np.ndarray) -> np.ndarray:
    """The mask with background where voxels do not count."""
    return mask if counted is None else np.where(counted, mask, 0)


def usable_cores() -> int:
    """Cores that this process may use, which a cluster or ``taskset`` may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_for(n: int) -> int:
    """How many processes are worth their start for ``n`` predictions."""
    return max(1, min(usable_cores(), _MOST_WORKERS, n // _CASES_PER_WORKER))


def score_cases(cases: Sequence[CaseFiles], maps: LabelMaps, rules: ScoringRules, workers: int = 1) -> Iterator[list[dict[str, Score]]]:
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
