"""Real and generated cines brought into one form, so that a comparison sees hearts and not formats.

Both go through the grid's own resampling (field of view, pixel size) and both get their grey values from percentiles of the
sequence on that grid. What differs afterwards is what the generator made differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.cases import Sequence, Spacing, Subject, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.cycle import cycle_frames
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence

#: Percentiles of a sequence on the grid that become 0 and 1.
GREY_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class Cine:
    """One heart as it is measured."""

    id: str
    group: str  # the unit of resampling: a patient, or a request (hearts made for the same priors share one)
    image: np.ndarray  # float32 (T, X, Y, Z) in [0, 1], 0 where not valid; only slices that exist
    mask: np.ndarray  # uint8 (T, X, Y, Z)
    valid: np.ndarray  # bool (X, Y, Z)
    spacing: Spacing  # mm
    ed: int
    es: int
    labelled: tuple[int, ...]  # frames with a mask
    structures: frozenset[int]  # labels that were contoured
    moving: bool  # a cine, not only an ED and an ES volume
    cycle: float  # frames of the whole cardiac cycle, T or more


def patients(generator: Generator, cohort: Cohort) -> tuple[list[Subject], list[Subject]]:
    """The patients that the generator was trained on, and those of the cohort that it never saw."""
    seen = set(generator.provenance["patients"])
    training = [s for s in cohort.subjects if s.patient in seen]
    if len(training) < len(seen):
        missing = sorted(seen - {s.patient for s in training})[0]
        raise UserError(
            f"the generator was trained on {missing}, which {cohort.folder} does not have; report on it with the cohort it was trained on"
        )
    return training, [s for s in cohort.subjects if s.patient not in seen]


def sequence_ids(generator: Generator, folder: Path) -> list[str]:
    """Ids of the sequences of a folder, which must be this generator's."""
    ids, provenance = read_index(folder)
    if provenance["generator_hash"] != generator.provenance["generator_hash"]:
        raise UserError(f"{folder} holds sequences of another generator; sample from this one into another folder")
    return ids


def labelled_sequence(synthetic: SyntheticSequence) -> Sequence:
    """A generated sequence as if it were a patient's; every frame is labelled."""
    frames = tuple(range(len(synthetic.image)))
    return Sequence(synthetic.image, synthetic.mask, synthetic.spacing, synthetic.ed, synthetic.es, frames)


def request_group(synthetic: SyntheticSequence) -> str:
    """Hearts that were asked for with the same priors are not independent of each other."""
    return hash_json(synthetic.requested.specified())


def real_cine(generator: Generator, subject: Subject) -> Cine:
    """A patient as it is measured."""
    sequence = load_sequence(subject)
    moving = subject.cine is not None and len(sequence.image) > 2
    cycle = cycle_frames(sequence.image) if moving else float(len(sequence.image))
    return _cine(generator, sequence, subject.patient, subject.patient, subject.annotated, moving, cycle)


def synthetic_cine(generator: Generator, folder: Path, sequence_id: str) -> Cine:
    """A generated heart as it is measured."""
    synthetic = read_sequence(folder, sequence_id)
    n = len(synthetic.image)
    return _cine(generator, labelled_sequence(synthetic), sequence_id, request_group(synthetic), frozenset({RV, MYO, LV}), n > 2, float(n))


def _cine(generator: Generator, sequence: Sequence, name: str, group: str, structures: frozenset[int], moving: bool, cycle: float) -> Cine:
    gridded = to_grid(sequence, generator.grid, generator.config.grid)
    valid = gridded.valid.numpy()
    stack = valid.any(axis=(0, 1))
    image, valid = gridded.image.float().numpy()[..., stack], valid[..., stack]
    low, high = np.percentile(image[:, valid], GREY_PERCENTILES)
    scaled = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1) * valid
    return Cine(
        id=name,
        group=group,
        image=scaled.astype(np.float32),
        mask=gridded.mask.numpy()[..., stack],
        valid=valid,
        spacing=gridded.spacing,
        ed=gridded.ed,
        es=gridded.es,
        labelled=gridded.labelled,
        structures=structures,
        moving=moving,
        cycle=cycle,
    )
