"""The trainer inside nnU-Net's own training loop, in this process."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_fixture import PATIENTS, PLANS, TRAINED, Project, command
from nnunet_training import make
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet import trainer as trainer_module
from nnunet_synth_aug.nnunet.trainer import nnUNetTrainerSynthAug, trainer_class

pytestmark = pytest.mark.usefixtures("trained_here")


def test_training_sees_the_share_and_records_it(project: Project) -> None:
    made = make("nnUNetTrainerSynthAug_mix50")
    batches: list[np.ndarray] = []
    step = made.train_step

    def watched(batch: dict) -> dict:
        batches.append(batch["keys"])
        return step(batch)

    made.train_step = watched
    made.run_training()
    folder = project.results / f"nnUNetTrainerSynthAug_mix50__{PLANS}__2d" / "fold_0"
    keys = np.concatenate(batches)
    synthetic = [key for key in keys if key.startswith("synth_")]
    assert len(keys) == 2 * 5 * 4  # epochs x iterations x batch
    assert len(synthetic) == 20
    real = {key for key in keys if not key.startswith("synth_")}
    assert {key[:10] for key in real} <= set(PATIENTS[:4])

    record = read_json(folder / "synth_aug.json")
    assert {k: record[k] for k in ("ratio", "samples", "synthetic_samples", "share", "batches")} == {
        "ratio": 0.5,
        "samples": 40,
        "synthetic_samples": 20,
        "share": 0.5,
        "batches": 10,
    }
    assert record["distinct_synthetic_cases"] == len(set(synthetic))
    assert record["manifest"]["generator"]["generator_hash"] == "0123abcd"
    assert record["manifest"]["n_cases"] == 9
    seen = record["priors"]["samples"]
    assert (
        sum(seen["requested"]["lv_ef"]) == sum(seen["measured"]["lv_ef"]) == 20
    )  # every synthetic sample, by what its heart was asked for
    assert record["priors"]["deciles"]["requested"]["lv_ef"] == [55.0] * 11
    assert [sum(epoch["priors"]["requested"]["lv_ef"]) for epoch in record["epochs"]] == [10, 10]
    settings = read_json(folder.parent / "plans.json")["synth_aug"]
    assert settings["ratio"] == 0.5
    assert settings["epochs"] == 2
    assert settings["generator_hash"] == "0123abcd"
    assert settings["manifest_hash"] == record["manifest_hash"]
    checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["init_args"]["plans"]["synth_aug"] == settings
    assert checkpoint["trainer_name"] == "nnUNetTrainerSynthAug_mix50"
    log = next(folder.glob("training_log*.txt")).read_text()
    assert "synthetic share 10/20 = 0.5000 in this epoch" in log


def test_continued_training_continues_the_counts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("nnUNetTrainerSynthAug_mix25")
    made.save_every = 1
    validate = made.on_validation_epoch_start
    monkeypatch.setattr(made, "on_validation_epoch_start", lambda: _stop() if made.current_epoch == 1 else validate())
    with pytest.raises(KeyboardInterrupt):
        made.run_training()
    again = make("nnUNetTrainerSynthAug_mix25", resume=True)
    assert again.current_epoch == 1
    again.run_training()
    record = read_json(Path(again.output_folder) / "synth_aug.json")
    assert (record["batches"], record["samples"], record["synthetic_samples"]) == (10, 40, 10)
    assert [e["epoch"] for e in record["epochs"]] == [0, 1]


def _stop() -> None:
    raise KeyboardInterrupt


def test_continuing_with_other_settings_is_refused(project: Project, plans_with: Any, manifest: Path) -> None:
    name = plans_with("ratioPlans", ratio=0.25, epochs=1, iterations_per_epoch=1)
    make("nnUNetTrainerSynthAug", name).run_training()
    plans_with("ratioPlans", ratio=0.5, epochs=1, iterations_per_epoch=1)
    with pytest.raises(SystemExit, match=r"ratio was 0\.25 and is 0\.5"):
        make("nnUNetTrainerSynthAug", name, resume=True).run_training()
    plans_with("ratioPlans", ratio=0.25, epochs=1, iterations_per_epoch=1)
    content = read_json(manifest)
    content["cases"] = content["cases"][:-1]
    write_json(manifest, content)
    with pytest.raises(SystemExit, match="manifest_hash was"):
        make("nnUNetTrainerSynthAug", name, resume=True).run_training()


def test_curriculum_and_weights_are_counted_recorded_and_kept(project: Project, plans_with: Any) -> None:
    schedule = {"to": 0.0, "shape": "step", "from_epoch": 1, "until_epoch": None}
    settings = {"ratio": 1.0, "epochs": 2, "iterations_per_epoch": 2, "schedule": schedule, "weights": {"structure": {"RV": 2.0}}}
    name = plans_with("curriculumPlans", **settings)
    made = make("nnUNetTrainerSynthAug", name)
    made.run_training()
    folder = Path(made.output_folder)
    record = read_json(folder / "synth_aug.json")
    assert [epoch["synthetic_samples"] for epoch in record["epochs"]] == [8, 0]
    assert (record["schedule"], record["weights"]) == (schedule, settings["weights"])
    assert settings.items() <= read_json(folder.parent / "plans.json")["synth_aug"].items()
    checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    assert settings.items() <= checkpoint["init_args"]["plans"]["synth_aug"].items()
    log = Path(made.log_file).read_text()
    assert "100% to 0% (step) of the training samples are synthetic" in log
    assert "synthetic share 0/8 = 0.0000 in this epoch, 0.5000 so far" in log
    assert "asked for 0.0000" in log
    for changed in ({"schedule": None}, {"schedule": schedule | {"to": 0.5}}, {"weights": {"structure": {"RV": 3.0}}}):
        plans_with("curriculumPlans", **(settings | changed))
        with pytest.raises(SystemExit, match=f"{next(iter(changed))} was"):
            make("nnUNetTrainerSynthAug", name, resume=True).run_training()
    plans_with("curriculumPlans", **(settings | {"schedule": {"to": 0.1, "from_epoch": 2}}))
    with pytest.raises(SystemExit, match="lower from_epoch or train longer"):
        make("nnUNetTrainerSynthAug", name).run_training()


def test_settings_by_name_and_by_plans(plans_with: Any) -> None:
    name = plans_with("otherPlans", ratio=0.3, epochs=4)
    assert make("nnUNetTrainerSynthAug", name).ratio == 0.3
    assert make("nnUNetTrainerSynthAug", name).num_epochs == 4
    assert make("nnUNetTrainerSynthAug_mix75_3epochs", name).ratio == 0.75
    assert make("nnUNetTrainerSynthAug_mix75_3epochs", name).num_epochs == 3
    assert make("nnUNetTrainerSynthAug_mix00", name).num_iterations_per_epoch == 5
    assert make("nnUNetTrainerSynthAug").ratio == 0.5
    with pytest.raises(SystemExit, match="unknown key 'ration'"):
        make("nnUNetTrainerSynthAug", plans_with("badPlans", ration=0.3))
    for wrong in ("mix101", "mix5", "mix50_100epoch"):
        with pytest.raises(SystemExit, match=rf"Error \(nnUNetTrainerSynthAug_{wrong}\): .* is not a trainer of this package; write "):
            make(f"nnUNetTrainerSynthAug_{wrong}")
    with pytest.raises(SystemExit, match="nnU-Net has no trainer nnUNetTrainerDA55 or nnUNetTrainer_DA55; correct"):
        make("nnUNetTrainerSynthAug_mix50_DA55")
    with pytest.raises(RuntimeError, match="nnUNetTrainerSynthAug_mine"):  # may be somebody's own: nnU-Net goes on to search
        make("nnUNetTrainerSynthAug_mine")


@pytest.mark.parametrize("share", [50, 0])
def test_another_trainer_may_lie_underneath(project: Project, share: int) -> None:
    """nnUNetTrainerNoMirroring and this package's mixture: what each of them changes holds."""
    made = make(f"nnUNetTrainerSynthAug_mix{share:02d}_1epochs_NoMirroring")
    assert isinstance(made, nnUNetTrainerNoMirroring)
    assert pickle.loads(pickle.dumps(type(made))) is type(made)
    made.run_training()
    record = read_json(Path(made.output_folder) / "synth_aug.json")
    assert (record["samples"], record["synthetic_samples"]) == (20, 20 * share // 100)
    checkpoint = torch.load(Path(made.output_folder) / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["inference_allowed_mirroring_axes"] is None
    assert checkpoint["trainer_name"] == f"nnUNetTrainerSynthAug_mix{share:02d}_1epochs_NoMirroring"


def test_other_trainers_augmentation_is_theirs() -> None:
    ours, theirs = trainer_class("nnUNetTrainerSynthAug_mix25to00_DA5"), nnUNetTrainerDA5
    assert ours.get_training_transforms is theirs.get_training_transforms
    assert issubclass(ours, theirs) and (ours.synth_ratio, ours.synth_until) == (0.25, 0.0)
    assert issubclass(trainer_class("nnUNetTrainerSynthAug_mix25_warmup"), trainer_class("nnUNetTrainerSynthAug"))  # nnUNetTrainer_warmup


def test_the_leak_guard_holds_for_any_trainer_underneath(project: Project, manifest: Path) -> None:
    content = read_json(manifest)
    write_json(manifest, content | {"generator": content["generator"] | {"patients": list(PATIENTS)}})
    made = make("nnUNetTrainerSynthAug_mix50_DA5")
    with pytest.raises(SystemExit, match="was trained on validation patients of fold 0"):
        made.run_training()


def test_mix00_trains_as_the_stock_trainer(project: Project, manifest: Path) -> None:
    """Same seed, same batches, losses and weights; and no bank is needed."""
    manifest.unlink()
    try:
        drawn, losses, weights = [], [], []
        for name in ("nnUNetTrainer", "nnUNetTrainerSynthAug_mix00"):
            torch.manual_seed(2)  # of the first weights
            made = make(name)
            np.random.seed(3)
            torch.manual_seed(3)
            made.on_train_start()
            made.on_train_epoch_start()
            drawn.append([next(made.dataloader_train) for _ in range(3)])
            losses.append([float(made.train_step(batch)["loss"]) for batch in drawn[-1]])
            weights.append(torch.cat([parameter.detach().flatten() for parameter in made.network.parameters()]))
        assert losses[0] == losses[1]
        assert torch.equal(*weights)
        for stock, ours in zip(*drawn, strict=True):
            assert list(stock["keys"]) == list(ours["keys"])
            assert torch.equal(stock["data"], ours["data"])
            assert all(torch.equal(a, b) for a, b in zip(stock["target"], ours["target"], strict=True))
    finally:
        manifest.touch()


def test_a_cpu_trains_in_bfloat16_if_the_plans_say_so(project: Project, plans_with: Any) -> None:
    """The network does, its loss does not; the losses stay close to those of float32."""
    losses, dtypes = [], []
    for mode in ("off", "bf16"):
        torch.manual_seed(2)  # of the first weights
        made = make("nnUNetTrainerSynthAug_mix00", plans_with(f"{mode}Plans", epochs=2, iterations_per_epoch=5, autocast=mode))
        np.random.seed(3)
        torch.manual_seed(3)
        made.on_train_start()
        made.on_train_epoch_start()
        convolution = next(module for module in made.network.modules() if isinstance(module, torch.nn.Conv2d))
        dtypes.append([])
        convolution.register_forward_hook(lambda _module, _inputs, output: dtypes[-1].append(output.dtype))
        innermost = made.loss.loss if mode == "bf16" else made.loss
        innermost.register_forward_hook(lambda _module, inputs, _output: dtypes[-1].append(inputs[0][0].dtype))
        losses.append([float(made.train_step(next(made.dataloader_train))["loss"]) for _ in range(4)])
    assert dtypes == [[torch.float32] * 8, [torch.bfloat16, torch.float32] * 4]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    with pytest.raises(SystemExit, match="autocast"):
        make("nnUNetTrainerSynthAug", plans_with("fp16Plans", autocast="fp16"))


def test_mix00_trains_without_a_bank(project: Project) -> None:
    made = make("nnUNetTrainerSynthAug_mix00_1epochs", fold=1)  # fold 1 has no bank
    made.run_training()
    record = read_json(Path(made.output_folder) / "synth_aug.json")
    assert (record["samples"], record["synthetic_samples"], record["manifest"]) == (20, 0, None)


def test_fold_all_says_what_its_validation_is(project: Project, manifest: Path) -> None:
    everyone = manifest.parents[1] / "fold_all"
    shutil.copytree(manifest.parent, everyone)
    try:
        content = read_json(manifest)
        content["generator"]["patients"] = list(PATIENTS)
        write_json(everyone / manifest.name, {**content, "fold": "all"})
        made = make("nnUNetTrainerSynthAug_mix50", fold="all")
        made.on_train_start()
        assert "'validates' on the same ones: its validation figures say how well these were learnt" in Path(made.log_file).read_text()
        assert not any(key.startswith("synth_") for key in next(made.dataloader_val)["keys"])
        assert sorted(made.do_split()[1]) == sorted(f"{p}_{phase}" for p in PATIENTS for phase in ("ED", "ES"))
    finally:
        shutil.rmtree(everyone)


def test_nnunets_own_command_trains_on_the_mix_to_its_end(trained_by_command: Project) -> None:
    folder = trained_by_command.results / f"{TRAINED}__{PLANS}__2d" / "fold_0"
    assert f"Using trainer '{TRAINED}'" in (trained_by_command.root / "training.log").read_text()
    assert read_json(folder / "synth_aug.json")["synthetic_samples"] == 10
    assert (folder / "checkpoint_final.pth").is_file()
    assert len(list((folder / "validation").glob("*.nii.gz"))) == 4


def test_leak_stops_the_command_before_any_step(project: Project, manifest: Path) -> None:
    content = read_json(manifest)
    content["generator"]["patients"] = list(PATIENTS[:5])
    write_json(manifest, content)
    words = ("731", "2d", "0", "-tr", "nnUNetTrainerSynthAug_mix50", "-p", PLANS, "-device", "cpu")
    result = command(project, "nnUNetv2_train", *words, nnUNet_n_proc_DA="0")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "validation patients of fold 0 (patient005)" in result.stderr.strip().splitlines()[-1]
    assert "Epoch" not in result.stdout
    assert not list(project.results.rglob("*.pth"))
    assert not list(project.results.rglob("synth_aug.json"))


CASE = {"id": "synth_00099_t00", "sequence": "synth_00099", "frame": 0, "seed": 1, "requested": {}, "measured": {}, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 1}, r"another fold \(1 instead of 0\).*synthaug bank -d Dataset731_Hearts -c 2d -p smallPlans -f 0"),
        ({"plans_hash": "0"}, "another preprocessing settings"),
        ({"data_identifier": "x_2d"}, r"another data identifier \(x_2d"),
        ({"labels": {"background": 0, "LV": 3}}, "another labels"),
        ({"dataset": "Dataset001_X"}, "another dataset"),
        ({"format": 99}, "format is 99, not"),
        ({"cases": [{"id": "synth_00099_t00"}]}, r"cases\[0\] lacks"),
        ({"cases": [CASE]}, "lacks 1 of 1 cases, such as synth_00099_t00"),
        (None, r"no complete bank.*synthaug bank -d Dataset731_Hearts -c 2d -p smallPlans -f 0"),
    ],
)
def test_unfit_bank_is_refused(manifest: Path, change: dict[str, Any] | None, message: str) -> None:
    if change is None:
        manifest.unlink()
    else:
        write_json(manifest, {**read_json(manifest), **change})
    with pytest.raises(SystemExit, match=message) as caught:
        make("nnUNetTrainerSynthAug_mix50").run_training()
    assert len(str(caught.value).strip().splitlines()) == 1


