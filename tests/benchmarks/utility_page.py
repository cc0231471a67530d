"""The tables of docs/results/utility.md from the figures of utility_probe.py, so that no number is typed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_table import table

from nnunet_synth_aug.core.files import read_json


def figures(folder: Path) -> str:
    """A table of all probes, then a section for every JSON file in ``folder``, in the order of their names."""
    paths = sorted(folder.glob("*.json"))
    probes = [read_json(path) for path in paths]
    overview = [row for path, probe in zip(paths, probes, strict=True) for row in _overview(path.stem, probe)]
    sections = [_section(path.stem, probe) for path, probe in zip(paths, probes, strict=True)]
    head = "## All probes\n\nDifference from real only on the ACDC test patients, mix minus real, with its 95 % interval.\n\n"
    titles = ["probe", "generator", "arm", "seeds", "iterations", "RV Dice", "MYO Dice", "LV Dice", "RV HD mm", "MYO HD mm", "LV HD mm"]
    return "\n".join([head + table(titles, overview), *sections])


def _overview(name: str, probe: dict[str, Any]) -> list[list[str]]:
    rows = []
    settings = probe["settings"]
    for arm, tests in probe["comparisons"].items():
        found = {(row["structure"], row["metric"]): row for row in tests["ACDC"]}
        cells = [_difference(found.get((s, m))) for m in ("Dice", "HD") for s in ("RV", "MYO", "LV")]
        seeds = ", ".join(map(str, settings["seeds"]))
        rows.append([name, probe["generator"]["label"], arm, seeds, str(settings["iterations"]), *cells])
    return rows


def _section(name: str, probe: dict[str, Any]) -> str:
    generator, patients = probe["generator"], probe["patients"]
    parts = [f"## {name}\n"]
    silent = f", {patients['unlabelled']} unlabelled ones for the generator" if patients.get("unlabelled") else ""
    only = f" ({', '.join(patients['diagnoses'])} alone)" if patients.get("diagnoses") else ""
    about = f"{patients['train']} training{only} and {patients['test']} test patients{silent}, {probe['machine']}, "
    about += f"version {probe['version']}, {probe['date']}."
    if generator is not None:
        seconds = sum(generator["fit_seconds"].values())
        took = f", {seconds / 60:.0f} min" if seconds else ""  # not known of a generator that was fitted in pieces
        options = f" {' '.join(generator['fit'])}" if generator["fit"] else ""
        what = (
            "No generator"
            if generator["generator"] is None
            else f"Generator: {generator['label']} (`{generator['generator']}{options}`{took})"
        )
        about += f" {what}; bank: {generator['sequences']} sequences, {generator['frames']} frames of each."
        if generator.get("segmenter"):
            about += " The real-only nnU-Net of the first seed checked every heart of the bank."
    parts.append(about + "\n")
    for arm, tests in probe["comparisons"].items():
        for test, rows in tests.items():
            parts.append(f"Real only against {arm}, {test}:\n")
            cells = [
                [
                    f"{row['structure']} {row['metric']}{' ' + row['unit'] if row['unit'] else ''}",
                    str(row["n"]),
                    _number(row["baseline_mean"]),
                    _number(row["augmented_mean"]),
                    _difference(row),
                    _p(row["p_holm"]),
                    row["verdict"] or "not tested",
                ]
                for row in rows
            ]
            parts.append(table(["", "patients", "real only", arm, "difference [95 % CI]", "Holm p", ""], cells))
    if probe.get("largest_heart"):
        parts += _without_islands(probe["largest_heart"])
    if patients.get("diagnoses"):
        parts += _groups(probe["by_diagnosis"])
    columns = list(dict.fromkeys(key for run in probe["runs"] for key in run if key not in ("generator", "iterations")))
    parts.append("Every run:\n")
    parts.append(table(columns, [[_cell(run.get(column)) for column in columns] for run in probe["runs"]]))
    return "\n".join(parts)


def _without_islands(arms: dict[str, dict[str, list[dict[str, Any]]]]) -> list[str]:
    """The same differences where only the largest connected heart of every prediction is scored."""
    cells = []
    for arm, tests in arms.items():
        for test, rows in tests.items():
            found = {(row["structure"], row["metric"]): row for row in rows}
            for metric in ("Dice", "HD"):
                own = " / ".join(_number(found[s, metric]["baseline_mean"]) if (s, metric) in found else "-" for s in ("RV", "MYO", "LV"))
                differences = [_verdict(found.get((s, metric))) for s in ("RV", "MYO", "LV")]
                mean = found.get(("mean", metric))
                cells.append([arm, test, metric if metric == "Dice" else "HD mm", own, *differences, _difference(mean)])
    header = ["arm", "test", "", "real only (RV / MYO / LV)", "RV", "MYO", "LV", "mean"]
    return [
        "The largest connected heart of every prediction alone, as nnU-Net's postprocessing leaves it (p after Holm):\n",
        table(header, cells),
    ]


def _verdict(row: dict[str, Any] | None) -> str:
    return _difference(row) if row is None or row["p_holm"] is None else f"{_difference(row)}, p {_p(row['p_holm'])}"


def _groups(arms: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One table per metric: who gains where not every diagnosis was trained on."""
    parts = []
    for metric in ("Dice", "HD"):
        cells = []
        for arm, rows in arms.items():
            for group in dict.fromkeys(row["group"] for row in rows):
                found = {row["structure"]: row for row in rows if (row["group"], row["metric"]) == (group, metric)}
                own = " / ".join(_number(found[s]["baseline_mean"]) if s in found else "-" for s in ("RV", "MYO", "LV"))
                cells.append([group, str(found["RV"]["n"]), own, arm, *(_difference(found.get(s)) for s in ("RV", "MYO", "LV", "mean"))])
        parts.append(f"ACDC by diagnosis, {metric}{'' if metric == 'Dice' else ' in mm'}, intervals without correction:\n")
        header = ["group", "patients", "real only (RV / MYO / LV)", "arm", "RV", "MYO", "LV", "mean"]
        parts.append(table(header, sorted(cells, key=lambda row: row[0])))
    return parts


def _cell(value: Any) -> str:
    return _number(value) if isinstance(value, float) else "-" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 2 else f"{value:.1f}"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _difference(row: dict[str, Any] | None) -> str:
    if row is None or row["difference"] is None:
        return "-"
    digits = 3 if row["metric"] == "Dice" else 1
    low, high = ("-" if row[key] is None else f"{row[key]:+.{digits}f}" for key in ("ci_low", "ci_high"))
    return f"{row['difference']:+.{digits}f} [{low}, {high}]"
