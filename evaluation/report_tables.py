"""The tables of the report as HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evaluation import html
from evaluation.arms import Arm, provenance
from evaluation.pairing import MEAN, SIDES
from evaluation.results import Results
from evaluation.table import METRICS, PRIMARY
from evaluation.wording import DASH, interval, number, p_value

Rows = list[list[str]]
#: Longer lists stay in the CSV file.
MOST_FAILURES = 100


def _find(table: pd.DataFrame, structure: str, metric: str) -> dict[Any, Any]:
    return table[(table["structure"] == structure) & (table["metric"] == metric)].to_dict("records")[0]


def _shown(results: Results) -> list[str]:
    """Metrics in the summary, in their order."""
    return [m for m in METRICS if (results.summary["metric"] == m).any()]


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
    columns = ["metric", "structure", "n", "difference", "95 % CI", "p", "Holm p", "rank-biserial", "d_z", "better / tied / worse"]
    rows: Rows = []
    for metric in _shown(results):
        for structure in [*results.labels, MEAN]:
            row = _find(results.summary, structure, metric)
            cells = [_with_unit(metric), structure, str(row["n"]), *_change(row), p_value(row["p"]), p_value(row["p_holm"])]
            effects = [number(row[k], 2, signed=True) for k in ("effect", "dz")]
            rows.append([*cells, *effects, f"{row['better']} / {row['ties']} / {row['worse']}"])
    note = f"Primary: {' and '.join(PRIMARY)} per structure. Rows without p are described, not tested. Family of {results.family}."
    if results.margins.ties:
        note += f" Tied up to {', '.join(f'{_with_unit(m)} {v:g}' for m, v in results.margins.ties.items())}."
    return html.table(columns, rows, text=2, rules=_every(len(results.labels) + 1, len(rows))) + html.paragraph(note, "note")


def _every(step: int, n: int) -> list[int]:
    return list(range(step, n, step))


def arms_described(results: Results) -> str:
    """Mean and spread over patients of every metric in each arm."""
    columns = ["metric", "structure"] + ["mean ± SD", "median [quartiles]"] * len(SIDES)
    rows: Rows = []
    for metric in _shown(results):
        for structure in [*results.labels, MEAN]:
            row, digits = _find(results.summary, structure, metric), METRICS[metric].digits
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


def breakdown(table: pd.DataFrame, what: str, names: tuple[str, str]) -> str:
    """Paired differences within groups of patients or parts of their images; "" when no group is known."""
    if table.empty:
        return ""
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
    columns = [what, "structure", "n"] + [*names, "difference", "95 % CI"] * len(metrics)
    groups = [("", 3), *((_with_unit(m), 4) for m in metrics)]
    return html.heading(f"By {what}") + html.table(columns, rows, text=2, groups=groups, rules=rules[1:])


def noninferiority(results: Results) -> str:
    """Interval of every difference against its margin; "" without margins."""
    judged = results.summary[results.summary["noninferiority"] != ""]
    rows: Rows = []
    for row in judged.sort_values("metric", kind="stable").to_dict("records"):
        digits = METRICS[row["metric"]].digits
        worst = "worse" if METRICS[row["metric"]].higher_is_better else "larger"
        cells = [_with_unit(row["metric"]), row["structure"], f"{row['margin']:g} {worst}", str(row["n"]), *_change(row)]
        rows.append([*cells, interval(row, digits, "runs"), row["noninferiority"]])
    columns = ["metric", "structure", "margin", "n", "difference", "95 % CI, patients", "95 % CI, trainings too", "augmented arm is"]
    return html.table(columns, rows, text=2)


def trainings(results: Results) -> str:
    """How much the means of single trainings spread; "" where each arm was trained once."""
    columns = ["metric", "structure"] + ["trainings", "SD of their means"] * len(SIDES) + ["difference", "patients", "and trainings"]
    rows: Rows = []
    for metric in PRIMARY:
        for structure in [*results.labels, MEAN]:
            row, digits = _find(results.summary, structure, metric), METRICS[metric].digits + 1
            if max(row[f"{side}_runs"] for side in SIDES) < 2:
                return ""
            spread = [cell for side in SIDES for cell in (str(row[f"{side}_runs"]), number(row[f"{side}_run_sd"], digits))]
            rows.append([_with_unit(metric), structure, *spread, *_change(row), interval(row, METRICS[metric].digits, "runs")])
    groups = [("", 2), *((name, 2) for name in results.names), ("", 1), ("95 % CI over", 2)]
    note = (
        "The interval over patients is the headline: it is the one that any study has, and it holds for the trained networks at hand. What "
        "is said about the method must hold for the interval over patients and trainings, too."
    )
    table = html.table(columns, rows, text=2, groups=groups, rules=_every(len(results.labels) + 1, len(rows)))
    return table + html.paragraph(note, "note")


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
    for arm in (arm for runs in results.arms for arm in runs):
        for fold, record in sorted(arm.records.items()):
            source = provenance(record)
            share, patients = record.get("share"), source.get("patients")
            samples = DASH if record.get("samples") is None else f"{_cell(record.get('synthetic_samples'))} of {_cell(record['samples'])}"
            rows.append(
                [
                    _named(arm),
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


def _named(arm: Arm) -> str:
    return f"{arm.name}, {arm.seed}" if arm.seed else arm.name


def arms(results: Results) -> str:
    """How each arm was trained; "" when the scores came from a table."""
    rows: Rows = []
    for arm in (arm for runs in results.arms for arm in runs):
        folds = ", ".join(f for f in arm.folds if f) or DASH
        trained = [arm.trainer or DASH, arm.plans or DASH, arm.configuration or DASH, arm.seed or DASH]
        rows.append([arm.name, *trained, folds, number(arm.mix_ratio, 2), str(len(arm.predictions))])
    return html.table(["arm", "trainer", "plans", "configuration", "seed", "folds", "mix ratio", "predictions"], rows, text=6)
