"""The one verdict of ``synthaug try``, in words and as ``verdict.json``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.analysis.paired import BETTER, MEAN, WORSE
from evaluation.analysis.statistics import patients_needed
from evaluation.report.wording import estimate
from evaluation.trial.facts import Facts, labelled
from evaluation.trial.proposal import CPU_ITERATIONS, FULL_ITERATIONS, Proposal
from nnunet_synth_aug import __version__

HELPS, HARMS, MIXED, NO_DIFFERENCE = "helps", "harms", "mixed", "no_difference"
_TITLES = {
    HELPS: "it helps here",
    HARMS: "it harms here",
    MIXED: "better in one thing and worse in another",
    NO_DIFFERENCE: "no difference that can be told",
}
#: What a row of ``verdict.json`` holds.
ROW = ("structure", "metric", "unit", "n", "real", "mixed", "difference", "ci_low", "ci_high", "p_holm", "verdict")
#: Hypotheses of the primary family: three structures, Dice and HD.
FAMILY = 6


@dataclass(frozen=True)
class Verdict:
    """What a study of two arms says."""

    kind: str  # HELPS, HARMS, MIXED or NO_DIFFERENCE
    sentences: tuple[str, ...]
    limits: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]  # see ROW
    too_short: bool  # whether its trainings had fewer iterations than the studies that this package rests on


def judge(headline: Sequence[dict[str, Any]], facts: Facts, proposal: Proposal, iterations: int, small: bool) -> Verdict:
    """Sum up a comparison.

    Args:
        headline: rows of ``benchmark.json`` of the tested patients.
        facts: of the fold.
        proposal: what was mixed in.
        iterations: of each training.
        small: whether the network was the small one of CPU studies.
    """
    rows = [{k: math.nan if v is None else v for k, v in row.items()} | {"runs_low": math.nan} for row in headline]
    better, worse = ([row for row in rows if row["verdict"] == kind] for kind in (BETTER, WORSE))
    kind = (MIXED if worse else HELPS) if better else HARMS if worse else NO_DIFFERENCE
    what = f"Mixing in {proposal.in_short}"
    sentences = [
        f"{what} was {word} than real patients alone in {_listed(found)}."
        for word, found in (("better", better), ("worse", worse))
        if found
    ]
    if kind == HELPS:
        sentences.append("No structure was worse beyond chance.")
    elif kind == HARMS:
        sentences.append("No structure was better beyond chance.")
    elif kind == NO_DIFFERENCE:
        sentences.append(f"{what} changed no structure's Dice or HD by more than chance explains.")
    if means := [row for row in rows if row["structure"] == MEAN and row["n"]]:
        sentences.append(f"Mean over the structures, mixed minus real only, with 95 % intervals: {', '.join(map(estimate, means))}.")
    n = max((int(row["n"]) for row in rows), default=0)
    limits = tuple(_limits(facts, n, iterations, small))
    return Verdict(kind, tuple(sentences), limits, tuple(_row(row) for row in rows), iterations < CPU_ITERATIONS)


def _listed(rows: Sequence[dict[str, Any]]) -> str:
    return "; ".join(f"{row['structure']} {estimate(row)}" for row in rows)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    renamed = {**row, "real": row["baseline_mean"], "mixed": row["augmented_mean"]}
    return {key: renamed[key] for key in ROW}


def _limits(facts: Facts, n: int, iterations: int, small: bool) -> list[str]:
    of = "test patients" if facts.test else "validation patients"
    limits = [
        f"one training per arm, {len(facts.train.patients)} training patients and {n} {of}: other seeds or folds may turn out otherwise"
    ]
    if n < patients_needed(FAMILY):
        limits.append(f"with {n} patients no difference can be told from chance, whatever its size; {patients_needed(FAMILY)} are needed")
    if iterations < FULL_ITERATIONS:
        limits.append(f"a quick answer: {iterations} iterations, not nnU-Net's {FULL_ITERATIONS}. A full training may say something else")
    if iterations < CPU_ITERATIONS:
        limits.append(
            f"too short to judge: fewer than {CPU_ITERATIONS} iterations. A mix sees fewer real patients and lags at first: what "
            "loses here may gain in a longer training"
        )
    if small:
        limits.append("a small network (2 mm, patches of 96 x 96), which a CPU can train, instead of nnU-Net's own")
    return limits


def told(verdict: Verdict) -> list[str]:
    """For the screen."""
    lines = [f"VERDICT: {_TITLES[verdict.kind]}{', in a training too short to judge' if verdict.too_short else ''}"]
    for name, texts in (("found", verdict.sentences), ("limits", verdict.limits)):
        for number, text in enumerate(texts):
            lines += labelled("" if number else name, text)
    return lines


def as_json(
    verdict: Verdict,
    facts: Facts,
    proposal: Proposal,
    settings: dict[str, Any],
    *,
    iterations: int,
    said: dict[str, float],
    took: dict[str, float],
    files: dict[str, str],
) -> dict[str, Any]:
    """``verdict.json``: see docs/how-to/try.md.

    Args:
        verdict, facts, proposal: of the study.
        settings: ``configuration``, ``plans``, ``device`` and ``small_network``.
        iterations: of each training.
        said, took: ``minutes`` and ``megabytes``, estimated and measured.
        files: ``report`` and ``study``.
    """
    return {
        "format": 1,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "verdict": verdict.kind,
        "quick": iterations < FULL_ITERATIONS or bool(settings["small_network"]),
        "too_short": verdict.too_short,
        "sentences": list(verdict.sentences),
        "limits": list(verdict.limits),
        "dataset": facts.dataset,
        "fold": facts.fold,
        **settings,
        "arm": proposal.arm,
        "why": proposal.why,
        "rests_on": proposal.rests_on,
        "iterations": iterations,
        "trainings_per_arm": 1,
        "training_patients": len(facts.train.patients),
        "tested": "test" if facts.test else "validation",
        "tested_patients": len(facts.tested.patients),
        "results": [dict(row) for row in verdict.rows],
        "estimated": said,
        "took": took,
        **files,
    }
