"""What the values of masks mean: label maps read, checked, and translated into those of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.volumes import Volume, read_volume

#: Structure -> the label values that make it up (several for nnU-Net's regions).
Labels = Mapping[str, tuple[int, ...]]


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


def read_mask(path: Path) -> Volume:
    """A label map as int16.

    Raises:
        UserError: unreadable, not 3D, NaN, or values that are not whole numbers.
    """
    volume = read_volume(path)
    array = volume.array
    mask = np.rint(array).astype(np.int16) if array.dtype.kind == "f" else array.astype(np.int16)
    if not np.array_equal(mask, array):
        raise UserError(
            f"{path} holds values that are no labels (between {array.min()} and {array.max()}); give masks, not images or probabilities"
        )
    return replace(volume, array=mask)


def check_labels(path: Path, mask: np.ndarray, known: frozenset[int] | None) -> None:
    """Raise UserError when ``mask`` holds a value outside ``known``."""
    if known is not None and (foreign := sorted({int(v) for v in np.unique(mask)} - known)):
        raise UserError(
            f"{path} holds the label{'s' if len(foreign) > 1 else ''} {', '.join(map(str, foreign))}, which the dataset does not define "
            f"(it has {', '.join(map(str, sorted(known)))}); check dataset.json or the label mapping"
        )


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


def as_scored(mask: np.ndarray, maps: LabelMaps, rules: ScoringRules, counted: np.ndarray | None = None) -> np.ndarray:
    """A prediction in the reference's label values, where voxels count, and without islands if the rules say so."""
    if maps.prediction_labels is not None:
        mask = translated(mask, maps.prediction_labels, maps.labels)
    mask = where_counted(counted, mask)
    return without_islands(mask) if rules.largest_heart else mask


def where_counted(counted: np.ndarray | None, mask: np.ndarray) -> np.ndarray:
    """The mask with background where voxels do not count."""
    return mask if counted is None else np.where(counted, mask, 0)
