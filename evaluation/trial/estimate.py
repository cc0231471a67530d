"""Hours and disk of a study before it runs, from what parts of it take on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from evaluation.benchmark.clock import on_the_clock
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import kind_of
from evaluation.benchmark.study import Minutes, Study
from evaluation.benchmark.workspace import Workspace
from evaluation.trial.facts import Facts

#: One iteration of the small network on the machine where the following were measured (docs/results/try.md): its pace scales them.
REFERENCE_STEP_S = 0.44
#: Fit a tiny generator that begins with the one that ships: in all, and one rendered heart.
TINY_GENERATOR_S, RENDERED_HEART_S = 330.0, 9.0
#: The same of the preset base on a data-centre GPU: counted, not measured.
BASE_GENERATOR_S = 2700.0
#: A command starts a process, and many start more, which load nnU-Net again; on a core of their own they wait for each other.
STARTS = {"fingerprint": 3.0, "preprocess": 2.5, "train": 4.0, "predict": 4.0, "bank": 2.0}
#: An epoch's end: nnU-Net draws its curves and saves its best network.
EPOCH_END_S = 1.2
#: Write both arms' report: at least, and for each scored case.
REPORT_S, SCORED_CASE_S = 12.0, 0.7
#: Megabytes: a phantom in the bank for each frame, the sequence beside it, and a report. Other hearts are as large as their patients, and
#: so are phantoms where images show the whole chest (a side of so many mm); there the sequence grows with the area, from this on.
PHANTOM_CASE_MB, PHANTOM_MB, REPORT_MB = 0.5, 5.0, 5.0
CHEST, CHEST_MB, CHEST_SIDE = 250.0, 12.4, 350.0
#: Draw a frame in another look.
LOOK_S = 0.15
#: Frames of a generated heart's sequence, roughly; copies have two.
GENERATED_FRAMES = 12


@dataclass(frozen=True)
class Estimate:
    """What a study takes: minutes of each kind of step and of all, and megabytes of disk."""

    minutes: Minutes
    total: float  # minutes, on the clock
    megabytes: float


def estimate(study: Study, at: Workspace, facts: Facts, pace: Mapping[str, float]) -> Estimate:
    """Add up the study's steps.

    Args:
        study: without minutes.
        at: its folder, in which nothing is needed yet.
        facts: of its fold.
        pace: of this machine, see ``nnunet_synth_aug.nnunet.pace.measure``.
    """
    seconds = _seconds(study, facts, pace)
    steps = build_steps(study, at)
    scored = 2 * (len(facts.val.cases) + (len(facts.test.cases) if facts.test else 0))
    report = (REPORT_S + SCORED_CASE_S * scored) * _slower(study, pace)
    clock = on_the_clock(steps, {step.id: seconds[kind_of(step)] for step in steps if step.command is not None}, study.workers)
    minutes = Minutes(**{kind: round(one / 60, 2) for kind, one in seconds.items() if kind in Minutes.__dataclass_fields__})
    return Estimate(minutes, (clock + report) / 60, _megabytes(study, facts, pace))


def _slower(study: Study, pace: Mapping[str, float]) -> float:
    """This machine's seconds for one of the reference machine, where a CPU does the work."""
    return (
        max(pace["step_float32_s"] / REFERENCE_STEP_S, 0.2)
        if study.device == "cpu" and study.plans.stages
        else max(1.0, pace["start_s"] / 6)
    )


def _seconds(study: Study, facts: Facts, pace: Mapping[str, float]) -> dict[str, float]:
    start, slower = pace["start_s"], _slower(study, pace)
    cases = len(facts.train.cases) + len(facts.val.cases)
    epochs, iterations = study.training.epochs or 1000, study.training.iterations or 250
    validated = study.training.val_iterations or 50
    seconds = {
        "folds": 0.0,
        "fingerprint": 0.3 * pace["case_s"] * cases,
        "plan": 0.3 * start,
        "plans": 0.0,
        "preprocess": pace["case_s"] * cases,
        "train": epochs * (iterations * pace["step_s"] + validated * pace["forward_s"] + EPOCH_END_S * slower)
        + pace["predict_s"] * len(facts.val.cases),
        "bank": _bank(study, pace, slower),
        "generator": TINY_GENERATOR_S * slower if study.generator.preset == "tiny" else BASE_GENERATOR_S,
    }
    if facts.test is not None:
        seconds["predict"] = (pace["predict_s"] + pace["case_s"]) * len(facts.test.cases)
    if not study.all_arms[1].needs_generator:
        del seconds["generator"]
    return {kind: one + STARTS.get(kind, 1.0) * start for kind, one in seconds.items()}


def _bank(study: Study, pace: Mapping[str, float], slower: float) -> float:
    arm = study.all_arms[1]
    each = study.bank.sequences / max(len(arm.parts), 1)
    hearts = 0.0
    for part in arm.parts:
        alone = pace.get(f"{'copies' if part == 'bent' else part}_s", RENDERED_HEART_S * slower)
        hearts += each * alone
    return hearts + _bank_cases(study) * (pace["case_s"] + (LOOK_S * slower if arm.looks else 0))


def _bank_cases(study: Study) -> float:
    arm = study.all_arms[1]
    each = study.bank.sequences / max(len(arm.parts), 1)
    frames = sum(min(2, study.bank.frames) if part in ("copies", "bent") else study.bank.frames for part in arm.parts)
    return each * frames * max(arm.looks, 1)


def _megabytes(study: Study, facts: Facts, pace: Mapping[str, float]) -> float:
    cases = len(facts.train.cases) + len(facts.val.cases)
    arm = study.all_arms[1]
    each = study.bank.sequences / max(len(arm.parts), 1)
    bank = 0.0
    for part in arm.parts:
        copied = part in ("copies", "bent")
        shown = (min(2, study.bank.frames) if copied else study.bank.frames) * max(arm.looks, 1)
        if part == "phantom":
            side = facts.size.side
            case = pace["case_mb"] if side >= CHEST else PHANTOM_CASE_MB
            bank += each * (shown * case + max(PHANTOM_MB, CHEST_MB * (side / CHEST_SIDE) ** 2))
        else:
            bank += each * (shown + (2 if copied else GENERATED_FRAMES)) * pace["case_mb"]
    networks = 2 * len(study.all_arms) * pace["network_mb"]
    generator = 0 if not arm.needs_generator else 60 if study.generator.preset == "tiny" else 700
    return pace["case_mb"] * cases + bank + networks + generator + REPORT_MB


def roughly(minutes: float) -> str:
    """A time for a sentence."""
    if minutes < 1.5:
        return "a minute"
    if minutes < 90:
        return f"{round(minutes)} minutes"
    return f"{minutes / 60:.1f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def size(megabytes: float) -> str:
    """A size for a sentence."""
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{max(10, round(megabytes, -1)):.0f} MB"


def minutes_of(found: Estimate) -> dict[str, float]:
    """The ``minutes`` of a study file."""
    return {kind: value for kind, value in asdict(found.minutes).items() if value is not None}
