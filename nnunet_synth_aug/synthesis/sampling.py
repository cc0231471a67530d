"""Sampling many sequences to disk: streamed, resumable, with counted rejections."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_synth_aug.cases import SyntheticSequence
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.data.gating import closure_ratio
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import atomic_path, hash_json, read_json, write_json
from nnunet_synth_aug.generator import Generator
from nnunet_synth_aug.priors import VARIABLES, measure
from nnunet_synth_aug.synthesis.cascade import Request, anatomy_mask, sample_anatomy, sample_cycle
from nnunet_synth_aug.synthesis.pictures import cycle_pictures, write_gif
from nnunet_synth_aug.synthesis.quality import ANATOMY, MOTION, anatomy_defects, missed, motion_defects
from nnunet_synth_aug.synthesis.sequences import read_index, read_sequence, sequence_exists, write_index, write_sequence

#: Anatomies per request, and cycles per accepted anatomy, before a request counts as impossible.
MAX_ANATOMIES, MAX_CYCLES = 16, 3


def sample_accepted(generator: Generator, request: Request, check: bool) -> tuple[SyntheticSequence | None, list[list[str]]]:
    """Sample until the quality control accepts.

    The anatomy is judged before any motion is made for it: decoding one frame costs a fraction of a cycle.

    Returns:
        the sequence, or None if the tries are used up, and the reasons of every rejection.
    """
    seeds = np.random.default_rng(request.seed).integers(2**31, size=(MAX_ANATOMIES, 1 + MAX_CYCLES)).tolist()
    rejected: list[list[str]] = []
    for anatomy_seed, *motion_seeds in seeds:
        anatomy = sample_anatomy(generator, replace(request, seed=anatomy_seed))
        if check:
            ed = anatomy_mask(generator, anatomy)
            reasons = [*anatomy_defects(ed), *missed(request.priors, measure(ed, None, anatomy.spacing), ANATOMY)]
            if reasons:
                rejected.append(reasons)
                continue
        for motion_seed in motion_seeds:
            sequence = sample_cycle(generator, anatomy, motion_seed)
            reasons = [*motion_defects(sequence.mask), *missed(request.priors, sequence.measured, MOTION)] if check else []
            if not reasons:
                return sequence, rejected
            rejected.append(reasons)
    return None, rejected


def sample_to_folder(
    generator: Generator, requests: list[Request], folder: Path, check: bool = True, skip_impossible: bool = False
) -> list[str]:
    """Write every requested sequence that is not there yet, then the index and ``priors.csv``.

    Args:
        generator: a trained one.
        requests: ids must be unique.
        folder: made if missing; must not hold sequences of another generator or other requests.
        check: apply the quality control.
        skip_impossible: leave out a request that the generator cannot meet (counted) instead of stopping.

    Returns:
        ids of the sequences in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _agree(folder / "plan.json", generator, requests, check)
    log = folder / "rejections.json"
    rejections: dict[str, list[list[str]]] = read_json(log) if log.is_file() else {}
    with progress("sampling", len(requests)) as bar:
        for done, request in enumerate(requests, 1):
            # An id in the log without a sequence was given up; a killed run is in neither.
            if request.id not in rejections or not (sequence_exists(folder, request.id) or skip_impossible):
                sequence, rejected = sample_accepted(generator, request, check)
                if sequence is not None:
                    write_sequence(folder, sequence)
                elif not skip_impossible:
                    raise UserError(_impossible(request, rejected))
                rejections[request.id] = rejected
                write_json(log, rejections)
            bar.advance(done, request.id)
    ids = [r.id for r in requests if sequence_exists(folder, r.id)]
    if not ids:
        raise UserError(f"no request passed the quality control; train the generator longer, or see {log} for the reasons")
    write_index(folder, ids, generator.provenance | {"quality": _quality(requests, ids, rejections, check)})
    write_table(folder)
    return ids


def _impossible(request: Request, rejected: list[list[str]]) -> str:
    common = Counter(r for reasons in rejected for r in reasons).most_common(3)
    return (
        f"{request.id}: none of {len(rejected)} samples for {request.priors.specified()} passed the quality control "
        f"({', '.join(f'{r} {n}x' for r, n in common)}); ask for values nearer to the training patients', train longer, or pass --no-check"
    )


