"""How many samples of each training batch are synthetic. Pure arithmetic, no nnU-Net."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nnunet_synth_aug.core.errors import UserError

BASE_NAME = "nnUNetTrainerSynthAug"
_NAME = re.compile(BASE_NAME + r"_mix(\d{2}|100)(?:to(\d{2}|100))?(?:_([1-9]\d*)epochs)?(?:_([A-Za-z]\w*))?")


@dataclass(frozen=True)
class Variant:
    """What a trainer's name says."""

    ratio: float  # share of training samples that are synthetic, 0 to 1
    epochs: int | None  # None: the plans or nnU-Net decide
    until: float | None = None  # share of the last epoch, to which it goes linearly; None: the plans decide, or it stays
    base: str | None = None  # which of nnU-Net's trainers lies underneath, such as DA5; None: nnUNetTrainer


def parse_trainer_name(name: str) -> Variant:
    """Read ``nnUNetTrainerSynthAug_mixNN`` or ``_mixNNtoMM``, either with ``_Eepochs`` and then another trainer's name behind it.

    NN is the synthetic share in percent with two digits (``mix05``) or 100, and MM that of the last epoch: one spelling per
    training, because the name is also the name of nnU-Net's results folder.

    Raises:
        UserError: any other name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"{name} is not a trainer of this package; write {BASE_NAME}_mixNN, {BASE_NAME}_mixNNtoMM for a share that goes to MM, or "
            f"{BASE_NAME}_mixNN_Eepochs with NN and MM from 00 to 100, and behind that the name of the trainer underneath, such as _DA5"
        )
    if match[2] and (match[1] == "00" or match[1] == match[2]):
        other = BASE_NAME + "_mix00" if match[1] == "00" else name.replace(f"to{match[2]}", "", 1)
        raise UserError(f"{name}: a share that goes from mixNN to another begins above 00 and changes; for a constant share write {other}")
    return Variant(int(match[1]) / 100, int(match[3]) if match[3] else None, int(match[2]) / 100 if match[2] else None, match[4])


class Quota:
    """Running count that makes the synthetic share exact instead of random.

    The joint batch n of all processes holds floor(s(n+1)) - floor(s(n)) synthetic samples, where s(n) is its size times the sum of
    the first n batches' ratios. So any run of batches is within one sample of what their ratios ask for, and each batch holds
    floor or ceil of ratio * batch size. It is a function of the batch's number alone: whoever makes a batch, only that number
    must be shared.

    Synthetic samples are dealt to the processes in turn, to each as often as its share of the joint batch: that too follows from
    the number, so that processes need not speak to each other. They may have batches of different size, as nnU-Net's have where
    the batch size is not a multiple of their number.
    """

    _UNIT = 1_000_000  # whole numbers, because 0.1 added ten times in floating point is below 1

    def __init__(self, ratios: Sequence[float], iterations: int, batch_sizes: Sequence[int], rank: int = 0) -> None:
        """``ratios`` per epoch of ``iterations`` batches; beyond them the first and last go on. ``batch_sizes`` of all processes."""
        self._steps = [round(ratio * self._UNIT) * sum(batch_sizes) for ratio in ratios]
        self._epochs = [0, *accumulate(step * iterations for step in self._steps)]
        self._iterations = iterations
        # One turn per sample of the joint batch; those of a process are spread evenly.
        turns = sorted(((2 * i + 1) / size, process) for process, size in enumerate(batch_sizes) for i in range(size))
        self._dealt = [0, *accumulate(int(process == rank) for _, process in turns)]

    def count(self, number: int) -> int:
        """This process's synthetic samples in batch ``number``, from 0."""
        return self._own(self._sum(number + 1) // self._UNIT) - self._own(self._sum(number) // self._UNIT)

    def _own(self, synthetic: int) -> int:
        """Of the first ``synthetic`` samples of all processes, those of this one."""
        rounds, rest = divmod(synthetic, len(self._dealt) - 1)
        return rounds * self._dealt[-1] + self._dealt[rest]

    def _sum(self, batches: int) -> int:
        epoch = min(max(batches // self._iterations, 0), len(self._steps) - 1)
        return self._epochs[epoch] + (batches - epoch * self._iterations) * self._steps[epoch]


@dataclass(frozen=True)
class Mix:
    """What a loader must know about the mixture."""

    ratios: tuple[float, ...]  # share of synthetic samples per epoch
    iterations: int  # batches per epoch
    first: int = 0  # number of the first batch
    batch_sizes: tuple[int, ...] = ()  # of all processes that train together; empty: the loader's own
    rank: int = 0  # of this process
    probabilities: Mapping[str, float] | None = None  # of the synthetic cases; None: all alike
