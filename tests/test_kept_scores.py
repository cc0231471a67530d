"""Scores that are kept in small tables say what the predictions themselves say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from evaluation_study import SPACING, heart
from hearts import lacking, needed, steps_of
from hearts import study as hearts_study
from kept_scores import SHOWN, differences, keep, trainings

from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.study import VALIDATION, GeneratorSettings, parse_arm
from evaluation.benchmark.workspace import Workspace
from evaluation.compare import evaluate
from evaluation.inputs.scores import read_sources
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.files import write_json, write_nifti

ARMS, SEEDS = ("real", "copies50to00"), (0, 1)
EVERY = [(parse_arm(name), seed) for name in ARMS for seed in SEEDS]


class Trained:
    """Predictions of two arms and two seeds for two test sets, as a study's workspace says where they are."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.raw = self.test_raw(SimpleNamespace(name=VALIDATION))
        for test in (VALIDATION, "others"):
            raw = self.test_raw(SimpleNamespace(name=test))
            labels = {"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}, "file_ending": ".nii.gz"}
            cases = {f"{test}{i}": heart(6 + i) for i in range(3)}
            write_json(raw / "dataset.json", labels)
            # Of the last patient of the others the LV alone is contoured.
            subjects: list[dict[str, Any]] = [{"patient": case, "cases": {"ED": f"{case}_ED"}} for case in cases]
            subjects[-1] |= {"annotated": ["LV"]} if test == "others" else {}
            write_json(raw / "cohort.json", {"subjects": subjects})
            for n, (case, mask) in enumerate(cases.items()):
                write_nifti(raw / "labelsTr" / f"{case}_ED.nii.gz", mask, SPACING)
                for arm in ARMS:
                    for seed in SEEDS:
                        folder = self._folder(arm, seed, test)
                        said = np.roll(mask, n + seed + (arm == "real"), axis=0)
                        said[:2, :2, 0] = 3  # an island
                        said[said == 1] *= not (n == 0 and arm == "real")  # a structure that was not found
                        write_nifti(folder / "fold_0" / "validation" / f"{case}_ED.nii.gz", said, SPACING)
                        write_json(folder / "dataset.json", labels)

    def _folder(self, arm: str, seed: int, test: str) -> Path:
        return self._root / "runs" / arm / f"seed_{seed}" / test / "nnUNetTrainer__nnUNetPlans__2d"

    def environment(self) -> dict[str, str]:
        return {}

    def test_raw(self, test: Any) -> Path:
        return self._root / f"Dataset{27 + len(test.name):03d}_{test.name}"

    def model(self, arm: Any, seed: int) -> Path:
        return self._folder(arm.name, seed, VALIDATION)

    def predictions(self, arm: Any, seed: int, test: str) -> Path:
        return self._folder(arm.name, seed, test)


@pytest.mark.parametrize("largest_heart", [False, True])
def test_tables_of_trainings_give_the_differences_of_their_masks(tmp_path: Path, largest_heart: bool) -> None:
    at: Any = Trained(tmp_path)
    study: Any = SimpleNamespace(all_arms=[parse_arm(name) for name in ARMS], seeds=SEEDS, tests=(SimpleNamespace(name="others"),))
    keep(study, at, tmp_path / "scores", EVERY)
    assert trainings(tmp_path / "scores") == {name: set(SEEDS) for name in ARMS}
    found = differences(tmp_path / "scores", pooled={"elsewhere": ["others"]})

    rules = ScoringRules(largest_heart=largest_heart)
    sources = {name: [at.predictions(parse_arm(name), seed, "others") for seed in SEEDS] for name in ARMS}
    [direct] = evaluate(read_sources(sources, rules, dataset=at.test_raw(SimpleNamespace(name="others"))))
    expected = direct.summary.loc[direct.summary["metric"].isin(["Dice", "HD"]), SHOWN].set_index(["structure", "metric"])
    for name in ("others", "elsewhere"):
        one = found[f"{name}{' without islands' * largest_heart}"][ARMS[1]]
        assert one["seeds"] == list(SEEDS)
        rows = {(row["structure"], row["metric"]): row for row in one["rows"]}
        assert rows.keys() == set(expected.index)
        for key, row in rows.items():
            for value in ("n", "baseline_mean", "augmented_mean", "difference"):
                assert row[value] == pytest.approx(expected.loc[key, value], abs=2e-3, nan_ok=True)


def test_an_arm_is_compared_over_the_seeds_that_it_shares_with_real(tmp_path: Path) -> None:
    at: Any = Trained(tmp_path)
    study: Any = SimpleNamespace(all_arms=[parse_arm(name) for name in ARMS], seeds=SEEDS, tests=(SimpleNamespace(name="others"),))
    keep(study, at, tmp_path / "scores", EVERY)
    (tmp_path / "scores" / "copies50to00_seed_1.csv").unlink()
    assert differences(tmp_path / "scores")["pooled"]["copies50to00"]["seeds"] == [0]
    assert lacking(study, at, tmp_path / "scores") == [(parse_arm("copies50to00"), 1)]


def test_only_what_has_no_scores_is_trained(tmp_path: Path) -> None:
    generator = GeneratorSettings(name="tiny", preset="tiny")
    one = hearts_study("S2", tmp_path, "now", ("copies50to00", "mix_donor50to00"), SEEDS, generator, tests=())
    at = Workspace(tmp_path / "S2", one)
    steps = build_steps(one, at)
    assert needed(steps, steps_of(steps, at, lacking(one, at, tmp_path / "scores"))) == steps
    rest = {step.id for step in needed(steps, steps_of(steps, at, [(parse_arm("copies50to00"), 1)]))}
    made = {name for name in rest if name.startswith(("train_", "bank_", "generator_"))}
    assert made == {"bank_copies_fold_0", "train_copies50to00_fold_0_seed_1"}
    assert "preprocess" in rest
    assert needed(steps, steps_of(steps, at, [])) == []
