"""One HTML page with the whole comparison: conclusion, tables, figures, failures, provenance, definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluation import figures, html
from evaluation.arms import Arm, provenance
from evaluation.dataset import Dataset
from evaluation.metrics import Labels
from evaluation.overlays import Shown, overlay, phases_first, select_patients
from evaluation.pairing import MEAN, SIDES
from evaluation.table import BOTH_EMPTY, METRICS, PRIMARY
from evaluation.volumes import QUANTITIES
from evaluation.wording import DASH, METHODS, POLICIES, interval, number, p_value


@dataclass(frozen=True)
class Results:
    """Everything that the report shows; tables as their makers document them."""

    arms: tuple[Arm, Arm]
    dataset: Dataset
    labels: Labels  # the scored structures
    engine: str
    table: pd.DataFrame  # long table
    pairs: pd.DataFrame
    values: pd.DataFrame  # per patient
    summary: pd.DataFrame
    sensitivity: pd.DataFrame
    phases: pd.DataFrame
    groups: dict[str, pd.DataFrame]  # "vendor", "diagnosis"
    clinical: pd.DataFrame
    agreement: pd.DataFrame
    conclusion: list[str]
    notes: list[str]
    versions: dict[str, str]

    @property
    def names(self) -> tuple[str, str]:
        return (self.arms[0].name, self.arms[1].name)

    @property
    def failures(self) -> pd.DataFrame:
        """One row per prediction and structure in which exactly one mask is empty."""
        one = self.table[(self.table["metric"] == "Dice") & ~self.table["failure"].isin(["", BOTH_EMPTY])]
        return one[["model", "patient", "phase", "fold", "structure", "failure", "prediction_file"]].reset_index(drop=True)

    @property
    def excluded(self) -> int:
        """Pairs of case and structure in which both masks of both arms are empty."""
        return int(self.pairs.loc[self.pairs["metric"] == "Dice", list(SIDES)].isna().all(axis=1).sum())


def render(results: Results) -> str:
    """The page as HTML."""
    first, second = results.names
    title = f"{second} against {first} on {results.dataset.name}"
    patients, cases = results.table["patient"].nunique(), len(results.arms[0].predictions)
    meta = f"{patients} patients, {cases} predictions per arm, structures {', '.join(results.labels)}."
    sentences = [html.paragraph(s, "warning" if s in results.notes else "conclusion") for s in results.conclusion]
    body = [
        f"<header><h1>{html.escape(title)}</h1>{html.paragraph(meta, 'meta')}</header>",
        "\n".join(sentences),
        html.section("Headline", _headline(results)),
        html.section("Paired differences", _paired(results), _forests(results)),
        html.section("Patients", *_paired_plots(results)),
        html.section("Examples", *_overlays(results)),
        html.section("Failures", _failures(results), _sensitivity(results)),
        html.section("End-diastole and end-systole", _phases(results)),
        html.section("Groups of patients", *(_group(results.groups[k], k) for k in results.groups)),
        html.section("Clinical volumes", _agreement(results), _bland_altman(results)),
        html.section("Synthetic data", _provenance(results)),
        html.section("Arms", _arms(results)),
        html.section("Definitions", html.definitions([*((k, m.definition) for k, m in METRICS.items()), *POLICIES.items()])),
        html.section("Methods", html.paragraph(METHODS)),
        html.section(
            "Versions",
            html.paragraph(", ".join(f"{k} {v}" for k, v in results.versions.items()) + f"; distances: {results.engine}.", "meta"),
        ),
    ]
    return html.page(title, "\n".join(body))


def _headline(results: Results) -> str:
    columns, groups, rows = ["structure"], [("", 1)], []
    structures = [*results.labels, MEAN]
    for metric in PRIMARY:
        unit = METRICS[metric].unit
        columns += [*results.names, "difference", "95 % CI", "Holm p"]
        groups.append((f"{metric} [{unit}]" if unit else metric, 5))
    for structure in structures:
        cells = [structure]
        for metric in PRIMARY:
            row = _find(results.summary, structure, metric)
            digits = METRICS[metric].digits
            cells += [number(row[f"{side}_mean"], digits) for side in SIDES]
            cells += [number(row["difference"], digits, signed=True), interval(row, digits), p_value(row["p_holm"])]
        rows.append(cells)
    note = "Means over patients. The row “mean” averages the structures of each patient and is not tested."
    return html.table(columns, rows, groups=groups, rules=[len(rows) - 1]) + html.paragraph(note, "note")


def _find(table: pd.DataFrame, structure: str, metric: str) -> dict[Any, Any]:
    return table[(table["structure"] == structure) & (table["metric"] == metric)].to_dict("records")[0]


def _with_unit(metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{metric} [{unit}]" if unit else metric


def _median(row: dict[Any, Any], side: str, digits: int) -> str:
    return f"{number(row[f'{side}_median'], digits)} [{number(row[f'{side}_q1'], digits)}, {number(row[f'{side}_q3'], digits)}]"


def _paired(results: Results) -> str:
    first, second = results.names
    columns = [
        "metric",
        "structure",
        "n",
        f"{first}: mean ± SD",
        f"{second}: mean ± SD",
        f"{first}: median [quartiles]",
        f"{second}: median [quartiles]",
    ]
    columns += ["difference", "95 % CI", "p", "Holm p", "rank-biserial", "better / tied / worse"]
    rows, rules = [], []
    for metric in METRICS:
        rules.append(len(rows))
        for structure in [*results.labels, MEAN]:
            row = _find(results.summary, structure, metric)
            digits = METRICS[metric].digits
            cells = [_with_unit(metric), structure, str(row["n"])]
            cells += [f"{number(row[f'{s}_mean'], digits)} ± {number(row[f'{s}_sd'], digits)}" for s in SIDES]
            cells += [_median(row, s, digits) for s in SIDES]
            cells += [number(row["difference"], digits, signed=True), interval(row, digits), p_value(row["p"]), p_value(row["p_holm"])]
            cells += [number(row["effect"], 2, signed=True), f"{row['better']} / {row['ties']} / {row['worse']}"]
            rows.append(cells)
    note = f"Primary: {' and '.join(PRIMARY)} per structure. Rows without p are described, not tested."
    return html.table(columns, rows, text=2, rules=rules[1:]) + html.paragraph(note, "note")


def _forests(results: Results) -> str:
    images = [
        html.svg(figures.forest_plot(results.summary, m), f"Mean paired difference in {m} with 95 % CI per structure") for m in PRIMARY
    ]
    return f'<div class="figures">{"".join(images)}</div>' + html.paragraph(
        "Mean difference with 95 % interval; open symbol: average, not tested.", "note"
    )


def _paired_plots(results: Results) -> list[str]:
    parts = []
    for metric in PRIMARY:
        images = [
            html.svg(figures.paired_plot(results.values, s, metric, results.names), f"{metric} of {s} per patient in both arms")
            for s in results.labels
        ]
        parts += [html.heading(metric), f'<div class="figures">{"".join(images)}</div>']
    return parts


def _overlays(results: Results) -> list[str]:
    files = [{p.case: p.path for p in sorted(arm.predictions, key=lambda p: p.fold, reverse=True)} for arm in results.arms]
    by_patient: dict[str, list[str]] = {}
    for case in files[0]:
        by_patient.setdefault(results.dataset.cases[case].patient, []).append(case)
    parts = []
    for chosen in select_patients(results.values):
        cases = [
            Shown(results.dataset.cases[c].phase, results.dataset.images.get(c), results.dataset.ground_truth[c], files[0][c], files[1][c])
            for c in by_patient[chosen.patient]
        ]
        cases = sorted(cases, key=lambda c: phases_first(c.phase))[:2]
        picture = html.png(overlay(cases, results.labels, results.names), f"Contours of patient {chosen.patient}")
        parts.append(f'<figure><figcaption>{html.escape(chosen.title)}</figcaption><div class="scroll">{picture}</div></figure>')
    if parts and len(results.dataset.images) < len(results.dataset.ground_truth):
        parts.append(html.paragraph("Where the images of the dataset were not found, contours are drawn on black.", "note"))
    return parts


def _failures(results: Results) -> str:
    failures = results.failures
    counts = failures["model"].value_counts()
    text = "; ".join(f"{name}: {int(counts.get(name, 0))}" for name in results.names)
    told = html.paragraph(
        f"Structures of which exactly one mask is empty. {text}. Excluded because both masks are empty in both arms: {results.excluded}."
    )
    rows = [[str(v) for v in row] for row in failures.head(100).to_numpy()]
    more = html.paragraph(f"{len(failures) - 100} more are in metrics.csv.", "note") if len(failures) > 100 else ""
    return told + html.table(["arm", "patient", "phase", "fold", "structure", "failure", "file"], rows, text=7) + more


def _sensitivity(results: Results) -> str:
    if results.failures.empty:
        return ""
    rows = []
    for row in results.sensitivity.to_dict("records"):
        digits = METRICS[row["metric"]].digits
        cells = [_with_unit(row["metric"]), row["structure"], str(row["n"]), *(number(row[f"{s}_mean"], digits) for s in SIDES)]
        rows.append([*cells, number(row["difference"], digits, signed=True), interval(row, digits)])
    return html.heading("The same without failures") + html.table(
        ["metric", "structure", "n", *results.names, "difference", "95 % CI"], rows, text=2
    )


def _phases(results: Results) -> str:
    rows = []
    for row in results.phases.to_dict("records"):
        digits = METRICS[row["metric"]].digits
        cells = [row["phase"], row["structure"], _with_unit(row["metric"]), str(row["n"]), *(number(row[s], digits) for s in SIDES)]
        rows.append([*cells, number(row["difference"], digits, signed=True)])
    return html.table(["phase", "structure", "metric", "n", *results.names, "difference"], rows, text=3)


def _group(table: pd.DataFrame, what: str) -> str:
    if table.empty:
        return ""
    rows, rules, last = [], [], ""
    for (group, structure), part in table.groupby(["group", "structure"], sort=False):
        if group != last:
            rules.append(len(rows))
        last = group
        cells = [str(group), str(structure)]
        by_metric = {r["metric"]: r for r in part.to_dict("records")}
        cells.append(str(max(r["n"] for r in by_metric.values())))
        for metric in PRIMARY:
            row, digits = by_metric.get(metric), METRICS[metric].digits
            cells += [DASH, DASH] if row is None else [number(row["difference"], digits, signed=True), interval(row, digits)]
        rows.append(cells)
    columns = [what, "structure", "n"] + [c for m in PRIMARY for c in (f"{_with_unit(m)} difference", "95 % CI")]
    note = html.paragraph("Descriptive; intervals are not corrected for the number of groups.", "note")
    return html.heading(f"By {what}") + html.table(columns, rows, text=2, rules=rules[1:]) + note


def _agreement(results: Results) -> str:
    label = dict(zip(SIDES, results.names, strict=True))
    rows = []
    for row in results.agreement.to_dict("records"):
        limits = f"[{number(row['limit_low'], 1, signed=True)}, {number(row['limit_high'], 1, signed=True)}]"
        cells = [f"{row['quantity']} [{row['unit']}]", label[row["model"]], str(row["n"]), number(row["bias"], 1, signed=True)]
        rows.append([*cells, limits, number(row["mae"], 1), number(row["r"], 3)])
    rules = list(range(2, len(rows), 2))
    return html.table(
        ["quantity", "arm", "n", "bias", "95 % limits of agreement", "mean absolute error", "Pearson r"], rows, text=2, rules=rules
    )


def _bland_altman(results: Results) -> str:
    present = set(results.clinical["quantity"])
    images = [
        html.svg(figures.bland_altman(results.clinical, q, results.names), f"Bland-Altman plot of {q}")
        for q in QUANTITIES
        if q in present and not q.endswith("ESV")
    ]
    return f'<div class="figures">{"".join(images)}</div>' if images else ""


def _provenance(results: Results) -> str:
    rows = []
    for arm in results.arms:
        for fold, record in sorted(arm.records.items()):
            source = provenance(record)
            share, drawn, made = record.get("share"), record.get("samples"), record.get("synthetic_samples")
            patients = source.get("patients")
            rows.append(
                [
                    arm.name,
                    fold,
                    _cell(record.get("ratio")),
                    DASH if share is None else f"{float(share):.4f}",
                    DASH if drawn is None else f"{_cell(made)} of {drawn}",
                    _cell(len(patients) if patients is not None else None),
                    _cell(record.get("distinct_synthetic_cases", source.get("n_cases"))),
                    _cell(source.get("generator_hash", source.get("hash")))[:16],
                    _cell(record.get("manifest_hash"))[:16],
                ]
            )
    if not rows:
        return html.paragraph("No training of either arm recorded synthetic data (synth_aug.json was not found beside the predictions).")
    columns = [
        "arm",
        "fold",
        "ratio asked",
        "share counted",
        "synthetic samples",
        "generator's patients",
        "distinct cases used",
        "generator hash",
        "manifest hash",
    ]
    note = "Share and samples were counted batch by batch during training. The generator's patients are those that any of its stages was trained on."
    return html.table(columns, rows, text=2) + html.paragraph(note, "note")


def _cell(value: Any) -> str:
    return DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _arms(results: Results) -> str:
    rows = []
    for arm in results.arms:
        folds = ", ".join(f for f in arm.folds if f) or DASH
        rows.append(
            [
                arm.name,
                arm.trainer or DASH,
                arm.plans or DASH,
                arm.configuration or DASH,
                folds,
                number(arm.mix_ratio, 2),
                str(len(arm.predictions)),
            ]
        )
    return html.table(["arm", "trainer", "plans", "configuration", "folds", "mix ratio", "predictions"], rows, text=5)
