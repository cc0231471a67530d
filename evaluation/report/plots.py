"""The figures of a comparison, drawn: plots as SVG and PNG, pictures of patients as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation.analysis.paired import SIDES
from evaluation.analysis.volumes import QUANTITIES
from evaluation.inputs.arms import Prediction
from evaluation.report import figures
from evaluation.report.blocks import Blocks, Gallery, Page, Pages, Paragraph, Picture, Table, photograph, plot
from evaluation.report.methods import stated
from evaluation.report.overlays import Selected, Shown, overlay, phases_first, select_patients, worst_cases
from evaluation.report.results import Results
from evaluation.report.tables import Rows, note, with_unit
from evaluation.report.wording import number
from evaluation.scoring.table import METRICS, PRIMARY

#: Cases beside the lines of all patients.
WORST_SHOWN = 2


def forests(results: Results) -> Blocks:
    """One forest plot per primary metric."""
    drawn = [
        plot(figures.forest_plot(results.summary, m, results.names), f"forest_{m}", f"Mean paired difference in {m} with interval")
        for m in PRIMARY
    ]
    return [Gallery(tuple(drawn)), note("Mean difference with 95 % interval; open symbol: average over structures, not tested.")]


def arm_forests(found: Sequence[Results]) -> Blocks:
    """Differences of every arm from the baseline, for the overview of several."""
    rows = pd.concat([results.summary.assign(group=results.names[1]) for results in found], ignore_index=True)
    baseline = found[0].names[0]
    drawn = [
        plot(
            figures.group_forest(rows, metric, (baseline, "arm"), f"{metric}, arm minus {baseline}"),
            f"forest_{metric}_of_all_arms",
            f"Mean paired difference in {metric} of every arm from {baseline} with interval",
        )
        for metric in PRIMARY
    ]
    return [Gallery(tuple(drawn)), note("Mean difference with 95 % interval; open symbol: average over structures, not tested.")]


def group_forests(results: Results, what: str) -> Blocks:
    """One forest plot per primary metric of the groups of one breakdown; nothing for less than two groups."""
    table = results.breakdown[what]
    drawn = [
        plot(
            figures.group_forest(table, metric, results.names, f"{metric} by {what}"),
            f"forest_{metric}_by_{what}",
            f"Mean paired difference in {metric} by {what} with interval",
        )
        for metric in PRIMARY
        if table["group"].nunique() > 1 and (table["metric"] == metric).any()
    ]
    return [Gallery(tuple(drawn))] if drawn else []


def bland_altman(results: Results) -> Blocks:
    """Volumes and EF of both arms against the reference."""
    present = set(results.clinical["quantity"])
    drawn = [
        plot(figures.bland_altman(results.clinical, q, results.names), f"bland_altman_{q}", f"Bland-Altman plot of {q}")
        for q in QUANTITIES
        if q in present
    ]
    return [Gallery(tuple(drawn))] if drawn else []


def at_a_glance(results: Results, images: bool) -> Blocks:
    """What a reader sees first: every patient in both arms, and beside it the worst cases.

    Args:
        images: with pictures of patients, where the masks are at hand.
    """
    drawn = [
        plot(
            figures.at_a_glance(results.values, results.summary, metric, list(results.labels), results.names),
            f"at_a_glance_{metric}",
            f"{metric} of every patient in {results.names[0]} and {results.names[1]}",
        )
        for metric in PRIMARY
    ]
    trained = any(np.isfinite(results.summary["runs_low"]))
    text = "One line per patient; diamonds: means. Above: mean change with 95 % interval" + (", over trainings too." if trained else ".")
    if images and all(results.arms) and (worst := _worst(results)):
        assert results.maps is not None and results.rules is not None
        picture = worst_cases(worst, results.names, results.maps, results.rules)
        drawn.append(photograph(picture, "case_at_a_glance", "Contours of the worst cases in both arms"))
        text += " Contours have the colours of the structures; white: ground truth, where an arm departs from it."
    return [Gallery(tuple(drawn)), note(text)]


def _worst(results: Results) -> list[tuple[str, Shown]]:
    """The patient with the largest loss of Dice and the one with the lowest in the augmented arm, each in the phase that is worse."""
    firsts: dict[str, str] = {}
    chosen = select_patients(results.values)
    for why in ("largest loss", "lowest Dice", "2nd lowest Dice"):
        for one in chosen:
            if why in one.reasons and len(firsts) < WORST_SHOWN:
                firsts.setdefault(one.patient, why)
    found = []
    for patient, why in firsts.items():
        mine = results.pairs[(results.pairs["patient"] == patient) & (results.pairs["metric"] == "Dice")]
        by_phase = mine.groupby("phase")[SIDES[1]].mean().to_dict()
        shown = min(_cases_of(results, patient), key=lambda case: by_phase.get(case.phase, 1.0))
        found.append((f"{patient}{f', {shown.phase}' if shown.phase else ''}: {why}", shown))
    return found


def cases(results: Results, images: bool) -> Blocks:
    """The patients who changed most and those who came out worst: a list, and pictures to page through.

    Args:
        images: with the pictures. They are drawn where the masks are at hand, which they are not for scores from a table.
    """
    chosen = select_patients(results.values)
    if not chosen:
        return []
    told = "Losses and gains of Dice, and ranks, are those of a patient's average over structures, phases and trainings."
    blocks: Blocks = [_listed(results, chosen), note(f"{told} {stated(PRIMARY, results.rules)}")]
    if not images:
        return [*blocks, note("Pictures of patients were left out (--no-images).")]
    if not all(results.arms):
        return [*blocks, note("No pictures: the scores came from tables, without masks.")]
    pages, bare = [], False
    for one in chosen:
        shown = _cases_of(results, one.patient)
        bare |= any(case.image is None for case in shown)
        pages.append(
            Page(_short(results, one), f"{one.patient}: {', '.join(one.reasons)}", _drawn(results, one, shown), _scores(results, one))
        )
    text = (
        "White: ground truth, where an arm departs from it. Left the middle slice, right the slice with most voxels wrong in the augmented "
        "arm."
    )
    if any(len(runs) > 1 for runs in results.arms):
        text += " The pictures show the first training of each arm, the numbers the mean of all."
    if bare:
        text += " Where the images of the dataset were not found, contours are drawn on black."
    return [
        *blocks,
        Paragraph("Leaf through with the buttons or, after clicking one, the arrow keys.", "note screen"),
        Pages(tuple(pages)),
        note(text),
    ]


def _of(results: Results, patient: str, structure: str, metric: str) -> list[float]:
    """Baseline and augmented value of a patient."""
    values = results.values
    row = values[(values["patient"] == patient) & (values["structure"] == structure) & (values["metric"] == metric)]
    return [float(v) for v in row[list(SIDES)].to_numpy(float)[0]] if len(row) else [float("nan")] * 2


def _listed(results: Results, chosen: list[Selected]) -> Table:
    rows: Rows = []
    for one in chosen:
        cells = [one.patient, ", ".join(one.reasons)]
        for metric in PRIMARY:
            before, after = _of(results, one.patient, "mean", metric)
            digits = METRICS[metric].digits
            cells += [number(before, digits), number(after, digits), number(after - before, digits, signed=True)]
        rows.append(cells)
    columns = ["patient", "shown for"] + [*results.names, "difference"] * len(PRIMARY)
    return Table(columns, rows, text=2, groups=[("", 2), *((f"mean {with_unit(m)}", 3) for m in PRIMARY)])


def _short(results: Results, one: Selected) -> str:
    before, after = _of(results, one.patient, "mean", "Dice")
    return f"{one.patient} {number(after - before, 3, signed=True)}"


def _cases_of(results: Results, patient: str) -> list[Shown]:
    """ED before ES; a case that several trainings or folds predicted is shown as the first did."""
    dataset = results.dataset
    files = [_first_by_case(runs[0].predictions) for runs in results.arms]
    mine = sorted(c for c in {*files[0], *files[1]} if dataset.cases[c].patient == patient)
    shown = []
    for case in mine:
        first, second = (found[case].path if case in found else None for found in files)
        shown.append(Shown(dataset.cases[case].phase, dataset.images.get(case), dataset.ground_truth[case], (first, second)))
    return sorted(shown, key=lambda case: phases_first(case.phase))[:2]


def _first_by_case(predictions: tuple[Prediction, ...]) -> dict[str, Prediction]:
    return {p.case: p for p in sorted(predictions, key=lambda p: p.fold, reverse=True)}


def _drawn(results: Results, one: Selected, shown: list[Shown]) -> Picture:
    assert results.maps is not None and results.rules is not None
    return photograph(
        overlay(shown, results.names, results.maps, results.rules), f"case_{one.patient}", f"Contours of {one.patient} in both arms"
    )


def _scores(results: Results, one: Selected) -> Table:
    """Values of one patient by phase and structure."""
    mine = results.pairs[(results.pairs["patient"] == one.patient) & results.pairs["metric"].isin(PRIMARY)]
    rows: Rows = []
    rules: list[int] = []
    for phase in sorted(set(mine["phase"]), key=phases_first):
        rules.append(len(rows))
        for structure in results.labels:
            part = mine[(mine["phase"] == phase) & (mine["structure"] == structure)].groupby("metric")[list(SIDES)].mean()
            cells = [phase, structure]
            for metric in PRIMARY:
                values = part.loc[metric].to_list() if metric in part.index else [float("nan")] * 2
                cells += [number(v, METRICS[metric].digits) for v in values]
            rows.append(cells)
    columns = ["phase", "structure", *list(results.names) * len(PRIMARY)]
    return Table(columns, rows, text=2, groups=[("", 2), *((with_unit(m), 2) for m in PRIMARY)], rules=rules[1:])
