"""What a generator may see: the training patients of one fold, on the grid, with their priors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnunet_synth_aug.cases import Sequence, Subject
from nnunet_synth_aug.config import GeneratorConfig
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.gating import cycle_frames
from nnunet_synth_aug.data.grid import Grid, Gridded, Placement, choose_grid, place, to_grid
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.priors import Priors, measure


@dataclass(frozen=True)
class TrainingCase:
    """One patient on the grid."""

    subject: Subject
    gridded: Gridded
    priors: Priors  # of what the grid shows
    cycle: float | None  # frames of the whole cardiac cycle; None without a cine


@dataclass(frozen=True)
class TrainingSet:
    """All training patients of one fold."""

    grid: Grid
    cases: list[TrainingCase]

    @property
    def patients(self) -> tuple[str, ...]:
        return tuple(sorted(c.subject.patient for c in self.cases))


def grid_priors(subject: Subject, gridded: Gridded, moved: bool = False) -> Priors:
    """The subject's priors, with volumes measured again where the grid changed them.

    Args:
        subject: with priors of the whole heart.
        gridded: what the networks see of it.
        moved: whether an augmentation scaled the heart.
    """
    stack = int(gridded.valid.any(0).any(0).sum())
    fixed = Priors(n_slices=stack, slice_thickness=gridded.spacing[2])
    if not (gridded.cut or moved) or gridded.ed not in gridded.labelled:
        return subject.priors.updated(fixed)
    es = gridded.mask[gridded.es].numpy() if gridded.es in gridded.labelled else None
    measured = measure(gridded.mask[gridded.ed].numpy(), es, gridded.spacing, subject.annotated)
    return subject.priors.updated(measured).updated(fixed)


def load_training_set(cohort: Cohort, patients: tuple[str, ...], config: GeneratorConfig) -> TrainingSet:
    """Read and grid the given patients."""
    subjects = [s for s in cohort.subjects if s.patient in set(patients)]
    if len(subjects) < 2:
        raise UserError(f"{cohort.name} has {len(subjects)} training patients in this fold; a generator needs at least 2")
    sequences: list[Sequence] = []
    with progress("reading cines", len(subjects)) as bar:
        for done, subject in enumerate(subjects, 1):
            sequences.append(load_sequence(subject))
            bar.advance(done, subject.patient)
    grid = choose_grid(config.grid, [(s.image.shape[1] * s.spacing[0], s.image.shape[2] * s.spacing[1]) for s in sequences])
    cases = []
    for subject, sequence in zip(subjects, sequences, strict=True):
        gridded = to_grid(sequence, grid, config.grid)
        cycle = cycle_frames(sequence.image) if subject.cine is not None and len(sequence.image) > 2 else None
        cases.append(TrainingCase(subject, gridded, grid_priors(subject, gridded), cycle))
    return TrainingSet(grid, cases)


def augmented(
    subject: Subject, sequence: Sequence, grid: Grid, config: GeneratorConfig, rng: np.random.Generator, frames: list[int]
) -> tuple[Gridded, Priors]:
    """One augmented copy of a patient: rotated, scaled and shifted in one resampling, with the priors of the result."""
    settings = config.latents
    base = place(sequence, grid)
    shift = rng.uniform(-settings.shift, settings.shift, 2)
    placement = Placement(
        centre=(base.centre[0] + float(shift[0]), base.centre[1] + float(shift[1])),
        angle=float(rng.uniform(-settings.rotation, settings.rotation)),
        scale=float(np.exp(rng.uniform(np.log(1 - settings.scale), np.log(1 + settings.scale)))),
    )
    gridded = to_grid(sequence, grid, config.grid, placement, frames)
    body = {"height": None, "weight": None}  # a scaled heart says nothing certain about the body
    return gridded, replace(grid_priors(subject, gridded, moved=True), **body)
