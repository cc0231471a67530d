"""The tables of docs/results/utility.md from the figures of utility_probe.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_table import DOCS, comparison, difference, made, number, p_value, table

from nnunet_synth_aug.core.files import read_json

STRUCTURES = ("RV", "MYO", "LV")
Rows = list[dict[str, Any]]


def figures(folder: Path = DOCS / "utility") -> str:
    """A table of all probes, then a section for every JSON file in ``folder``, in the order of their names."""
    probes = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
    rows = [row for name, probe in probes.items() for row in _overview(name, probe)]
    titles = [f"{s} {metric}" for metric in ("Dice", "HD mm") for s in STRUCTURES]
    head = "## All probes\n\nDifference from real only on the ACDC test patients, mix minus real, with its 95 % interval.\n\n"
    head += table(["probe", "generator", "arm", "seeds", "iterations", *titles], rows)
    return "\n".join([head, *(_section(name, probe) for name, probe in probes.items())])


def _overview(name: str, probe: dict[str, Any]) -> list[list[str]]:
    settings = probe["settings"]
    about = [", ".join(map(str, settings["seeds"])), settings["iterations"]]
    return [
        [name, probe["generator"]["label"], arm, *about]
        + [difference(_find(tests["ACDC"], s, metric)) for metric in ("Dice", "HD") for s in STRUCTURES]
        for arm, tests in probe["comparisons"].items()
    ]


def _find(rows: Rows, structure: str, metric: str) -> dict[str, Any] | None:
    return next((row for row in rows if (row["structure"], row["metric"]) == (structure, metric)), None)


def _differences(rows: Rows, metric: str, of: tuple[str, ...] = STRUCTURES) -> list[str]:
    """One cell per structure, with Holm's p where there is one."""
    found = [_find(rows, structure, metric) for structure in of]
    return [difference(row) + (f", p {p_value(row['p_holm'])}" if row and row.get("p_holm") is not None else "") for row in found]


def _real(rows: Rows, metric: str) -> str:
    """What real only reaches in all structures."""
    found = [_find(rows, structure, metric) for structure in STRUCTURES]
    return " / ".join("-" if row is None else number(row["baseline_mean"]) for row in found)


def _section(name: str, probe: dict[str, Any]) -> str:
    generator, patients = probe["generator"], probe["patients"]
    only = f" ({', '.join(patients['diagnoses'])} alone)" if patients.get("diagnoses") else ""
    silent = f", {patients['unlabelled']} unlabelled ones for the generator" if patients.get("unlabelled") else ""
    about = f"{patients['train']} training{only} and {patients['test']} test patients{silent}, {made(probe)} "
    if generator["generator"] is None:
        about += "No generator"
    else:
        minutes = sum(generator["fit_seconds"].values()) / 60  # 0 of a generator that was fitted in pieces
        fit = " ".join([generator["generator"], *generator["fit"]])
        about += f"Generator: {generator['label']} (`{fit}`{f', {minutes:.0f} min' if minutes else ''})"
    about += f"; bank: {generator['sequences']} sequences, {generator['frames']} frames of each."
    if generator.get("segmenter"):
        about += " The real-only nnU-Net of the first seed checked every heart of the bank."
    parts = [f"## {name}\n", about + "\n"]
    for arm, tests in probe["comparisons"].items():
        for test, rows in tests.items():
            parts += [f"Real only against {arm}, {test}:\n", comparison(rows, ["real only", arm])]
    header = ["real only (RV / MYO / LV)", *STRUCTURES, "mean"]
    if probe.get("largest_heart"):
        cells = [
            [arm, test, metric, _real(rows, metric), *_differences(rows, metric, (*STRUCTURES, "mean"))]
            for arm, tests in probe["largest_heart"].items()
            for test, rows in tests.items()
            for metric in ("Dice", "HD")
        ]
        parts.append("The largest connected heart of every prediction alone, as nnU-Net's postprocessing leaves it (HD in mm):\n")
        parts.append(table(["arm", "test", "", *header], cells))
    if patients.get("diagnoses"):
        parts += ["ACDC by diagnosis, HD in mm, intervals without correction:\n", _groups(probe["by_diagnosis"], header)]
    columns = list(dict.fromkeys(key for run in probe["runs"] for key in run if key not in ("generator", "iterations")))
    rows = [[number(v) if isinstance(v := run.get(c), float) else v for c in columns] for run in probe["runs"]]
    return "\n".join([*parts, "Every run:\n", table(columns, rows)])


def _groups(arms: dict[str, Rows], header: list[str]) -> str:
    """Who gains where not every diagnosis was trained on."""
    cells = []
    for arm, rows in arms.items():
        for group in dict.fromkeys(row["group"] for row in rows):
            of = [row for row in rows if row["group"] == group]
            for metric in ("Dice", "HD"):
                cells.append([group, of[0]["n"], metric, arm, _real(of, metric), *_differences(of, metric, (*STRUCTURES, "mean"))])
    return table(["group", "patients", "", "arm", *header], sorted(cells, key=lambda row: (row[0], row[2])))


FIGURES = {"utility": figures}