def _quality(requests: list[Request], ids: list[str], rejections: dict[str, list[list[str]]], check: bool) -> dict[str, Any]:
    """What the quality control did: part of the provenance, because rejecting selects."""
    mine = [rejections.get(r.id, []) for r in requests]
    tries = len(ids) + sum(len(r) for r in mine)
    return {
        "checked": check,
        "tries": tries,
        "accepted": len(ids),
        "acceptance_rate": len(ids) / tries,
        "reasons": dict(Counter(reason for each in mine for one in each for reason in one)),
        "given_up": [r.id for r in requests if r.id not in ids],
    }


def _agree(path: Path, generator: Generator, requests: list[Request], check: bool) -> None:
    """Refuse a folder of another generator or other requests; a folder may grow or be used in part."""
    same = {"generator_hash": generator.provenance["generator_hash"], "check": check}
    asked = {r.id: hash_json([r.seed, r.priors.specified(), r.n_frames, r.calibrate]) for r in requests}
    known = read_json(path) if path.is_file() else same | {"requests": {}}
    conflict = [i for i, h in asked.items() if known["requests"].get(i, h) != h]
    if conflict or any(known[k] != v for k, v in same.items()):
        raise UserError(f"{path.parent} holds sequences of another generator or another request; choose another folder or delete this one")
    write_json(path, same | {"requests": known["requests"] | asked})


def write_table(folder: Path) -> Path:
    """``priors.csv``: one row per sequence, requested and measured values side by side."""
    ids, _ = read_index(folder)
    rows = []
    for sequence_id in ids:
        meta = read_json(folder / f"{sequence_id}.json")
        row = {"sequence": sequence_id, "seed": meta["seed"], "ed_frame": meta["ed"], "es_frame": meta["es"], "n_frames": meta["n_frames"]}
        for name, variable in VARIABLES.items():
            if name in meta["requested"] or name in meta["measured"]:
                unit = f"_{variable.unit}".replace("%", "percent") if variable.unit else ""
                row[f"{name}{unit}_requested"] = meta["requested"].get(name)
                if name in meta["measured"]:
                    row[f"{name}{unit}_measured"] = round(meta["measured"][name], 2)
        rows.append(row)
    path = folder / "priors.csv"
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    return path


def write_gifs(folder: Path, ids: list[str]) -> None:
    """One beating heart per sequence, plain above and outlined below."""
    with progress("drawing", len(ids)) as bar:
        for done, sequence_id in enumerate(ids, 1):
            sequence = read_sequence(folder, sequence_id)
            pictures = cycle_pictures(sequence.image, sequence.mask)
            write_gif(folder / f"{sequence_id}.gif", pictures, max(sequence.frame_seconds * len(pictures), 0.6))
            bar.advance(done, sequence_id)


def describe(folder: Path, generator: Generator) -> list[str]:
    """Figures of a folder of sequences as text, and as ``figures.json`` beside them.

    Closure is last-to-first step over mean step of the image: 1 for evenly moving, closed motion; the real
    value is that of the generator's training cines.
    """
    ids, provenance = read_index(folder)
    ratios = []
    for sequence_id in ids:
        image = read_sequence(folder, sequence_id).image
        ratios.append(closure_ratio(image))
    real = [t.closure for t in generator.templates if t.closure is not None]
    table = pd.read_csv(folder / "priors.csv")
    errors = {}
    for column in table.columns:
        if column.endswith("_requested") and (measured := column.replace("_requested", "_measured")) in table:
            difference = (table[measured] - table[column]).dropna() if table[column].dtype != object else pd.Series(dtype=float)
            if len(difference):
                errors[column.removesuffix("_requested")] = {
                    "n": len(difference),
                    "mean_requested": float(table[column].mean()),
                    "mean_measured": float(table[measured].mean()),
                    "mean_absolute_error": float(difference.abs().mean()),
                }
    figures = {
        "n": len(ids),
        "closure_synthetic": _quartiles(ratios),
        "closure_real": _quartiles(real) | {"n": len(real)},
        "priors": errors,
        "closed_loop": all(read_json(folder / f"{i}.json")["calibration"] is not None for i in ids),
        "quality": provenance["quality"],
    }
    write_json(folder / "figures.json", figures)
    quality = provenance["quality"]
    lines = [
        f"{name}: requested {e['mean_requested']:.1f}, measured {e['mean_measured']:.1f}, "
        f"mean absolute error {e['mean_absolute_error']:.1f} (n = {e['n']})"
        for name, e in errors.items()
    ]
    lines.append(f"closure (last-to-first step / mean step), median: {np.median(ratios):.2f}; real cines: {np.median(real):.2f}")
    lines.append(
        f"quality control: {quality['accepted']} of {quality['tries']} samples accepted" if quality["checked"] else "quality control: off"
    )
    return lines


def _quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "q25": float(low), "q75": float(high)}
