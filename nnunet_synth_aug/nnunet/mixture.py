"""How many samples of each training batch are synthetic. Pure arithmetic, no nnU-Net."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from nnunet_synth_aug.errors import UserError

BASE_NAME = "nnUNetTrainerSynthAug"
_NAME = re.compile(BASE_NAME + r"_mix(\d{2}|100)(?:_([1-9]\d*)epochs)?")


@dataclass(frozen=True)
class Variant:
    """What a trainer's name says."""

    ratio: float  # share of training samples that are synthetic, 0 to 1
    epochs: int | None  # None: the plans or nnU-Net decide


def parse_trainer_name(name: str) -> Variant:
    """Read ``nnUNetTrainerSynthAug_mixNN`` or ``nnUNetTrainerSynthAug_mixNN_Eepochs``.

    NN is the synthetic share in percent with two digits (``mix05``) or 100: one spelling per ratio, because
    the name is also the name of nnU-Net's results folder.

    Raises:
        UserError: any other name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"{name} is not a trainer of this package; write {BASE_NAME}_mixNN or {BASE_NAME}_mixNN_Eepochs with NN from 00 to 100"
        )
    return Variant(int(match[1]) / 100, int(match[2]) if match[2] else None)


class Quota:
    """Running count that makes the synthetic share exact instead of random.

    Batch n holds floor(p + s(n+1)) - floor(p + s(n)) synthetic samples, where s(n) is the batch size times the sum of the
    first n batches' ratios. So any run of batches is within one sample of what their ratios ask for, whatever the start phase p,
    and each batch holds floor or ceil of ratio * batch size. It is a function of the batch's number alone: whoever makes
    a batch, only that number must be shared.

    Processes of equal batch size that take the phases 0, 1/w, 2/w ... are together exact to within one sample, too: by
    Hermite's identity their floors add up to that of the joint batch.
    """

    _UNIT = 1_000_000  # whole numbers, because 0.1 added ten times in floating point is below 1

    def __init__(self, ratios: Sequence[float], iterations: int, batch_size: int, phase: Fraction = Fraction(0)) -> None:
        """``ratios`` per epoch of ``iterations`` batches; beyond them the first and last go on. ``phase`` in [0, 1)."""
        self._steps = [round(ratio * self._UNIT) * batch_size for ratio in ratios]
        self._epochs = [0, *accumulate(step * iterations for step in self._steps)]
        self._iterations = iterations
        self._phase = math.floor(phase * self._UNIT)

    def count(self, number: int) -> int:
        """Synthetic samples in batch ``number``, from 0."""
        return (self._phase + self._sum(number + 1)) // self._UNIT - (self._phase + self._sum(number)) // self._UNIT

    def _sum(self, batches: int) -> int:
        epoch = min(max(batches // self._iterations, 0), len(self._steps) - 1)
        return self._epochs[epoch] + (batches - epoch * self._iterations) * self._steps[epoch]


@dataclass(frozen=True)
class Mix:
    """What a loader must know about the mixture."""

    ratios: tuple[float, ...]  # share of synthetic samples per epoch
    iterations: int  # batches per epoch
    first: int = 0  # number of the first batch
    phase: Fraction = Fraction(0)
    probabilities: Mapping[str, float] | None = None  # of the synthetic cases; None: all alike
