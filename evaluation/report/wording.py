"""Sentences and number formats of the report, made from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from evaluation.analysis.dependence import SMALLEST_GROUP
from evaluation.analysis.paired import BETTER, BEYOND, MEAN, MIXED, NO_EVIDENCE, NOT_WORSE, ONLY_THESE, UNDECIDED, WORSE
from evaluation.analysis.statistics import ALPHA, patients_needed, smallest_holm_p
from evaluation.scoring.table import METRICS, PRIMARY

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Fixed decimals with a real minus sign; a dash for NaN; no sign on what rounds to zero."""
    if not math.isfinite(value):
        return DASH
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def p_value(p: float) -> str:
    """A p value in as many digits as mean something."""
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval(row: dict[Any, Any], digits: int, kind: str = "ci") -> str:
    """``[low, high]``, or a dash where there is none; ``kind`` is ``ci`` (patients) or ``runs`` (patients and trainings)."""
    if not math.isfinite(row[f"{kind}_low"]):
        return DASH
    return f"[{number(row[f'{kind}_low'], digits, signed=True)}, {number(row[f'{kind}_high'], digits, signed=True)}]"


def finding(row: dict[Any, Any]) -> str:
    """One tested row as a phrase, e.g. ``LV Dice +0.012 [+0.004, +0.021], Holm p 0.010``."""
    return f"{row['structure']} {estimate(row)}, Holm p {p_value(row['p_holm'])}"


def estimate(row: dict[Any, Any]) -> str:
    """E.g. ``HD -2.10 mm [-4.02, -0.31]``, with the interval over trainings where there are several."""
    metric = METRICS[row["metric"]]
    unit = f" {metric.unit}" if metric.unit else ""
    text = f"{row['metric']} {number(row['difference'], metric.digits, signed=True)}{unit} {interval(row, metric.digits)}"
    return f"{text} ({interval(row, metric.digits, 'runs')} over trainings too)" if math.isfinite(row["runs_low"]) else text


def conclusion(summary: pd.DataFrame, names: tuple[str, str], notes: list[str], family: int | None = None) -> list[str]:
    """What the numbers say, worst news first.

    Args:
        summary: from :func:`evaluation.analysis.paired.paired_summary`.
        notes: from :func:`evaluation.inputs.arms.fairness_notes`.
        family: number of hypotheses that Holm's correction took together; those of ``summary`` by default.
    """
    tested = [row for row in summary.to_dict("records") if row["verdict"]]
    possible = [row for row in tested if row["n"]]
    if not possible:
        return [*notes, "No structure could be compared: every pair was excluded."]
    sentences = list(notes)
    grouped = {v: [finding(r) for r in possible if r["verdict"] == v] for v in (BETTER, WORSE, MIXED, ONLY_THESE)}
    total = len(possible)
    texts = {
        BETTER: "was better than",
        WORSE: "was worse than",
        MIXED: "cannot be ranked against",
        ONLY_THESE: "differed, in the networks at hand but not by more than another training could change, from",
    }
    for verdict, text in texts.items():
        if found := grouped[verdict]:
            sentences.append(f"{_capital(names[1])} {text} {names[0]} in {len(found)} of {total} primary comparisons: {'; '.join(found)}.")
    rest = [r for r in possible if r["verdict"] == NO_EVIDENCE]
    if rest:
        which = "; ".join(finding(r) for r in rest)
        sentences.append(f"No evidence of a difference in {len(rest)} of {total} primary comparisons: {which}.")
    means = [r for r in summary.to_dict("records") if r["structure"] == MEAN and r["metric"] in PRIMARY and r["n"]]
    if means:
        sentences.append(f"Averaged over the structures (not tested): {', '.join(map(estimate, means))}.")
    return [*sentences, *noninferiority(summary, names), *cautions(possible, family or total)]


def dependence(tests: pd.DataFrame, breakdown: Mapping[str, pd.DataFrame]) -> list[str]:
    """Whether the difference depends on the vendor or the centre: a sentence per finding, then what was not found or not tested.

    Args:
        tests: from :func:`evaluation.analysis.dependence.dependence`, corrected.
        breakdown: from :func:`evaluation.analysis.breakdown.breakdown`.
    """
    return [text for way, rows in tests.groupby("way", sort=False) for text in _by(str(way), rows.to_dict("records"), breakdown[str(way)])]


