"""Sampling many sequences to disk: streamed, resumable, with counted rejections."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from nnunet_synth_aug.cases import SyntheticSequence
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import atomic_path, hash_json, read_json, write_json
from nnunet_synth_aug.generator import Generator
from nnunet_synth_aug.priors import VARIABLES
from nnunet_synth_aug.synthesis.cascade import Request, sample_sequence
from nnunet_synth_aug.synthesis.quality import defects, missed
from nnunet_synth_aug.synthesis.sequences import read_index, read_sequence, sequence_exists, write_index, write_sequence

#: Tries per request; the last one is an error, so that no defective heart slips in silently.
MAX_TRIES = 12


def sample_accepted(generator: Generator, request: Request, check: bool) -> tuple[SyntheticSequence, list[list[str]]]:
    """Sample until the quality control accepts; returns the sequence and the reasons of every rejection."""
    rejected: list[list[str]] = []
    for attempt in range(MAX_TRIES):
        seed = request.seed if attempt == 0 else int(np.random.default_rng([request.seed, attempt]).integers(2**31))
        sequence = sample_sequence(generator, replace(request, seed=seed))
        reasons = [*defects(sequence.mask), *missed(request.priors, sequence.measured)] if check else []
        if not reasons:
            return sequence, rejected
        rejected.append(reasons)
    common = Counter(r for reasons in rejected for r in reasons).most_common(3)
    raise UserError(
        f"{request.id}: none of {MAX_TRIES} samples for {request.priors.specified()} passed the quality control "
        f"({', '.join(f'{r} {n}x' for r, n in common)}); ask for values nearer to the training patients', train longer, or pass --no-check"
    )


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
    plan = {
        "generator_hash": generator.provenance["generator_hash"],
        "requests": hash_json([[r.id, r.seed, r.priors.specified(), r.n_frames] for r in requests]),
        "check": check,
    }
    plan_path = folder / "plan.json"
    if plan_path.is_file() and read_json(plan_path) != plan:
        raise UserError(f"{folder} holds sequences of another generator or another request; choose another folder or delete this one")
    write_json(plan_path, plan)
    counts_path = folder / "rejections.json"
    rejections: dict[str, list[list[str]]] = read_json(counts_path) if counts_path.is_file() else {}
    skipped = []
    with progress("sampling", len(requests)) as bar:
        for done, request in enumerate(requests, 1):
            if not sequence_exists(folder, request.id) and rejections.get(request.id) != [["given up"]]:
                try:
                    sequence, rejected = sample_accepted(generator, request, check)
                    write_sequence(folder, sequence)
                except UserError:
                    if not skip_impossible:
                        raise
                    rejected = [["given up"]]
                rejections[request.id] = rejected
                write_json(counts_path, rejections)
            if not sequence_exists(folder, request.id):
                skipped.append(request.id)
            bar.advance(done, request.id)
    ids = [r.id for r in requests if r.id not in skipped]
    if not ids:
        raise UserError(f"no request passed the quality control; train the generator longer, or see {counts_path} for the reasons")
    tries = len(ids) + sum(len(r) for i, r in rejections.items() if i not in skipped) + MAX_TRIES * len(skipped)
    reasons = Counter(reason for each in rejections.values() for one in each for reason in one)
    quality = {
        "checked": check,
        "tries": tries,
        "accepted": len(ids),
        "acceptance_rate": len(ids) / tries,
        "reasons": dict(reasons),
        "given_up": skipped,
    }
    write_index(folder, ids, generator.provenance | {"quality": quality})
    write_table(folder)
    return ids


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


def sequence_of(folder: Path, index: int = 0) -> SyntheticSequence:
    """The index-th sequence of a folder."""
    return read_sequence(folder, read_index(folder)[0][index])
