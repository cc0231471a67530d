"""What is to be said of a prediction beside its scores: how it lies on its ground truth, sizes that no heart has, exchanged labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from evaluation.scoring.masks import Labels
from nnunet_synth_aug.core.geometry import Grid, sizes
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.core.volumes import slice_axis

#: Labels are exchanged where no structure reaches this Dice with itself, and each reaches that much with another one, and twice its own.
_OWN, _OTHER = 0.3, 0.4
#: mm, pixels that a cardiac MRI may have.
_PIXEL = (0.2, 6.0)
#: mm, a stack of several slices is at least so high; crops of ACDC have 25. Where the header says 1 x 1 x 1 mm: as high as a heart.
_HEIGHT, _HEART, _SEVERAL = 20.0, 60.0, 4


@dataclass(frozen=True)
class Remarks:
    """What was noticed of one prediction."""

    turned: bool = False  # its axes lay otherwise than those of the ground truth
    placeless: bool = False  # its header or the ground truth's does not say where the voxels lie
    lost_sizes: str = ""  # mm, of the ground truth's voxels, where no stack of a heart has them
    exchanged: tuple[tuple[str, str], ...] = ()  # predicted structure, and true structure on which it lies


def lost_sizes(grid: Grid) -> str:
    """Voxel sizes that no image of a heart has, such as ``1 x 1 x 1``, which is what a header says that lost them; else ""."""
    axis = slice_axis(grid.shape)
    n, height = grid.shape[axis], grid.shape[axis] * grid.spacing[axis]
    pixel = [size for one, size in enumerate(grid.spacing) if one != axis]
    if np.allclose(grid.spacing, 1, rtol=1e-3):
        impossible = height < _HEART
    else:
        impossible = (n >= _SEVERAL and height < _HEIGHT) or not all(_PIXEL[0] <= size <= _PIXEL[1] for size in pixel)
    return sizes(grid.spacing) if impossible else ""


def exchanged(prediction: np.ndarray, reference: np.ndarray, labels: Labels, dice: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """The structures that look exchanged with each other.

    Args:
        prediction, reference: label maps on one grid with the values of ``labels``.
        labels: structure -> label values.
        dice: of every structure.

    Returns:
        pairs of a predicted structure and the true one on which it lies; none where nothing looks exchanged.
    """
    poor = [name for name in STRUCTURES if name in labels and dice[name] < _OWN]
    if len(poor) < 2:
        return ()
    predicted, true = ({name: np.isin(mask, labels[name]) for name in poor} for mask in (prediction, reference))
    overlap = {
        (a, b): 2 * np.count_nonzero(predicted[a] & true[b]) / max(1, predicted[a].sum() + true[b].sum()) for a in poor for b in poor
    }
    for others in permutations(poor):
        moved = [(a, b) for a, b in zip(poor, others, strict=True) if a != b]
        if moved and all(overlap[a, b] > max(_OTHER, 2 * overlap[a, a]) for a, b in moved):
            return tuple(moved)
    return ()