def _by(way: str, rows: list[dict[Any, Any]], breakdown: pd.DataFrame) -> list[str]:
    tested = [row for row in rows if math.isfinite(row["p"])]
    found = [row for row in tested if row["p_holm"] < ALPHA]
    rest = [row for row in tested if row not in found]
    sentences = [
        f"In these trained networks the difference in {row['structure']} {row['metric']} depends on the {way} "
        f"(Holm p {p_value(row['p_holm'])}): {_groups(breakdown, row)}."
        for row in found
    ]
    if found:
        sentences.append(
            f"The tests by {way} do not say why: patients of one {way} may also have other diseases or protocols, and other trainings may "
            "have other luck with them."
        )
    if rest:
        p, smallest = (min(row[k] for row in rest) for k in ("p_holm", "smallest_p"))
        text = f"No evidence that a difference depends on the {way} in {len(rest)} of {len(tested)} tests (smallest Holm p {p_value(p)})"
        if (smallest := min(1.0, smallest * rest[0]["family"])) >= ALPHA:
            text += f"; with groups of these sizes no Holm p can be below {p_value(smallest)}"
        sentences.append(f"{text}.")
    if same := next((row["same_as"] for row in rows if row["same_as"]), ""):
        sentences.append(f"Each {way} has the patients of one {same}, so that the two cannot be told apart; the {same} was tested.")
    elif not tested:
        sentences.append(
            f"Whether a difference depends on the {way} was not tested: that needs two groups of {SMALLEST_GROUP} patients or more."
        )
    if tested and (small := sorted({name for row in rows for name in row["too_small"].split(", ") if name})):
        sentences.append(f"The tests by {way} leave out groups of fewer than {SMALLEST_GROUP} patients: {', '.join(small)}.")
    return sentences


def _groups(breakdown: pd.DataFrame, row: dict[Any, Any]) -> str:
    """The tested groups of a finding, e.g. ``GE: +0.012 (n = 20), Siemens: +0.064 (n = 20)``."""
    metric = METRICS[row["metric"]]
    unit = f" {metric.unit}" if metric.unit else ""
    own = breakdown[(breakdown["structure"] == row["structure"]) & (breakdown["metric"] == row["metric"])]
    return ", ".join(
        f"{one['group']}: {number(one['difference'], metric.digits, signed=True)}{unit} (n = {one['n']})"
        for one in own[own["group"].isin(row["groups"].split(", "))].to_dict("records")
    )


def noninferiority(summary: pd.DataFrame, names: tuple[str, str]) -> list[str]:
    """One sentence per metric that has a margin."""
    sentences = []
    judged = summary[(summary["noninferiority"] != "") & (summary["structure"] != MEAN) & (summary["n"] > 0)]
    for metric, rows in judged.groupby("metric", sort=False):
        definition = METRICS[str(metric)]
        margin = f"{rows['margin'].iloc[0]:g}{f' {definition.unit}' if definition.unit else ''} of {metric}"
        texts = {NOT_WORSE: "shown", BEYOND: "refuted", UNDECIDED: "neither shown nor refuted"}
        found = {text: list(rows.loc[rows["noninferiority"] == verdict, "structure"]) for verdict, text in texts.items()}
        parts = [f"{text} in {', '.join(which)}" for text, which in found.items() if which]
        sentences.append(f"That {names[1]} is not worse than {names[0]} by {margin} or more is {'; '.join(parts)}.")
    return sentences


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def cautions(tested: list[dict[Any, Any]], family: int) -> list[str]:
    """What the numbers of patients and trainings do not allow to conclude."""
    n = min(r["n"] for r in tested)
    smallest = smallest_holm_p(n, family)
    sentences = []
    if smallest >= ALPHA:
        sentences.append(
            f"With {n} patient{'s' if n > 1 else ''} no single comparison can be significant after correction, whatever its size: "
            f"the smallest possible Holm p is {p_value(smallest)}; at least {patients_needed(family)} patients are needed."
        )
    if apart := [f"{r['structure']} {r['metric']}" for r in tested if r["verdict"] in (BETTER, WORSE) and r["ci_low"] < 0 < r["ci_high"]]:
        sentences.append(
            f"In {', '.join(apart)} most patients changed in the same direction, so that the test of ranks finds a difference, but a few "
            "large changes make the mean uncertain: its interval includes zero. Look at the single patients."
        )
    if any(r["verdict"] == NO_EVIDENCE for r in tested):
        sentences.append(
            "No evidence of a difference does not mean that the arms are equal; the intervals show which differences remain possible."
        )
    if any(math.isfinite(r["p_runs"]) and min(r["baseline_runs"], r["augmented_runs"]) < 3 for r in tested):
        sentences.append("Two trainings of an arm hardly tell how much trainings differ; three or more of each arm do.")
    if not any(math.isfinite(r["p_runs"]) for r in tested):
        sentences.append(
            "The intervals and tests are about these trained networks: how much another training (seed) of either arm would change is "
            "not known, because not both arms were trained several times."
        )
    return sentences
