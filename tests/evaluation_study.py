"""A dataset and the cross-validation folders of two arms in nnU-Net's own layout, for the tests of comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.compare import Comparison, compare, evaluate
from evaluation.inputs.scores import read_sources
from evaluation.report.results import Results
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.files import read_nifti, write_nifti

NAME = "Dataset027_ACDC"
BASE, AUG = "nnUNetTrainer__nnUNetPlans__2d", "nnUNetTrainerSynthAug_mix50__nnUNetPlans__2d"
SPACING = (1.5, 1.5, 8.0)
PATIENTS = 8
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def heart(size: float) -> np.ndarray:
    """RV crescent, myocardial ring and LV of an ellipsoid heart, (X, Y, Z)."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in (36, 32, 5)), indexing="ij")
    radius = np.hypot(x - 20, y - 16) + 0.8 * np.abs(z - 2)
    mask = np.zeros(x.shape, np.uint8)
    mask[np.hypot(x - 12, y - 16) + 0.8 * np.abs(z - 2) < size + 2] = 1
    mask[radius < size + 3] = 2
    mask[radius < size] = 3
    return mask


def with_rules(options: dict[str, Any]) -> dict[str, Any]:
    """Options with those of scoring as one ``rules``."""
    own = {name: options[name] for name in ("engine", "empty", "tolerance", "largest_heart") if name in options}
    return {**{name: value for name, value in options.items() if name not in own}, "rules": ScoringRules(**own)}


class Study:
    """A dataset and the cross-validation folders of two arms on disk."""

    def __init__(self, root: Path) -> None:
        self.raw = root / "nnUNet_raw" / NAME
        self.preprocessed = root / "nnUNet_preprocessed" / NAME
        self.results = root / "nnUNet_results" / NAME
        self.out = root / "out"
        rng = np.random.default_rng(0)
        subjects: list[dict[str, object]] = []
        splits: list[dict[str, list[str]]] = [{"train": [], "val": []}, {"train": [], "val": []}]
        for i in range(PATIENTS):
            cases = {phase: f"p{i:02d}_{phase}" for phase in ("ED", "ES")}
            subjects.append({"patient": f"p{i:02d}", "cases": cases})
            for phase, case in cases.items():
                mask = heart(6 + 0.3 * i - (2 if phase == "ES" else 0))
                image = (100 * mask + rng.normal(200, 20, mask.shape)).astype(np.float32)
                write_nifti(self.raw / "imagesTr" / f"{case}_0000.nii.gz", image, SPACING)
                write_nifti(self.raw / "labelsTr" / f"{case}.nii.gz", mask, SPACING)
                write_nifti(self.preprocessed / "gt_segmentations" / f"{case}.nii.gz", mask, SPACING)
                self.write(BASE, case, np.roll(mask, 2 if phase == "ED" else 1, axis=0))
                self.write(AUG, case, np.roll(mask, 1 if i != 3 else 0, axis=1))
                splits[i % 2]["val"].append(case)
                splits[1 - i % 2]["train"].append(case)
        labels = {"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}, "file_ending": ".nii.gz"}
        for folder in (self.raw, self.results / BASE, self.results / AUG):
            (folder / "dataset.json").write_text(json.dumps(labels))
        (self.raw / "cohort.json").write_text(json.dumps({"subjects": subjects}))
        vendors = [f"p{i:02d},{('Siemens', 'GE')[i % 2]},NOR" for i in range(PATIENTS)]
        (self.raw / "priors.csv").write_text("patient,vendor,diagnosis\n" + "\n".join(vendors) + "\n")
        (self.preprocessed / "splits_final.json").write_text(json.dumps(splits))
        for fold in (0, 1):
            self.record(fold, [f"p{i:02d}" for i in range(PATIENTS) if i % 2 != fold])

    def record(self, fold: int, patients: list[str]) -> None:
        """What the trainer writes about its synthetic data."""
        manifest = {"dataset": NAME, "generator": {"generator_hash": "fedcba9876543210", "patients": patients}}
        counted = {"ratio": 0.5, "share": 0.5004, "samples": 5000, "synthetic_samples": 2502}
        record = {**counted, "manifest_hash": "0123456789abcdef", "manifest": manifest}
        (self.results / AUG / f"fold_{fold}" / "synth_aug.json").write_text(json.dumps(record))

    def file(self, arm: str, case: str) -> Path:
        return self.results / arm / f"fold_{int(case[1:3]) % 2}" / "validation" / f"{case}.nii.gz"

    def write(self, arm: str, case: str, mask: np.ndarray, spacing: tuple[float, float, float] = SPACING) -> None:
        write_nifti(self.file(arm, case), mask, spacing)

    def mask(self, case: str) -> np.ndarray:
        return read_nifti(self.raw / "labelsTr" / f"{case}.nii.gz")[0]

    def evaluate(self, **options: object) -> Results:
        """The numbers without writing the report, whose figures take most of the time."""
        sources = {"baseline": [self.results / BASE], "augmented": [self.results / AUG]}
        return evaluate(read_sources(sources, **with_rules(options)))[0]

    def read(self, arm: str, case: str) -> np.ndarray:
        """A prediction of ``baseline`` or ``augmented``."""
        return read_nifti(self.file({"baseline": BASE, "augmented": AUG}[arm], case))[0]

    def compare_with(self, augmented: Path, **options: object) -> Comparison:
        """The baseline against the predictions in another folder."""
        return compare(self.results / BASE, augmented, self.out, **with_rules(options))

    def compare(self, **options: object) -> Comparison:
        return compare(self.results / BASE, self.results / AUG, self.out, **with_rules(options))
