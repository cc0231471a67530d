"""Small nnU-Net datasets as ``synthaug try`` looks at them: names, tables and headers; the images are noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.files import write_json, write_nifti

NAME = "Dataset027_Hearts"
SIZE, SPACING = (48, 40, 5), (1.5, 1.5, 8.0)
#: What a machine may say of itself, in seconds and megabytes.
PACE = {
    "start_s": 6.0,
    "case_s": 0.5,
    "case_mb": 1.5,
    "step_s": 0.5,
    "step_float32_s": 0.5,
    "forward_s": 0.2,
    "predict_s": 3.0,
    "network_mb": 2.0,
    "copies_s": 1.0,
    "phantom_s": 4.0,
}


def write_case(raw: Path, case: str, side: str = "Tr", shape: tuple[int, ...] = SIZE) -> None:
    """An image and a mask with all three structures."""
    image = np.zeros(shape, np.int16)
    image[8:32, 8:32] = 100
    mask = np.zeros(SIZE, np.uint8)
    mask[10:14, 10:30], mask[14:18, 10:30], mask[18:28, 10:30] = 1, 2, 3
    (raw / f"images{side}").mkdir(parents=True, exist_ok=True)
    (raw / f"labels{side}").mkdir(parents=True, exist_ok=True)
    write_nifti(raw / f"images{side}" / f"{case}_0000.nii.gz", image, SPACING)
    write_nifti(raw / f"labels{side}" / f"{case}.nii.gz", mask, SPACING)


def write_dataset(
    root: Path, n: int = 10, n_test: int = 0, *, labels: dict[str, Any] | None = None, cines: int = 0, vendors: tuple[str, str] = ("", "")
) -> Path:
    """A dataset in ``root/nnUNet_raw``: plain, or as imported if it has cines or vendors (of training and of test patients)."""
    raw = root / "nnUNet_raw" / NAME
    patients = [f"p{i:02d}" for i in range(n)]
    tested = [f"q{i:02d}" for i in range(n_test)]
    for side, names in (("Tr", patients), ("Ts", tested)):
        for patient in names:
            for phase in ("ED", "ES"):
                write_case(raw, f"{patient}_{phase}", side)
    write_json(
        raw / "dataset.json",
        {
            "channel_names": {"0": "cine"},
            "labels": labels or {"background": 0, "RV": 1, "MYO": 2, "LV": 3},
            "numTraining": 2 * n,
            "file_ending": ".nii.gz",
        },
    )
    if cines or any(vendors):
        _import(raw, patients, tested, cines, vendors)
    return raw


def _import(raw: Path, patients: list[str], tested: list[str], cines: int, vendors: tuple[str, str]) -> None:
    def record(patient: str, side: str, cine: bool) -> dict[str, Any]:
        about = {"patient": patient, "spacing_mm": SPACING, "n_frames": 2, "ed": 0, "es": 1, "frame_seconds": 0.03}
        about |= {"annotated": ["RV", "MYO", "LV"], "cine": f"cine/{patient}_4d.nii.gz" if cine else None}
        about["images"] = {phase: f"images{side}/{patient}_{phase}_0000.nii.gz" for phase in ("ED", "ES")}
        about["masks"] = {phase: f"labels{side}/{patient}_{phase}.nii.gz" for phase in ("ED", "ES")}
        return about | {"cases": {phase: f"{patient}_{phase}" for phase in ("ED", "ES")}}

    subjects = [record(patient, "Tr", i < cines) for i, patient in enumerate(patients)]
    for one in subjects[:cines]:
        write_nifti(raw / one["cine"], np.zeros((*SIZE, 2), np.int16), SPACING, 0.03)
    write_json(raw / "cohort.json", {"format": 1, "subjects": subjects, "test": [record(patient, "Ts", False) for patient in tested]})
    rows = [(p, vendors[0], ("NOR", "DCM")[i % 2]) for i, p in enumerate(patients)] + [(p, vendors[1], "NOR") for p in tested]
    (raw / "priors.csv").write_text("patient,vendor,diagnosis\n" + "".join(",".join(row) + "\n" for row in rows))
