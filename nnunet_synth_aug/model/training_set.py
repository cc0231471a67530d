"""What a generator may see: the training patients of one fold, on the grid, with their priors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnunet_synth_aug.core.cases import Sequence, Subject
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import FROM_MASKS, Priors, measure
from nnunet_synth_aug.data.cohort import Cohort, extent, load_sequence
from nnunet_synth_aug.data.cycle import cycle_frames
from nnunet_synth_aug.data.remodel import Remodelling, radial_maps
from nnunet_synth_aug.data.warp import smooth_warp
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.grid import Grid, Gridded, Placement, choose_grid, place, to_grid


@dataclass(frozen=True)
class TrainingCase:
    """One patient on the grid."""

    subject: Subject
    gridded: Gridded
    priors: Priors  # of what the grid shows
    cycle: float | None  # frames of the whole cardiac cycle; None without a cine


#: Remodelled hearts that a VAE sees besides the patients, about; of few patients many copies each.
VAE_COPIES = 64


@dataclass(frozen=True)
class TrainingSet:
    """All training patients of one fold."""

    grid: Grid
    cases: list[TrainingCase]

    @property
    def patients(self) -> tuple[str, ...]:
        """Names of the patients, sorted."""
        return tuple(sorted(c.subject.patient for c in self.cases))

    @property
    def structures(self) -> frozenset[int]:
        """Label values that at least one patient's masks show."""
        return frozenset().union(*(c.subject.annotated for c in self.cases if c.gridded.labelled))


def grid_priors(subject: Subject, gridded: Gridded, moved: bool = False) -> Priors:
    """The subject's priors, with volumes measured again where the grid changed them, and measured where only a predicted mask tells them.

    Args:
        subject: with priors of the whole heart.
        gridded: what the networks see of it.
        moved: whether an augmentation scaled the heart.
    """
    stack = int(gridded.valid.any(0).any(0).sum())
    fixed = Priors(n_slices=stack, slice_thickness=gridded.spacing[2])
    changed, contoured = gridded.cut or moved, gridded.ed in gridded.labelled
    if not gridded.masked or (contoured and not changed):
        return subject.priors.updated(fixed)
    has_es = gridded.es != gridded.ed and gridded.es in (*gridded.labelled, *gridded.predicted)
    es = gridded.mask[gridded.es].numpy() if has_es else None
    measured = measure(gridded.mask[gridded.ed].numpy(), es, gridded.spacing, subject.annotated)
    if contoured:
        return subject.priors.updated(measured).updated(fixed)
    known = replace(subject.priors, **dict.fromkeys(FROM_MASKS)) if changed else subject.priors
    return known.completed(measured).updated(fixed)


def cohort_grid(cohort: Cohort, config: GeneratorConfig) -> Grid:
    """The grid that suits a cohort's field of view."""
    return choose_grid(config.grid, [extent(subject) for subject in cohort.subjects])


def load_training_set(cohort: Cohort, patients: tuple[str, ...], config: GeneratorConfig, grid: Grid | None = None) -> TrainingSet:
    """Read and grid the given patients.

    Args:
        cohort: they belong to.
        patients: at least two.
        config: of the generator.
        grid: to put them on; default their own.
    """
    subjects = [s for s in cohort.subjects if s.patient in set(patients)]
    if len(subjects) < 2:
        raise UserError(f"{cohort.name} has {len(subjects)} training patients in this fold; a generator needs at least 2")
    grid = grid or cohort_grid(cohort.select(patients), config)
    cases = []
    with progress("reading cines", len(subjects)) as bar:
        for done, subject in enumerate(subjects, 1):
            sequence = load_sequence(subject)  # one at a time in native resolution
            gridded = to_grid(sequence, grid, config.grid)
            cycle = cycle_frames(sequence.image) if subject.cine is not None and len(sequence.image) > 2 else None
            cases.append(TrainingCase(subject, gridded, grid_priors(subject, gridded), cycle))
            bar.advance(done, subject.patient)
    return TrainingSet(grid, cases)


def augmented(
    subject: Subject, sequence: Sequence, grid: Grid, config: GeneratorConfig, rng: np.random.Generator, frames: list[int]
) -> tuple[Gridded, Priors]:
    """A copy of a patient: rotated, scaled, shifted, deformed and remodelled in one resampling, with the priors of the result."""
    settings = config.latents
    base = place(sequence, grid)
    # Volumes are measured at ED and ES; resampling the masks of all frames would take longer than encoding them.
    sequence = replace(sequence, predicted=tuple(t for t in sequence.predicted if t in (sequence.ed, sequence.es)))
    shift = rng.uniform(-settings.shift, settings.shift, 2)
    placement = Placement(
        centre=(base.centre[0] + float(shift[0]), base.centre[1] + float(shift[1])),
        angle=float(rng.uniform(-settings.rotation, settings.rotation)),
        scale=float(np.exp(rng.uniform(np.log(1 - settings.scale), np.log(1 + settings.scale)))),
        warp=smooth_warp(grid.size[:2], (grid.pixel, grid.pixel), settings.warp, rng) if settings.warp else None,
        maps=radial_maps(sequence, Remodelling.drawn(rng, settings.remodel)) if settings.remodel else (),
    )
    gridded = to_grid(sequence, grid, config.grid, placement, frames)
    unknown = ["height", "weight"]  # a scaled heart says nothing certain about the body
    if settings.remodel:
        unknown.append("diagnosis")  # nor a dilated one about a disease
    return gridded, replace(grid_priors(subject, gridded, moved=True), **dict.fromkeys(unknown))


def with_copies(data: TrainingSet, config: GeneratorConfig) -> TrainingSet:
    """The training set with augmented copies of its patients, so that a VAE meets the hearts that its LDMs are to make."""
    variants = max(1, round(VAE_COPIES / len(data.cases)))
    copies = []
    with progress("remodelling", len(data.cases)) as bar:
        for number, case in enumerate(data.cases):
            sequence = load_sequence(case.subject)
            frames = chosen_frames(case, config.latents.max_frames)
            for variant in range(variants):
                rng = np.random.default_rng([config.seed, number, variant, 2])
                gridded, priors = augmented(case.subject, sequence, data.grid, config, rng, frames)
                copies.append(replace(case, gridded=gridded, priors=priors))
            bar.advance(number + 1, case.subject.patient)
    return replace(data, cases=[*data.cases, *copies])


def chosen_frames(case: TrainingCase, limit: int) -> list[int]:
    """ED, ES and an even selection of the others."""
    if case.subject.cine is None:
        return list(range(case.subject.n_frames))
    n = case.subject.n_frames
    picked = {case.subject.ed, case.subject.es} | set(np.linspace(0, n - 1, min(limit, n)).round().astype(int).tolist())
    return sorted(picked)
