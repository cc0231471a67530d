"""The steps that all runs of a study share: dataset, split, plans, preprocessed cases, test sets."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.benchmark.patients import (
    chosen_cases,
    link_test_cases,
    restricted_splits,
    silent_patients,
    trained_cases,
    write_restricted,
)
from evaluation.benchmark.processes import process_count
from evaluation.benchmark.steps import Step, fixed, nothing, plain
from evaluation.benchmark.study import Data, Study, TestSet
from evaluation.benchmark.workspace import PLANS, TEST_ID, TRAIN_ID, Workspace
from evaluation.inputs.dataset import cases_in
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.paths import preprocessed_folder, raw_folder

_SOURCE = ("source", "dataset", "folder", "hearts", "seed", "prior", "splits", "unlabelled_folder")


def number(at: Workspace) -> str:
    """The dataset's number for ``-d``."""
    return str(int(at.dataset[7:10]))


def data_steps(study: Study, at: Workspace) -> list[Step]:
    """The dataset, and the split if it is restricted; the last one is what training depends on."""
    data = study.data
    settings = {"data": {k: v for k, v in plain(data).items() if k in _SOURCE}}
    if data.source == "nnunet":
        _refuse_incomplete(study, at)
        taken = at.splits.is_file if _has_split(at) else (at.raw / "dataset.json").is_file
        steps = [Step("dataset", f"take {at.dataset}", settings, taken, prepare=partial(_take, study, at))]
        if not _has_split(at):
            command = fixed("synthaug", "split", "-d", number(at), "--folds", str(data.splits))
            steps.append(Step("folds", "folds by patient", settings, at.splits.is_file, ("dataset",), nothing, command, at.environment()))
    else:
        words = [*_import_words(data, TRAIN_ID), "--folds", str(data.splits)]
        clean = partial(_clean, at.raw, at.preprocessed)
        done = (at.raw / "cohort.json").is_file
        steps = [Step("dataset", f"dataset from {data.source}", settings, done, (), clean, fixed(*words), at.environment())]
    if data.restricted:
        full = at.out / "nnunet" / "splits_full.json"
        restrict = partial(write_restricted, data, at.raw, full, at.splits)
        steps.append(Step("split", "training patients of every fold", {"data": plain(data)}, full.is_file, (steps[-1].id,), restrict))
    return steps


def _refuse_incomplete(study: Study, at: Workspace) -> None:
    """Refuse what an existing dataset lacks, before anything is made."""
    raw, splits = raw_folder(at.dataset), preprocessed_folder(at.dataset) / "splits_final.json"
    if not (raw / "dataset.json").is_file():
        raise UserError(f"{raw} is no nnU-Net dataset (dataset.json is missing); give another for data.dataset")
    n = len(read_json(splits)) if splits.is_file() else study.data.splits
    if beyond := [fold for fold in study.folds if fold >= n]:
        whose = splits if splits.is_file() else f"a split by patient into {n} (data.splits)"
        raise UserError(f"folds: {beyond[0]} is out of range; {whose} holds the folds 0 to {n - 1}")
    if study.data.restricted and splits.is_file():
        restricted_splits(study.data, raw, splits)


def _has_split(at: Workspace) -> bool:
    """Whether the user's dataset has folds; a study makes its own by patient where it has none, and keeps them."""
    return (preprocessed_folder(at.dataset) / at.splits.name).is_file() and not (at.out / "steps" / "folds.json").is_file()


def _refuse_test(test: TestSet, at: Workspace) -> None:
    """Refuse an existing dataset as a test set if nothing can be tested on it, or if it is the one that is trained on."""
    raw, data = at.test_raw(test), at.study.data
    masks = cases_in(raw / "labelsTs") or cases_in(raw / "labelsTr")
    chosen_cases(raw, masks, test.vendors)
    apart = data.vendors and test.vendors and not set(data.vendors).intersection(test.vendors)
    if data.source == "nnunet" and raw == raw_folder(at.dataset) and not cases_in(raw / "labelsTs") and not apart:
        raise UserError(
            f"tests, {test.name}: {raw} is the dataset that is trained on and keeps no cases in labelsTs; leave this test set out (a study "
            "validates on each fold's patients anyway), or give data and test set different vendors"
        )


def _take(study: Study, at: Workspace) -> None:
    """Link the raw data and copy what the user's preprocessed folder says about them; nothing is written there."""
    own = preprocessed_folder(at.dataset)
    at.raw.parent.mkdir(parents=True, exist_ok=True)
    if not at.raw.is_symlink():
        at.raw.symlink_to(raw_folder(at.dataset).resolve())
    at.preprocessed.mkdir(parents=True, exist_ok=True)
    for name in ("dataset.json", "dataset_fingerprint.json", f"{study.plans.base}.json", "splits_final.json"):
        if (own / name).is_file():
            shutil.copyfile(own / name, at.preprocessed / name)


