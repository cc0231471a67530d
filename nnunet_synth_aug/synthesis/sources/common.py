"""Folders of sequences that no diffusion model made: what reconstructions, copies, phantoms and pseudolabels share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import Subject, SyntheticSequence
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import OtherSequencesError, UserError
from nnunet_synth_aug.core.files import hash_json, make_folder, read_object, write_json
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.model.grid import Gridded
from nnunet_synth_aug.synthesis.figures import write_table
from nnunet_synth_aug.synthesis.folder import sequence_exists, write_index, write_sequence


def agree(folder: Path, maker: str, requests: dict[str, Any]) -> list[str]:
    """Refuse a folder that holds sequences of another maker or other requests; it may grow or be used in part.

    Args:
        folder: made if missing.
        maker: what decides how a request turns out; in the place of a generator's hash in ``plan.json``.
        requests: sequence id -> any JSON value that says what is wanted.

    Returns:
        ids that are still to be made, in order.
    """
    make_folder(folder)
    path = folder / "plan.json"
    same = {"generator_hash": maker, "check": False, "min_agreement": None}
    asked = {i: hash_json(value) for i, value in requests.items()}
    known: dict[str, Any] = read_object(path, "requests") if path.is_file() else {**same, "requests": {}}
    if any(known.get(k) != v for k, v in same.items()) or any(known["requests"].get(i, h) != h for i, h in asked.items()):
        raise OtherSequencesError(f"{folder} holds sequences that were made otherwise; add --replace, which deletes them first")
    write_json(path, {**same, "requests": known["requests"] | asked})
    return [i for i in requests if not sequence_exists(folder, i)]


def fill(
    folder: Path, title: str, ids: list[str], missing: list[str], made: Iterator[SyntheticSequence], provenance: dict[str, Any]
) -> None:
    """Write the missing sequences as they are made, then the index and ``priors.csv`` of those that could be made."""
    with progress(title, len(ids), done := len(ids) - len(missing)) as bar:
        for sequence in made:
            write_sequence(folder, sequence)
            bar.advance(done := done + 1, sequence.id)
    write_index(folder, [i for i in ids if sequence_exists(folder, i)], provenance)
    write_table(folder)


def labelled_subjects(cohort: Cohort, patients: Iterable[str], verb: str) -> list[Subject]:
    """Those of the patients that have contours.

    Args:
        cohort: that they belong to.
        patients: training patients of a fold.
        verb: what is to be done with them.

    Raises:
        UserError: none has.
    """
    chosen = [s for s in cohort.select(patients).subjects if s.cases]
    if not chosen:
        raise UserError(f"no training patient of this fold of {cohort.name} has masks, so there is nothing to {verb}")
    return chosen


def filled(gridded: Gridded, *arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays (T, X, Y, Z), cut to the part of the grid that the patient's images fill."""
    where = np.argwhere(gridded.valid.numpy())
    box = (slice(None), *(slice(low, high + 1) for low, high in zip(where.min(0), where.max(0), strict=True)))
    return [array[box] for array in arrays]


def in_grey(image: np.ndarray, gridded: Gridded) -> np.ndarray:
    """An image in [-1, 1] in the patient's grey values."""
    low, high = gridded.grey
    return np.clip((image + 1) / 2 * (high - low) + low, min(low, 0), None).astype(np.float32)
