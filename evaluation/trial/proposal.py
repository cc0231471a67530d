"""What to mix in, and why: the rule of ``synthaug try``, with what it rests on. Results that change it are on docs/results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from evaluation.benchmark.study import Arm, parse_arm
from evaluation.trial.facts import Facts
from nnunet_synth_aug.core.errors import UserError

#: Training patients with a cine from which a generator is worth its time.
FEWEST_CINES = 5
#: Samples of a ``50to00`` training that are synthetic: half at first, none at the end.
SYNTHETIC_SHARE = 0.25
#: nnU-Net's own length.
FULL_ITERATIONS, FULL_EPOCHS = 250_000, 1000
#: Epochs of a shorter training: the synthetic share falls from epoch to epoch.
FEWEST_EPOCHS = 10
#: Without a GPU: what the small studies of docs/results train, in hours instead of weeks.
SMALL: dict[str, Any] = {"spacing": 2, "patch": 96, "batch": 8, "stages": 4, "features": 12}
CPU_ITERATIONS = 5000
#: Of a dataset that has no folds, as many as 'synthaug split' makes.
FOLDS = 5
#: Batch size of nnU-Net's own 2d plans, roughly; it decides only how many hearts a bank holds.
_USUAL_BATCH = 12

#: Sources, as a sentence of the verdict calls them.
SHORT = {
    "generator": "generated hearts",
    "variations": "generated hearts near your patients'",
    "copies": "changed copies of your patients",
    "bent": "bent copies of your patients",
    "phantom": "phantoms",
    "reconstructions": "your patients' hearts as the generator's decoder shows them",
    "pseudolabels": "cines that a network contoured",
}

PLAIN, RENDERED = "copies+phantom_3looks50to00", "mix_donor_3looks50to00"
_MEASURED = (
    "Measured in miniature, with three trainings: ten ACDC patients of all groups gained 0.05 in mean Dice on other ACDC patients and "
    "0.04 on three other scanners, in images of the whole chest. In images cut to the heart it was 0.02 in one training, as without looks. "
    "Without looks six normal hearts gained 0.03 to 0.06, and ten patients 0.02 or nothing that could be shown. Phantoms once brought "
    "false pieces of heart far from it, and a larger Hausdorff distance"
)


@dataclass(frozen=True)
class Proposal:
    """An arm, and what speaks for it."""

    arm: str
    what: str
    why: str
    rests_on: str
    instead: str = ""  # another arm that may be worth a try

    @property
    def in_short(self) -> str:
        """What is mixed in, for a sentence of the verdict: every source, and the looks."""
        return f"{_in_words(parse_arm(self.arm))} ({self.arm})"


def _in_words(arm: Arm) -> str:
    whose = "patients without contours" if arm.appearance == "unlabelled" else "other scanners"
    looks = f", in {arm.looks} look{'s' if arm.looks > 1 else ''} of {whose}"
    pixels = {"donor": " in your patients' pixels", "painter": " painted"}.get(arm.render, "")
    named = [SHORT[part] + (pixels if part == "generator" else "") for part in arm.parts]
    return ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1] + (looks if arm.looks else "")


def propose(facts: Facts, wanted: str | None = None) -> Proposal:
    """The arm for a fold, or the one that the user wants.

    Raises:
        UserError: there is no such arm, or the dataset lacks what it needs.
    """
    if wanted is not None:
        return _wanted(facts, wanted)
    normal = set(facts.train.diagnoses) == {"NOR"}
    learns = facts.imported and facts.train.cines >= FEWEST_CINES
    return Proposal(
        PLAIN,
        "copies of your training patients, with other proportions of cavity, wall and right ventricle, and as many phantoms, each in three "
        "looks of other scanners",
        "this mix was measured most on patients, and it needs no generator"
        + (". All training patients are normal: there copies and phantoms helped without looks, too" if normal else ""),
        _MEASURED,
        RENDERED if learns else "",
    )


def _wanted(facts: Facts, name: str) -> Proposal:
    arm = parse_arm(name)
    if not arm.source:
        raise UserError(f"--arm {name} mixes nothing in; choose one such as {PLAIN}")
    if arm.needs_generator and not facts.imported:
        raise UserError(
            f"--arm {name} needs a generator, which learns from imported datasets; import {facts.dataset} with 'synthaug import', or leave "
            "--arm out"
        )
    if "pseudolabels" in arm.parts and not facts.train.cines:
        raise UserError(f"--arm {name} contours cines, and {facts.dataset} has none; choose another one such as {PLAIN}")
    return Proposal(name, _in_words(arm), "you asked for it", "the pages of results tell what was measured of its sources")


@dataclass(frozen=True)
class Length:
    """Of every training."""

    epochs: int
    iterations: int  # of each epoch
    full: bool  # as long as nnU-Net's own

    @property
    def total(self) -> int:
        """Iterations of the whole training."""
        return self.epochs * self.iterations


def length_of(iterations: int | None, on_cpu: bool) -> Length:
    """Epochs and iterations; numbers that do not divide are rounded up."""
    total = iterations or (CPU_ITERATIONS if on_cpu else FULL_ITERATIONS)
    epochs = min(max(round(total * FULL_EPOCHS / FULL_ITERATIONS), FEWEST_EPOCHS), FULL_EPOCHS)
    if total < epochs:
        raise UserError(f"--iterations {total} is too short; ask for at least {FEWEST_EPOCHS}")
    if on_cpu:
        epochs = max(epochs, min(100, total // 50))
    per_epoch = math.ceil(total / epochs)
    return Length(epochs, per_epoch, epochs * per_epoch >= FULL_ITERATIONS)


def is_small(configuration: str, device: str) -> bool:
    """Whether the study trains the small network that a CPU can train."""
    return device == "cpu" and configuration == "2d"


def study_of(facts: Facts, arm: Arm, configuration: str, plans: str, device: str, length: Length, cores: int) -> dict[str, Any]:
    """The study file, without the minutes of its steps.

    Args:
        facts: of the fold.
        arm: that is compared with real only.
        configuration, plans, device: as in nnU-Net's commands.
        length: of every training.
        cores: of this machine.
    """
    small = is_small(configuration, device)
    most, frames = (40, 6) if small else (200, 4)
    drawn = length.total * (SMALL["batch"] if small else _USUAL_BATCH) * SYNTHETIC_SHARE
    study: dict[str, Any] = {
        "title": f"{facts.dataset}, fold {facts.fold}: real only and {arm.name}",
        "data": {"source": "nnunet", "dataset": facts.dataset} | ({"splits": FOLDS} if facts.own_split else {}),
        "plans": {"base": plans, "configuration": configuration} | (SMALL if small else {}),
        "training": {"epochs": length.epochs, "iterations": length.iterations}
        | ({} if length.full else {"val_iterations": 1})
        | ({"autocast": "auto"} if small else {}),
        "bank": {"sequences": max(min(most, math.ceil(drawn / frames)), 2 * len(arm.parts)), "frames": frames},
        "arms": ["real", arm.name],
        "folds": [facts.fold],
        "seeds": [0],
        "device": device,
        "workers": 2 if device == "cpu" and cores > 1 else 1,
    }
    if arm.needs_generator:
        study["generator"] = (
            {"name": "tiny", "preset": "tiny", "pretrain": "phantom"} if device == "cpu" else {"name": "base", "preset": "base"}
        )
    if facts.test is not None:
        study["tests"] = [{"name": facts.test.of, "source": "nnunet", "dataset": facts.dataset}]
    return study
