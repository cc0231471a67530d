"""The folder of one study: what lies where, and which of nnU-Net's folders a command sees.

::

    OUT/nnunet/nnUNet_raw, nnUNet_preprocessed      the dataset, its split, plans and preprocessed cases: shared by all runs
    OUT/generators/NAME/                            nnUNet_results of the generator's commands
    OUT/views/BANK/                                 nnUNet_preprocessed that shows the shared data beside one kind of bank
    OUT/runs/ARM/seed_S/                            nnUNet_results of the trainings; own folders keep seeds apart
    OUT/runs/ARM/seed_S/tests/TEST/                 predictions of a test set, laid out like results
    OUT/tests/                                      the test sets
    OUT/steps, OUT/logs                             what is finished, with its settings; what the commands printed
    OUT/report/                                     what the study ends with
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evaluation.benchmark.study import Arm, Study, TestSet
from nnunet_synth_aug.core.files import hash_json
from nnunet_synth_aug.core.paths import dataset_name

#: Name of the plans copy that every run trains with, or a copy of it.
PLANS = "nnUNetPlansStudy"
TRAIN_ID, TEST_ID = 901, 911
#: What the importing commands call their datasets.
NAMES = {"acdc": "ACDC", "mnms": "MNMs", "mnms2": "MNMs2", "phantom": "Phantom", "sunnybrook": "Sunnybrook"}


@dataclass(frozen=True)
class Workspace:
    """Paths and environments of one study."""

    out: Path  # absolute
    study: Study

    @property
    def dataset(self) -> str:
        """Folder name of the dataset that is trained on."""
        data = self.study.data
        return dataset_name(str(data.dataset)) if data.source == "nnunet" else f"Dataset{TRAIN_ID}_{NAMES[data.source]}"

    @property
    def raw(self) -> Path:
        """The dataset in the nnUNet_raw of the study."""
        return self.out / "nnunet" / "nnUNet_raw" / self.dataset

    @property
    def preprocessed(self) -> Path:
        """The dataset in the nnUNet_preprocessed of the study."""
        return self.out / "nnunet" / "nnUNet_preprocessed" / self.dataset

    @property
    def splits(self) -> Path:
        """The file of its folds."""
        return self.preprocessed / "splits_final.json"

    def _named(self, arm: Arm, name: str) -> str:
        """With the generator's name, and whether a segmenter checked the bank: such banks and runs may lie side by side."""
        if not arm.needs_generator:
            return name
        checked = "-checked" if arm.checked_by_segmenter(self.study.bank) else ""
        return f"{name}-{self.study.generator.name}{checked}"

    def bank_name(self, arm: Arm) -> str:
        """Which bank an arm draws from."""
        shown = [*([arm.render] if arm.render != "decoder" else []), *([f"{arm.looks}{arm.looks_of}"] if arm.looks else [])]
        return self._named(arm, "_".join([arm.source, *shown]))

    def run_name(self, arm: Arm) -> str:
        """What files call the arm."""
        return self._named(arm, arm.name)

    def view(self, arm: Arm) -> Path:
        """The preprocessed data that an arm's commands see."""
        return self.out / "views" / self.bank_name(arm) / self.dataset if arm.source else self.preprocessed

    def show(self, arm: Arm) -> None:
        """Fill the view with links to the shared data."""
        if arm.source:
            view = self.view(arm)
            view.mkdir(parents=True, exist_ok=True)
            for entry in self.preprocessed.iterdir():
                if not (link := view / entry.name).is_symlink():
                    link.symlink_to(entry)

    @property
    def generators(self) -> Path:
        """nnUNet_results of the commands that train and sample the generator."""
        return self.out / "generators" / self.study.generator.name

    def generator(self, fold: int) -> Path:
        """The folder of the generator of one fold."""
        return self.generators / self.dataset / "synth_aug_generator" / f"fold_{fold}"

    def bank(self, arm: Arm, fold: int) -> Path:
        """The folder of the bank of one arm and fold."""
        return self.view(arm) / "synth_aug" / f"fold_{fold}"

    def results(self, arm: Arm, seed: int) -> Path:
        """nnUNet_results of one arm and seed."""
        return self.out / "runs" / self.run_name(arm) / f"seed_{seed}"

    def _model(self, arm: Arm) -> Path:
        return Path(self.dataset, f"{arm.trainer}__{PLANS}__{self.study.plans.configuration}")

    def model(self, arm: Arm, seed: int) -> Path:
        """nnU-Net's results folder of one arm and seed, with ``fold_K`` in it."""
        return self.results(arm, seed) / self._model(arm)

    def predictions(self, arm: Arm, seed: int, test: str) -> Path:
        """The same of a test set: ``fold_K/validation`` holds what fold K's network predicts for it."""
        return self.results(arm, seed) / "tests" / test / self._model(arm)

    def test_root(self, test: TestSet) -> Path:
        """nnU-Net's folders of an imported test set; tests on vendors of one import share them."""
        content = [test.source, str(test.folder), test.hearts, test.seed, *filter(None, [test.protocols])]
        return self.out / "tests" / f"{test.source}-{hash_json(content)[:8]}"

    def test_raw(self, test: TestSet) -> Path:
        """The raw dataset that a test set is taken from."""
        if test.source == "nnunet":
            from nnunet_synth_aug.core.paths import raw_folder

            return raw_folder(dataset_name(str(test.dataset)))
        return self.test_root(test) / "nnUNet_raw" / f"Dataset{TEST_ID}_{NAMES[test.source]}"

    def test_images(self, test: TestSet) -> Path:
        """Links to the images of its chosen cases."""
        return self.out / "tests" / test.name / "images"

    def environment(self, preprocessed: Path | None = None, results: Path | None = None) -> dict[str, str]:
        """What a command's environment has beyond this process's: nnU-Net's folders, and process counts unless set."""
        root = self.out / "nnunet"
        cores = max(1, (os.cpu_count() or 1) // self.study.workers)
        defaults = {"nnUNet_def_n_proc": str(min(8, cores))}
        if self.study.device == "cpu":  # where the network, not the augmentation, is what one waits for
            defaults |= {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}
        return {k: v for k, v in defaults.items() if k not in os.environ} | {
            "nnUNet_raw": str(root / "nnUNet_raw"),
            "nnUNet_preprocessed": str(preprocessed or root / "nnUNet_preprocessed"),
            "nnUNet_results": str(results or root / "nnUNet_results"),
        }

    def arm_environment(self, arm: Arm, results: Path) -> dict[str, str]:
        """Of the commands of one arm, which see its own bank."""
        return self.environment(self.view(arm).parent, results)

    def test_environment(self, test: TestSet) -> dict[str, str]:
        """Of a test set's import."""
        root = self.test_root(test)
        return self.environment() | {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
