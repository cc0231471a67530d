"""The steps of every run: the generator and the bank that its arm needs, the training, the predictions of test sets."""

from __future__ import annotations

import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.benchmark.data_steps import data_steps, number, planning_steps, test_steps
from evaluation.benchmark.patients import refuse_foreign
from evaluation.benchmark.processes import process_count
from evaluation.benchmark.steps import Step, fixed, plain
from evaluation.benchmark.study import REAL, Arm, Study, TestSet
from evaluation.benchmark.workspace import PLANS, Workspace
from evaluation.inputs.dataset import cases_in
from nnunet_synth_aug.core.files import atomic_folder
from nnunet_synth_aug.core.paths import GENERATOR_META


def build_steps(study: Study, at: Workspace) -> list[Step]:
    """Every step up to the last prediction, in an order in which none needs a later one.

    Raises:
        UserError: the dataset of source nnunet is not there, or has no such fold or plans.
    """
    data = data_steps(study, at)
    last = data[-1].id
    tests = (step for test in study.tests for step in test_steps(test, at, last))
    steps = {step.id: step for step in (*data, *planning_steps(study, at), *tests)}
    runs = RunSteps(study, at, last)
    for seed in study.seeds:  # one seed of everything first: a first comparison is complete early
        for fold in study.folds:
            for arm in study.all_arms:
                for step in (*runs.bank(arm, fold), runs.train(arm, fold, seed), *(runs.predict(arm, fold, seed, t) for t in study.tests)):
                    steps.setdefault(step.id, step)
    return list(steps.values())


