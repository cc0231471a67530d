"""Controllability: does a generated heart have the values that were asked for?

Measured twice: from the generated masks, which the generator could make consistent with the request whatever the image
shows, and from an independent nnU-Net's masks of the generated images, which is what a user of the images meets.
"""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_path, write_json
from nnunet_synth_aug.core.labels import DIAGNOSES
from nnunet_synth_aug.core.tables import quoted
from nnunet_synth_aug.nnunet.segmenter import Segmenter
from nnunet_synth_aug.reports.cines import request_group
from nnunet_synth_aug.reports.controllability.agreement import agreement
from nnunet_synth_aug.reports.controllability.image_mask import heart_slices, image_mask_agreement, segment_folder
from nnunet_synth_aug.reports.controllability.scatter import write_scatter
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence

#: Variable -> title, unit. ``n_slices`` compares the requested depth of the stack with the slices that hold heart at ED:
#: the depth itself is met by construction.
VARIABLES: dict[str, tuple[str, str]] = {
    "lv_edv": ("LV EDV", "mL"),
    "lv_ef": ("LV EF", "%"),
    "rv_edv": ("RV EDV", "mL"),
    "rv_ef": ("RV EF", "%"),
    "lv_mass": ("LV mass", "g"),
    "n_slices": ("Slices with heart", ""),
}
MASKS, IMAGES = "generated masks", "independent segmenter"
COLUMNS = ("sequence", "cluster", "diagnosis", "source", "variable", "unit", "requested", "measured")


def controllability_report(
    sequences: Path, out: Path, segmenter: Segmenter | None = None, closed_loop: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare requests and open-loop sequences; writes ``controllability.json``, ``.csv`` and ``.png`` into ``out``.

    Args:
        sequences: written by ``sample_to_folder(..., UNCHECKED)`` with ``calibrate=False``.
        out: folder.
        segmenter: an independent nnU-Net, if there is one.
        closed_loop: the same requests sampled with calibration; reported apart.
        seed: of bootstrap and permutations.

    Returns:
        what the JSON holds.

    Raises:
        UserError: the first folder is calibrated, or the second is not.
    """
    ids, provenance = read_index(sequences)
    rng = np.random.default_rng([seed, 1])
    points = _points(sequences, calibrated=False)
    report: dict[str, Any] = {
        "generator": {k: provenance[k] for k in ("dataset", "fold", "preset", "generator_hash")},
        "n": len(ids),
        "clusters": len({row["cluster"] for row in points}),
        "selected_by_quality_control": provenance["quality"]["checked"],
        "variables": {name: {"title": title, "unit": unit} for name, (title, unit) in VARIABLES.items()},
        "open_loop": {MASKS: _agreements(points, rng)},
    }
    if segmenter is not None:
        found = segment_folder(sequences, segmenter, out / "segmented.json")
        seen = _segmented(points, found)
        clusters = {row["sequence"]: row["cluster"] for row in points}
        rows = image_mask_agreement(found, np.array([clusters[i] for i in found]), rng)
        report["segmenter"] = segmenter.provenance
        report["segmenter_taught_it"] = provenance.get("contoured_by") == segmenter.provenance
        report["open_loop"][IMAGES] = _agreements(seen, rng)
        report["image_mask"] = [{**row, "Dice": asdict(row["Dice"]), "HD95": asdict(row["HD95"])} for row in rows]
        points += seen
    if closed_loop is not None:
        report["closed_loop"] = {MASKS: _agreements(_points(closed_loop, calibrated=True), rng)}
    with atomic_path(out / "controllability.csv") as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({name: quoted(cell) for name, cell in point.items()} for point in points)
    write_scatter(out / "controllability.png", points, report["open_loop"], VARIABLES)
    write_json(out / "controllability.json", report)
    return report


def _points(folder: Path, calibrated: bool) -> list[dict[str, Any]]:
    """One row per sequence and variable that was asked for and can be measured on the generated masks."""
    rows = []
    clusters: dict[str, int] = {}
    for sequence_id in read_index(folder)[0]:
        sequence = read_sequence(folder, sequence_id)
        if (sequence.calibration is not None) != calibrated:
            loop = "closed" if calibrated else "open"
            raise UserError(
                f"{folder / sequence_id} was not sampled with the {loop} loop, but is to be reported as such; choose another folder"
            )
        cluster = clusters.setdefault(request_group(sequence), len(clusters))
        measured = sequence.measured.specified() | {"n_slices": heart_slices(sequence.mask[sequence.ed])}
        for name, (_, unit) in VARIABLES.items():
            if (requested := getattr(sequence.requested, name)) is not None:
                rows.append(
                    {
                        "sequence": sequence_id,
                        "cluster": cluster,
                        "diagnosis": sequence.requested.diagnosis or "",
                        "source": MASKS,
                        "variable": name,
                        "unit": unit,
                        "requested": requested,
                        "measured": measured.get(name),  # None where the structure is missing
                    }
                )
    return rows


def _segmented(points: list[dict[str, Any]], found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with what the segmenter measures."""

    def value(row: dict[str, Any]) -> float | None:
        one = found[row["sequence"]]
        return one["heart_slices"] if row["variable"] == "n_slices" else one["measured"].get(row["variable"])

    return [{**row, "source": IMAGES, "measured": value(row)} for row in points]


def _agreements(points: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """Variable -> agreement, for all hearts and per diagnosis; hearts without the structure are counted apart."""
    groups = {"all": points} | {d: [p for p in points if p["diagnosis"] == d] for d in DIAGNOSES}
    result: dict[str, Any] = {}
    for group, rows in groups.items():
        for name in VARIABLES:
            asked = [p for p in rows if p["variable"] == name]
            kept = [p for p in asked if p["measured"] is not None]
            if kept:
                requested, measured = (np.array([p[c] for p in kept], float) for c in ("requested", "measured"))
                clusters = np.array([p["cluster"] for p in kept])
                figures = asdict(agreement(requested, measured, rng, clusters))
                result.setdefault(group, {})[name] = {**figures, "not_measurable": len(asked) - len(kept)}
    return result
