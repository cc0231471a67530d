"""nnU-Net's own commands, each in its own process with nothing set by hand but the three folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nnunet_fixture import DATASET, PLANS, Project, built_project, command, project

from nnunet_synth_aug.files import read_json
from nnunet_synth_aug.nnunet.plans import write_small_plans

__all__ = ["built_project", "project"]
MIX50, MIX00 = "nnUNetTrainerSynthAug_mix50_1epochs", "nnUNetTrainerSynthAug_mix00_1epochs"


@pytest.mark.slow
def test_preprocess_train_continue_predict_and_choose(project: Project, tmp_path: Path) -> None:
    def run(*words: str, **environment: str) -> str:
        result = command(project, *words, **environment)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        return result.stdout + result.stderr

    # A small plans file with its own spacing is preprocessed by nnU-Net's command.
    write_small_plans(731, "nnUNetPlans", "coarsePlans", spacing_2d=4.0, patch_2d=(32, 32), batch_size=2, n_stages=3, features=4)
    run("nnUNetv2_preprocess", "-d", "731", "-plans_name", "coarsePlans", "-c", "2d", "-np", "1")
    assert len(list((project.preprocessed / "coarsePlans_2d").glob("*.pkl"))) == 12

    train = ("-p", PLANS, "-device", "cpu", "--npz")
    one = {"nnUNet_n_proc_DA": "1"}  # a worker process, so the loader travels
    log = run("nnUNetv2_train", "731", "2d", "0", "-tr", MIX50, *train, **one)
    assert f"Using trainer '{MIX50}'" in log
    fold = project.results / f"{MIX50}__{PLANS}__2d" / "fold_0"
    assert read_json(fold / "synth_aug.json")["synthetic_samples"] == pytest.approx(10, abs=2)  # batches of 2 in the worker's queue
    assert len(list((fold / "validation").glob("*.nii.gz"))) == 4
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_latest.pth")
    run("nnUNetv2_train", "731", "2d", "0", "-tr", MIX50, *train, "--c", nnUNet_n_proc_DA="0")
    assert (fold / "checkpoint_final.pth").is_file()

    run("nnUNetv2_train", "731", "2d", "0", "-tr", MIX00, *train, nnUNet_n_proc_DA="0")
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(project.raw / "imagesTr" / "patient006_ED_0000.nii.gz", images)
    run(
        "nnUNetv2_predict", "-i", str(images), "-o", str(tmp_path / "out"), "-d", "731", "-c", "2d", "-f", "0", "-tr", MIX50, "-p", PLANS,
        "-device", "cpu", "-npp", "1", "-nps", "1",
    )  # fmt: skip
    assert (tmp_path / "out" / "patient006_ED.nii.gz").is_file()
    run("nnUNetv2_find_best_configuration", "731", "-c", "2d", "-tr", MIX00, MIX50, "-p", PLANS, "-f", "0", "-np", "1")
    information = read_json(project.results / "inference_information.json")
    assert {f"{MIX50}__{PLANS}__2d", f"{MIX00}__{PLANS}__2d"} <= set(information["all_results"])
    assert information["dataset_name_or_id"] in (DATASET, "731")
