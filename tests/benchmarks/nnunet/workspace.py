"""nnU-Net projects for trying its commands: small beating hearts, planned by nnU-Net itself, with banks of sequences.

The hearts are those of the tests (tests/nnunet_fixture.py): what is tried here is plumbing, so a training takes seconds.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[2]
DOCS = TESTS.parent / "docs" / "nnunet"
sys.path[:0] = [str(TESTS), str(TESTS / "benchmarks")]  # the tests' hearts, an untrained generator

from nnunet_fixture import SHAPE, SPACING, heart, sequence  # noqa: E402

from nnunet_synth_aug import __version__  # noqa: E402
from nnunet_synth_aug.core.files import read_json, write_json, write_nifti  # noqa: E402
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence  # noqa: E402

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
PATIENTS = tuple(f"patient{i:03d}" for i in range(1, 6))
DIAGNOSES = ("DCM", "NOR")  # of the sequences, in turn
SEQUENCES = 4


@dataclass(frozen=True)
class Dataset:
    """One small dataset; ``labels`` as in nnU-Net's dataset.json, ``channels`` input channels, ``validation`` patients of every fold.

    The folds test every patient once, so that their results can be accumulated.
    """

    number: int
    name: str
    labels: dict[str, Any]
    channels: int = 1
    regions_class_order: tuple[int, ...] | None = None
    ignored: bool = False  # slices whose annotation is missing carry the ignore label
    validation: tuple[tuple[str, ...], ...] = (PATIENTS[2:4], PATIENTS[:2])

    @property
    def folder(self) -> str:
        return f"Dataset{self.number}_{self.name}"

    @property
    def patients(self) -> list[str]:
        return sorted(patient for fold in self.validation for patient in fold)


HEARTS = Dataset(741, "Hearts", {"background": 0, "RV": 1, "MYO": 2, "LV": 3})
REGIONS = Dataset(742, "Regions", {"background": 0, "heart": [1, 2, 3], "MYO": [2, 3], "LV": [3]}, regions_class_order=(1, 2, 3))
IGNORE = Dataset(743, "Ignore", {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4}, ignored=True)
CHANNELS = Dataset(744, "Channels", HEARTS.labels, channels=2)
FOLDS = Dataset(745, "Folds", HEARTS.labels, validation=tuple((patient,) for patient in PATIENTS))


@dataclass(frozen=True)
class Workspace:
    """nnU-Net's three folders under ``root``."""

    root: Path
    keep: tuple[str, ...] = ()  # variables of this process's environment that commands see, too

    def folder(self, name: str, *parts: str) -> Path:
        return self.root / name / Path(*parts)

    @property
    def environment(self) -> dict[str, str]:
        """A login shell with nnU-Net's folders and few processes; nothing that points to this package."""
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "USER", "TMPDIR", "SSL_CERT_FILE", *self.keep}}
        limits = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return kept | limits | {name: str(self.root / name) for name in FOLDERS}

    def enter(self) -> None:
        """Set nnU-Net's folders for this process."""
        for name in FOLDERS:
            self.folder(name).mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(self.folder(name))


def write_raw(workspace: Workspace, dataset: Dataset) -> None:
    """ED and ES of every patient in nnU-Net's raw format, the cohort that names them, and patient-grouped splits."""
    rng = np.random.default_rng(dataset.number)
    raw = workspace.folder("nnUNet_raw", dataset.folder)
    subjects = []
    for patient in dataset.patients:
        cases = {phase: f"{patient}_{phase}" for phase in ("ED", "ES")}
        for phase, case in cases.items():
            image, mask = heart(rng, 1.0 if phase == "ED" else 0.7)
            if dataset.ignored:
                mask[:, :, 0] = 4
            for channel in range(dataset.channels):
                write_nifti(raw / "imagesTr" / f"{case}_{channel:04d}.nii.gz", image, SPACING)
            write_nifti(raw / "labelsTr" / f"{case}.nii.gz", mask, SPACING)
        subjects.append({"patient": patient, "cases": cases})
    channels = {str(i): f"cine{i}" for i in range(dataset.channels)}
    content = {"channel_names": channels, "labels": dataset.labels, "numTraining": len(subjects) * 2, "file_ending": ".nii.gz"}
    if dataset.regions_class_order is not None:
        content["regions_class_order"] = dataset.regions_class_order
    splits = [
        {
            "train": [f"{p}_{phase}" for p in dataset.patients if p not in validation for phase in ("ED", "ES")],
            "val": [f"{p}_{phase}" for p in validation for phase in ("ED", "ES")],
        }
        for validation in dataset.validation
    ]
    write_json(workspace.folder("nnUNet_preprocessed", dataset.folder, "splits_final.json"), splits)
    write_json(raw / "cohort.json", {"format": 1, "subjects": subjects})
    write_json(raw / "dataset.json", content)  # last: it marks the dataset as complete


def training_patients(fold: int | str, dataset: Dataset = HEARTS) -> list[str]:
    return [p for p in dataset.patients if fold == "all" or p not in dataset.validation[int(fold)]]


def write_sequences(workspace: Workspace, dataset: Dataset, fold: int | str, **provenance: Any) -> Path:
    """Sequences as ``synthaug sample`` leaves them, of a generator that saw the fold's training patients."""
    folder = workspace.root / "sequences" / f"{dataset.folder}_{fold}"
    for number in range(SEQUENCES):
        heart = sequence(number)
        write_sequence(folder, replace(heart, requested=replace(heart.requested, diagnosis=DIAGNOSES[number % 2])))
    provenance = {
        "dataset": dataset.folder,
        "fold": fold,
        "generator_hash": "0123abcd",
        "preset": "tiny",
        "patients": training_patients(fold, dataset),
    } | provenance
    write_index(folder, [f"synth_{number:05d}" for number in range(SEQUENCES)], provenance)
    return folder


def set_settings(workspace: Workspace, dataset: Dataset, plans: str, **settings: Any) -> None:
    """Put training settings into plans that nnU-Net made, as a user may in an editor."""
    path = workspace.folder("nnUNet_preprocessed", dataset.folder, f"{plans}.json")
    write_json(path, {**read_json(path), "synth_aug": settings})


def stamp() -> dict[str, Any]:
    """What a result must name: software, machine and date."""
    return {
        "versions": {"nnunet_synth_aug": __version__, **{name: version(name) for name in ("nnunetv2", "torch", "batchgenerators")}},
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), one used",
        "python": platform.python_version(),
        "hearts": f"{len(HEARTS.patients)} patients of {' x '.join(map(str, SHAPE))} voxels",
        "date": time.strftime("%Y-%m-%d"),
    }
