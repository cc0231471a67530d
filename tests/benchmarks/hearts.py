"""Do generated hearts help nnU-Net? Study S2 of docs/results/hearts.md and S3 of docs/results/other-scanners.md, which holds S1: the plans.

    python tests/benchmarks/hearts.py S2 --acdc ACDC --mnms MNMS_RAW --out FOLDER [--arms mix_donor50to00 ...] [--seeds 0]
    python tests/benchmarks/hearts.py S3 --acdc ACDC --mnms MNMS_RAW --sunnybrook SUNNYBROOK --out FOLDER

ACDC is a folder as ``synthaug import acdc`` takes it, MNMS_RAW a raw data set of nnU-Net with test patients of other scanners. The same
command goes on after a kill. With more arms or seeds it adds them. ``--only generator`` ends when the generator is trained.
FOLDER/hearts_S2.json gets the differences from real only: on ACDC, on M&Ms, and on both together; of S3 on each vendor, on all but
ACDC together, and as S1 on ACDC and M&Ms together. S3's patients without contours lie in MNMS_RAW/imagesUnlabelled; only arms named
after them have a generator that saw them.
``--scores`` keeps the scores of every training in small tables, so that arms and seeds can be trained on several machines; what has its
table there is not trained again.
With ``--control`` (see hearts_controls.py) rendered hearts of the same generator have something taken away, and the file is
FOLDER/hearts_S2_request.json. ``ceiling`` is real only, trained on patients of all groups; FOLDER/ceiling_S2.json gets its differences
from S2's real only, whose trainings have to lie in FOLDER, over the patients that neither has seen.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from cpu_size import OTHERS, SIZES
from kept_scores import compared, differences, keep, poorly_found, trainings

from evaluation.benchmark.executors import LocalExecutor
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import Runner
from evaluation.benchmark.steps import Step, fixed
from evaluation.benchmark.study import (
    REAL,
    VALIDATION,
    Arm,
    BankSettings,
    Data,
    GeneratorSettings,
    PlansSettings,
    Study,
    TestSet,
    Training,
)
from evaluation.benchmark.workspace import Workspace
from evaluation.inputs.scores import read_sources
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug._startup import VARIABLE
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json, write_nifti

#: The arms beside real only, in the order in which they are run.
ARMS: tuple[str, ...] = ("mix_donor50to00", "copies50to00", "mix+phantom_donor_3looks50to00", "copies+phantom_3looks50to00")
ARMS += ("mix+phantom_donor50to00", "copies+phantom50to00", "mix50to00")
#: Those of S3; ``real_DAExtGPU`` is SmaugLab's trainer, which has to be installed.
ARMS_S3: tuple[str, ...] = ("real_DA5", "real_DAExtGPU", "copies+phantom50to00", "copies+phantom_3looks50to00")
ARMS_S3 += ("copies+phantom_3unlabelled50to00",)
ARMS_S3 += ("mix+phantom_donor50to00", "mix+phantom_donor_3looks50to00", "mix+phantom_donor_3unlabelled50to00")
ARMS_S3 += ("mix+phantom_donor_3looks50to00_DA5", "mix_donor50to00", "bent_3looks50to00", "mix_donor_3looks50to00")
ARMS_S3 += ("mix_3looks50to00", "mix_painter_3looks50to00")
#: Who trains: two patients of each group, or six normal ones.
PATIENTS: dict[str, dict[str, Any]] = {"S2": {"diagnoses": ("NOR",), "per_group": 6}, "S3": {"per_group": 2}}
#: What synthetic hearts cannot beat: the same network trained on real patients of all groups, five of each.
PATIENTS["ceiling"] = {"per_group": 5}
#: Do looks help in images cut to the heart? The other patients of the same folder are tested.
PATIENTS["cropped"] = {"per_group": 2}
ARMS_CROPPED: tuple[str, ...] = ("copies+phantom50to00", "copies+phantom_3looks50to00")
#: M&Ms' files here have lost their slice distance, without which nothing is imported; looks do not use it [mm].
SLICES = 10.0


def study(
    name: str,
    acdc: Path,
    size: str,
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    generator: GeneratorSettings,
    tests: tuple[TestSet, ...] = (TestSet("others", "nnunet", dataset=OTHERS),),
    silent: Path | None = None,
    autocast: Literal["auto", "off"] = "off",
) -> Study:
    """One of the studies; all patients of ACDC that do not train are tested."""
    spacing, patch, batch, stages = SIZES[size]
    return Study(
        f"Do generated hearts help? {name}",
        Data("acdc", folder=acdc, test_unused=True, unlabelled_folder=silent, **PATIENTS[name]),
        arms=arms,
        plans=PlansSettings(spacing=spacing, patch=patch, batch=batch, stages=stages, features=12),
        training=Training(100, 50, 1, autocast=autocast),
        generator=generator,
        bank=BankSettings(sequences=40, frames=6),
        seeds=seeds,
        tests=tests,
        workers=os.cpu_count() or 1,
    )


def other_scanners(sunnybrook: Path | None) -> tuple[TestSet, ...]:
    """The test sets of S3: another hospital's Siemens, Philips, and the LV on GE."""
    found = tuple(TestSet(vendor, "nnunet", dataset=OTHERS, vendors=(vendor,)) for vendor in ("Siemens", "Philips"))
    return found if sunnybrook is None else (*found, TestSet("GE", "sunnybrook", folder=sunnybrook))


