"""Figures of a folder of sequences: requested against measured priors, closure of the motion, what the quality control did."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import atomic_path, read_json, write_json
from nnunet_synth_aug.core.priors import VARIABLES
from nnunet_synth_aug.core.tables import quoted
from nnunet_synth_aug.data.cycle import closure_ratio
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.quality.defects import defective_frames


def write_table(folder: Path) -> Path:
    """``priors.csv``: one row per sequence, requested and measured values side by side."""
    ids, _ = read_index(folder)
    rows: list[dict[str, Any]] = []
    for sequence_id in ids:
        meta = read_json(folder / f"{sequence_id}.json")
        row = {"sequence": sequence_id, "seed": meta["seed"], "ed_frame": meta["ed"], "es_frame": meta["es"], "n_frames": meta["n_frames"]}
        for name in VARIABLES:
            if name in meta["requested"] or name in meta["measured"]:
                row[f"{_column(name)}_requested"] = meta["requested"].get(name)
                for kind in ("measured", "open_loop"):
                    if name in (meta[kind] or {}):
                        row[f"{_column(name)}_{kind}"] = round(meta[kind][name], 2)
        rows.append(row)
    path = folder / "priors.csv"
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(column for row in rows for column in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: quoted(cell) for name, cell in row.items()} for row in rows)
    return path


def _column(name: str) -> str:
    """A variable's name with its unit, e.g. lv_ef_percent."""
    unit = VARIABLES[name].unit
    return f"{name}_{unit}".replace("%", "percent") if unit else name


def describe(folder: Path, generator: Generator) -> list[str]:
    """Figures of a folder of sequences as text, and as ``figures.json`` beside them.

    Closure is last-to-first step over mean step of the image: 1 for evenly moving, closed motion; the real
    value is that of the generator's training cines.
    """
    ids, provenance = read_index(folder)
    metas = [read_json(folder / f"{i}.json") for i in ids]
    ratios, defects, frames, cut = [], Counter[str](), 0, 0
    with progress("measuring", len(ids)) as bar:
        for done, sequence_id in enumerate(ids, 1):
            sequence = read_sequence(folder, sequence_id)
            ratios.append(closure_ratio(sequence.image))
            defects += defective_frames(sequence.mask)
            frames += len(sequence.mask)
            cut += sum(last - first < sequence.mask.shape[-1] for first, last in (sequence.sound or {}).values())
            bar.advance(done, sequence_id)
    real = [t.closure for t in generator.templates if t.closure is not None]
    quality = provenance["quality"]
    figures = {
        "n": len(ids),
        "closure_synthetic": _quartiles(ratios),
        "closure_real": (_quartiles(real) if real else {}) | {"n": len(real)},
        "priors": _errors(metas, "measured"),
        "priors_open_loop": _errors(metas, "open_loop"),  # of the same, calibrated sequences; empty where none was
        "closed_loop": all(m["calibration"] is not None for m in metas),
        "frames": frames,
        "frames_with_defect": dict(defects.most_common()),
        "frames_cut": cut,  # of which a bank leaves out slices at the ends
        "quality": quality,
    }
    write_json(folder / "figures.json", figures)
    lines = []
    for name, e in figures["priors"].items():
        before = figures["priors_open_loop"].get(name)
        was = [f" (open loop {before[key]:.1f})" if before else "" for key in ("mean_measured", "mean_absolute_error")]
        lines.append(
            f"{name}: requested {e['mean_requested']:.1f}, measured {e['mean_measured']:.1f}{was[0]}, "
            f"mean absolute error {e['mean_absolute_error']:.1f}{was[1]} (n = {e['n']})"
        )
    known = f"{np.median(real):.2f}" if real else "none"
    lines.append(f"closure (last-to-first step / mean step), median: {np.median(ratios):.2f}; real cines: {known}")
    if not quality["checked"]:
        return [*lines, "quality control: off"]
    groups = ", ".join(f"{name} {c['accepted']} of {c['tries']}" for name, c in quality["by_diagnosis"].items())
    first = f"{quality['first_try']} of {quality['requests']} requests at the first try"
    if cut:
        lines.append(f"torn slices at the ends of {cut} of {frames} frames: a bank leaves them out")
    return [*lines, f"quality control: {quality['accepted']} of {quality['tries']} samples accepted ({groups}); {first}"]


def _errors(metas: list[dict[str, Any]], kind: str) -> dict[str, dict[str, float]]:
    """Requested against ``kind`` ("measured" or "open_loop") for every numeric variable, over the sequences that have both."""
    errors = {}
    for name, variable in VARIABLES.items():
        pairs = [(m["requested"][name], m[kind][name]) for m in metas if name in m["requested"] and name in (m[kind] or {})]
        if pairs and not variable.choices:
            want, got = np.array(pairs, np.float64).T
            errors[_column(name)] = {
                "n": len(pairs),
                "mean_requested": float(want.mean()),
                "mean_measured": float(got.mean()),
                "mean_absolute_error": float(np.abs(got - want).mean()),
            }
    return errors


def _quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "q25": float(low), "q75": float(high)}
