"""How many samples of each training batch are synthetic. Pure arithmetic, no nnU-Net."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

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

    After n batches of B samples floor(p + ratio*B*n) - floor(p) samples were synthetic, which is within one
    sample of ratio*B*n for every n and every start phase p; each batch holds floor or ceil of ratio*B.
    """

    def __init__(self, ratio: float, batch_size: int, phase: float = 0.0) -> None:
        """``phase`` in [0, 1): parallel loaders take different ones, so that they do not round up in the same batch."""
        # Fractions, because 0.1 added ten times in floating point is below 1.
        self._per_batch = Fraction(ratio).limit_denominator(10_000) * batch_size
        self._phase = Fraction(phase)
        self._batches = 0

    def next(self) -> int:
        """Number of synthetic samples in the next batch."""
        before = math.floor(self._phase + self._per_batch * self._batches)
        self._batches += 1
        return math.floor(self._phase + self._per_batch * self._batches) - before
