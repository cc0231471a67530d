"""Whether the trainings that are to be compared were alike but for what they mixed in: from what nnU-Net itself recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.benchmark.steps import difference
from evaluation.benchmark.study import REAL, Arm, Study
from evaluation.benchmark.workspace import Workspace
from evaluation.inputs.arms import without_mix
from evaluation.inputs.dataset import cases_in
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_object

_SPLIT = re.compile(r"This split has (\d+) training and (\d+) validation cases")


@dataclass(frozen=True)
class Record:
    """What one training left behind."""

    plans: dict[str, Any]  # without what arms must differ in
    labels: dict[str, Any]
    ratio: float
    until: float | None  # that the share goes to
    iterations: int  # counted from the batches
    samples: int
    synthetic_samples: int
    cases: tuple[int, int]  # training and validation cases that nnU-Net counted
    validated: frozenset[str]


def read_record(model: Path, fold: int) -> Record:
    """Read the folder ``TRAINER__PLANS__CONFIGURATION`` of a finished training.

    Raises:
        UserError: a file is missing or damaged.
    """
    plans, dataset = read_object(model / "plans.json"), read_object(model / "dataset.json")
    folder = model / f"fold_{fold}"
    exposure = read_object(folder / "synth_aug.json")
    schedule = plans.get("synth_aug", {}).get("schedule") or {}
    counts = [
        tuple(map(int, found))
        for log in sorted(folder.glob("training_log_*.txt"))
        for found in _SPLIT.findall(log.read_text(errors="replace"))
    ]
    if not counts:
        raise UserError(f"no training log in {folder} says how many cases were trained on; delete that folder and train again")
    if len(set(counts)) > 1:
        raise UserError(f"the split changed while {folder} was trained (cases for training and validation: {counts}); train it again")
    return Record(
        without_mix(plans),
        dataset.get("labels", {}),
        float(exposure["ratio"]),
        schedule.get("to"),
        int(exposure["batches"]),
        int(exposure["samples"]),
        int(exposure["synthetic_samples"]),
        (counts[0][0], counts[0][1]),
        frozenset(cases_in(folder / "validation")),
    )


def check_fair(study: Study, at: Workspace) -> list[dict[str, Any]]:
    """Refuse arms that differ in anything but what they mix in.

    Returns:
        one row per training: arm, fold, seed, iterations, samples, synthetic samples.

    Raises:
        UserError: an arm was trained for other iterations, with other plans, on another split or with another share than the study says.
    """
    splits = read_json(at.splits)
    rows = []
    for seed in study.seeds:
        for fold in study.folds:
            real = read_record(at.model(REAL, seed), fold)
            for arm in study.all_arms:
                record = read_record(at.model(arm, seed), fold)
                if why := unfair(real, record, arm, splits[fold]):
                    raise UserError(
                        f"{arm.name} and {REAL.name} cannot be compared in fold {fold}, seed {seed}: {why}; train {arm.name} again"
                    )
                rows.append(
                    {"arm": arm.name, "fold": fold, "seed": seed, "training_cases": record.cases[0], "iterations": record.iterations}
                    | {"samples": record.samples, "synthetic_samples": record.synthetic_samples}
                )
    return rows


def unfair(real: Record, other: Record, arm: Arm, split: dict[str, list[str]]) -> str:
    """Why two trainings are not comparable, in words; "" if they are."""
    if found := difference(real.plans, other.plans):
        return f"their plans differ ({found})"
    if real.labels != other.labels:
        return "their labels differ"
    lengths = other.plans["synth_aug"]
    planned = int(lengths["epochs"]) * int(lengths["iterations_per_epoch"])
    if {real.iterations, other.iterations} != {planned}:
        return f"they were trained for {real.iterations} and {other.iterations} iterations where the plans say {planned}"
    if real.samples != other.samples:
        return f"they saw {real.samples} and {other.samples} samples"
    if round(100 * other.ratio) != arm.percent:
        return f"{other.ratio:.0%} of the samples were to be synthetic instead of {arm.percent} %"
    if (None if other.until is None else round(100 * other.until)) != arm.until:
        return "the share was to change in another way than the arm says"
    sides = (len(split["train"]), len(split["val"]))
    if other.cases != sides or real.cases != sides:
        return f"nnU-Net counted {other.cases[0]} training cases and {real.cases[0]} in real, and the split has {sides[0]}"
    if other.validated != set(split["val"]) or real.validated != other.validated:
        return "the cases that they validated on are not those of the split"
    return ""
