"""Metrics of one prediction against its reference, with an explicit rule for empty masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.surface import Box, boxes, summarise, surface_distances, union
from evaluation.table import BOTH_EMPTY, DISTANCES, PREDICTION_EMPTY, REFERENCE_EMPTY, REFERENCE_VOLUME, VOLUME
from nnunet_synth_aug.errors import UserError

Spacing = tuple[float, ...]
#: Structure -> the label values that make it up (several for nnU-Net's regions).
Labels = Mapping[str, tuple[int, ...]]
Engine = Callable[[np.ndarray, np.ndarray, Spacing], dict[str, float]]


@dataclass(frozen=True)
class Score:
    """Metrics of one structure by name (units in ``table.UNITS``), and which mask was empty, if any."""

    values: dict[str, float]
    failure: str = ""


def _native(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> dict[str, float]:
    return summarise(*surface_distances(prediction, reference, spacing))


def _medpy(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> dict[str, float]:
    from medpy.metric import binary  # here because importing it takes seconds

    return {name: float(getattr(binary, name.lower())(prediction, reference, voxelspacing=spacing)) for name in DISTANCES}


ENGINES: dict[str, Engine] = {"native": _native, "medpy": _medpy}


def image_diagonal(shape: tuple[int, ...], spacing: Spacing) -> float:
    """Corner-to-corner length in mm of an image box: no distance inside it can be larger."""
    return float(np.sqrt(sum((n * s) ** 2 for n, s in zip(shape, spacing, strict=True))))


def score(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing, labels: Labels, engine: str = "native") -> dict[str, Score]:
    """Score every structure of one prediction.

    Dice is counted here for both engines: ``medpy.metric.binary.dc`` of two empty masks is 1 or NaN, depending on the numpy version.

    Args:
        prediction, reference: integer label maps (X, Y, Z), same shape; negative values are background.
        spacing: mm.
        labels: structure -> label values.
        engine: ``native`` or ``medpy``; who computes the distances.

    Returns:
        structure -> Score. Both masks empty: every metric NaN. One empty: overlap 0, distances the
        diagonal of the image box. ``failure`` tells which.

    Raises:
        UserError: unknown engine.
        ValueError: shapes differ.
    """
    if engine not in ENGINES:
        raise UserError(f"there is no metric engine {engine!r}; choose one of {', '.join(ENGINES)}")
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} differ in shape")
    boxes_prediction, boxes_reference = boxes(prediction), boxes(reference)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    result: dict[str, Score] = {}
    for structure, values in labels.items():
        mine = [boxes_prediction[v] for v in values if v in boxes_prediction]
        theirs = [boxes_reference[v] for v in values if v in boxes_reference]
        if not mine and not theirs:
            result[structure] = Score(
                dict.fromkeys(("Dice", "IoU", *DISTANCES), float("nan")) | {VOLUME: 0.0, REFERENCE_VOLUME: 0.0}, BOTH_EMPTY
            )
            continue
        box: Box = union([*mine, *theirs])
        a, b = _select(prediction[box], values), _select(reference[box], values)
        n_a, n_b = int(np.count_nonzero(a)), int(np.count_nonzero(b))
        overlap = int(np.count_nonzero(a & b))
        measured = {"Dice": 2 * overlap / (n_a + n_b), "IoU": overlap / (n_a + n_b - overlap)}
        failure = PREDICTION_EMPTY if n_a == 0 else REFERENCE_EMPTY if n_b == 0 else ""
        if failure:
            measured |= dict.fromkeys(DISTANCES, image_diagonal(reference.shape, spacing))
        else:
            measured |= ENGINES[engine](a, b, spacing)
        result[structure] = Score(measured | {VOLUME: n_a * voxel_ml, REFERENCE_VOLUME: n_b * voxel_ml}, failure)
    return result


def _select(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    selected: np.ndarray = labels == values[0]
    for value in values[1:]:
        selected |= labels == value
    return selected
