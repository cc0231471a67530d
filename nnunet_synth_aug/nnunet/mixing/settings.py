"""What a training is asked to do: from the trainer's name, the plans' ``synth_aug`` key, or the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.settings import Autocast, Positive, Share, read
from nnunet_synth_aug.nnunet.mixing.schedule import Schedule
from nnunet_synth_aug.nnunet.mixing.weighting import Weights
from nnunet_synth_aug.nnunet.refresh.trainer_side import RefreshSettings

PLANS_KEY = "synth_aug"
#: Written into the plans of a training for the record; accepted and ignored when such plans are used again.
_RECORDED = ("manifest_hash", "generator_hash")


@dataclass(frozen=True)
class Settings:
    """The plans' ``synth_aug``."""

    ratio: Share = 0.5  # synthetic share of the samples
    epochs: Positive | None = None  # None, here and below: nnU-Net's own default
    iterations_per_epoch: Positive | None = None
    val_iterations_per_epoch: Positive | None = None
    autocast: Autocast | None = None  # of the network on a CPU; None: off, as nnU-Net
    schedule: Schedule | None = None  # None: the ratio holds for the whole training
    weights: Weights | None = None  # None: every synthetic case is drawn alike
    refresh: RefreshSettings | None = None  # None: the bank stays as it is


def resolve_settings(
    plans: Mapping[str, Any], name_ratio: float | None, name_epochs: int | None, name_until: float | None = None
) -> Settings:
    """Settings of a training; the trainer's name wins over the plans, the plans over the defaults.

    Raises:
        UserError: the plans' ``synth_aug`` holds an unknown key or an impossible value.
    """
    given = plans.get(PLANS_KEY) or {}
    if isinstance(given, Mapping):
        given = {key: value for key, value in given.items() if key not in _RECORDED and not (key == "weights" and value == {})}
    settings = read(Settings, given, f"the plans {plans.get('plans_name')}, key '{PLANS_KEY}'")
    if name_ratio is not None:
        settings = replace(settings, ratio=name_ratio)
    if name_epochs is not None:
        settings = replace(settings, epochs=name_epochs)
    if name_until is not None:
        settings = replace(settings, schedule=Schedule(name_until))
    if settings.ratio == 0:  # the real-only arm of a comparison, which shares the plans of the others
        settings = replace(settings, schedule=None, weights=None, refresh=None)
    return settings


def refuse_changes(stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Compare the settings in a checkpoint with those of the training that continues it.

    Raises:
        UserError: any differs, naming each with its old and new value.
    """
    changed = [f"{k} was {stored.get(k)} and is {current.get(k)}" for k in sorted({*stored, *current}) if stored.get(k) != current.get(k)]
    if changed:
        raise UserError(
            f"this training cannot be continued with other settings ({'; '.join(changed)}); restore them, or train under another "
            "trainer or plans name"
        )
