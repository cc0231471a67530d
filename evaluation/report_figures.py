"""The figures of the report, drawn and embedded."""

from __future__ import annotations

from evaluation import figures, html
from evaluation.overlays import Shown, overlay, phases_first, select_patients
from evaluation.results import Results
from evaluation.table import PRIMARY
from evaluation.volumes import QUANTITIES


def forests(results: Results) -> str:
    images = [
        html.svg(figures.forest_plot(results.summary, m, results.names), f"Mean paired difference in {m} with interval") for m in PRIMARY
    ]
    return html.gallery(images) + html.paragraph(
        "Mean difference with 95 % interval; open symbol: average over structures, not tested.", "note"
    )


def paired_plots(results: Results) -> list[str]:
    parts = []
    for metric in PRIMARY:
        drawn = {s: figures.paired_plot(results.values, s, metric, results.names) for s in results.labels}
        parts += [html.heading(metric), html.gallery([html.svg(f, f"{metric} of {s} per patient in both arms") for s, f in drawn.items()])]
    return parts


def examples(results: Results) -> list[str]:
    """Overlays of the selected patients, ED before ES."""
    # A case that several trainings or folds predicted is shown as the first did.
    if not all(results.arms):
        return []  # scores from a table: there are no masks
    first = [runs[0].predictions for runs in results.arms]
    files = [{p.case: p.path for p in sorted(predictions, key=lambda p: p.fold, reverse=True)} for predictions in first]
    dataset = results.dataset
    by_patient: dict[str, list[str]] = {}
    for case in files[0]:
        by_patient.setdefault(dataset.cases[case].patient, []).append(case)
    parts = []
    for chosen in select_patients(results.values):
        shown = [
            Shown(dataset.cases[c].phase, dataset.images.get(c), dataset.ground_truth[c], files[0][c], files[1][c])
            for c in by_patient[chosen.patient]
        ]
        shown = sorted(shown, key=lambda c: phases_first(c.phase))[:2]
        parts.append(html.figure(html.png(overlay(shown, results.labels, results.names), f"Contours of {chosen.patient}"), chosen.title))
    if parts and len(dataset.images) < len(dataset.ground_truth):
        parts.append(html.paragraph("Where the images of the dataset were not found, contours are drawn on black.", "note"))
    return parts


def bland_altman(results: Results) -> str:
    present = set(results.clinical["quantity"])
    # ESV follows from EDV and EF: two of the three show everything.
    shown = [q for q in QUANTITIES if q in present and not q.endswith("ESV")]
    return html.gallery([html.svg(figures.bland_altman(results.clinical, q, results.names), f"Bland-Altman plot of {q}") for q in shown])
