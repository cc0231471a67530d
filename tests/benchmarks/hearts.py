"""Do generated hearts help nnU-Net? Studies S1 and S2 of docs/results/hearts.md, which has their plan.

    python tests/benchmarks/hearts.py S2 --acdc ACDC --mnms MNMS_RAW --out FOLDER [--arms mix_donor50to00 ...] [--seeds 0]

ACDC is a folder as ``synthaug import acdc`` takes it, MNMS_RAW a raw data set of nnU-Net with test patients of other scanners. The same
command goes on after a kill. With more arms or seeds it adds them. ``--only generator`` ends when the generator is trained.
FOLDER/hearts_S2.json gets the differences from real only: on ACDC, on M&Ms, and on both together. With ``--control`` (see
hearts_controls.py) rendered hearts of the same generator have something taken away, and the file is FOLDER/hearts_S2_request.json.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from cpu_size import OTHERS, SIZES

from evaluation.benchmark.conclude import conclude
from evaluation.benchmark.executors import LocalExecutor
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import Runner
from evaluation.benchmark.steps import Step, fixed
from evaluation.benchmark.study import (
    REAL,
    VALIDATION,
    BankSettings,
    Data,
    GeneratorSettings,
    PlansSettings,
    Study,
    TestSet,
    Training,
)
from evaluation.benchmark.workspace import Workspace
from evaluation.compare import evaluate
from evaluation.inputs.scores import read_sources
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import write_json

#: The arms beside real only, in the order in which they are run.
ARMS: tuple[str, ...] = ("mix_donor50to00", "copies50to00", "mix+phantom_donor_3looks50to00", "copies+phantom_3looks50to00")
ARMS += ("mix+phantom_donor50to00", "copies+phantom50to00", "mix50to00")
#: Who trains: two patients of each group, or six normal ones.
PATIENTS: dict[str, dict[str, Any]] = {"S1": {"per_group": 2}, "S2": {"diagnoses": ("NOR",), "per_group": 6}}
SHOWN = ["structure", "metric", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "p_holm"]


def study(name: str, acdc: Path, size: str, arms: tuple[str, ...], seeds: tuple[int, ...], generator: GeneratorSettings) -> Study:
    """One of both studies; all patients of ACDC that do not train are tested."""
    spacing, patch, batch, stages = SIZES[size]
    return Study(
        f"Do generated hearts help? {name}",
        Data("acdc", folder=acdc, test_unused=True, **PATIENTS[name]),
        arms=arms,
        plans=PlansSettings(spacing=spacing, patch=patch, batch=batch, stages=stages, features=12),
        training=Training(100, 50, 1),
        generator=generator,
        bank=BankSettings(sequences=40, frames=6),
        seeds=seeds,
        tests=(TestSet("others", "nnunet", dataset=OTHERS),),
        workers=os.cpu_count() or 1,
    )


def controlled(steps: list[Step], control: str) -> list[Step]:
    """The steps with banks of the control's making."""

    def made(step: Step) -> Step:
        assert step.command is not None
        words = ["python", str(Path(__file__).with_name("hearts_controls.py")), control, *step.command(0)[1:]]
        return replace(step, command=fixed(*words), settings=step.settings | {"control": control})

    return [made(step) if step.id.startswith("bank_") else step for step in steps]


def needed(steps: list[Step], beginning: str) -> list[Step]:
    """The steps whose id begins so, and all that they need."""
    by_id = {step.id: step for step in steps}
    wanted, found = [step.id for step in steps if step.id.startswith(beginning)], set()
    while wanted:
        found.add(one := wanted.pop())
        wanted += by_id[one].needs
    return [step for step in steps if step.id in found]


def differences(one: Study, at: Workspace) -> dict[str, Any]:
    """Every arm against real only, by test set and pooled, as predicted and of the largest heart alone."""
    found: dict[str, Any] = {}
    datasets = {VALIDATION: at.raw, "others": at.test_raw(one.tests[0])}
    os.environ |= at.environment()  # where the study's splits are
    for rules in (ScoringRules(), ScoringRules(largest_heart=True)):
        tables = {}
        for test, dataset in datasets.items():
            arms = {
                arm.name: [at.model(arm, s) if test == VALIDATION else at.predictions(arm, s, test) for s in one.seeds]
                for arm in one.all_arms
            }
            scored = read_sources(arms, rules, dataset=dataset)
            tables[test] = scored.table
            found[f"{test}{' without islands' * rules.largest_heart}"] = _summaries(evaluate(scored))
        pooled = at.out / "pooled.csv"
        pd.concat([table.assign(dataset="pooled") for table in tables.values()]).to_csv(pooled, index=False)
        both = evaluate(read_sources({arm.name: [pooled] for arm in one.all_arms}, rules))
        found[f"pooled{' without islands' * rules.largest_heart}"] = _summaries(both)
    return found


def _summaries(results: list[Any]) -> dict[str, Any]:
    return {one.names[1]: one.summary.loc[one.summary["metric"].isin(["Dice", "HD"]), SHOWN].round(4).to_dict("records") for one in results}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("study", choices=PATIENTS)
    arguments.add_argument("--acdc", type=Path, required=True)
    arguments.add_argument("--mnms", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--size", choices=SIZES, default="now")
    arguments.add_argument("--arms", nargs="*", default=ARMS)
    arguments.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments.add_argument("--generator", type=Path, help="holds fold_0 of 'synthaug fit --preset tiny --pretrain phantom --seed 0'")
    arguments.add_argument("--control", choices=("request", "es"))
    arguments.add_argument("--only", choices=("generator",))
    given = arguments.parse_args()
    out = given.out.resolve()
    raw = out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if not (raw / OTHERS).is_symlink():
        (raw / OTHERS).symlink_to(given.mnms.resolve())
    os.environ |= {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(out / "preprocessed"), "nnUNet_results": str(out / "results")}
    settings = (given.study, given.acdc.resolve(), given.size)
    fresh = GeneratorSettings(name="tiny", preset="tiny", pretrain="phantom")
    generator = GeneratorSettings(name="tiny", folder=given.generator.resolve()) if given.generator else fresh
    one = study(*settings, tuple(given.arms), tuple(given.seeds), generator)
    at = Workspace(out / given.study, one)
    if given.control:
        trained = GeneratorSettings(name=given.control, folder=at.generator(0).parent)
        one = study(*settings, ("mix_donor50to00",), tuple(given.seeds), trained)
        at = Workspace(out / given.study, one)
    steps = build_steps(one, at)
    steps = controlled(steps, given.control) if given.control else steps
    Runner(one, needed(steps, given.only) if given.only else steps, at.out, LocalExecutor(at.out, one.workers)).run()
    if not given.only:
        name = "_".join(filter(None, (given.study, given.control)))
        conclude(one, at, f"report_{name}")
        about = {"size": SIZES[given.size], "iterations": 5000, "seeds": given.seeds, "arms": [REAL.name, *one.arms]}
        write_json(kept := out / f"hearts_{name}.json", {"settings": about, "differences": differences(one, at)})
        console.print(f"differences: {kept}")


if __name__ == "__main__":
    main()
