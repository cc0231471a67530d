"""What a row of matrix.py needs beforehand, and what must be true afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from workspace import HEARTS, Dataset, Workspace, set_settings, training_patients, write_raw, write_sequences

from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.patients import ABOUT_ALL

SHORT = "shortPlans"  # nnU-Net's plans with few iterations


@dataclass(frozen=True)
class Row:
    """One command; ``expected`` is its exit code, ``check`` gives facts about its product or raises AssertionError."""

    name: str
    group: str
    command: str  # words without spaces
    configuration: str = ""
    expected: int = 0
    prepare: Callable[[], Any] | None = None
    check: Callable[[], dict[str, Any]] | None = None
    says: str = ""  # part of the sentence of a refusal
    kill_when: Callable[[], bool] | None = None  # kill -9 the command as soon as this is true
    environment: dict[str, str] = field(default_factory=dict)


class Checks:
    """Places, preparations and checks in one workspace."""

    def __init__(self, workspace: Workspace, device: str = "cpu") -> None:
        self.workspace, self.device = workspace, device

    # ------------------------------------------------------------------ places

    def trained(self, dataset: Dataset, trainer: str, plans: str, configuration: str, results: str = "nnUNet_results") -> Path:
        return self.workspace.folder(results, dataset.folder, f"{trainer}__{plans}__{configuration}")

    @property
    def images(self) -> Path:
        """Two images to predict; written with the raw data."""
        return self.workspace.root / "images"

    def write_everything(self, datasets: list[Dataset]) -> None:
        for dataset in datasets:
            write_raw(self.workspace, dataset)
        self.images.mkdir(exist_ok=True)
        for case in ("patient003_ED", "patient003_ES"):
            shutil.copy(self.workspace.folder("nnUNet_raw", HEARTS.folder, "imagesTr", f"{case}_0000.nii.gz"), self.images)

    def predicted(self, name: str) -> Path:
        return self.workspace.root / "predicted" / name

    # ------------------------------------------------------------------ preparation and checks

    def bank(self, dataset: Dataset, fold: int | str, configuration: str, plans: str) -> Callable[[], Any]:
        def build() -> None:
            from nnunet_synth_aug.nnunet.bank.build import build_bank_cases

            build_bank_cases(write_sequences(self.workspace, dataset, fold), dataset.folder, fold, configuration, plans, frames=3)

        return build

    def leaking_bank(self, fold: int) -> Callable[[], Any]:
        """A bank whose manifest confesses a validation patient."""

        def build() -> None:
            from nnunet_synth_aug.nnunet.bank.manifest import manifest_path

            self.bank(HEARTS, fold, "2d", SHORT)()
            path = manifest_path(HEARTS.folder, fold, "nnUNetPlans_2d")
            content = read_json(path)
            content["generator"]["patients"].append(HEARTS.validation[fold][0])
            write_json(path, content)

        return build

    def refreshable_bank(self, dataset: Dataset, fold: int, configuration: str, plans: str) -> Callable[[], Any]:
        """A bank and, where ``synthaug fit`` leaves it, the generator that it names: of random weights, so its hearts are not checked."""

        def build() -> None:
            from refresh_fixture import write_generator

            from nnunet_synth_aug.core.paths import generator_folder
            from nnunet_synth_aug.nnunet.bank.build import build_bank_cases

            patients = tuple(training_patients(fold, dataset))
            made_by = write_generator(generator_folder(dataset.folder, fold), patients)
            sequences = write_sequences(self.workspace, dataset, fold, generator_hash=made_by, quality={"checked": False})
            build_bank_cases(sequences, dataset.folder, fold, configuration, plans, frames=3)

        return build

    def change(self, dataset: Dataset, plans: str, **settings: Any) -> Callable[[], Any]:
        """Other settings in the plans, as after a second ``synthaug plans``."""

        def edit() -> None:
            path = self.workspace.folder("nnUNet_preprocessed", dataset.folder, f"{plans}.json")
            set_settings(self.workspace, dataset, plans, **(read_json(path)["synth_aug"] | settings))

        return edit

    def remove(self, *paths: Path) -> Callable[[], Any]:
        return lambda: [shutil.rmtree(path, ignore_errors=True) for path in paths]

    def check_training(self, dataset: Dataset, trainer: str, plans: str, configuration: str, fold: int | str) -> dict[str, Any]:
        folder = self.trained(dataset, trainer, plans, configuration) / f"fold_{fold}"
        record = read_json(folder / "synth_aug.json")
        numbers = [epoch["epoch"] for epoch in record["epochs"]]
        assert numbers == list(range(len(numbers))), f"epochs on record: {numbers}"
        # At most one sample off per start of the command; the curriculum's row looks at its epochs itself.
        if record["schedule"] is None:
            assert abs(record["synthetic_samples"] - record["ratio"] * record["samples"]) <= 2, "the share is not exact"
        checkpoints = sorted(folder.glob("checkpoint_*.pth"))
        assert folder / "checkpoint_final.pth" in checkpoints
        for path in checkpoints:
            stored = torch.load(path, map_location="cpu", weights_only=False, mmap=True)["init_args"]["plans"]["synth_aug"]
            assert stored["manifest_hash"] == record["manifest_hash"], f"{path.name} does not name the bank"
        validated = sorted(path.name for path in (folder / "validation").glob("*.nii.gz"))
        assert validated, "no validation case"
        assert not [name for name in validated if name.startswith("synth")], "a synthetic case was validated"
        assert (folder / "validation" / "summary.json").is_file()
        facts = {"epochs": len(numbers), "synthetic": f"{record['synthetic_samples']} of {record['samples']}"}
        if fold == "all":
            log = "".join(path.read_text() for path in folder.glob("training_log*.txt"))
            assert log.count(ABOUT_ALL) == 2, "the log does not say before the training and after the validation what fold all validates"
        named = {} if record["manifest_hash"] is None else {"checkpoints naming the bank": len(checkpoints)}  # _mix00 has none
        return facts | {"validated": len(validated)} | named

    def check_curriculum(self, folder: Path, *expected: int) -> dict[str, Any]:
        """Synthetic samples of every epoch."""
        drawn = [epoch["synthetic_samples"] for epoch in read_json(folder / "fold_0" / "synth_aug.json")["epochs"]]
        assert len(drawn) == len(expected)
        assert all(abs(a - b) <= 1 for a, b in zip(drawn, expected, strict=True)), f"{drawn} instead of {expected}"
        return {"synthetic by epoch": ", ".join(map(str, drawn))}

    def check_refresh(self, folder: Path) -> dict[str, Any]:
        record = read_json(folder / "fold_0" / "synth_aug.json")
        refresh, cases = record["refresh"], record["manifest"]["n_cases"]
        assert refresh["replaced"] > 0, "nothing was replaced"
        assert any("@" in case for case in record["first_seen"]), "no replaced case was trained on"
        return {"cases replaced": refresh["replaced"], "distinct cases seen": record["distinct_synthetic_cases"], "bank": cases}

    def check_choice(self, information: Path) -> dict[str, Any]:
        """What nnU-Net compared: the trainings and, of those with probabilities, the ensembles."""
        results = read_json(information)["all_results"]
        assert len(results) == 3, f"compared: {', '.join(results)}"
        return {"compared": "two trainings and their ensemble"}

    def check_plans(self, plans: str, configuration: str) -> dict[str, Any]:
        content = read_json(self.workspace.folder("nnUNet_preprocessed", HEARTS.folder, f"{plans}.json"))
        assert configuration in content["configurations"], f"{configuration} was not planned"
        return {}

    def check_prediction(self, name: str, same_as: str | None = None) -> dict[str, Any]:
        import nibabel as nib
        import numpy as np

        files = sorted(self.predicted(name).glob("*.nii.gz"))
        assert len(files) == 2, f"{len(files)} predictions"
        if same_as is not None:
            for file in files:
                one, other = (np.asarray(nib.load(p).dataobj) for p in (file, self.predicted(same_as) / file.name))
                assert np.array_equal(one, other), f"{file.name} differs from {same_as}"
            return {"predicted": 2, "equal to": same_as}
        return {"predicted": 2}

    def files(self, *paths: Path) -> Callable[[], dict[str, Any]]:
        def check() -> dict[str, Any]:
            for path in paths:
                assert path.exists(), f"{path.name} is missing"
            return {}

        return check
