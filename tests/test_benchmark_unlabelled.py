"""A whole study with the real nnU-Net, of patients with and without contours."""

from __future__ import annotations

import pytest
import yaml
from benchmark_fixture import LIMITS, TINY

from evaluation.benchmark.executors import make_executor
from evaluation.benchmark.reading import read_study
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import Runner
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.core.files import read_json, sha256

#: One bank of four sources: one start and one training instead of three.
ARM = "copies+phantom+pseudolabels+reconstructions50"
UNLABELLED = {
    "title": "Few contours, more cines",
    "data": {
        "source": "phantom",
        "hearts": 12,
        "splits": 3,
        "prior": ["n_slices=4", "vendor=Canon"],  # few slices and frames: what is rendered, contoured and predicted takes less than half
        "diagnoses": ["NOR", "MINF"],
        "per_group": 1,
        "unlabelled": 1,
        "test_unused": True,
    },
    "plans": TINY["plans"] | {"spacing": 4},  # one patch per slice: every frame of four cines is contoured twice
    "training": TINY["training"],
    "bank": {"sequences": 12, "frames": 2},
    "generator": {
        "segmenter": True,
        "set": [
            "grid.size=[48, 48, 8]",
            "latents.copies=12",
            "latents.max_frames=4",
            *(f"{stage}.train.{what}=5" for stage in ("vae", "static", "motion") for what in ("steps", "batch_size")),
        ],
    },
    "arms": [ARM],
}


@pytest.mark.slow
def test_a_study_with_patients_whose_masks_nobody_may_see(tmp_path, monkeypatch):
    """Their cines reach the banks, with masks of the real-only network, and they are neither trained on nor tested by nnU-Net.

    The generator learns from the same masks; it is far too young for hearts that pass the quality control, hence the reconstructions.
    The study ends with the bank: what a bank does in a training is the same in every study.
    """
    file, out = tmp_path / "study.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(UNLABELLED))
    for name, value in (LIMITS | {"nnUNet_n_proc_DA": "1"}).items():  # nnU-Net cannot plan with 0
        monkeypatch.setenv(name, value)
    study = read_study(file)
    steps = build_steps(study, Workspace(out, study))
    before = [step for step in steps if not step.id.startswith(f"train_{ARM}")]
    assert len(before) == len(steps) - 1
    Runner(study, before, out, make_executor(study, out)).run()
    [split_file] = (out / "nnunet" / "nnUNet_preprocessed").glob("*/splits_final.json")
    split = read_json(split_file)[0]
    assert (len(split["train"]), len(split["unlabelled"]), len(split["val"])) == (4, 2, 16)
    [manifest] = out.glob("views/*/*/synth_aug/fold_0/manifest_*.json")
    parts = read_json(manifest)["generator"]["parts"]
    shown, patients = parts["pseudolabels"]["pseudolabelled"], {case.rpartition("_")[0] for case in split["train"]}
    assert set(shown[:2]) == set(split["unlabelled"])  # first
    assert len(shown) == 3 and set(shown[2:]) <= patients
    [generator] = out.glob("generators/*/*/synth_aug_generator/fold_0/generator.json")
    assert set(read_json(generator)["patients"]) == set(split["unlabelled"]) | patients
    [network] = out.glob("runs/real/seed_0/*/*/fold_0/checkpoint_final.pth")
    assert read_json(generator)["contoured_by"]["checkpoint_sha256"] == sha256(network) == parts["pseudolabels"]["segmenter"]
    assert set(parts["reconstructions"]["patients"]) == set(split["unlabelled"]) | patients
    assert set(parts["reconstructions"]["reconstructed"]) <= patients
    assert set(parts["copies"]["patients"]) == patients  # their contours are bent, and nobody else's
    assert {path.name.rpartition("_")[0] for path in network.parent.glob("validation/*.nii.gz")} == {
        case.rpartition("_")[0] for case in split["val"]
    }
