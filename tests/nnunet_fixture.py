"""One tiny real nnU-Net project, planned and preprocessed by nnU-Net itself, with synthetic sequences for fold 0."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from shared_folders import FOLDERS, set_folders

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.files import write_json, write_nifti
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.plans import write_small_plans
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence

DATASET = "Dataset731_Hearts"
PLANS = "smallPlans"
#: What ``trained_by_command`` trains.
TRAINED = "nnUNetTrainerSynthAug_mix50_1epochs"
PATIENTS = tuple(f"patient{i:03d}" for i in range(1, 7))
#: Fold 0 validates on the last two patients, fold 1 on the first two.
VALIDATION = {0: PATIENTS[4:], 1: PATIENTS[:2]}
SHAPE, SPACING = (64, 60, 4), (2.0, 2.0, 8.0)
LABELS = {"background": 0, "LV": 1, "myo": 2, "RV": 3}  # neither this package's order nor its case


@dataclass(frozen=True)
class Project:
    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed" / DATASET

    @property
    def results(self) -> Path:
        return self.root / "nnUNet_results" / DATASET

    @property
    def sequences(self) -> Path:
        return self.root / "sequences"

    @property
    def environment(self) -> dict[str, str]:
        """For subprocesses: this project's folders, one process each, and no trainer folder set by hand."""
        kept = {k: v for k, v in os.environ.items() if k != "nnUNet_extTrainer" and not k.startswith("NNUNET_SYNTH_AUG")}
        limits = {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return {**kept, **limits, **{name: str(self.root / name) for name in FOLDERS}}


def heart(rng: np.random.Generator, squeeze: float) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 and mask uint8 (this package's labels), (X, Y, Z); ``squeeze`` 1 at ED, smaller at ES."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    cx, cy = 34 + rng.normal(0, 2), 30 + rng.normal(0, 2)
    radius = 9 * squeeze * (1 - 0.08 * z)
    distance = np.hypot(x - cx, y - cy)
    mask = np.zeros(SHAPE, np.uint8)
    mask[np.hypot((x - cx + 14) / 1.1, y - cy) < radius] = 1
    mask[distance < radius + 4] = 2
    mask[distance < radius] = 3
    image = np.choose(mask, [150.0, 420.0, 180.0, 450.0]) + 60 * np.sin(x / 9.0) + rng.normal(0, 15, SHAPE)
    return np.maximum(image, 1).astype(np.float32), mask


def write_raw(folder: Path) -> None:
    """Six patients with ED and ES in nnU-Net's raw format, and the cohort file that names them."""
    rng = np.random.default_rng(7)
    own = np.array([0, 3, 2, 1], np.uint8)  # this package's labels -> LABELS
    subjects = []
    for patient in PATIENTS:
        cases = {phase: f"{patient}_{phase}" for phase in ("ED", "ES")}
        for phase, case in cases.items():
            image, mask = heart(rng, 1.0 if phase == "ED" else 0.7)
            write_nifti(folder / "imagesTr" / f"{case}_0000.nii.gz", image, SPACING)
            write_nifti(folder / "labelsTr" / f"{case}.nii.gz", own[mask], SPACING)
        subjects.append({"patient": patient, "cases": cases})
    write_json(folder / "cohort.json", {"format": 1, "subjects": subjects})
    write_json(folder / "dataset.json", {"channel_names": {"0": "cine"}, "labels": LABELS, "numTraining": 12, "file_ending": ".nii.gz"})


def sequence(number: int, frames: int = 6) -> SyntheticSequence:
    rng = np.random.default_rng(100 + number)
    beat = 1 - 0.3 * np.sin(np.pi * np.arange(frames) / frames) ** 2
    pairs = [heart(np.random.default_rng(number), squeeze) for squeeze in beat]
    image = np.stack([image for image, _ in pairs]) + rng.normal(0, 5, (frames, *SHAPE))
    return SyntheticSequence(
        id=f"synth_{number:05d}",
        image=image.astype(np.float32),
        mask=np.stack([mask for _, mask in pairs]),
        spacing=SPACING,
        ed=0,
        es=int(beat.argmin()),
        frame_seconds=0.05,
        seed=number,
        requested=Priors(lv_ef=55.0),
        measured=Priors(lv_ef=51.0),
    )


def write_sequences(folder: Path, count: int = 3, patients: tuple[str, ...] = PATIENTS[:4]) -> Path:
    for number in range(count):
        write_sequence(folder, sequence(number))
    provenance = {"dataset": DATASET, "fold": 0, "generator_hash": "0123abcd", "preset": "tiny", "patients": list(patients)}
    write_index(folder, [f"synth_{number:05d}" for number in range(count)], provenance)
    return folder


def command(project: Project, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment as from a fresh shell."""
    script = str(Path(sys.executable).parent / words[0])
    return subprocess.run(
        [script, *words[1:]], env={**project.environment, **environment}, capture_output=True, text=True, check=False, cwd=project.root
    )


def build(root: Path) -> None:
    """Write the project: data planned and preprocessed by nnU-Net, and a bank of fold 0."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    project = Project(root)
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        write_raw(project.raw)
        extract_fingerprint_dataset(731, num_processes=1)
        plan_experiment_dataset(731)
        splits = [
            {
                "train": [f"{p}_{phase}" for p in PATIENTS if p not in validation for phase in ("ED", "ES")],
                "val": [f"{p}_{phase}" for p in validation for phase in ("ED", "ES")],
            }
            for validation in VALIDATION.values()
        ]
        write_json(project.preprocessed / "splits_final.json", splits)
        run = {"epochs": 2, "iterations_per_epoch": 5, "val_iterations_per_epoch": 1}
        write_small_plans(731, "nnUNetPlans", PLANS, spacing_2d=2.5, patch_2d=(48, 48), batch_size=4, n_stages=3, features=8, synth_aug=run)
        preprocess_dataset(731, plans_identifier=PLANS, configurations=("2d",), num_processes=(1,))
        write_sequences(project.sequences)
        build_bank_cases(project.sequences, 731, 0, "2d", PLANS, frames=3)
