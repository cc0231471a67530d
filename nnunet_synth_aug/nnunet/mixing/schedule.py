"""Curriculum: how the synthetic share changes over a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nnunet_synth_aug.core.errors import UserError

SHAPES = ("linear", "cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """The ``schedule`` object in the plans' ``synth_aug``: from the training's ratio to ``to``, in whole epochs."""

    to: float
    shape: str = "linear"
    from_epoch: int = 0  # linear, cosine: the last epoch with the first ratio; step: the first with ``to``
    until_epoch: int | None = None  # linear, cosine: the first epoch with ``to``; None: the last of the training

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


def schedule_settings(given: Any, where: str) -> Schedule | None:
    """Read the object; None (a constant share) stays None.

    Raises:
        UserError: an unknown key or an impossible value; ``where`` names the plans.
    """
    if given is None:
        return None
    keys = tuple(Schedule.__dataclass_fields__)
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: schedule is {given!r}; it must be an object such as {{'to': 0.1}}")
    for key in given:
        if key not in keys:
            raise UserError(f"{where}: schedule has no {key!r}; choose from {', '.join(keys)}")
    to, shape, first, until = (given.get(key) for key in keys)
    shape, first = "linear" if shape is None else shape, 0 if first is None else first
    if isinstance(to, bool) or not isinstance(to, (int, float)) or not 0 <= to <= 1:
        raise UserError(f"{where}: schedule.to is {to!r}; it must be a number from 0 to 1")
    if shape not in SHAPES:
        raise UserError(f"{where}: schedule.shape is {shape!r}; choose from {', '.join(SHAPES)}")
    for key, value in (("from_epoch", first), ("until_epoch", until)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise UserError(f"{where}: schedule.{key} is {value!r}; it must be the number of an epoch, from 0")
    if shape == "step" and (first == 0 or until is not None):
        raise UserError(f"{where}: a step needs schedule.from_epoch of at least 1, from which on the share is 'to', and no until_epoch")
    return Schedule(float(to), shape, first, until)
