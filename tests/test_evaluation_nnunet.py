"""nnU-Net itself reads and uses the summary.json that is written here."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.evaluation.accumulate_cv_results import accumulate_cv_results
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder, load_summary_json
from nnunetv2.evaluation.find_best_configuration import find_best_configuration
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from evaluation.evaluate import evaluate_folder
from evaluation.inputs.interop import parse_labels
from evaluation.scoring.table import METRICS
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti, write_json, write_nifti

DATASET, PLANS = "Dataset732_Scored", "nnUNetPlans"
MODEL = f"nnUNetTrainer__{PLANS}__2d"
LABELS = {"background": 0, "LV": 1, "myo": 2, "RV": 3}  # neither this package's order nor its case
VALIDATION = {0: ("patient003", "patient004"), 1: ("patient001", "patient002")}
SHAPE, SPACING = (26, 22, 5), (1.5, 1.5, 8.0)


@dataclass(frozen=True)
class Project:
    """nnU-Net's three folders; nothing in them was trained, but nnU-Net's evaluation cannot tell."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed" / DATASET

    @property
    def model(self) -> Path:
        return self.root / "nnUNet_results" / DATASET / MODEL


def heart(size: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:8, 5:15, 1:4] = LABELS["RV"]
    mask[8 : 12 + size, 4:16, 1:4] = LABELS["myo"]
    mask[9 : 11 + size, 5:15, 1:4] = LABELS["LV"]
    return mask


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A cross-validated model: the folds' predictions are the ground truth, moved; one of them lacks the RV."""
    project = Project(tmp_path)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    # nnU-Net's pools as threads: a spawned process would import torch for every call.
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: SimpleNamespace(Pool=ThreadPool))
    description = {"channel_names": {"0": "cine"}, "labels": LABELS, "numTraining": 8, "file_ending": ".nii.gz"}
    reader = {"image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager"}
    plans = {"dataset_name": DATASET, "plans_name": PLANS, **reader, "configurations": {"2d": {"architecture": {}}}}
    for path in (project.raw / "dataset.json", project.model / "dataset.json"):
        write_json(path, description)
    for path in (project.preprocessed / f"{PLANS}.json", project.model / "plans.json"):
        write_json(path, plans)
    val = [[f"{p}_{phase}" for p in VALIDATION[fold] for phase in ("ED", "ES")] for fold in (0, 1)]
    splits = [{"train": val[1 - fold], "val": val[fold]} for fold in (0, 1)]
    write_json(project.preprocessed / "splits_final.json", splits)
    for fold, split in enumerate(splits):
        for number, case in enumerate(split["val"]):
            mask = heart(8 - number)
            moved = np.roll(mask, 1 + fold, axis=0)
            if case == "patient001_ES":
                moved[moved == LABELS["RV"]] = 0
            for folder in (project.raw / "labelsTr", project.preprocessed / "gt_segmentations"):
                write_nifti(folder / f"{case}.nii.gz", mask, SPACING)
            write_nifti(project.model / f"fold_{fold}" / "validation" / f"{case}.nii.gz", moved, SPACING)
    return project


def same(mine: dict, theirs: dict) -> None:
    """Every number that nnU-Net writes is in ours, equal to the last bit."""
    assert mine["foreground_mean"] | theirs["foreground_mean"] == pytest.approx(mine["foreground_mean"], nan_ok=True, rel=1e-14)
    assert set(mine["mean"]) == set(theirs["mean"])
    for label, values in theirs["mean"].items():
        assert {m: mine["mean"][label][m] for m in values} == pytest.approx(values, nan_ok=True, rel=1e-14)
    cases = {Path(case["prediction_file"]).name: case["metrics"] for case in mine["metric_per_case"]}
    assert len(cases) == len(theirs["metric_per_case"])
    for case in theirs["metric_per_case"]:
        for label, values in case["metrics"].items():
            found = cases[Path(case["prediction_file"]).name][label]
            np.testing.assert_equal({m: found[m] for m in values}, values)
            assert set(METRICS) <= set(found)