def without_contours(mnms: Path, out: Path) -> Path:
    """The patients who may teach, with a slice distance."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((mnms / "imagesUnlabelled").glob("*.nii.gz")):
        image, (x, y, _), _ = read_nifti(path, ndim=3)
        write_nifti(out / path.name, image, (x, y, SLICES))
    shutil.copy(mnms / "patients.csv", out / "patients.csv")
    return out


def prepare_smauglab(out: Path) -> None:
    """Let nnU-Net find SmaugLab's trainer, with its settings for the CPU, of which one mirrors a third axis."""
    found = importlib.util.find_spec("smauglab")
    if found is None or found.origin is None:
        raise SystemExit("real_DAExtGPU needs SmaugLab; install it (docs/how-to/train.md), or leave out the arm with --arms")
    home = Path(found.origin).parent
    settings = read_json(home / "configs" / "transform_params.json")
    settings["CPU"]["MirrorTransform"]["allowed_axes"] = [0, 1]
    write_json(path := out / "smauglab_2d.json", settings)
    known = [os.environ[VARIABLE]] if VARIABLE in os.environ else []
    os.environ |= {"SMAUGLAB_PARAMS_JSON": str(path), VARIABLE: os.pathsep.join([*known, str(home / "trainers")])}


def controlled(steps: list[Step], control: str) -> list[Step]:
    """The steps with banks of the control's making."""

    def made(step: Step) -> Step:
        assert step.command is not None
        words = ["python", str(Path(__file__).with_name("hearts_controls.py")), control, *step.command(0)[1:]]
        return replace(step, command=fixed(*words), settings=step.settings | {"control": control})

    return [made(step) if step.id.startswith("bank_") else step for step in steps]


def lacking(study: Study, at: Workspace, scores: Path) -> list[tuple[Arm, int]]:
    """The study's arms and seeds without a table of scores."""
    kept = trainings(scores)
    return [(arm, seed) for arm in study.all_arms for seed in study.seeds if seed not in kept.get(arm.name, ())]


def steps_of(steps: list[Step], at: Workspace, wanted: list[tuple[Arm, int]]) -> list[str]:
    """Ids of the steps that train these arms with these seeds, and predict with them."""
    ends = tuple(f"_{at.run_name(arm)}_fold_0_seed_{seed}" for arm, seed in wanted)
    return [step.id for step in steps if step.id.endswith(ends)] if ends else []


def needed(steps: list[Step], ids: list[str]) -> list[Step]:
    """The steps with these ids, and all that they need."""
    by_id = {step.id: step for step in steps}
    wanted, found = list(ids), set()
    while wanted:
        found.add(one := wanted.pop())
        wanted += by_id[one].needs
    return [step for step in steps if step.id in found]


def from_ceiling(real: tuple[Study, Workspace], ceiling: tuple[Study, Workspace]) -> dict[str, Any]:
    """The ceiling's differences from real only over the patients of whom neither has seen one, by test set and pooled."""
    found: dict[str, Any] = {}
    others = {test.name: real[1].test_raw(test) for test in real[0].tests}
    for rules in (ScoringRules(), ScoringRules(largest_heart=True)):
        tables = []
        for name, (one, at) in {"real": real, "ceiling": ceiling}.items():
            os.environ |= at.environment()  # where its splits are
            for test, dataset in {VALIDATION: at.raw, **others}.items():
                where = [at.model(REAL, s) if test == VALIDATION else at.predictions(REAL, s, test) for s in one.seeds]
                tables.append(read_sources({name: where}, rules, dataset=dataset).table.assign(dataset=test))
        table = pd.concat(tables)
        both = table.groupby(["dataset", "patient"])["model"].transform("nunique") == 2
        parts = {str(test): part for test, part in table[both].groupby("dataset")}
        for test, part in {**parts, "pooled": table[both].assign(dataset="pooled")}.items():
            found[f"{test}{' without islands' * rules.largest_heart}"] = compared(part, ("real", "ceiling"), rules)
    return found


