"""What an independent segmenter sees in generated images: volumes, and agreement with the generated masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import hash_json, read_json, write_json
from nnunet_synth_aug.core.labels import PHASES, STRUCTURES
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.nnunet.segmenter import Segmenter
from nnunet_synth_aug.reports.controllability.agreement import average
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence

METRICS = ("Dice", "HD95")


def heart_slices(mask: np.ndarray) -> int:
    """Slices of a mask (X, Y, Z) that hold any structure."""
    return int(mask.any(axis=(0, 1)).sum())


def segmented(sequence: SyntheticSequence, segmenter: Segmenter) -> dict[str, Any]:
    """Segment ED and ES of one sequence.

    Returns:
        ``measured``: priors of the segmenter's masks; ``heart_slices`` at ED; ``scores``: one row per structure and phase
        with Dice, HD95 in mm and, where a mask is empty, which one.
    """
    from evaluation.scoring.metrics import score  # pandas and its like are not needed without a segmenter

    frames = dict(zip(PHASES, (sequence.ed, sequence.es), strict=True))
    found = {phase: segmenter.segment(sequence.image[t], sequence.spacing, sequence.context) for phase, t in frames.items()}
    labels = {name: (label,) for name, label in STRUCTURES.items()}
    scores = []
    for phase, t in frames.items():
        for structure, one in score(found[phase], sequence.mask[t], sequence.spacing, labels).items():
            values = {metric: one.values[metric] for metric in METRICS}
            scores.append({"structure": structure, "phase": phase, **values, "failure": one.failure})
    measured = measure(found["ED"], found["ES"], sequence.spacing)
    return {"measured": measured.specified(), "heart_slices": heart_slices(found["ED"]), "scores": scores}


def segment_folder(sequences: Path, segmenter: Segmenter, cache: Path) -> dict[str, dict[str, Any]]:
    """:func:`segmented` of every sequence of a folder by id; what is in the file ``cache`` already is not done again."""
    ids, provenance = read_index(sequences)
    recipe = {"generator": provenance["generator_hash"], "segmenter": hash_json(segmenter.provenance)}
    known = read_json(cache) if cache.is_file() else {}
    done: dict[str, dict[str, Any]] = known["sequences"] if known.get("recipe") == recipe else {}
    with progress("segmenting", len(ids)) as bar:
        for number, sequence_id in enumerate(ids, 1):
            # The seed tells a sequence that was sampled again under the same name.
            sampled = read_json(sequences / f"{sequence_id}.json")
            stamp = [sampled["seed"], sampled["motion_seed"], sampled["calibration"]]
            if done.get(sequence_id, {}).get("stamp") != stamp:
                done[sequence_id] = {"stamp": stamp, **segmented(read_sequence(sequences, sequence_id), segmenter)}
                write_json(cache, {"recipe": recipe, "sequences": done})
            bar.advance(number, sequence_id)
    return {sequence_id: done[sequence_id] for sequence_id in ids}


def image_mask_agreement(found: dict[str, dict[str, Any]], clusters: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Mean Dice and HD95 with intervals per structure and phase, and over both phases.

    Masks that are both empty are left out of the means; one empty mask counts as Dice 0 and, in HD95, as the diagonal of
    the image, and is a failure.

    Args:
        found: of :func:`segment_folder`.
        clusters: one label per sequence, in the same order.
    """
    rows = []
    for structure in STRUCTURES:
        for phases in (*((p,) for p in PHASES), PHASES):
            chosen = [[s for s in one["scores"] if s["structure"] == structure and s["phase"] in phases] for one in found.values()]
            row: dict[str, Any] = {"structure": structure, "phase": "both" if len(phases) > 1 else phases[0]}
            for metric in METRICS:
                values = np.array([[s[metric] if s[metric] is not None else np.nan for s in one] for one in chosen], float)
                row[metric] = average(values.ravel(), rng, np.repeat(clusters, len(phases)))
            row["failures"] = sum(s["failure"] in ("prediction empty", "reference empty") for one in chosen for s in one)
            rows.append({**row, "n": int(np.isfinite(values).sum())})
    return rows
