"""What a training is asked to do: from the trainer's name, the plans' ``synth_aug`` key, or the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.nnunet.mixing.schedule import Schedule, schedule_settings
from nnunet_synth_aug.nnunet.mixing.weighting import Weights, weight_settings
from nnunet_synth_aug.nnunet.refresh.trainer_side import RefreshSettings, refresh_settings

PLANS_KEY = "synth_aug"
DEFAULT_RATIO = 0.5
_COUNTS = ("epochs", "iterations_per_epoch", "val_iterations_per_epoch")
#: Written into the plans of a training for the record; accepted and ignored when such plans are used again.
_RECORDED = ("manifest_hash", "generator_hash")


@dataclass(frozen=True)
class Settings:
    """None means nnU-Net's own default."""

    ratio: float
    epochs: int | None
    iterations_per_epoch: int | None
    val_iterations_per_epoch: int | None
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
    where = f"the plans {plans.get('plans_name')}, key '{PLANS_KEY}'"
    given = plans.get(PLANS_KEY) or {}
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: a JSON object is needed, not {given!r}")
    known = ("ratio", *_COUNTS, "schedule", "weights", "refresh", *_RECORDED)
    for key in given:
        if key not in known:
            raise UserError(f"{where}: {key!r} is unknown; choose from {', '.join(known[: -len(_RECORDED)])}")
    ratio = given.get("ratio")
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1):
        raise UserError(f"{where}: ratio is {ratio!r}; it must be a number from 0 to 1")
    counts = {key: given.get(key) for key in _COUNTS}
    for key, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UserError(f"{where}: {key} is {value!r}; it must be a whole number of at least 1")
    if name_ratio is not None:
        ratio = name_ratio
    if name_epochs is not None:
        counts["epochs"] = name_epochs
    schedule = schedule_settings(given.get("schedule"), where)
    if name_until is not None:
        schedule = Schedule(name_until)
    weights = weight_settings(given.get("weights"), where)
    refresh = refresh_settings(given.get("refresh"), where)
    ratio = DEFAULT_RATIO if ratio is None else float(ratio)
    if ratio == 0:  # the real-only arm of a comparison, which shares the plans of the others
        schedule = weights = refresh = None
    return Settings(ratio, **counts, schedule=schedule, weights=weights, refresh=refresh)


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
