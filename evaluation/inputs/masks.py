"""Masks of one or several arms scored by the same rules: what ``synthaug evaluate`` and ``synthaug compare`` share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from evaluation.inputs.arms import Arm, check_pairing
from evaluation.inputs.collect import ScoredCase, score_arms
from evaluation.inputs.dataset import Dataset, find_dataset, shortened
from evaluation.inputs.sides import exchanged, label_rules, missing_predictions
from evaluation.scoring.case import Rules, workers_for
from evaluation.scoring.metrics import ENGINES, Labels, Tolerance, tolerance_of
from evaluation.scoring.policies import PENALTY, checked
from evaluation.scoring.table import TOLERANCE_MM
from nnunet_synth_aug.core.errors import UserError


class Options(TypedDict, total=False):
    """How masks are found and scored; every key may be left out.

    gt: folder of ground truth masks; found through the predictions' path and nnU-Net's folders by default.
    dataset: the dataset's folder in nnUNet_raw or nnUNet_preprocessed; found likewise.
    labels: structure -> label values, of both sides; by default those of each side's ``dataset.json``.
    prediction_labels, reference_labels: those of one side, where they differ.
    engine, empty, tolerance: see :func:`evaluation.scoring.metrics.score`.
    largest_heart: score the largest connected heart of every prediction alone, as nnU-Net's postprocessing of the foreground leaves it.
    allow_missing: score cases without a prediction by ``empty`` instead of refusing.
    workers: processes; None: as many as are worth their start; 1 by default. More than one needs an importable main module.
    """

    gt: Path | None
    dataset: Path | None
    labels: Labels | None
    prediction_labels: Labels | None
    reference_labels: Labels | None
    engine: str
    empty: str
    tolerance: Tolerance
    largest_heart: bool
    allow_missing: bool
    workers: int | None


@dataclass(frozen=True)
class ScoredMasks:
    """Every prediction of all arms with its scores, and by which rules."""

    dataset: Dataset
    scored: list[ScoredCase]
    rules: list[Rules]  # of each arm; they differ in the predictions' label maps alone
    notes: list[str]


def check_options(options: Options) -> None:
    """Raise UserError for an engine or a policy that does not exist, before anything is read."""
    checked(options.get("empty", PENALTY))
    if (engine := options.get("engine", "native")) not in ENGINES:
        raise UserError(f"there is no metric engine {engine!r}; choose one of {', '.join(ENGINES)}")


def score_masks(arms: Sequence[Arm], options: Options) -> ScoredMasks:
    """Score all predictions of ``arms``, whose label maps may differ from each other and from the ground truth's.

    Raises:
        UserError: no ground truth, a missing prediction, arms that do not match, or a file that cannot be scored.
    """
    check_options(options)
    gt, allowed = options.get("gt"), options.get("allow_missing", False)
    for other in arms[1:]:
        check_pairing(arms[0], other, allowed)
    cases = frozenset[str]().union(*(arm.cases for arm in arms))
    found = find_dataset(cases, [arm.folder for arm in arms], gt, options.get("dataset"), every=True)
    missing = missing_predictions(arms, found, allowed)
    given = (options.get("labels"), options.get("prediction_labels"), options.get("reference_labels"))
    maps = [label_rules(arm, found, gt, *given) for arm in arms]
    notes = [note for _, told in maps for note in told]
    rules = _same_structures(arms, [one for one, _ in maps])
    engine, empty, tolerance = options.get("engine", "native"), options.get("empty", PENALTY), options.get("tolerance", TOLERANCE_MM)
    heart = options.get("largest_heart", False)
    rules = [replace(one, engine=engine, empty=empty, tolerance=tolerance, largest_heart=heart) for one in rules]
    n = options.get("workers", 1)
    workers = workers_for(sum(len(arm.predictions) for arm in arms)) if n is None else n
    scored = score_arms(arms, found, rules, workers, missing)
    for arm, one, places in zip(arms, rules, missing, strict=True):
        notes += exchanged([case for case in scored if case.arm is arm], found, one)
        if lacking := {case for case, _ in places}:
            of = f" of {arm.name}" if len(arms) > 1 else ""
            notes.append(f"No prediction{of} for {len(lacking)} cases, scored as '{one.empty}' says: {shortened(lacking, 10)}.")
    return ScoredMasks(found, scored, rules, list(dict.fromkeys(notes)))


def _same_structures(arms: Sequence[Arm], rules: list[Rules]) -> list[Rules]:
    """The rules with the structures that all arms have."""
    shared = [s for s in rules[0].labels if all(s in one.labels for one in rules)]
    if not shared:
        raise UserError(f"{shortened({arm.name for arm in arms})} have no structure in common; name the structures with --labels")

    def kept(labels: Labels) -> Labels:
        return {s: labels[s] for s in shared}

    return [
        replace(one, labels=kept(one.labels), prediction_labels=None if one.prediction_labels is None else kept(one.prediction_labels))
        for one in rules
    ]


def tolerances(tolerance: Tolerance, structures: Iterable[str]) -> dict[str, float]:
    """Tolerance of the surface Dice in mm of every structure."""
    return {s: tolerance_of(tolerance, s) for s in structures}
