"""The nnU-Net configuration that a bank is made for: plans, preprocessing, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_object
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.core.paths import dataset_name, preprocessed_folder

#: What nnU-Net's own conversion of ACDC calls two of the structures.
_SYNONYMS = {"MLV": "MYO", "LVC": "LV"}


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
        """The dataset in nnUNet_preprocessed."""
        return preprocessed_folder(self.dataset)

    @property
    def data_identifier(self) -> str:
        """nnU-Net's name of the preprocessed data."""
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
    content, about = read_object(path), read_object(folder / "dataset.json", "labels", "file_ending")
    if not isinstance(configurations := content.get("configurations"), dict) or not isinstance(about["labels"], dict):
        raise UserError(f"{path} or dataset.json beside it is damaged; run 'nnUNetv2_plan_and_preprocess -d {int(name[7:10])}' again")
    for label, value in about["labels"].items():
        if not all(isinstance(one, int) and 0 <= one < 2**15 for one in (value if isinstance(value, list) else [value])):
            told = f"{folder / 'dataset.json'} gives the label {label} the value {str(value)[:50]!r}"
            raise UserError(f"{told}; write a number, or a list of numbers")
    if any(isinstance(value, list) for value in about["labels"].values()) and not isinstance(about.get("regions_class_order"), list):
        raise UserError(f"{folder / 'dataset.json'} has regions among its labels but no regions_class_order; nnU-Net needs it, too")
    if configuration not in configurations:
        raise UserError(f"{path} has no configuration {configuration}; choose one of {', '.join(configurations)}")
    manager = PlansManager(content)
    target = Target(name, plans, configuration, manager, manager.get_configuration(configuration), about)
    refuse_unsupported(target)
    return target


def refuse_unsupported(target: Target) -> None:
    """Raise UserError for a configuration that synthetic cases cannot serve."""
    if target.configuration_manager.previous_stage_name is not None:
        raise UserError(
            f"{target.configuration} is the second stage of a cascade and needs a first-stage prediction of every case, which synthetic "
            "cases do not have; use 2d, 3d_fullres or 3d_lowres"
        )
    reader = target.plans_manager.plans.get("image_reader_writer")
    if reader == "NibabelIOWithReorient":
        raise UserError(
            f"the plans {target.plans} read images with {reader}, which turns and mirrors real hearts by their headers, while synthetic "
            "hearts lie as the files do; set overwrite_image_reader_writer to SimpleITKIO or NibabelIO in dataset.json and plan again"
        )
    channels = target.dataset_json.get("channel_names", target.dataset_json.get("modality", {}))
    if len(channels) != 1:
        raise UserError(
            f"{target.dataset} has {len(channels)} input channels, but synthetic cases have one; use a dataset of cine images alone"
        )


def label_lookup(target: Target) -> np.ndarray:
    """Table (4,) int16 from this package's label values to the values in the dataset's masks, matched by name.

    A label's value is what its name says. Of a region, a list of values, the structure is the one value that no other structure
    has: with heart [1, 2, 3], MYO [2, 3] and LV 3 the myocardium is 2, and the right ventricle, which has no name, is 1.
    "ignore" is not looked at: synthetic cases are labelled everywhere.

    Raises:
        UserError: the dataset's names do not tell the three structures apart, or it has labels that synthetic hearts lack.
    """
    return label_table(target.dataset_json["labels"], target.folder / "dataset.json")


def label_table(given: Mapping[str, Any], path: Path) -> np.ndarray:
    """:func:`label_lookup` of the ``labels`` that ``path`` holds."""
    labels = {
        _SYNONYMS.get(name.upper(), name.upper()): set(value) if isinstance(value, list) else {value}
        for name, value in given.items()
        if name not in ("background", "ignore")
    }
    every = set().union(*labels.values()) - {0}
    own = {min(values) for name, values in labels.items() if len(values) == 1 and name not in STRUCTURES}
    regions = set().union(*(values for values in labels.values() if len(values) > 1)) - own
    possible = {structure: set(labels.get(structure, regions)) - {0} for structure in STRUCTURES}
    for _ in STRUCTURES:
        for structure, values in possible.items():
            if len(values) == 1:
                for other in STRUCTURES:
                    possible[other] -= values if other != structure else set()
    if unclear := [structure for structure, values in possible.items() if len(values) != 1]:
        raise UserError(
            f"{path} does not tell which value is {' or '.join(unclear)} (its labels are {dict(given)}); call the three "
            "structures RV, MYO and LV there and in the dataset's dataset.json in nnUNet_raw; their numbers may stay"
        )
    found = {structure: min(values) for structure, values in possible.items()}
    if foreign := sorted(every - set(found.values())):
        raise UserError(
            f"{path} has labels besides RV, MYO and LV (value {', '.join(map(str, foreign))}), which synthetic hearts would teach as "
            "background; leave them out of the dataset, or train without synthetic cases"
        )
    table = np.zeros(1 + max(STRUCTURES.values()), np.int16)
    for structure, label in STRUCTURES.items():
        table[label] = found[structure]
    return table


def training_files(folder: Path, dataset_json: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every training case of a raw dataset, as nnU-Net finds it: ``{"images": [path, ...], "label": path}``.

    nnU-Net's own function starts twelve processes for it, so it is asked only where ``dataset.json`` names the files.
    """
    if "dataset" in dataset_json:
        return dict(get_filenames_of_train_images_and_targets(str(folder), dataset_json))
    ending = str(dataset_json["file_ending"])
    channels: dict[str, list[str]] = {}
    for path in sorted((folder / "imagesTr").iterdir()):
        if path.name.endswith(ending) and path.is_file():
            channels.setdefault(path.name[: -len(ending) - len("_0000")], []).append(str(path))
    return {case: {"images": images, "label": str(folder / "labelsTr" / (case + ending))} for case, images in sorted(channels.items())}
