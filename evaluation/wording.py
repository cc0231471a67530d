"""Sentences and number formats of the report, made from the numbers alone."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from evaluation.pairing import MEAN
from evaluation.statistics import ALPHA, EXACT_UP_TO, LEVEL, RESAMPLES, patients_needed, smallest_holm_p
from evaluation.summary import BETTER, MIXED, NO_EVIDENCE, WORSE
from evaluation.table import METRICS, PRIMARY
from nnunet_synth_aug.labels import MYOCARDIAL_DENSITY

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
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval(row: dict[Any, Any], digits: int) -> str:
    """``[low, high]``, or a dash where there is none."""
    if not math.isfinite(row["ci_low"]):
        return DASH
    return f"[{number(row['ci_low'], digits, signed=True)}, {number(row['ci_high'], digits, signed=True)}]"


def finding(row: dict[Any, Any]) -> str:
    """One tested row as a phrase, e.g. ``LV Dice +0.012 [+0.004, +0.021], Holm p 0.010``."""
    metric = METRICS[row["metric"]]
    unit = f" {metric.unit}" if metric.unit else ""
    text = (
        f"{row['structure']} {row['metric']} {number(row['difference'], metric.digits, signed=True)}{unit} {interval(row, metric.digits)}"
    )
    return f"{text}, Holm p {p_value(row['p_holm'])}"


def conclusion(summary: pd.DataFrame, names: tuple[str, str], notes: list[str]) -> list[str]:
    """What the numbers say, worst news first.

    Args:
        summary: from :func:`evaluation.summary.paired_summary`.
        notes: from :func:`evaluation.arms.fairness_notes`.
    """
    tested = [row for row in summary.to_dict("records") if row["verdict"]]
    possible = [row for row in tested if row["n"]]
    if not possible:
        return [*notes, "No structure could be compared: every pair was excluded."]
    sentences = list(notes)
    grouped = {v: [finding(r) for r in possible if r["verdict"] == v] for v in (BETTER, WORSE, MIXED)}
    total = len(possible)
    for verdict, text in ((BETTER, "was better than"), (WORSE, "was worse than"), (MIXED, "cannot be ranked against")):
        if found := grouped[verdict]:
            sentences.append(f"{_capital(names[1])} {text} {names[0]} in {len(found)} of {total} primary comparisons: {'; '.join(found)}.")
    rest = [r for r in possible if r["verdict"] == NO_EVIDENCE]
    if rest:
        which = "; ".join(finding(r) for r in rest)
        sentences.append(f"No evidence of a difference in {len(rest)} of {total} primary comparisons: {which}.")
    means = [r for r in summary.to_dict("records") if r["structure"] == MEAN and r["metric"] in PRIMARY and r["n"]]
    if means:
        parts = []
        for row in means:
            metric = METRICS[row["metric"]]
            unit = f" {metric.unit}" if metric.unit else ""
            parts.append(f"{row['metric']} {number(row['difference'], metric.digits, signed=True)}{unit} {interval(row, metric.digits)}")
        sentences.append(f"Averaged over the structures (not tested): {', '.join(parts)}.")
    return sentences + cautions(possible)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def cautions(tested: list[dict[Any, Any]]) -> list[str]:
    """What the number of patients does not allow to conclude."""
    n, family = min(r["n"] for r in tested), len(tested)
    smallest = smallest_holm_p(n, family)
    sentences = []
    if smallest >= ALPHA:
        sentences.append(
            f"With {n} patient{'s' if n > 1 else ''} no single comparison can be significant after correction, whatever its size: "
            f"the smallest possible Holm p is {p_value(smallest)}; at least {patients_needed(family)} patients are needed."
        )
    if any(r["verdict"] == NO_EVIDENCE for r in tested):
        sentences.append(
            "No evidence of a difference does not mean that the arms are equal; the intervals show which differences remain possible."
        )
    return sentences


METHODS = (
    "The unit of analysis is the patient. Values of ED and ES are averaged first, then folds and seeds that scored the same patient, "
    "so that every patient enters each test once; both arms rest on the same cases. "
    f"The paired difference (augmented minus baseline) is given as its mean with a {LEVEL:.0%} BCa bootstrap interval over patients "
    f"({RESAMPLES} resamples, fixed seed). The primary family, fixed in advance, is {' and '.join(PRIMARY)} of every structure, tested "
    f"with the two-sided Wilcoxon signed-rank test (zeros after Pratt; exact over all sign flips for up to {EXACT_UP_TO} patients) and "
    f"corrected after Holm. A difference is stated when the corrected p is below {ALPHA:g} and the mean difference and the "
    "rank-biserial correlation agree in direction. All other tables are descriptive: their intervals are not corrected for multiplicity."
)

POLICIES: dict[str, str] = {
    "Surface": "Voxels of the mask with a face neighbour outside it (6-neighbourhood in 3D; the image border counts as outside), at "
    "their centres; distances in mm in 3D on the native grid. HD, HD95 and ASSD so defined equal medpy.metric.binary.hd, hd95 and assd.",
    "Both masks empty": "Excluded from every metric and counted. If only one arm is empty there (the other predicts a structure that the "
    "ground truth lacks), the arm that is right gets the perfect score, so that the error of the other is not hidden.",
    "One mask empty": "A failure: Dice and IoU 0; HD, HD95 and ASSD the diagonal of the image box, which no distance can exceed. Listed "
    "by case; the sensitivity table leaves these pairs out of both arms.",
    "Volume": "Number of voxels times voxel volume. EF from ED and ES of the same patient; LV mass is the myocardial volume at ED times "
    f"{MYOCARDIAL_DENSITY:g} g/mL.",
    "Rank-biserial": "Sum of ranks in favour of augmentation minus sum of ranks against, over the sum of both: from \N{MINUS SIGN}1 to 1, "
    "positive favours augmentation.",
    "Better / tied / worse": "Patients for whom the augmented arm is better, equal or worse.",
}
