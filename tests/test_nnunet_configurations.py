"""Every configuration and every plans file that nnU-Net trains; and those that synthetic cases cannot serve."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
from nnunet_fixture import DATASET, PATIENTS, Project, write_sequences
from nnunet_training import make
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.plans import write_small_plans
from nnunet_synth_aug.nnunet.target import load_target

pytestmark = pytest.mark.usefixtures("trained_here")
PLANS = "everyPlans"
RUN = {"epochs": 1, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1}


@pytest.fixture
def every(built_project: Project, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """A copy of the project with plans for 3d_fullres, 3d_lowres and the cascade, as nnU-Net writes them for large images."""
    copied = Project(tmp_path)
    shutil.copytree(built_project.preprocessed, copied.preprocessed, ignore=shutil.ignore_patterns("synth_aug"))
    (tmp_path / "nnUNet_raw").symlink_to(built_project.root / "nnUNet_raw")
    (tmp_path / "nnUNet_results").mkdir()
    set_folders(monkeypatch, copied.root)
    plans = read_json(copied.preprocessed / "nnUNetPlans.json")
    full = plans["configurations"]["3d_fullres"]
    full |= {"patch_size": [4, 32, 32], "batch_size": 2, "spacing": [8.0, 2.5, 2.5], "data_identifier": f"{PLANS}_3d_fullres"}
    network = full["architecture"]["arch_kwargs"]
    network |= {"n_stages": 3, "features_per_stage": [4, 8, 8], "kernel_sizes": [[1, 3, 3]] * 3, "n_conv_per_stage": [1] * 3}
    network |= {"strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2]], "n_conv_per_stage_decoder": [1] * 2}
    low = copy.deepcopy(full) | {"spacing": [8.0, 4.0, 4.0], "data_identifier": f"{PLANS}_3d_lowres", "next_stage": "3d_cascade_fullres"}
    plans["configurations"] |= {"3d_lowres": low, "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}}
    write_json(copied.preprocessed / f"{PLANS}.json", plans | {"plans_name": PLANS, "synth_aug": RUN})
    write_sequences(copied.sequences, count=2, patients=PATIENTS[:4])
    return copied


def preprocess(every: Project, configuration: str) -> None:
    """What nnUNetv2_preprocess does, in this process."""
    target = load_target(DATASET, configuration, PLANS)
    manager, folder = target.configuration_manager, target.folder / target.data_identifier
    folder.mkdir()
    for patient in PATIENTS:
        for case in (f"{patient}_ED", f"{patient}_ES"):
            files = [str(every.raw / "imagesTr" / f"{case}_0000.nii.gz")], str(every.raw / "labelsTr" / f"{case}.nii.gz")
            manager.preprocessor_class(verbose=False).run_case_save(
                str(folder / case), *files, target.plans_manager, manager, target.dataset_json
            )


@pytest.mark.parametrize(("configuration", "pixels"), [("3d_fullres", (4, 48, 51)), ("3d_lowres", (4, 30, 32))])
def test_3d_trains_on_a_bank_of_its_own(every: Project, configuration: str, pixels: tuple[int, ...]) -> None:
    preprocess(every, configuration)
    build_bank_cases(every.sequences, DATASET, 0, configuration, PLANS, frames=2)
    made = make("nnUNetTrainerSynthAug_mix50", PLANS, configuration=configuration)
    made.run_training()
    record = read_json(Path(made.output_folder) / "synth_aug.json")
    assert (record["samples"], record["synthetic_samples"]) == (4, 2)
    synthetic = made.dataloader_train.data_loader._data
    assert synthetic.load_case("synth_00000_t00")[0].shape == (1, *pixels)
    assert synthetic.load_case("patient001_ED")[0].shape == (1, *pixels)


def test_plans_of_another_network_share_the_bank(every: Project) -> None:
    """nnU-Net's residual encoder presets differ in the network alone, and preprocess to the same folder."""
    preprocess(every, "3d_fullres")
    build_bank_cases(every.sequences, DATASET, 0, "3d_fullres", PLANS, frames=2)
    plans = read_json(every.preprocessed / f"{PLANS}.json") | {"plans_name": "nnUNetResEncUNetMPlans"}
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    write_json(every.preprocessed / "nnUNetResEncUNetMPlans.json", plans)
    copied = write_small_plans(DATASET, "nnUNetResEncUNetMPlans", "curriculumPlans", synth_aug=RUN | {"weights": {"structure": {"RV": 2}}})
    for name in ("nnUNetResEncUNetMPlans", copied.stem):
        made = make("nnUNetTrainerSynthAug_mix50", name, configuration="3d_fullres")
        made.run_training()
        assert type(made.network).__name__ == "ResidualEncoderUNet"
        assert read_json(Path(made.output_folder) / "synth_aug.json")["synthetic_samples"] == 2
    assert read_json(copied)["synth_aug"] == RUN | {"weights": {"structure": {"RV": 2}}}


def test_what_synthetic_cases_cannot_serve_is_refused(every: Project) -> None:
    with pytest.raises(UserError, match=r"second stage of a cascade.*use 2d, 3d_fullres or 3d_lowres"):
        build_bank_cases(every.sequences, DATASET, 0, "3d_cascade_fullres", PLANS)
    with pytest.raises(SystemExit, match=r"second stage of a cascade.*use 2d, 3d_fullres or 3d_lowres"):
        make("nnUNetTrainerSynthAug_mix50", PLANS, configuration="3d_cascade_fullres").on_train_start()
    path = every.preprocessed / "dataset.json"
    write_json(path, read_json(path) | {"channel_names": {"0": "cine", "1": "LGE"}})
    with pytest.raises(UserError, match="2 input channels, but synthetic cases have one"):
        build_bank_cases(every.sequences, DATASET, 0, "3d_fullres", PLANS)
    with pytest.raises(SystemExit, match="2 input channels, but synthetic cases have one") as caught:
        make("nnUNetTrainerSynthAug_mix50", PLANS, configuration="3d_fullres").on_train_start()
    assert len(str(caught.value).strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["a__b", "a/b", "", "my plans"])
def test_names_that_nnunet_cannot_use_for_plans_are_refused(project: Project, name: str) -> None:
    with pytest.raises(UserError, match="cannot name plans"):
        write_small_plans(DATASET, "nnUNetPlans", name, synth_aug={"ratio": 0.3})
