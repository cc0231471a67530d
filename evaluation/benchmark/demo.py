"""``synthaug demo``: the ready study ``demo``, and what it ends with in a few lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

from evaluation.benchmark.main import run_study
from evaluation.benchmark.reading import read_study, ready_studies
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.study import VALIDATION, Data, Device, Study
from evaluation.benchmark.workspace import Workspace
from evaluation.report.writing import NUMBERS, REPORT
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json

FIGURES = "demo.json"
#: What the generator takes on ACDC, whose hearts are no phantoms: it is fine-tuned for longer.
ACDC_GENERATOR_MIN = 5.5
#: The seed of the hearts that test is that of the hearts that train and this: they are others.
TEST_SEED = 1000
#: Normal patients who train.
TRAINED = 6
_EXPOSURE = ("ratio", "share", "samples", "synthetic_samples", "distinct_synthetic_cases")


def demo_study(source: Path | None = None, device: str = "cpu", seed: int = 0) -> Study:
    """The ready study ``demo``, of another cohort, on another device or with another seed.

    Args:
        source: an ACDC folder, or None for the phantom cohort.
        device: of generator and nnU-Net.
        seed: of phantom cohort and generator.

    Raises:
        UserError: the folder is not there, or nnU-Net knows no such device.
    """
    if device not in get_args(Device):
        raise UserError(f"-device {device} is nothing that nnU-Net's commands take; choose one of {', '.join(get_args(Device))}")
    study = replace(read_study(ready_studies()["demo"]), device=cast(Device, device))
    study = replace(study, generator=replace(study.generator, seed=seed))
    if source is None:
        [test] = study.tests
        return replace(study, data=replace(study.data, seed=seed), tests=(replace(test, seed=seed + TEST_SEED),))
    if not source.is_dir():
        raise UserError(f"--source {source} is not a folder; give the one with ACDC's patients")
    return replace(
        study,
        data=Data("acdc", folder=source.resolve(), diagnoses=("NOR",), per_group=TRAINED, test_unused=True),
        tests=(),
        generator=replace(study.generator, set_=()),
        minutes=replace(study.minutes, generator=ACDC_GENERATOR_MIN),
    )


def run_demo(source: Path | None, out: Path, device: str = "cpu", seed: int = 0) -> str:
    """Run the demo, or go on with it, and write ``OUT/demo.json``.

    Args:
        source: an ACDC folder, or None for the phantom cohort.
        out: everything goes here, laid out as :mod:`evaluation.benchmark.workspace` says.
        device: of generator and nnU-Net.
        seed: of phantom cohort and generator.

    Returns:
        headline table, the share of synthetic samples that the optimiser saw, and where everything is.

    Raises:
        UserError: see :func:`demo_study` and :func:`evaluation.benchmark.main.run_study`.
    """
    study = demo_study(source, device, seed)
    at = Workspace(out.resolve(), study)
    run_study(study, at.out)
    took, total = seconds_taken(study, at)
    figures = {"settings": {"source": None if source is None else str(source.resolve()), "seed": seed}, "seconds": took} | _figures(at)
    figures["total_seconds"] = total
    write_json(at.out / FIGURES, figures)
    return "\n".join(_told(at, figures))


def seconds_taken(study: Study, at: Workspace) -> tuple[dict[str, float], float]:
    """What every step took, and how long at least one step was running; several run at once."""
    stamps = Stamps(at.out / "steps")
    noted = {step.title: stamps.read(step) for step in build_steps(study, at)}
    took = {title: float(one["seconds"]) for title, one in noted.items()}
    ends = {title: datetime.fromisoformat(one["ended"]).timestamp() for title, one in noted.items()}
    total, until = 0.0, 0.0
    for title in sorted(noted, key=lambda title: ends[title] - took[title]):
        begin = max(until, ends[title] - took[title])
        total, until = total + max(ends[title] - begin, 0.0), max(until, ends[title])
    return took, round(total, 1)


def _figures(at: Workspace) -> dict[str, Any]:
    """What the demo's bank, training and comparison ended with."""
    [fold], [seed], [_, arm] = at.study.folds, at.study.seeds, at.study.all_arms
    exposure = read_json(at.model(arm, seed) / f"fold_{fold}" / "synth_aug.json")
    comparison = read_json(at.out / "report" / _tested(at.study) / NUMBERS)
    return {
        "share": {key: exposure[key] for key in _EXPOSURE},
        "bank": read_json(at.bank(arm, fold) / "sequences" / "figures.json"),
        "headline": comparison["headline"],
        "conclusion": comparison["conclusion"],
    }


def _tested(study: Study) -> str:
    """The patients that the demo is about: the phantom clinic, or all of ACDC that do not train."""
    return study.tests[0].name if study.tests else VALIDATION


def _told(at: Workspace, figures: dict[str, Any]) -> list[str]:
    [fold], [_, arm] = at.study.folds, at.study.all_arms
    width = len(arm.name) + 2
    lines = ["", f"{'structure':<10}{'metric':<8}{'real only':>11}{arm.name:>{width}}{'difference [95 % CI]':>28}{'Holm p':>9}"]
    for row in figures["headline"]:
        interval = f"{_number(row['difference'], '+.3f')} [{_number(row['ci_low'])}, {_number(row['ci_high'])}]"
        means = f"{_number(row['baseline_mean']):>11}{_number(row['augmented_mean']):>{width}}"
        lines.append(f"{row['structure']:<10}{row['metric']:<8}{means}{interval:>28}{_number(row['p_holm']):>9}")
    lines += figures["conclusion"]
    training, share = at.study.training, figures["share"]
    seen = f"{share['synthetic_samples']} of {share['samples']}"
    asked = f"{arm.percent} %" + (f" at first, {arm.until} % in the end" if arm.until is not None else "")
    assert training.epochs is not None and training.iterations is not None
    lines += [
        f"Both arms were trained once, for {training.epochs * training.iterations} iterations, on phantoms. "
        "Whether synthetic hearts help your patients, several trainings of nnU-Net's own length decide.",
        f"synthetic share seen by the optimiser: {seen} samples (asked for: {asked})",
        f"generated hearts beside those of training: {at.bank(arm, fold) / 'hearts.png'}",
        f"generated hearts, beating: {at.bank(arm, fold) / 'sequences' / '*.gif'}",
        f"figures: {at.out / FIGURES}",
        f"report: {at.out / 'report' / _tested(at.study) / REPORT}",
    ]
    return lines


def _number(value: float | None, pattern: str = ".3f") -> str:
    return "-" if value is None else format(value, pattern)
