"""nnU-Net's own commands, each in its own process with nothing set by hand but the three folders; and ours around them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from nnunet_fixture import DATASET, PATIENTS, PLANS, TRAINED, Project, command
from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset
from shared_folders import set_folders
from typer.testing import CliRunner

from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.nnunet.plans import write_small_plans

MIX00 = "nnUNetTrainerSynthAug_mix00_1epochs"


@pytest.fixture
def trained(trained_by_command: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the trained project, with the environment set."""
    shutil.copytree(trained_by_command.root, tmp_path / "project")
    set_folders(monkeypatch, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.mark.slow
def test_preprocess_continue_predict_and_choose(trained: Project, tmp_path: Path) -> None:
    def run(*words: str, **environment: str) -> None:
        result = command(trained, *words, **environment)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]

    # A small plans file with its own spacing is preprocessed by nnU-Net.
    write_small_plans(731, "nnUNetPlans", "coarsePlans", spacing_2d=4.0, patch_2d=(32, 32), batch_size=2, n_stages=3, features=4)
    preprocess_dataset(731, plans_identifier="coarsePlans", configurations=("2d",), num_processes=(1,))
    assert len(list((trained.preprocessed / "coarsePlans_2d").glob("*.pkl"))) == 12

    fold = trained.results / f"{TRAINED}__{PLANS}__2d" / "fold_0"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_latest.pth")
    run("nnUNetv2_train", "731", "2d", "0", "-tr", TRAINED, "-p", PLANS, "-device", "cpu", "--npz", "--c", nnUNet_n_proc_DA="0")
    assert (fold / "checkpoint_final.pth").is_file()

    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(trained.raw / "imagesTr" / "patient006_ED_0000.nii.gz", images)
    run(
        "nnUNetv2_predict", "-i", str(images), "-o", str(tmp_path / "out"), "-d", "731", "-c", "2d", "-f", "0", "-tr", TRAINED, "-p", PLANS,
        "-device", "cpu", "-npp", "0", "-nps", "0",
    )  # fmt: skip
    assert (tmp_path / "out" / "patient006_ED.nii.gz").is_file()
    # The choice between trainers goes by their folders' names: one training under two names is enough for it.
    shutil.copytree(fold.parent, fold.parents[1] / f"{MIX00}__{PLANS}__2d")
    run("nnUNetv2_find_best_configuration", "731", "-c", "2d", "-tr", MIX00, TRAINED, "-p", PLANS, "-f", "0", "-np", "1")
    information = read_json(trained.results / "inference_information.json")
    assert {f"{TRAINED}__{PLANS}__2d", f"{MIX00}__{PLANS}__2d"} <= set(information["all_results"])
    assert information["dataset_name_or_id"] in (DATASET, "731")


def test_plans_with_a_curriculum_and_weights(project: Project) -> None:
    words = ["plans", "-d", "731", "--base", PLANS, "--name", "curriculumPlans", "--ratio", "0.5", "--ratio-to", "0.1"]
    words += ["--shape", "cosine", "--until-epoch", "80", "--weigh-diagnosis", "DCM=2", "--weigh-diagnosis", "RV=1.5"]
    path = project.preprocessed / "curriculumPlans.json"
    try:
        result = CliRunner().invoke(app, [*words, "--weigh-structure", "RV=2"])
        assert result.exit_code == 0, result.output
        assert read_json(path)["synth_aug"] == {
            "ratio": 0.5,
            "schedule": {"to": 0.1, "shape": "cosine", "until_epoch": 80},
            "weights": {"diagnosis": {"DCM": 2.0, "RV": 1.5}, "structure": {"RV": 2.0}},
        }
    finally:
        path.unlink(missing_ok=True)
    for given, sentence in (("RV", "'RV' is not a weight; write NAME=NUMBER"), ("FLU=2", "unknown key 'FLU'")):
        failed = CliRunner().invoke(app, [*words, "--weigh-diagnosis", given])
        assert isinstance(failed.exception, UserError)
        assert sentence in str(failed.exception)
        assert not path.exists()


def test_bank_checks_for_a_leak_before_it_samples(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    provenance = {"dataset": DATASET, "generator_hash": "x", "patients": list(PATIENTS[:5])}
    monkeypatch.setattr("nnunet_synth_aug.model.generator.load_generator", lambda *_: SimpleNamespace(provenance=provenance, templates=()))
    words = ["bank", "-d", "731", "-p", PLANS, "--generator", str(project.root)]
    leaked = CliRunner().invoke(app, [*words, "-f", "0"])
    assert isinstance(leaked.exception, UserError)
    assert "validation patients of fold 0 (patient005)" in str(leaked.exception)
    # No fold's validation to leak into: it says so, and goes on to sampling, which this stand-in cannot do.
    everyone = CliRunner().invoke(app, [*words, "-f", "all"])
    assert "fold all trains on every patient" in everyone.output
    assert not isinstance(everyone.exception, UserError)


def test_options_of_the_segmenter_that_do_not_go_together(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    provenance = {"dataset": DATASET, "fold": 0, "generator_hash": "x", "patients": list(PATIENTS[:4])}
    monkeypatch.setattr("nnunet_synth_aug.model.generator.load_generator", lambda *_: SimpleNamespace(provenance=provenance, templates=()))
    words = ["bank", "-d", "731", "-f", "0", "-p", PLANS, "--generator", str(project.root)]
    sample = ["sample", "-d", "731", "-o", str(project.root / "hearts"), "--generator", str(project.root)]
    for given, sentence in (
        ([*words, "--min-agreement", "0.7"], "--min-agreement is of no use without --segmenter"),
        ([*words, "--segmenter", str(project.root), "--source", "phantom"], "phantom are not sampled; leave it out"),
        ([*words, "--vendors", "GE"], "--vendors is of --source phantom"),
        ([*words[:-2], "--source", "phantom", "--vendors", "GE,Acme"], "--vendors GE,Acme: there is no 'Acme'; give all, own"),
        ([*words, "--appearance", "own", "--looks", "2"], "--looks is of --appearance scanners or unlabelled, and this bank"),
        ([*words, "--strength", "0.5"], "--strength is of --source variations, and this bank is of generator"),
        (
            [*words, "--source", "variation"],
            "choose generator, variations, copies, bent, phantom, pseudolabels or reconstructions, or join",
        ),
        ([*words, "--source", "copies"], "--source copies needs no generator; leave out --generator"),
        ([*sample, "--segmenter", str(project.root), "--no-check"], "--no-check switches off"),
    ):
        failed = CliRunner().invoke(app, given)
        assert isinstance(failed.exception, UserError)
        assert sentence in str(failed.exception)