def planning_steps(study: Study, at: Workspace) -> list[Step]:
    """nnU-Net's plans (unless the dataset brings them), the study's copy of them, and the preprocessed cases."""
    d, plans, environment = number(at), study.plans, at.environment()
    source = {"data": {k: v for k, v in plain(study.data).items() if k in _SOURCE}}
    steps: list[Step] = []
    base = at.preprocessed / f"{plans.base}.json"
    if study.data.source != "nnunet" or not (preprocessed_folder(at.dataset) / base.name).is_file():
        if plans.base != "nnUNetPlans":
            raise UserError(f"plans, base: {plans.base} does not exist for {at.dataset}; plan it with nnU-Net first, or leave base out")
        found = (at.preprocessed / "dataset_fingerprint.json").is_file
        command = fixed("nnUNetv2_extract_fingerprint", "-d", d, "-np", process_count(8))
        steps.append(Step("fingerprint", "fingerprint", source, found, ("dataset",), command=command, environment=environment, heavy=True))
        command = fixed("nnUNetv2_plan_experiment", "-d", d)
        steps.append(Step("plan", "plan", source, base.is_file, ("fingerprint",), command=command, environment=environment))
    options = [part for k, v in _changes(study).items() for part in (f"--{k}", str(v))]
    command = fixed("synthaug", "plans", "-d", d, "--name", PLANS, "--base", plans.base, *options)
    settings = source | {"plans": plain(plans)}
    written = (at.preprocessed / f"{PLANS}.json").is_file
    needs = (steps[-1].id if steps else "dataset",)
    with_lengths = settings | {"training": plain(study.training)}
    steps.append(Step("plans", "plans of the study", with_lengths, written, needs, command=command, environment=environment))
    command = fixed("nnUNetv2_preprocess", "-d", d, "-plans_name", PLANS, "-c", plans.configuration, "-np", process_count(8))
    done = (at.preprocessed / "gt_segmentations").is_dir
    steps.append(Step("preprocess", "preprocess", settings, done, ("plans",), command=command, environment=environment, heavy=True))
    return steps


def _changes(study: Study) -> dict[str, Any]:
    """Options of ``synthaug plans`` that the study sets."""
    network = {k: v for k, v in plain(study.plans).items() if k not in ("base", "configuration") and v is not None}
    return network | _lengths(study)


def _lengths(study: Study) -> dict[str, Any]:
    return {k.replace("_", "-"): v for k, v in plain(study.training).items() if v is not None}


def test_steps(test: TestSet, at: Workspace, last_of_data: str) -> list[Step]:
    """The import of a test set, if it needs one, and the choice of its cases, which must know who is trained on."""
    raw, images, root = at.test_raw(test), at.test_images(test), at.test_root(test)
    steps: list[Step] = []
    if test.source == "nnunet":
        _refuse_test(test, at)
    else:
        settings = {"test": {k: v for k, v in plain(test).items() if k not in ("name", "vendors")}}
        # The number of folds is of no consequence; two is what any data set of two patients allows.
        words = [*_import_words(test, TEST_ID), *([] if test.source == "sunnybrook" else ["--folds", "2"])]
        clean = partial(_clean, raw, root / "nnUNet_preprocessed" / raw.name)
        title, done = f"test data from {test.source}", (raw / "cohort.json").is_file
        steps.append(Step(f"import_{root.name}", title, settings, done, (), clean, fixed(*words), at.test_environment(test)))

    def link() -> None:
        silent = silent_patients(at.raw, at.splits, at.study.folds)
        link_test_cases(raw, test.vendors, at.raw, trained_cases(at.splits, at.study.folds), images, silent)

    needs = (last_of_data, *(step.id for step in steps))
    steps.append(Step(f"test_{test.name}", f"cases of {test.name}", {"test": plain(test)}, lambda: bool(cases_in(images)), needs, link))
    return steps


def _import_words(source: Data | TestSet, dataset_id: int) -> list[str]:
    if source.source == "phantom":
        words = ["synthaug", "phantom", "-d", str(dataset_id), "-n", str(source.hearts), "--seed", str(source.seed)]
        if isinstance(source, TestSet):
            return [*words, "--stills", *(["--protocols", source.protocols] if source.protocols else [])]
        return [*words, *(word for text in source.prior or () for word in ("--prior", text))]
    silent = source.unlabelled_folder if isinstance(source, Data) else None
    more = [] if silent is None else ["--unlabelled", str(silent)]
    return ["synthaug", "import", source.source, str(source.folder), "-d", str(dataset_id), *more]


def _clean(raw: Path, preprocessed: Path) -> None:
    """Remove what an import left that was killed: partial folders, and a split without its dataset."""
    for folder in (raw.parent, preprocessed.parent):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".partial-*"):
            shutil.rmtree(left, ignore_errors=True)
    if not raw.is_dir():
        shutil.rmtree(preprocessed, ignore_errors=True)
