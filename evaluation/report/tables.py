"""The tables of a comparison."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evaluation.analysis.paired import MEAN, SIDES
from evaluation.report.blocks import Blocks, Heading, Paragraph, Table
from evaluation.report.methods import stated
from evaluation.report.results import Results
from evaluation.report.wording import DASH, interval, number, p_value
from evaluation.scoring.table import METRICS, PRIMARY

Rows = list[list[str]]
#: Longer lists stay in the CSV file.
MOST_FAILURES = 100


def _find(table: pd.DataFrame, structure: str, metric: str) -> dict[Any, Any]:
    return table[(table["structure"] == structure) & (table["metric"] == metric)].to_dict("records")[0]


def _shown(results: Results) -> list[str]:
    """Metrics in the summary, in their order."""
    return [m for m in METRICS if (results.summary["metric"] == m).any()]


def with_unit(metric: str) -> str:
    """A metric with its unit."""
    unit = METRICS[metric].unit
    return f"{metric} [{unit}]" if unit else metric


def _change(row: dict[Any, Any]) -> list[str]:
    digits = METRICS[row["metric"]].digits
    return [number(row["difference"], digits, signed=True), interval(row, digits)]


def _every(step: int, n: int) -> list[int]:
    return list(range(step, n, step))


def note(text: str) -> Paragraph:
    """A paragraph in small print."""
    return Paragraph(text, "note")


def headline(results: Results) -> Blocks:
    """Primary metrics, one row per structure."""
    columns = ["structure"] + [*results.names, "difference", "95 % CI", "Holm p"] * len(PRIMARY)
    rows: Rows = []
    for structure in [*results.labels, MEAN]:
        cells = [structure]
        for metric in PRIMARY:
            row = _find(results.summary, structure, metric)
            cells += [number(row[f"{side}_mean"], METRICS[metric].digits) for side in SIDES]
            cells += [*_change(row), p_value(row["p_holm"])]
        rows.append(cells)
    groups = [("", 1), *((with_unit(m), 5) for m in PRIMARY)]
    text = "Means over patients. The row “mean” averages the structures of each patient and is not tested."
    if failed := len(results.failures):
        text += f" {failed} failed prediction{'s' if failed > 1 else ''} of a structure: see Failures."
    return [Table(columns, rows, groups=groups, rules=[len(rows) - 1]), note(f"{text} {stated(PRIMARY, results.rules)}")]


def differences(results: Results) -> Blocks:
    """Paired difference of every metric, with tests for the primary ones."""
    columns = ["metric", "structure", "n", "difference", "95 % CI", "p", "Holm p", "rank-biserial", "d_z", "better / tied / worse"]
    rows: Rows = []
    for metric in _shown(results):
        for structure in [*results.labels, MEAN]:
            row = _find(results.summary, structure, metric)
            cells = [with_unit(metric), structure, str(row["n"]), *_change(row), p_value(row["p"]), p_value(row["p_holm"])]
            effects = [number(row[k], 2, signed=True) for k in ("effect", "dz")]
            rows.append([*cells, *effects, f"{row['better']} / {row['ties']} / {row['worse']}"])
    text = f"Primary: {' and '.join(PRIMARY)} per structure. Rows without p are described, not tested. Family of {results.family}."
    if results.margins.ties:
        text += f" Tied up to {', '.join(f'{with_unit(m)} {v:g}' for m, v in results.margins.ties.items())}."
    rules = _every(len(results.labels) + 1, len(rows))
    return [Table(columns, rows, text=2, rules=rules), note(f"{text} {stated(_shown(results), results.rules)}")]


def arms_described(results: Results) -> Blocks:
    """Mean and spread over patients of every metric in each arm."""
    columns = ["metric", "structure"] + ["mean ± SD", "median [quartiles]"] * len(SIDES)
    rows: Rows = []
    for metric in _shown(results):
        for structure in [*results.labels, MEAN]:
            row, digits = _find(results.summary, structure, metric), METRICS[metric].digits
            cells = [with_unit(metric), structure]
            for side in SIDES:
                mean, sd, median, q1, q3 = (number(row[f"{side}_{k}"], digits) for k in ("mean", "sd", "median", "q1", "q3"))
                cells += [f"{mean} ± {sd}", f"{median} [{q1}, {q3}]"]
            rows.append(cells)
    groups = [("", 2), *((name, 2) for name in results.names)]
    table = Table(columns, rows, text=2, groups=groups, rules=_every(len(results.labels) + 1, len(rows)))
    return [Heading("Both arms"), table, note(f"Over patients. {stated(_shown(results), results.rules)}")]


def failures(results: Results) -> Blocks:
    """Counts and list of predictions with exactly one empty mask, or none at all."""
    found = results.failures
    counts = found["model"].value_counts()
    text = ", ".join(f"{name} {int(counts.get(name, 0))}" for name in results.names)
    told = f"Structures of which exactly one mask is empty, or the prediction missing: {text}."
    told += f" Excluded, because both masks are empty in both arms: {results.excluded}."
    blocks: Blocks = [Paragraph(told)]
    if len(found):
        rows = [[str(v) for v in row] for row in found.head(MOST_FAILURES).to_numpy()]
        columns = ["arm", "patient", "phase", "fold", "structure", "failure", "file"]
        blocks.append(Table(columns, rows, text=len(columns)))
    if len(found) > MOST_FAILURES:
        blocks.append(note(f"{len(found) - MOST_FAILURES} more are in metrics.csv."))
    return blocks


def without_failures(results: Results) -> Blocks:
    """The paired differences with every failed pair left out of both arms; nothing when nothing failed."""
    if results.failures.empty:
        return []
    rows: Rows = []
    for row in results.sensitivity.sort_values("metric", kind="stable").to_dict("records"):
        means = [number(row[f"{side}_mean"], METRICS[row["metric"]].digits) for side in SIDES]
        rows.append([with_unit(row["metric"]), row["structure"], str(row["n"]), *means, *_change(row)])
    columns = ["metric", "structure", "n", *results.names, "difference", "95 % CI"]
    table = Table(columns, rows, text=2, rules=_every(len(results.labels) + 1, len(rows)))
    return [Heading("The same without failures"), table, note(stated(PRIMARY, results.rules, failures=False))]


def breakdown(table: pd.DataFrame, what: str, results: Results) -> Blocks:
    """Paired differences within groups of patients or parts of their images; nothing when no group is known."""
    if table.empty:
        return []
    metrics = [m for m in PRIMARY if (table["metric"] == m).any()]
    rows: Rows = []
    rules: list[int] = []
    for name, group in table.groupby("group", sort=False):
        rules.append(len(rows))
        for structure, part in group.groupby("structure", sort=False):
            by_metric = {row["metric"]: row for row in part.to_dict("records")}
            cells = [str(name), str(structure), str(part["n"].max())]
            for metric in metrics:
                row, digits = by_metric.get(metric), METRICS[metric].digits
                cells += [DASH] * 4 if row is None else [*(number(row[f"{side}_mean"], digits) for side in SIDES), *_change(row)]
            rows.append(cells)
    columns = [what, "structure", "n"] + [*results.names, "difference", "95 % CI"] * len(metrics)
    groups = [("", 3), *((with_unit(m), 4) for m in metrics)]
    return [Heading(f"By {what}"), Table(columns, rows, text=2, groups=groups, rules=rules[1:]), note(stated(metrics, results.rules))]


def dependence(results: Results, way: str) -> Blocks:
    """Tests whether the difference depends on the group; nothing where the patients are not in two groups."""
    tests = results.dependence[results.dependence["way"] == way]
    if tests.empty:
        return []
    rows: Rows = []
    for structure, part in tests.groupby("structure", sort=False):
        cells = [str(structure)]
        for row in part.to_dict("records"):
            cells += [row["groups"] or DASH, str(row["n"]), p_value(row["p"]), p_value(row["p_holm"])]
        rows.append(cells)
    columns = ["structure"] + [f"{way}s compared", "n", "p", "Holm p"] * len(PRIMARY)
    groups = [("", 1), *((f"difference in {with_unit(m)}", 4) for m in PRIMARY)]
    text = f"Is the mean difference the same in all {way}s? Permutation test over patients, see Methods."
    return [Table(columns, rows, groups=groups), note(f"{text} {stated(PRIMARY, results.rules)}")]


def noninferiority(results: Results) -> Blocks:
    """Interval of every difference against its margin; nothing without margins."""
    judged = results.summary[results.summary["noninferiority"] != ""]
    if judged.empty:
        return []
    rows: Rows = []
    for row in judged.sort_values("metric", kind="stable").to_dict("records"):
        digits = METRICS[row["metric"]].digits
        worst = "worse" if METRICS[row["metric"]].higher_is_better else "larger"
        cells = [with_unit(row["metric"]), row["structure"], f"{row['margin']:g} {worst}", str(row["n"]), *_change(row)]
        rows.append([*cells, interval(row, digits, "runs"), row["noninferiority"]])
    columns = ["metric", "structure", "margin", "n", "difference", "95 % CI, patients", "95 % CI, trainings too", "augmented arm is"]
    return [Table(columns, rows, text=2), note(stated(list(dict.fromkeys(judged["metric"])), results.rules))]


def trainings(results: Results) -> Blocks:
    """How much the means of single trainings spread; nothing where each arm was trained once."""
    columns = ["metric", "structure"] + ["trainings", "SD of their means"] * len(SIDES) + ["difference", "patients", "and trainings"]
    rows: Rows = []
    for metric in PRIMARY:
        for structure in [*results.labels, MEAN]:
            row, digits = _find(results.summary, structure, metric), METRICS[metric].digits + 1
            if max(row[f"{side}_runs"] for side in SIDES) < 2:
                return []
            spread = [cell for side in SIDES for cell in (str(row[f"{side}_runs"]), number(row[f"{side}_run_sd"], digits))]
            rows.append([with_unit(metric), structure, *spread, *_change(row), interval(row, METRICS[metric].digits, "runs")])
    groups = [("", 2), *((name, 2) for name in results.names), ("", 1), ("95 % CI over", 2)]
    text = (
        "The interval over patients is the headline: it is the one that any study has, and it holds for the trained networks at hand. What "
        "is said about the method must hold for the interval over patients and trainings, too."
    )
    table = Table(columns, rows, text=2, groups=groups, rules=_every(len(results.labels) + 1, len(rows)))
    return [table, note(f"{text} {stated(PRIMARY, results.rules)}")]


def clinical(results: Results) -> Blocks:
    """Agreement of volumes with the ground truth; nothing without pairs of ED and ES."""
    if results.agreement.empty:
        return []
    label = dict(zip(SIDES, results.names, strict=True))
    rows: Rows = []
    for row in results.agreement.to_dict("records"):
        limits = f"[{number(row['limit_low'], 1, signed=True)}, {number(row['limit_high'], 1, signed=True)}]"
        bias = f"{number(row['bias'], 1, signed=True)} ± {number(row['bias_ci'], 1)}"
        cells = [f"{row['quantity']} [{row['unit']}]", label[row["model"]], str(row["n"]), bias]
        rows.append([*cells, limits, number(row["limit_ci"], 1), number(row["mae"], 1), number(row["r"], 3)])
    columns = ["quantity", "arm", "n", "bias ± 95 % CI", "limits of agreement", "their ± 95 % CI", "mean absolute error", "Pearson r"]
    text = (
        "Prediction minus ground truth, patients with ED and ES. Volumes by voxel count, EF = 100 (EDV - ESV) / EDV, LV mass: myocardium "
        "at ED times 1.05 g/mL. Limits of agreement: bias ± 1.96 SD. A missing prediction has no volume; an empty one has 0 mL."
    )
    return [Table(columns, rows, text=2, rules=_every(len(SIDES), len(rows))), note(text)]
