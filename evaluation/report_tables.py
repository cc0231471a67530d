"""The tables of the report as HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evaluation import html
from evaluation.arms import provenance
from evaluation.pairing import MEAN, SIDES
from evaluation.results import Results
from evaluation.table import METRICS, PRIMARY
from evaluation.wording import DASH, interval, number, p_value

Rows = list[list[str]]
#: Longer lists stay in the CSV file.
MOST_FAILURES = 100


def _find(table: pd.DataFrame, structure: str, metric: str) -> dict[Any, Any]:
    return table[(table["structure"] == structure) & (table["metric"] == metric)].to_dict("records")[0]


def _with_unit(metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{metric} [{unit}]" if unit else metric


def _change(row: dict[Any, Any]) -> list[str]:
    digits = METRICS[row["metric"]].digits
    return [number(row["difference"], digits, signed=True), interval(row, digits)]


def headline(results: Results) -> str:
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
    groups = [("", 1), *((_with_unit(m), 5) for m in PRIMARY)]
    note = "Means over patients. The row “mean” averages the structures of each patient and is not tested."
    if failed := len(results.failures):
        note += f" {failed} failed prediction{'s' if failed > 1 else ''} of a structure counted with worst-case values; see Failures."
    return html.table(columns, rows, groups=groups, rules=[len(rows) - 1]) + html.paragraph(note, "note")


def differences(results: Results) -> str:
    """Paired difference of every metric, with tests for the primary ones."""
    columns = ["metric", "structure", "n", "difference", "95 % CI", "p", "Holm p", "rank-biserial", "better / tied / worse"]
    rows: Rows = []
    for metric in METRICS:
        for structure in [*results.labels, MEAN]:
            row = _find(results.summary, structure, metric)
            cells = [_with_unit(metric), structure, str(row["n"]), *_change(row), p_value(row["p"]), p_value(row["p_holm"])]
            rows.append([*cells, number(row["effect"], 2, signed=True), f"{row['better']} / {row['ties']} / {row['worse']}"])
    note = f"Primary: {' and '.join(PRIMARY)} per structure. Rows without p are described, not tested."
    return html.table(columns, rows, text=2, rules=_every(len(results.labels) + 1, len(rows))) + html.paragraph(note, "note")


def _every(step: int, n: int) -> list[int]:
    return list(range(step, n, step))


def arms_described(results: Results) -> str:
    """Mean and spread over patients of every metric in each arm."""
    columns = ["metric", "structure"] + ["mean ± SD", "median [quartiles]"] * len(SIDES)
    rows: Rows = []
    for metric, definition in METRICS.items():
        for structure in [*results.labels, MEAN]:
            row, digits = _find(results.summary, structure, metric), definition.digits
            cells = [_with_unit(metric), structure]
            for side in SIDES:
                mean, sd, median, q1, q3 = (number(row[f"{side}_{k}"], digits) for k in ("mean", "sd", "median", "q1", "q3"))
                cells += [f"{mean} ± {sd}", f"{median} [{q1}, {q3}]"]
            rows.append(cells)
    groups = [("", 2), *((name, 2) for name in results.names)]
    table = html.table(columns, rows, text=2, groups=groups, rules=_every(len(results.labels) + 1, len(rows)))
    return html.heading("Both arms") + table


def failures(results: Results) -> str:
    """Counts and list of predictions with exactly one empty mask."""
    found = results.failures
    counts = found["model"].value_counts()
    text = ", ".join(f"{name} {int(counts.get(name, 0))}" for name in results.names)
    told = (
        f"Structures of which exactly one mask is empty: {text}. Excluded, because both masks are empty in both arms: {results.excluded}."
    )
    rows = [[str(v) for v in row] for row in found.head(MOST_FAILURES).to_numpy()]
    more = html.paragraph(f"{len(found) - MOST_FAILURES} more are in metrics.csv.", "note") if len(found) > MOST_FAILURES else ""
    columns = ["arm", "patient", "phase", "fold", "structure", "failure", "file"]
    return html.paragraph(told) + html.table(columns, rows, text=len(columns)) + more


def without_failures(results: Results) -> str:
    """The paired differences with every failed pair left out of both arms; "" when nothing failed."""
    if results.failures.empty:
        return ""
    rows: Rows = []
    for row in results.sensitivity.sort_values("metric", kind="stable").to_dict("records"):
        means = [number(row[f"{side}_mean"], METRICS[row["metric"]].digits) for side in SIDES]
        rows.append([_with_unit(row["metric"]), row["structure"], str(row["n"]), *means, *_change(row)])
    columns = ["metric", "structure", "n", *results.names, "difference", "95 % CI"]
    return html.heading("The same without failures") + html.table(columns, rows, text=2, rules=_every(len(results.labels) + 1, len(rows)))


def phases(results: Results) -> str:
    """Means per phase; "" when no case tells its phase."""
    if results.phases.empty:
        return ""
    rows: Rows = []
    for (phase, structure), part in results.phases.groupby(["phase", "structure"], sort=False):
        by_metric = {row["metric"]: row for row in part.to_dict("records")}
        cells = [str(phase), str(structure), str(part["n"].max())]
        for metric in PRIMARY:
            row, digits = by_metric.get(metric), METRICS[metric].digits
            if row is None:
                cells += [DASH] * 3
            else:
                cells += [*(number(row[side], digits) for side in SIDES), number(row["difference"], digits, signed=True)]
        rows.append(cells)
    columns = ["phase", "structure", "n"] + [*results.names, "difference"] * len(PRIMARY)
    groups = [("", 3), *((_with_unit(m), 3) for m in PRIMARY)]
    table = html.table(columns, rows, text=2, groups=groups, rules=_every(len(results.labels), len(rows)))
    return table + html.paragraph("Descriptive.", "note")


def group(table: pd.DataFrame, what: str) -> str:
    """Paired differences within groups of patients; "" when no patient tells its group."""
    if table.empty:
        return ""
    rows: Rows = []
    rules: list[int] = []
    last = ""
    for (name, structure), part in table.groupby(["group", "structure"], sort=False):
        if str(name) != last:
            rules.append(len(rows))
            last = str(name)
        by_metric = {row["metric"]: row for row in part.to_dict("records")}
        cells = [str(name), str(structure), str(part["n"].max())]
        for metric in PRIMARY:
            cells += _change(by_metric[metric]) if metric in by_metric else [DASH, DASH]
        rows.append(cells)
    columns = [what, "structure", "n"] + ["difference", "95 % CI"] * len(PRIMARY)
    groups = [("", 3), *((_with_unit(m), 2) for m in PRIMARY)]
    note = html.paragraph(
        "Descriptive; intervals are not corrected for the number of groups, and too narrow in groups of only a few patients.", "note"
    )
    return html.heading(f"By {what}") + html.table(columns, rows, text=2, groups=groups, rules=rules[1:]) + note


def clinical(results: Results) -> str:
    """Agreement of volumes with the ground truth."""
    label = dict(zip(SIDES, results.names, strict=True))
    rows: Rows = []
    for row in results.agreement.to_dict("records"):
        limits = f"[{number(row['limit_low'], 1, signed=True)}, {number(row['limit_high'], 1, signed=True)}]"
        cells = [f"{row['quantity']} [{row['unit']}]", label[row["model"]], str(row["n"]), number(row["bias"], 1, signed=True)]
        rows.append([*cells, limits, number(row["mae"], 1), number(row["r"], 3)])
    columns = ["quantity", "arm", "n", "bias", "95 % limits of agreement", "mean absolute error", "Pearson r"]
    return html.table(columns, rows, text=2, rules=_every(len(SIDES), len(rows)))


def synthetic(results: Results) -> str:
    """What each training recorded about its synthetic data."""
    rows: Rows = []
    for arm in results.arms:
        for fold, record in sorted(arm.records.items()):
            source = provenance(record)
            share, patients = record.get("share"), source.get("patients")
            samples = DASH if record.get("samples") is None else f"{_cell(record.get('synthetic_samples'))} of {_cell(record['samples'])}"
            rows.append(
                [
                    arm.name,
                    fold,
                    _cell(record.get("ratio")),
                    DASH if share is None else f"{float(share):.4f}",
                    samples,
                    DASH if patients is None else str(len(patients)),
                    _cell(record.get("distinct_synthetic_cases", source.get("n_cases"))),
                    _cell(source.get("generator_hash", source.get("hash")))[:12],
                    _cell(record.get("manifest_hash"))[:12],
                ]
            )
    if not rows:
        return html.paragraph("No training of either arm recorded synthetic data (no synth_aug.json beside the predictions).")
    columns = [
        "arm",
        "fold",
        "ratio",
        "share counted",
        "synthetic samples",
        "generator patients",
        "distinct cases",
        "generator",
        "manifest",
    ]
    note = (
        "The share was counted batch by batch during training. Generator patients: those that any stage of the generator was trained on; "
        "none may be evaluated in the same fold. The last two columns are the first twelve digits of hashes."
    )
    return html.table(columns, rows, text=2) + html.paragraph(note, "note")


def _cell(value: Any) -> str:
    return DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def arms(results: Results) -> str:
    """How each arm was trained."""
    rows: Rows = []
    for arm in results.arms:
        folds = ", ".join(f for f in arm.folds if f) or DASH
        trained = [arm.trainer or DASH, arm.plans or DASH, arm.configuration or DASH]
        rows.append([arm.name, *trained, folds, number(arm.mix_ratio, 2), str(len(arm.predictions))])
    return html.table(["arm", "trainer", "plans", "configuration", "folds", "mix ratio", "predictions"], rows, text=5)
