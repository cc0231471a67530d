"""The commands that matrix.py runs, in an order in which each finds what it needs."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from checks import SHORT, Checks, Row
from workspace import CHANNELS, FOLDS, HEARTS, IGNORE, REGIONS, Dataset

MIX00, MIX25, MIX50 = (f"nnUNetTrainerSynthAug_mix{share}" for share in ("00", "25", "50"))
RESUMED = f"{MIX50}_6epochs"
RESENC, LOWRES = "shortResEncPlans", "shortLowresPlans"  # other plans of nnU-Net with few iterations
SETTINGS = "--iterations 4 --val-iterations 1"


class Matrix(Checks):
    """All rows."""

    def train(
        self,
        name: str,
        configuration: str,
        fold: int | str,
        options: str = "",
        trainer: str = MIX50,
        plans: str = SHORT,
        dataset: Dataset = HEARTS,
        group: str = "train",
        **more: Any,
    ) -> Row:
        command = f"nnUNetv2_train {dataset.number} {configuration} {fold} -tr {trainer} -p {plans} -device {self.device} {options}"
        if "check" not in more and not more.get("expected"):
            more["check"] = lambda: self.check_training(dataset, trainer, plans, configuration, fold)
        return Row(name, group, command, configuration, **more)

    def refuse(self, name: str, configuration: str, fold: int | str, says: str, **more: Any) -> Row:
        """A training that must not start."""
        return self.train(name, configuration, fold, group="refuse", expected=1, says=says, **more)

    def predict(
        self, name: str, configuration: str, options: str = "", plans: str = SHORT, dataset: Dataset = HEARTS, fold: str = "0", **more: Any
    ) -> Row:
        """``fold`` may be several, or empty: then nnU-Net takes all five."""
        folder, which = self.predicted(name), f"-f {fold} " if fold else ""
        command = f"nnUNetv2_predict -i {self.images} -o {folder} -d {dataset.number} -c {configuration} {which}-tr {MIX50} -p {plans}"
        more.setdefault("check", lambda: self.check_prediction(name))
        command += f" -device {self.device} -npp 1 -nps 1 {options}"
        return Row(f"predict {name}", "predict", command, configuration, prepare=self.remove(folder), **more)

    def plans(
        self, name: str, dataset: Dataset, base: str, new: str, options: str = "", group: str = "prepare", epochs: int = 2, **more: Any
    ) -> Row:
        return Row(
            name, group, f"synthaug plans -d {dataset.number} --base {base} --name {new} --epochs {epochs} {SETTINGS} {options}", **more
        )

    def rows(self) -> list[Row]:
        return (
            self._prepare()
            + self._train()
            + self._refuse()
            + self._after_training()
            + self._labels()
            + self._five_folds()
            + self._settings()
        )

    def _prepare(self) -> list[Row]:
        everything = [HEARTS, REGIONS, IGNORE, CHANNELS, FOLDS]
        d = HEARTS.number
        numbers = " ".join(str(dataset.number) for dataset in everything)
        # Large images for little memory: that is when nnU-Net plans 3d_lowres and the cascade.
        low = (
            f"nnUNetv2_plan_experiment -d {d} -gpu_memory_target 0.1 -overwrite_target_spacing 2 0.8 0.8 -overwrite_plans_name lowresPlans"
        )
        doctor = f"synthaug doctor -d {d} -f 0 -p {SHORT}"
        return [
            Row(
                "plan and preprocess",
                "prepare",
                f"nnUNetv2_plan_and_preprocess -d {numbers} -c 2d 3d_fullres -npfp 1 -np 1 1",
                "2d, 3d_fullres",
                prepare=lambda: self.write_everything(everything),
            ),
            Row("plan ResEnc", "prepare", f"nnUNetv2_plan_experiment -d {d} -pl nnUNetPlannerResEncM", "2d, 3d_fullres"),
            Row("plan with 3d_lowres", "prepare", low, "3d_lowres", check=lambda: self.check_plans("lowresPlans", "3d_lowres")),
            self.plans("short plans", HEARTS, "nnUNetPlans", SHORT),
            self.plans("short ResEnc plans", HEARTS, "nnUNetResEncUNetMPlans", RESENC),
            self.plans("short 3d_lowres plans", HEARTS, "lowresPlans", LOWRES),
            # 3d_fullres, too: nnU-Net's validation of 3d_lowres predicts for the cascade, which reads those cases.
            Row(
                "preprocess 3d_lowres",
                "prepare",
                f"nnUNetv2_preprocess -d {d} -plans_name {LOWRES} -c 3d_fullres 3d_lowres -np 1 1",
                "3d_fullres, 3d_lowres",
            ),
            self.refuse("no bank", "2d", 0, "synthaug bank"),
            Row("doctor without a bank", "refuse", doctor, "2d", expected=2, says="1 of 10 checks failed: bank"),
            Row("doctor", "prepare", doctor, "2d", prepare=self.bank(HEARTS, 0, "2d", SHORT)),
        ]

    def _train(self) -> list[Row]:
        started = self.trained(HEARTS, MIX50, SHORT, "2d") / "fold_0" / "checkpoint_final.pth"
        resumed = self.trained(HEARTS, RESUMED, SHORT, "2d")
        return [
            self.train("2d", "2d", 0, "--npz"),
            self.train("2d --val", "2d", 0, "--val --npz"),
            self.train("2d --val --val_best", "2d", 0, "--val --val_best"),
            self.train("2d --c after the end", "2d", 0, "--c --npz"),
            self.train(
                "2d killed",
                "2d",
                0,
                trainer=RESUMED,
                expected=-signal.SIGKILL,
                check=dict,
                kill_when=(resumed / "fold_0" / "checkpoint_latest.pth").is_file,
                prepare=self.remove(resumed),
            ),
            self.train("2d --c after the kill", "2d", 0, "--c", trainer=RESUMED),
            self.train("2d fold 1", "2d", 1, "--npz", prepare=self.bank(HEARTS, 1, "2d", SHORT)),
            self.train("2d fold all", "2d", "all", prepare=self.bank(HEARTS, "all", "2d", SHORT)),
            self.train("2d mix00", "2d", 0, "--npz", trainer=MIX00),
            self.train("2d mix00 fold 1", "2d", 1, "--npz", trainer=MIX00),
            self.train("2d pretrained", "2d", 0, f"-pretrained_weights {started}", trainer=MIX25),
            self.train("3d_fullres", "3d_fullres", 0, "--npz", prepare=self.bank(HEARTS, 0, "3d_fullres", SHORT)),
            self.train("3d_fullres fold all", "3d_fullres", "all", prepare=self.bank(HEARTS, "all", "3d_fullres", SHORT)),
            self.train("3d_lowres", "3d_lowres", 0, plans=LOWRES, prepare=self.bank(HEARTS, 0, "3d_lowres", LOWRES)),
            self.train("ResEnc 2d", "2d", 0, plans=RESENC),
            self.train("ResEnc 3d_fullres", "3d_fullres", 0, plans=RESENC),
        ]

    def _refuse(self) -> list[Row]:
        unknown = "nnUNetTrainerSynthAug_mix101"
        channels = "2 input channels"
        leak = "validation patients of fold 1"
        # nnU-Net's own sentence; several processes without CUDA: tests/test_nnunet_ddp.py.
        ddp = self.refuse("two GPUs on a CPU", "2d", 0, "only implemented for cuda devices", options="-num_gpus 2", trainer=MIX25)
        on_cpu = [ddp] if self.device == "cpu" else []
        return [
            # A patient of fold 1's validation in the manifest; the bank is made again afterwards.
            self.refuse("leaking bank", "2d", 1, leak, prepare=self.leaking_bank(1), trainer=f"{MIX25}_2epochs"),
            self.refuse("3d_cascade_fullres", "3d_cascade_fullres", 0, "second stage of a cascade", plans=LOWRES),
            self.plans("short plans, two channels", CHANNELS, "nnUNetPlans", SHORT, group="refuse", expected=2, says=channels),
            self.refuse("two channels", "2d", 0, channels, dataset=CHANNELS, plans="nnUNetPlans"),
            self.refuse("mix101", "2d", 0, "Could not find requested nnunet trainer", trainer=unknown),
            *on_cpu,
        ]

    def _after_training(self) -> list[Row]:
        d = HEARTS.number
        which = f"-tr {MIX50} -p {SHORT}"
        model = self.trained(HEARTS, MIX50, SHORT, "2d")
        crossval = model / "crossval_results_folds_0_1"
        accumulated, archive = self.workspace.root / "accumulated", self.workspace.root / "model.zip"
        fresh = {"nnUNet_results": str(self.workspace.folder("fresh_results"))}
        installed = self.trained(HEARTS, MIX50, SHORT, "2d", "fresh_results") / "fold_0" / "checkpoint_final.pth"
        processed, ensemble, direct = (self.predicted(name) for name in ("post-processed", "ensemble", "model_folder"))
        one, other = self.predicted("2d"), self.predicted("3d_fullres")
        information = self.workspace.folder("nnUNet_results", HEARTS.folder, "inference_information.json")
        process = f"nnUNetv2_apply_postprocessing -i {one} -o {processed} -pp_pkl_file {crossval}/postprocessing.pkl"
        process += f" -plans_json {crossval}/plans.json -dataset_json {crossval}/dataset.json -np 1"
        best = f"nnUNetv2_find_best_configuration {d} -c 2d -p {SHORT} -f 0 1 -np 1 -tr {MIX50}"
        return [
            self.predict("2d", "2d", "--save_probabilities"),
            self.predict("2d_two_folds", "2d", fold="0 1"),
            self.predict("3d_fullres", "3d_fullres", "--save_probabilities"),
            self.predict("3d_lowres", "3d_lowres", plans=LOWRES),
            self.predict("ResEnc_2d", "2d", plans=RESENC),
            Row(
                "predict from model folder",
                "predict",
                f"nnUNetv2_predict_from_modelfolder -i {self.images} -o {direct} -m {model} -f 0 -device {self.device} -npp 1 -nps 1",
                "2d",
                check=lambda: self.check_prediction("model_folder", "2d"),
            ),
            Row(
                "ensemble",
                "predict",
                f"nnUNetv2_ensemble -i {one} {other} -o {ensemble} -np 1",
                "2d + 3d_fullres",
                check=lambda: self.check_prediction("ensemble"),
            ),
            Row(
                "accumulate_crossval_results",
                "choose",
                f"nnUNetv2_accumulate_crossval_results {d} -c 2d {which} -f 0 1 -o {accumulated}",
                "2d",
                check=self.files(accumulated / "summary.json"),
            ),
            # After so few steps either may win, and nnU-Net determines the post-processing of the winner only.
            Row("find_best_configuration of two", "choose", f"{best} {MIX00}", "2d", check=lambda: self.check_choice(information)),
            Row("find_best_configuration", "choose", best, "2d", check=self.files(crossval / "postprocessing.pkl")),
            Row("apply_postprocessing", "choose", process, "2d", check=lambda: self.check_prediction("post-processed")),
            Row(
                "export to zip",
                "share",
                f"nnUNetv2_export_model_to_zip -d {d} -o {archive} -c 2d -f 0 {which}",
                "2d",
                prepare=lambda: archive.unlink(missing_ok=True),
                check=self.files(archive),
            ),
            Row(
                "install from zip",
                "share",
                f"nnUNetv2_install_pretrained_model_from_zip {archive}",
                "2d",
                prepare=self.remove(Path(fresh["nnUNet_results"])),
                check=self.files(installed),
                environment=fresh,
            ),
            self.predict("installed_model", "2d", environment=fresh, check=lambda: self.check_prediction("installed_model", "2d")),
        ]

    def _labels(self) -> list[Row]:
        """Labels other than the three plain ones."""
        rows = []
        for title, dataset in (("regions", REGIONS), ("ignore label", IGNORE)):
            rows += [
                self.plans(f"short plans, {title}", dataset, "nnUNetPlans", SHORT),
                self.train(f"2d, {title}", "2d", 0, dataset=dataset, prepare=self.bank(dataset, 0, "2d", SHORT)),
                self.train(f"3d_fullres, {title}", "3d_fullres", 0, dataset=dataset, prepare=self.bank(dataset, 0, "3d_fullres", SHORT)),
                self.predict(f"2d_{dataset.name.lower()}", "2d", dataset=dataset),
            ]
        return rows

    def _five_folds(self) -> list[Row]:
        """A cross-validation as nnU-Net's commands expect it: no -f anywhere after the training."""
        d, which = FOLDS.number, f"-c 2d -tr {MIX50} -p {SHORT}"
        model = self.trained(FOLDS, MIX50, SHORT, "2d")
        crossval = model / "crossval_results_folds_0_1_2_3_4"
        accumulated = self.workspace.root / "accumulated_five"
        return [
            self.plans("short plans, five folds", FOLDS, "nnUNetPlans", SHORT),
            *(
                self.train(f"2d fold {fold} of five", "2d", fold, "--npz", dataset=FOLDS, prepare=self.bank(FOLDS, fold, "2d", SHORT))
                for fold in range(5)
            ),
            self.predict("2d_five_folds", "2d", dataset=FOLDS, fold=""),
            Row(
                "accumulate_crossval_results, five folds",
                "choose",
                f"nnUNetv2_accumulate_crossval_results {d} {which} -o {accumulated}",
                "2d",
                check=self.files(accumulated / "summary.json"),
            ),
            Row(
                "find_best_configuration, five folds",
                "choose",
                f"nnUNetv2_find_best_configuration {d} {which} -np 1",
                "2d",
                check=self.files(crossval / "postprocessing.pkl"),
            ),
        ]

    def _settings(self) -> list[Row]:
        """What ``synthaug plans`` writes for the trainer."""
        any_mix, curriculum, weights, live = "nnUNetTrainerSynthAug", "curriculumPlans", "weightPlans", "livePlans"
        falling, refreshed = self.trained(HEARTS, any_mix, curriculum, "2d"), self.trained(FOLDS, MIX50, live, "2d")
        weigh = "--weigh-diagnosis DCM=2 --weigh-structure RV=2"
        changed = self.change(HEARTS, curriculum, schedule={"to": 0.0})
        return [
            self.plans("plans with a curriculum", HEARTS, "nnUNetPlans", curriculum, "--ratio 0.75 --ratio-to 0.25"),
            self.train(
                "2d curriculum",
                "2d",
                0,
                trainer=any_mix,
                plans=curriculum,
                check=lambda: self.check_curriculum(falling, 6, 2) | self.check_training(HEARTS, any_mix, curriculum, "2d", 0),
            ),
            self.refuse(
                "2d --c with another curriculum",
                "2d",
                0,
                "cannot be continued",
                options="--c",
                trainer=any_mix,
                plans=curriculum,
                prepare=changed,
            ),
            self.plans("plans with weights", HEARTS, "nnUNetPlans", weights, weigh),
            self.train("2d weights", "2d", 0, plans=weights),
            # Long enough that batches are drawn after a replacement: nnU-Net's workers are some six ahead of the training.
            self.plans("plans with live refresh", FOLDS, "nnUNetPlans", live, "--refresh-per-epoch 6", epochs=6),
            self.train(
                "2d live refresh",
                "2d",
                0,
                dataset=FOLDS,
                plans=live,
                prepare=self.refreshable_bank(FOLDS, 0, "2d", SHORT),
                check=lambda: self.check_refresh(refreshed) | self.check_training(FOLDS, MIX50, live, "2d", 0),
            ),
        ]
