"""A whole study with the real nnU-Net: an existing dataset with labels in its own order, two arms, a test set, the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from nnunet_fixture import DATASET, VALIDATION, Project

from nnunet_synth_aug.core.files import read_json, sha256

OTHERS = "Dataset732_Others"
STUDY = {
    "title": "End to end",
    "data": {"source": "nnunet", "dataset": DATASET},
    "plans": {"spacing": 2.5, "patch": 48, "batch": 4, "stages": 3, "features": 8},
    "training": {"epochs": 2, "iterations": 5, "val_iterations": 1},
    "bank": {"sequences": 1, "frames": 2},
    "arms": ["phantom50"],
    "folds": [1],
    "tests": [{"name": "others", "source": "nnunet", "dataset": OTHERS}],
}


@pytest.fixture
def plain_dataset(project: Project, tmp_path: Path) -> dict[str, str]:
    """The fixture's dataset as a user has it who never imported anything: no cohort, nothing preprocessed."""
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    shutil.copytree(project.raw, Path(folders["nnUNet_raw"], DATASET), ignore=shutil.ignore_patterns("cohort.json"))
    for patient in VALIDATION[1]:  # a test set of patients whom the study's fold does not train on
        for side, ending in (("images", "_0000.nii.gz"), ("labels", ".nii.gz")):
            target = Path(folders["nnUNet_raw"], OTHERS, f"{side}Ts", f"{patient}_ED{ending}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project.raw / f"{side}Tr" / target.name, target)
    shutil.copy(project.raw / "dataset.json", Path(folders["nnUNet_raw"], OTHERS))
    own = Path(folders["nnUNet_preprocessed"], DATASET)
    own.mkdir(parents=True)
    for name in ("dataset.json", "dataset_fingerprint.json", "nnUNetPlans.json", "splits_final.json"):
        shutil.copy(project.preprocessed / name, own / name)
    return folders


def synthaug(folders: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    script = str(Path(sys.executable).with_name("synthaug"))
    limits = {"OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    return subprocess.run([script, *words], env=os.environ | limits | folders, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_study_of_an_existing_dataset(plain_dataset, tmp_path):
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(yaml.safe_dump(STUDY))
    before = sorted(p for p in tmp_path.glob("nnUNet_*/**/*"))
    ended = synthaug(plain_dataset, "benchmark", str(study), "-o", str(out))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(p for p in tmp_path.glob("nnUNet_*/**/*")) == before, "the user's own folders were written to"

    figures = read_json(out / "report" / "benchmark.json")
    assert [(r["arm"], r["fold"], r["iterations"], r["samples"]) for r in figures["runs"]] == [
        ("real", 1, 10, 40),
        ("phantom50", 1, 10, 40),
    ]
    assert [r["synthetic_samples"] for r in figures["runs"]] == [0, 20]
    assert set(figures["comparisons"]) == {"validation", "others"}
    assert str(tmp_path) not in json.dumps(figures)
    patients = {test: by_arm["phantom50"]["headline"][0]["n"] for test, by_arm in figures["comparisons"].items()}
    assert patients == {"validation": 2, "others": 2}
    for by_arm in figures["comparisons"].values():
        assert (out / "report" / by_arm["phantom50"]["report"]).is_file()
    assert ended.stdout.count("train phantom50, fold 1, seed 0: ") == 1

    again = synthaug(plain_dataset, "benchmark", str(study), "-o", str(out))
    assert again.returncode == 0
    assert "train" not in again.stdout.split("# End to end")[0], "a finished study trains nothing"
    study.write_text(yaml.safe_dump(STUDY | {"training": {"epochs": 3, "iterations": 5}}))
    changed = synthaug(plain_dataset, "benchmark", str(study), "-o", str(out))
    assert changed.returncode == 2
    assert "training, epochs was 2 and is 3" in changed.stderr
    study.write_text(yaml.safe_dump(STUDY | {"folds": [5]}))
    beyond = synthaug(plain_dataset, "benchmark", str(study), "-o", str(out))
    assert beyond.returncode == 2
    assert "5 is out of range" in beyond.stderr


UNLABELLED = {
    "title": "Few contours, more cines",
    "data": {"source": "phantom", "hearts": 20, "splits": 2, "per_group": 1, "unlabelled": 1, "test_unused": True},
    "plans": STUDY["plans"] | {"spacing": 4},  # one patch per slice: every frame of ten cines is contoured twice
    "training": STUDY["training"],
    "bank": {"sequences": 6, "frames": 2},
    "generator": {
        "segmenter": True,
        "set": ["latents.copies=20", *(f"{stage}.train.steps=5" for stage in ("vae", "static", "motion")), "latents.max_frames=4"],
    },
    "arms": ["pseudolabels50", "reconstructions50", "copies+phantom50"],
}


@pytest.mark.slow
def test_a_study_with_patients_whose_masks_nobody_may_see(tmp_path):
    """Their cines reach the banks, with masks of the real-only network, and they are neither trained on nor tested by nnU-Net.

    The generator learns from the same masks; it is far too young for hearts that pass the quality control, hence the reconstructions.
    """
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(yaml.safe_dump(UNLABELLED))
    ended = synthaug({"nnUNet_n_proc_DA": "1"}, "benchmark", str(study), "-o", str(out))  # nnU-Net cannot plan with 0
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [split_file] = (out / "nnunet" / "nnUNet_preprocessed").glob("*/splits_final.json")
    split = read_json(split_file)[0]
    assert (len(split["train"]), len(split["unlabelled"]), len(split["val"])) == (10, 5, 20)
    [manifest] = out.glob("views/pseudolabels/*/synth_aug/fold_0/manifest_*.json")
    provenance = read_json(manifest)["generator"]
    shown, patients = provenance["pseudolabelled"], {case.rpartition("_")[0] for case in split["train"]}
    assert set(shown[:5]) == set(split["unlabelled"])  # first
    assert len(shown) == 6 and set(shown[5:]) <= patients
    [generator] = out.glob("generators/*/*/synth_aug_generator/fold_0/generator.json")
    assert set(read_json(generator)["patients"]) == set(split["unlabelled"]) | patients
    [network] = out.glob("runs/real/seed_0/*/*/fold_0/checkpoint_final.pth")
    assert read_json(generator)["contoured_by"]["checkpoint_sha256"] == sha256(network) == provenance["segmenter"]
    [reconstructed] = out.glob("views/reconstructions-*/*/synth_aug/fold_0/manifest_*.json")
    assert set(read_json(reconstructed)["generator"]["patients"]) == set(split["unlabelled"]) | patients
    [reconstructions] = out.glob("views/reconstructions-*/*/synth_aug/fold_0/sequences/index.json")
    assert set(read_json(reconstructions)["provenance"]["reconstructed"]) <= patients
    [copies] = out.glob("views/copies+phantom/*/synth_aug/fold_0/manifest_*.json")
    assert set(read_json(copies)["generator"]["patients"]) == patients  # their contours are bent, and nobody else's
    figures = read_json(out / "report" / "benchmark.json")
    assert set(figures["comparisons"]["validation"]) == set(UNLABELLED["arms"])
    assert figures["comparisons"]["validation"]["pseudolabels50"]["headline"][0]["n"] == 10