def test_summary_is_a_superset_of_nnunets(project: Project) -> None:
    validation = project.model / "fold_1" / "validation"
    theirs = compute_metrics_on_folder(
        str(project.raw / "labelsTr"), str(validation), None, SimpleITKIO(), ".nii.gz", [1, 2, 3], num_processes=1
    )
    result = evaluate_folder(validation, project.root / "out")  # ground truth, labels and patients are found through nnU-Net's folders
    same(load_summary_json(str(project.root / "out" / "summary.json")), theirs)
    assert set(result.table["fold"]) == {"1"}
    assert set(result.table["patient"]) == set(VALIDATION[1])
    assert set(result.table["model"]) == {MODEL}
    assert result.failures["structure"].tolist() == ["RV"]
    regions = parse_labels("EPI=1+2,RV=3")
    evaluate_folder(validation, project.root / "regions", labels=regions)
    theirs = compute_metrics_on_folder(
        str(project.raw / "labelsTr"), str(validation), None, SimpleITKIO(), ".nii.gz", [(1, 2), 3], num_processes=1
    )
    same(load_summary_json(str(project.root / "regions" / "summary.json")), theirs)


def test_ignore_label(project: Project) -> None:
    gt = project.root / "gt"
    for path in sorted((project.model / "fold_0" / "validation").glob("*.nii.gz")):
        mask, spacing, affine = read_nifti(project.raw / "labelsTr" / path.name)
        mask[10:14, 2:18] = 4
        write_nifti(gt / path.name, mask, spacing, affine=affine)
    (gt / "dataset.json").write_text(json.dumps({"labels": {**LABELS, "ignore": 4}, "file_ending": ".nii.gz"}))
    folder = str(project.model / "fold_0" / "validation")
    theirs = compute_metrics_on_folder(str(gt), folder, None, SimpleITKIO(), ".nii.gz", [1, 2, 3], ignore_label=4, num_processes=1)
    evaluate_folder(Path(folder), project.root / "out", gt=gt)
    same(load_summary_json(str(project.root / "out" / "summary.json")), theirs)


def test_find_best_configuration_works_on_it(project: Project) -> None:
    merged = project.model / "crossval_results_folds_0_1"
    accumulate_cv_results(str(project.model), str(merged), (0, 1), num_processes=1)
    theirs = load_summary_json(str(merged / "summary.json"))
    result = evaluate_folder(merged, project.root / "out")
    assert set(result.table["fold"]) == {"0", "1"}
    shutil.copy(project.root / "out" / "summary.json", merged / "summary.json")
    accumulate_cv_results(str(project.model), str(merged), (0, 1), num_processes=1, overwrite=False)  # leaves a summary that is there
    kept = load_summary_json(str(merged / "summary.json"))
    same(kept, theirs)
    assert "synthaug" in kept
    models = [{"plans": PLANS, "configuration": "2d", "trainer": "nnUNetTrainer"}]
    best = find_best_configuration(DATASET, models, allow_ensembling=False, num_processes=1, overwrite=False, folds=(0, 1))
    assert best["all_results"] == {MODEL: pytest.approx(theirs["foreground_mean"]["Dice"])}


def test_summaries_are_read(project: Project) -> None:
    """nnU-Net's own summary, of predictions that are gone: Dice and IoU; ours gives everything back."""
    validation = project.model / "fold_1" / "validation"
    compute_metrics_on_folder(
        str(project.raw / "labelsTr"),
        str(validation),
        str(validation / "summary.json"),
        SimpleITKIO(),
        ".nii.gz",
        [1, 2, 3],
        num_processes=1,
    )
    full = evaluate_folder(validation, project.root / "full")
    shutil.copy(project.root / "full" / "summary.json", project.model / "fold_1" / "all.json")
    for path in validation.glob("*.nii.gz"):
        path.unlink()
    read = evaluate_folder(validation / "summary.json", project.root / "read")
    assert set(read.table["metric"]) == {"Dice", "IoU"}
    keys = ["patient", "phase", "structure", "metric"]
    expected = full.table.set_index(keys)["value"]
    for _, row in read.table.iterrows():
        np.testing.assert_equal(row["value"], expected[tuple(row[k] for k in keys)])
    assert read.failures[["structure", "failure"]].to_numpy().tolist() == full.failures[["structure", "failure"]].to_numpy().tolist()
    with pytest.raises(UserError, match=r"has no '7' for RV"):
        evaluate_folder(validation / "summary.json", project.root / "wrong", labels=parse_labels("RV=7"))
    (validation / "summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"is not nnU-Net's summary.json"):
        evaluate_folder(validation / "summary.json", project.root / "wrong")


def test_an_unfinished_fold_is_named(project: Project) -> None:
    next((project.model / "fold_0" / "validation").glob("*_ES.nii.gz")).unlink()
    with pytest.raises(UserError, match=r"no prediction for 1 of 8 cases: patient003_ES"):
        evaluate_folder(project.model, project.root / "out")
    assert (
        evaluate_folder(project.model, project.root / "out", allow_missing=True).failures["failure"].value_counts()["prediction missing"]
        == 3
    )
