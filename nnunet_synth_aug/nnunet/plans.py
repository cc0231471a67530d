"""Plans copies: a small 2D configuration for machines without a GPU, and settings for the trainer."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_object, write_json
from nnunet_synth_aug.nnunet.mixing.settings import PLANS_KEY, resolve_settings
from nnunet_synth_aug.nnunet.target import load_target

_MARK = "synth_aug_copy_of"  # tells our plans from the user's, which are never overwritten


def write_small_plans(
    dataset: str | int,
    base: str,
    name: str,
    *,
    spacing_2d: float | Sequence[float] | None = None,
    patch_2d: Sequence[int] | None = None,
    batch_size: int | None = None,
    n_stages: int | None = None,
    features: int | None = None,
    synth_aug: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``nnUNet_preprocessed/<dataset>/<name>.json``: a copy of ``base`` with these changes to its 2d configuration.

    Other configurations are left out when the 2d one changes, and kept when only ``synth_aug`` is given. With a new
    spacing the data must be preprocessed: ``nnUNetv2_preprocess -d D -plans_name NAME -c 2d``.

    Args:
        dataset: id or name.
        base: plans to start from.
        name: name of the new plans.
        spacing_2d: mm in plane, (y, x) or one number.
        patch_2d: (y, x), divisible by 2^(n_stages - 1).
        batch_size: of the 2d configuration.
        n_stages: resolution levels of the U-Net.
        features: channels of the first level; they double at each.
        synth_aug: settings for the trainer: ratio, epochs, iterations_per_epoch, val_iterations_per_epoch, autocast, schedule, weights,
            refresh.

    Returns:
        path of the plans.

    Raises:
        UserError: unknown dataset or base, impossible values, or ``name`` belongs to plans not made by this function.
    """
    if not re.fullmatch(r"[\w.-]+", name) or "__" in name:
        raise UserError(
            f"{name!r} cannot name plans: nnU-Net makes file and folder names of it and separates them by '__'; use letters and digits"
        )
    target = load_target(dataset, "2d", base)
    path = target.folder / f"{name}.json"
    if path.is_file() and _MARK not in read_object(path):
        raise UserError(f"{path} exists and was not made by this command; choose another name for the plans")
    plans = copy.deepcopy(target.plans_manager.plans)
    plans["plans_name"] = name
    plans[_MARK] = base
    if synth_aug is not None:
        plans[PLANS_KEY] = dict(synth_aug)
    resolve_settings(plans, None, None)

    if any(v is not None for v in (spacing_2d, patch_2d, batch_size, n_stages, features)):
        configuration = plans["configurations"]["2d"]
        plans["configurations"] = {"2d": configuration}
        if spacing_2d is not None:
            spacing = [float(spacing_2d)] * 2 if isinstance(spacing_2d, (int, float)) else [float(s) for s in spacing_2d]
            if len(spacing) != 2 or min(spacing) <= 0:
                raise UserError(f"the 2D spacing {spacing_2d} is impossible; give one or two positive numbers in mm")
            factor = [old / new for old, new in zip(configuration["spacing"], spacing, strict=True)]
            shape = configuration["median_image_size_in_voxels"]
            configuration["median_image_size_in_voxels"] = [s * f for s, f in zip(shape, factor, strict=True)]
            configuration["spacing"] = spacing
            configuration["data_identifier"] = f"{name}_2d"
        if batch_size is not None:
            configuration["batch_size"] = batch_size
        if patch_2d is not None:
            configuration["patch_size"] = list(patch_2d)
        _resize_network(configuration, n_stages, features)
    write_json(path, plans)
    return path


def _resize_network(configuration: dict[str, Any], n_stages: int | None, features: int | None) -> None:
    network = configuration["architecture"]["arch_kwargs"]
    stages = n_stages or network["n_stages"]
    first = features or network["features_per_stage"][0]
    patch = configuration["patch_size"]
    if n_stages is not None or features is not None:
        largest = max(network["features_per_stage"])
        network["features_per_stage"] = [min(first * 2**i, largest) for i in range(stages)]
    if n_stages is not None:
        network["n_stages"] = stages
        network["kernel_sizes"] = [[3, 3]] * stages
        network["strides"] = [[1, 1]] + [[2, 2]] * (stages - 1)
        for key, count in (("n_conv_per_stage", stages), ("n_blocks_per_stage", stages), ("n_conv_per_stage_decoder", stages - 1)):
            if key in network:
                network[key] = [2] * count
    step = [1, 1]
    for stride in network["strides"]:
        step = [s * t for s, t in zip(step, stride, strict=True)]
    if len(patch) != 2 or any(p <= 0 or p % s for p, s in zip(patch, step, strict=True)):
        raise UserError(f"the 2D patch {patch} does not fit a network that divides by {step}; give multiples of these or fewer stages")
    if configuration["batch_size"] < 2:
        raise UserError(f"the batch size is {configuration['batch_size']}; nnU-Net needs at least 2")
