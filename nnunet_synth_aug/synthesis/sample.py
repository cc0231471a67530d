"""Sampling many sequences to disk: streamed, resumable, with counted rejections."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_path, hash_json, make_folder, read_json, write_json
from nnunet_synth_aug.core.priors import VARIABLES
from nnunet_synth_aug.data.cycle import closure_ratio
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.synthesis.accept import ALL_CHECKS, QualityControl, sample_accepted
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence, sequence_exists, write_index, write_sequence
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.quality.defects import defective_frames

#: Of the quality control: a folder holds hearts that went through the same ones. 2: torn slices.
RULES = 2


def sample_to_folder(
    generator: Generator,
    requests: list[Request],
    folder: Path,
    quality: QualityControl = ALL_CHECKS,
    skip_impossible: bool = False,
    batch: int = 8,
    about: dict[str, Any] | None = None,
) -> list[str]:
    """Write every requested sequence that is not there yet, then the index and ``priors.csv``.

    Requests go through in groups of ``batch``. A sequence is written as soon as it is accepted and then forgotten. A
    killed run begins its unfinished group again, so that it ends with the same sequences as one that was not killed.

    Args:
        generator: a trained one.
        requests: ids must be unique.
        folder: made if missing; must not hold sequences of another generator or other requests.
        quality: the quality control; ``UNCHECKED`` accepts everything.
        skip_impossible: leave out a request that the generator cannot meet (counted) instead of stopping.
        batch: hearts per call of the networks; results depend on it in the last bits of floating point only.
        about: what the provenance is to say besides the generator's own.

    Returns:
        ids of the sequences in the folder.
    """
    make_folder(folder)
    _agree(folder / "plan.json", generator, requests, quality)
    log = folder / "rejections.json"
    rejections: dict[str, list[list[str]]] = read_json(log) if log.is_file() else {}

    def done(request: Request) -> bool:
        # An id in the log without a sequence was given up; the unfinished group of a killed run is not in the log.
        return request.id in rejections and (skip_impossible or sequence_exists(folder, request.id))

    with progress("sampling", len(requests), finished := sum(done(r) for r in requests)) as bar:
        for first in range(0, len(requests), batch):
            group = [r for r in requests[first : first + batch] if not done(r)]
            ended: dict[str, list[list[str]]] = {}
            for outcome in sample_accepted(generator, group, quality):
                if outcome.sequence is not None:
                    write_sequence(folder, outcome.sequence)
                ended[outcome.request.id] = outcome.rejected
                bar.advance(finished + len(ended), outcome.request.id)
            finished += len(ended)
            if group:
                rejections |= {r.id: ended[r.id] for r in group}
                write_json(log, rejections)
            if not skip_impossible and (lost := [r for r in group if not sequence_exists(folder, r.id)]):
                raise UserError(_impossible(lost[0], rejections[lost[0].id]))
    ids = [r.id for r in requests if sequence_exists(folder, r.id)]
    if not ids:
        raise UserError(f"no request passed the quality control; train the generator longer, or see {log} for the reasons")
    write_index(folder, ids, generator.provenance | {"quality": _quality(requests, ids, rejections, quality)} | (about or {}))
    write_table(folder)
    return ids


def _impossible(request: Request, rejected: list[list[str]]) -> str:
    common = Counter(r for reasons in rejected for r in reasons).most_common(3)
    return (
        f"{request.id}: none of {len(rejected)} samples for {request.priors.specified()} passed the quality control "
        f"({', '.join(f'{r} {n}x' for r, n in common)}); ask for values nearer to the training patients', train longer, or pass --no-check"
    )


def _quality(requests: list[Request], ids: list[str], rejections: dict[str, list[list[str]]], quality: QualityControl) -> dict[str, Any]:
    """What the quality control did: part of the provenance, because rejecting selects."""

    def counts(some: list[Request]) -> dict[str, Any]:
        accepted = sum(r.id in ids for r in some)
        tries = accepted + sum(len(rejections.get(r.id, [])) for r in some)
        # A few requests that the generator cannot meet use up most of the tries; how many hearts come out sound is told by the first ones.
        first = sum(r.id in ids and not rejections.get(r.id) for r in some)
        rate = accepted / tries if tries else None
        return {"requests": len(some), "first_try": first, "tries": tries, "accepted": accepted, "acceptance_rate": rate}

    asked = quality.check and quality.agreement is not None
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.priors.diagnosis or "unspecified", []).append(request)
    return {
        "checked": quality.check,
        "image_mask_checked": asked,
        "segmenter": dict(quality.segmenter or {}) if asked else None,
        "min_agreement": quality.min_agreement if asked else None,
        **counts(requests),
        "by_diagnosis": {name: counts(groups[name]) for name in sorted(groups)},
        "reasons": dict(Counter(reason for r in requests for one in rejections.get(r.id, []) for reason in one)),
        "given_up": [r.id for r in requests if r.id not in ids],
    }


def _agree(path: Path, generator: Generator, requests: list[Request], quality: QualityControl) -> None:
    """Refuse a folder of another generator or other requests; a folder may grow or be used in part."""
    least = None if quality.agreement is None else quality.min_agreement
    same = {"generator_hash": generator.provenance["generator_hash"], "check": quality.check, "min_agreement": least, "rules": RULES}
    if quality.segmenter is not None:
        same["segmenter"] = hash_json(dict(quality.segmenter))
    asked = {r.id: hash_json(_asked(r)) for r in requests}
    known = read_json(path) if path.is_file() else same | {"requests": {}}
    conflict = [i for i, h in asked.items() if known["requests"].get(i, h) != h]
    if conflict or any(known.get(k) != v for k, v in same.items()):
        raise UserError(
            f"{path.parent} holds sequences of another generator, request or quality control; choose another folder or delete this one"
        )
    write_json(path, same | {"requests": known["requests"] | asked})


def _asked(request: Request) -> list[Any]:
    """What decides how a request turns out, for a given generator."""
    own = [request.seed, request.priors.specified(), request.n_frames, request.calibrate]
    return own if request.origin is None else [*own, request.origin.name, request.origin.strength]


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
        writer.writerows(rows)
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
        "closure_real": _quartiles(real) | {"n": len(real)},
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
    lines.append(f"closure (last-to-first step / mean step), median: {np.median(ratios):.2f}; real cines: {np.median(real):.2f}")
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
