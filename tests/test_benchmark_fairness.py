"""Arms that were not trained alike are refused, from what nnU-Net recorded of them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmark.fairness import check_fair
from evaluation.benchmark.study import REAL, Data, Study, TestSet, Training, parse_arm
from evaluation.benchmark.workspace import PLANS, Workspace
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json

TestSet.__test__ = False  # type: ignore[attr-defined]  # no test class
STUDY = Study("test", Data("phantom", hearts=8), ("real", "mix50"), training=Training(2, 10), folds=(0, 1))
ARM = parse_arm("mix50")
SPLITS = [{"train": ["a_ED", "b_ED"], "val": ["c_ED"]}, {"train": ["a_ED", "c_ED"], "val": ["b_ED"]}]


def train(at: Workspace, arm, fold: int) -> None:
    """What nnU-Net leaves behind, as far as it is read."""
    model = at.model(arm, 0)
    lengths = {"epochs": 2, "iterations_per_epoch": 10, "val_iterations_per_epoch": 1}
    mixed = {"ratio": arm.percent / 100, "manifest_hash": arm.name, "generator_hash": None, "schedule": None}
    write_json(model / "plans.json", {"plans_name": PLANS, "configurations": {"2d": {"batch_size": 4}}, "synth_aug": lengths | mixed})
    write_json(model / "dataset.json", {"labels": {"background": 0, "LV": 3}})
    folder = model / f"fold_{fold}"
    synthetic = 80 * arm.percent // 100
    write_json(folder / "synth_aug.json", {"ratio": arm.percent / 100, "batches": 20, "samples": 80, "synthetic_samples": synthetic})
    (folder / "training_log_2026.txt").write_text("x\n2026: This split has 2 training and 1 validation cases.\n")
    (folder / "validation").mkdir()
    for case in SPLITS[fold]["val"]:
        (folder / "validation" / f"{case}.nii.gz").touch()


@pytest.fixture
def at(tmp_path) -> Workspace:
    workspace = Workspace(tmp_path, STUDY)
    write_json(workspace.splits, SPLITS)
    for arm in STUDY.all_arms:
        for fold in STUDY.folds:
            train(workspace, arm, fold)
    return workspace


def test_equal_trainings_pass_and_are_listed(at):
    rows = check_fair(STUDY, at)
    assert [(row["arm"], row["fold"], row["synthetic_samples"]) for row in rows] == [
        ("real", 0, 0),
        ("mix50", 0, 40),
        ("real", 1, 0),
        ("mix50", 1, 40),
    ]


def test_a_share_that_changes_must_be_the_arms(tmp_path):
    """As the trainer records it in the plans; anything else in them counts as before."""
    study = replace(STUDY, arms=("mix50to00",), folds=(0,))
    at = Workspace(tmp_path, study)
    write_json(at.splits, SPLITS)
    for arm in study.all_arms:
        train(at, arm, 0)
    plans = at.model(study.all_arms[1], 0) / "plans.json"
    with pytest.raises(UserError, match="share was to change in another way"):
        check_fair(study, at)
    change(plans, "synth_aug", "schedule", value={"to": 0.0, "shape": "linear"})
    assert [row["arm"] for row in check_fair(study, at)] == ["real", "mix50to00"]
    change(plans, "synth_aug", "schedule", value={"to": 0.1, "shape": "linear"})
    with pytest.raises(UserError, match="share was to change in another way"):
        check_fair(study, at)


def change(path: Path, *keys: str, value: Any) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    before = copy.deepcopy(place[keys[-1]])
    assert before != value
    place[keys[-1]] = value
    write_json(path, content)


@pytest.mark.parametrize(
    ("file", "keys", "value", "sentence"),
    [
        (
            "plans.json",
            ("configurations", "2d", "batch_size"),
            8,
            r"fold 0, seed 0: their plans differ \(configurations, 2d, batch_size was 4 and is 8\)",
        ),
        ("plans.json", ("synth_aug", "epochs"), 3, r"plans differ \(synth_aug, epochs"),
        ("dataset.json", ("labels", "LV"), 1, "their labels differ"),
        ("fold_1/synth_aug.json", ("batches",), 10, r"fold 1, seed 0: they were trained for 20 and 10 iterations where the plans say 20"),
        ("fold_1/synth_aug.json", ("samples",), 90, "they saw 80 and 90 samples"),
        ("fold_0/synth_aug.json", ("ratio",), 0.25, "25% of the samples were to be synthetic instead of 50 %"),
    ],
)
def test_what_differs_is_named(at, file, keys, value, sentence):
    change(at.model(ARM, 0) / file, *keys, value=value)
    with pytest.raises(UserError, match=f"mix50 and real cannot be compared in .*{sentence}"):
        check_fair(STUDY, at)


def test_another_split_is_noticed(at):
    fold = at.model(ARM, 0) / "fold_1"
    (fold / "validation" / "a_ED.nii.gz").touch()
    with pytest.raises(UserError, match="validated on are not those of the split"):
        check_fair(STUDY, at)
    (fold / "validation" / "a_ED.nii.gz").unlink()
    log = next(fold.glob("training_log_*.txt"))
    log.write_text("This split has 3 training and 1 validation cases.")
    with pytest.raises(UserError, match="nnU-Net counted 3 training cases and 2 in real, and the split has 2"):
        check_fair(STUDY, at)
    log.write_text("This split has 3 training and 1 validation cases.\nThis split has 2 training and 1 validation cases.")
    with pytest.raises(UserError, match="the split changed while"):
        check_fair(STUDY, at)
    assert at.model(REAL, 0) != at.model(ARM, 0)