def test_cascade_is_refused(plans_with: Any, project: Project) -> None:
    content = read_json(project.preprocessed / f"{PLANS}.json")
    name = plans_with("cascadePlans")
    content["configurations"]["2d"]["previous_stage"] = "first"
    content["configurations"]["first"] = content["configurations"]["2d"] | {"previous_stage": None}
    write_json(project.preprocessed / f"{name}.json", {**content, "plans_name": name})
    with pytest.raises(SystemExit, match="second stage of a cascade"):
        make("nnUNetTrainerSynthAug_mix50", name).on_train_start()


def test_validation_holds_only_real_validation_patients(project: Project) -> None:
    made = make("nnUNetTrainerSynthAug_mix100")
    made.initialize()
    train, val = made.get_dataloaders()
    keys = {key for _ in range(8) for key in next(val)["keys"]}
    assert {key[:10] for key in keys} <= set(PATIENTS[4:])
    assert all(key.startswith("synth_") for key in next(train)["keys"])


def test_classes_are_made_once_and_pickle() -> None:
    made = trainer_class("nnUNetTrainerSynthAug_mix37_12epochs")
    assert pickle.loads(pickle.dumps(made)) is made
    assert trainer_module.nnUNetTrainerSynthAug_mix37_12epochs is made
    assert issubclass(made, nnUNetTrainerSynthAug)
    assert issubclass(made, nnUNetTrainer)
    assert (made.__module__, made.__qualname__) == (trainer_module.__name__, "nnUNetTrainerSynthAug_mix37_12epochs")
    assert trainer_class("nnUNetTrainerSynthAug") is nnUNetTrainerSynthAug
    for percent in (0, 10, 25, 50, 75):  # the classes that are spelt out say what their names say
        assert trainer_class(f"nnUNetTrainerSynthAug_mix{percent:02d}").synth_ratio == percent / 100
    with pytest.raises(UserError):
        trainer_class("nnUNetTrainer_mix50")
    with pytest.raises(AttributeError):
        _ = trainer_module.nonsense
