"""The nnU-Net configuration that a bank is made for: plans, preprocessing, labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import hash_json, read_json
from nnunet_synth_aug.labels import STRUCTURES
from nnunet_synth_aug.paths import dataset_name, preprocessed_folder


@dataclass(frozen=True)
class Target:
    """One configuration of one dataset, as nnU-Net's own classes see it."""

    dataset: str  # folder name
    plans: str
    configuration: str
    plans_manager: PlansManager
    configuration_manager: ConfigurationManager
    dataset_json: dict[str, Any]

    @property
    def folder(self) -> Path:
        return preprocessed_folder(self.dataset)

    @property
    def data_identifier(self) -> str:
        return str(self.configuration_manager.data_identifier)

    @property
    def bank_command(self) -> str:
        """Without the fold, which is added by who knows it."""
        plans = "" if self.plans == "nnUNetPlans" else f" -p {self.plans}"
        return f"synthaug bank -d {self.dataset} -c {self.configuration}{plans}"

    def preprocessing_hash(self) -> str:
        """Digest of all that decides what a preprocessed case looks like.

        Batch size, architecture and the plans' name are left out: plans that share preprocessed data share the bank.
        """
        plans, configuration = self.plans_manager.plans, self.configuration_manager.configuration
        keys = ("data_identifier", "preprocessor_name", "spacing", "normalization_schemes", "use_mask_for_norm")
        keys += tuple(sorted(k for k in configuration if k.startswith("resampling_fn")))
        return hash_json(
            {
                **{k: configuration.get(k) for k in keys},
                "transpose_forward": plans["transpose_forward"],
                "foreground_intensity": plans.get("foreground_intensity_properties_per_channel"),
            }
        )

    def cases(self) -> list[str]:
        """Ids of the real preprocessed cases, sorted.

        Raises:
            UserError: this configuration was not preprocessed.
        """
        folder = self.folder / self.data_identifier
        found: list[str] = []
        if folder.is_dir() and any(folder.iterdir()):
            found = sorted(infer_dataset_class(str(folder)).get_identifiers(str(folder)))
        if not found:
            raise UserError(
                f"{folder} holds no preprocessed cases; run "
                f"'nnUNetv2_preprocess -d {int(self.dataset[7:10])} -plans_name {self.plans} -c {self.configuration}' first"
            )
        return found


def load_target(dataset: str | int, configuration: str, plans: str) -> Target:
    """Open a dataset's plans.

    Raises:
        UserError: unknown dataset, no such plans or configuration, more than one input channel, cascade.
    """
    name = dataset_name(dataset)
    folder = preprocessed_folder(name)
    path = folder / f"{plans}.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist; run 'nnUNetv2_plan_and_preprocess -d {int(name[7:10])}' first or name other plans with -p")
    content = read_json(path)
    if configuration not in content.get("configurations", {}):
        raise UserError(f"{path} has no configuration {configuration}; choose one of {', '.join(content.get('configurations', {}))}")
    manager = PlansManager(content)
    target = Target(name, plans, configuration, manager, manager.get_configuration(configuration), read_json(folder / "dataset.json"))
    refuse_unsupported(target)
    return target


def refuse_unsupported(target: Target) -> None:
    """Raise UserError for a configuration that synthetic cases cannot serve."""
    if target.configuration_manager.previous_stage_name is not None:
        raise UserError(
            f"{target.configuration} is the second stage of a cascade and needs a first-stage prediction of every case, which synthetic "
            "cases do not have; use 2d, 3d_fullres or 3d_lowres"
        )
    channels = target.dataset_json.get("channel_names", target.dataset_json.get("modality", {}))
    if len(channels) != 1:
        raise UserError(
            f"{target.dataset} has {len(channels)} input channels, but synthetic cases have one; use a dataset of cine images alone"
        )


def label_lookup(target: Target) -> np.ndarray:
    """Table (4,) int16 from this package's label values to the dataset's, matched by name.

    Raises:
        UserError: the dataset does not name RV, MYO and LV as plain labels.
    """
    values = {str(k).upper(): v for k, v in target.dataset_json["labels"].items()}
    table = np.zeros(1 + max(STRUCTURES.values()), np.int16)
    for structure, label in STRUCTURES.items():
        value = values.get(structure)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, int):
            raise UserError(
                f"{target.folder / 'dataset.json'} names no plain label {structure} (its labels are "
                f"{', '.join(target.dataset_json['labels'])}); call the three structures RV, MYO and LV there and in nnUNet_raw"
            )
        table[label] = value
    return table
