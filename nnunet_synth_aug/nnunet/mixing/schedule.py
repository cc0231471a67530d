"""Curriculum: how the synthetic share changes over a training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.settings import FromZero, Share


@dataclass(frozen=True)
class Schedule:
    """The ``schedule`` object in the plans' ``synth_aug``: from the training's ratio to ``to``, in whole epochs."""

    to: Share
    shape: Literal["linear", "cosine", "step"] = "linear"
    from_epoch: FromZero = 0  # linear, cosine: the last epoch with the first ratio; step: the first with ``to``
    until_epoch: FromZero | None = None  # linear, cosine: the first epoch with ``to``; None: the last of the training

    def __post_init__(self) -> None:
        if self.shape == "step" and (self.from_epoch == 0 or self.until_epoch is not None):
            raise ValueError("a step needs a from_epoch of at least 1, from which on the share is 'to', and no until_epoch")

    def ratios(self, start: float, epochs: int) -> tuple[float, ...]:
        """Share of every epoch of a training of ``epochs`` epochs that begins with ``start``.

        Raises:
            UserError: the training ends before the share could change.
        """
        if self.shape == "step":
            if self.from_epoch >= epochs:
                raise UserError(f"the schedule's step in epoch {self.from_epoch} is after the last epoch, {epochs - 1}; lower from_epoch")
            return tuple(self.to if epoch >= self.from_epoch else start for epoch in range(epochs))
        until = epochs - 1 if self.until_epoch is None else self.until_epoch
        if until <= self.from_epoch:
            raise UserError(f"the schedule has no time between epochs {self.from_epoch} and {until}; lower from_epoch or train longer")
        done = [min(max((epoch - self.from_epoch) / (until - self.from_epoch), 0.0), 1.0) for epoch in range(epochs)]
        if self.shape == "cosine":
            done = [(1 - math.cos(math.pi * d)) / 2 for d in done]
        return tuple(start + (self.to - start) * d for d in done)

    def recorded(self) -> dict[str, Any]:
        """As it is written into the plans."""
        return asdict(self)