def summary(scores: Path, size: str, third: bool) -> dict[str, Any]:
    """Differences over all trainings whose scores are kept; in S3 without ACDC's patients in what is pooled, and with them as S1."""
    seeds = {arm: sorted(own) for arm, own in trainings(scores).items()}
    pooled = {"pooled": ("Siemens", "Philips", "GE"), "S1": (VALIDATION, "Siemens", "Philips")} if third else None
    about = {"size": SIZES[size], "iterations": 5000, "seeds": seeds}
    return {"settings": about, "differences": differences(scores, pooled=pooled), "poorly_found": poorly_found(scores)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("study", choices=PATIENTS)
    arguments.add_argument("--acdc", type=Path, required=True)
    arguments.add_argument("--mnms", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--size", choices=SIZES, default="now")
    arguments.add_argument("--sunnybrook", type=Path)
    arguments.add_argument("--autocast", choices=("auto", "off"), default="auto", help="as 'synthaug plans --autocast'")
    arguments.add_argument("--arms", nargs="*")
    arguments.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments.add_argument("--generator", type=Path, help="holds fold_0 of 'synthaug fit --preset tiny --pretrain phantom --seed 0'")
    arguments.add_argument("--control", choices=("request", "es"))
    arguments.add_argument("--only", choices=("generator",))
    arguments.add_argument("--scores", type=Path, help="folder of small tables, one a training; others that lie there are compared, too")
    given = arguments.parse_args()
    out = given.out.resolve()
    raw = out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if not (raw / OTHERS).is_symlink():
        (raw / OTHERS).symlink_to(given.mnms.resolve())
    os.environ |= {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(out / "preprocessed"), "nnUNet_results": str(out / "results")}
    third = given.study == "S3"
    settings = (given.study, given.acdc.resolve(), given.size)
    default = {"S3": ARMS_S3, "ceiling": (), "cropped": ARMS_CROPPED}.get(given.study, ARMS)
    arms = default if given.arms is None else tuple(given.arms)
    more: dict[str, Any] = {"autocast": given.autocast}
    more |= {"tests": other_scanners(given.sunnybrook and given.sunnybrook.resolve())} if third else {}
    more |= {"tests": ()} if given.study == "cropped" else {}
    more |= {"silent": without_contours(given.mnms, out / "unlabelled")} if third else {}
    if any(arm.endswith("DAExtGPU") for arm in arms):
        prepare_smauglab(out)
    fresh = GeneratorSettings(name="tiny", preset="tiny", pretrain="phantom", contoured_only=third)
    generator = GeneratorSettings(name="tiny", folder=given.generator.resolve()) if given.generator else fresh
    own = tuple(arm for arm in arms if "unlabelled" not in arm)
    one = study(*settings, own, tuple(given.seeds), generator, **more)
    at = Workspace(out / given.study, one)
    studies = [(one, at)]
    if taught := tuple(arm for arm in arms if arm not in own):
        seeing = study(*settings, taught, tuple(given.seeds), replace(fresh, name="target", contoured_only=False), **more)
        studies.append((seeing, Workspace(at.out, seeing)))
    if given.control:
        trained = GeneratorSettings(name=given.control, folder=at.generator(0).parent)
        one = study(*settings, ("mix_donor50to00",), tuple(given.seeds), trained)
        studies = [(one, at := Workspace(out / given.study, one))]
    steps = list({step.id: step for one_study, where in studies for step in build_steps(one_study, where)}.values())
    steps = controlled(steps, given.control) if given.control else steps
    name = "_".join(filter(None, (given.study, given.control)))
    scores = given.scores or out / f"scores_{name}"
    missing = [(one_study, where, lacking(one_study, where, scores)) for one_study, where in studies]
    if given.only:
        steps = needed(steps, [step.id for step in steps if step.id.startswith(given.only)])
    elif given.study != "ceiling":
        steps = needed(steps, [found for _, where, arms in missing for found in steps_of(steps, where, arms)])
    Runner(one, steps, at.out, LocalExecutor(at.out, one.workers)).run()
    if given.study == "ceiling":
        real = study("S2", *settings[1:], (), tuple(given.seeds), generator)
        found = from_ceiling((real, Workspace(out / "S2", real)), studies[0])
        write_json(kept := out / "ceiling_S2.json", {"settings": {"size": SIZES[given.size], "seeds": given.seeds}, "differences": found})
        console.print(f"differences: {kept}")
    elif not given.only:
        for one_study, where, arms in missing:
            keep(one_study, where, scores, arms)
        write_json(found := out / f"hearts_{name}.json", summary(scores, given.size, third))
        console.print(f"differences: {found}; scores of every training: {scores}")


if __name__ == "__main__":
    main()