class RunSteps:
    """Steps of one study by arm, fold and seed."""

    def __init__(self, study: Study, at: Workspace, last_of_data: str) -> None:
        self.study, self.at = study, at
        self._needs = ("preprocess", last_of_data)
        self._data = {"data": plain(study.data)}

    def _bank_settings(self, arm: Arm, fold: int) -> dict[str, Any]:
        # Named only where there is one: other banks are those of a study without it.
        named = {"segmenter"} if not arm.checked_by_segmenter(self.study.bank) else set()
        named |= {"strength"} if "variations" not in arm.parts else set()
        named |= {"vendors"} if "phantom" not in arm.parts else set()
        bank = {k: v for k, v in plain(self.study.bank).items() if k not in named} | {"source": arm.source}
        bank |= {"appearance": arm.appearance} if arm.appearance == "unlabelled" else {}
        bank |= ({"looks": arm.looks} if arm.looks else {}) | ({"render": arm.render} if arm.render != "decoder" else {})
        generator = {"generator": self._generator_settings()} if arm.needs_generator else {}
        return self._data | {"plans": plain(self.study.plans), "bank": bank, "fold": fold} | generator

    def _generator_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = plain(self.study.generator)
        return {k: v for k, v in settings.items() if k not in ("segmenter", "contoured_only") or v}

    def run_settings(self, arm: Arm, fold: int, seed: int) -> dict[str, Any]:
        """What a training depends on."""
        own = self._bank_settings(arm, fold) if arm.source else self._data | {"plans": plain(self.study.plans), "fold": fold}
        return own | {"training": plain(self.study.training), "arm": arm.name, "seed": seed, "device": self.study.device}

    def _bank_id(self, arm: Arm, fold: int) -> str:
        return f"bank_{self.at.bank_name(arm)}_fold_{fold}"

    def bank(self, arm: Arm, fold: int) -> list[Step]:
        """The bank that an arm draws from in one fold, after the generator behind it."""
        if not arm.source:
            return []
        study, at, size = self.study, self.at, self.study.bank
        generator = [self._generator(fold)] if arm.needs_generator else []
        which = ["-d", number(at), "-f", str(fold), "-c", study.plans.configuration, "-p", PLANS]
        sizes = ["-n", str(size.sequences), "--frames", str(size.frames), "--seed", str(size.seed)]
        sizes += ["--strength", str(size.strength)] if "variations" in arm.parts else []
        sizes += ["--appearance", arm.appearance, "--looks", str(arm.looks)] if arm.looks else ["--appearance", "own"]
        sizes += ["--render", arm.render] if "generator" in arm.parts else []
        sizes += ["--vendors", size.vendors] if "phantom" in arm.parts else []
        witness, waits = [], [one.id for one in generator]
        if arm.needs_segmenter(size):
            witness = ["--segmenter", str(at.model(REAL, study.seeds[0]))]
            waits.append(self.train_id(REAL, fold, study.seeds[0]))
        if arm.painted == "unlabelled":
            sizes += ["--contoured-by", str(at.model(REAL, study.seeds[0]))]
        if arm.painted:
            first = next(one for one in study.all_arms if one.painted == arm.painted)  # whose bank trains the painter
            if at.bank_name(first) != at.bank_name(arm):
                waits.append(self._bank_id(first, fold))
            elif arm.painted == "unlabelled":
                waits.append(self.train_id(REAL, fold, study.seeds[0]))
        command = fixed("synthaug", "bank", *which, *sizes, "--source", arm.source, *witness, "--allow-fewer", "-device", study.device)
        bank = at.bank(arm, fold)
        step = Step(
            self._bank_id(arm, fold),
            f"bank of {at.bank_name(arm)}, fold {fold}",
            self._bank_settings(arm, fold),
            lambda: any(bank.glob("manifest_*.json")),
            (*self._needs, *waits),
            partial(at.show, arm),
            command,
            at.arm_environment(arm, at.generators),
            heavy=True,
        )
        return [*generator, step]

    def _generator(self, fold: int) -> Step:
        at, wanted = self.at, self.study.generator
        folder = at.generator(fold)
        settings = self._data | {"generator": self._generator_settings(), "fold": fold}
        name, title = f"generator_{wanted.name}_fold_{fold}", f"generator {wanted.name}, fold {fold}"
        done = (folder / GENERATOR_META).is_file
        needs: tuple[str, ...] = self._needs[1:]
        if wanted.pretrain != "none" and fold != self.study.folds[0]:  # the folds share what the first one pretrains
            needs = (*needs, f"generator_{wanted.name}_fold_{self.study.folds[0]}")
        if wanted.folder is not None:
            return Step(name, title, settings, done, needs, partial(self._take_generator, wanted.folder / f"fold_{fold}", folder, fold))
        options = ["--preset", wanted.preset, "--pretrain", wanted.pretrain, "--seed", str(wanted.seed)]
        options += [part for one in wanted.set_ for part in ("--set", one)]
        options += ["--contoured-only"] if wanted.contoured_only else []
        if wanted.segmenter:
            options += ["--segmenter", str(at.model(REAL, self.study.seeds[0]))]
            needs = (*needs, self.train_id(REAL, fold, self.study.seeds[0]))
        command = fixed("synthaug", "fit", "-d", number(at), "-f", str(fold), *options, "-device", self.study.device, "--no-report")
        environment = at.environment(results=at.generators)
        return Step(name, title, settings, done, needs, command=command, environment=environment, heavy=True)

    def _take_generator(self, source: Path, folder: Path, fold: int) -> None:
        refuse_foreign(source, self.at.raw, self.at.splits, fold)
        if not folder.is_dir():
            with atomic_folder(folder) as temporary:
                shutil.copytree(source, temporary, dirs_exist_ok=True)

    def train_id(self, arm: Arm, fold: int, seed: int) -> str:
        """The id of the step that trains one arm on one fold with one seed."""
        return f"train_{self.at.run_name(arm)}_fold_{fold}_seed_{seed}"

    def train(self, arm: Arm, fold: int, seed: int) -> Step:
        """nnU-Net's training and validation; continued from its checkpoint if there is one."""
        at = self.at
        folder = at.model(arm, seed) / f"fold_{fold}"
        words = [number(at), self.study.plans.configuration, str(fold), "-tr", arm.trainer, "-p", PLANS]
        words += ["-device", self.study.device]

        needs = [self._bank_id(arm, fold)] if arm.source else []

        def command(attempt: int) -> list[str]:
            # With --c nnU-Net starts afresh where there is no checkpoint, and a cluster's queue may start this command twice.
            return ["python", "-m", "nnunet_synth_aug.nnunet.seeded", str(seed), str(attempt), *words, "--c"]

        def prepare() -> None:
            at.show(arm)
            for path in folder.glob("checkpoint_*.pth"):
                if not zipfile.is_zipfile(path):  # killed while nnU-Net wrote it
                    path.unlink()

        return Step(
            self.train_id(arm, fold, seed),
            f"train {arm.name}, fold {fold}, seed {seed}",
            self.run_settings(arm, fold, seed),
            (folder / "validation" / "summary.json").is_file,
            (*self._needs, *needs),
            prepare,
            command,
            at.arm_environment(arm, at.results(arm, seed)),
            heavy=True,
        )

    def predict(self, arm: Arm, fold: int, seed: int, test: TestSet) -> Step:
        """Predictions of a test set by one fold's network."""
        at = self.at
        images, out = at.test_images(test), at.predictions(arm, seed, test.name) / f"fold_{fold}" / "validation"
        model = ["-d", number(at), "-c", self.study.plans.configuration, "-f", str(fold), "-tr", arm.trainer, "-p", PLANS]
        # On a CPU the network is what one waits for, and processes beside it only take from its cores.
        beside = "0" if self.study.device == "cpu" else process_count(3)
        run = ["-device", self.study.device, "-npp", beside, "-nps", beside]
        return Step(
            f"predict_{test.name}_{at.run_name(arm)}_fold_{fold}_seed_{seed}",
            f"predict {test.name} with {arm.name}, fold {fold}, seed {seed}",
            self.run_settings(arm, fold, seed) | {"test": plain(test)},
            lambda: {case.removesuffix("_0000") for case in cases_in(images)} == set(cases_in(out)),
            (self.train_id(arm, fold, seed), f"test_{test.name}"),
            partial(at.show, arm),
            fixed("nnUNetv2_predict", "-i", str(images), "-o", str(out), *model, *run),
            at.arm_environment(arm, at.results(arm, seed)),
            heavy=True,
        )
