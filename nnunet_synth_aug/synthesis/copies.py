"""Training patients turned, scaled, deformed and perhaps remodelled, with their contours: the control for "bending images does as well".

They are what the LDMs are taught with, and no network made them. ED and ES alone have contours, so each copy has two frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nnunet_synth_aug import __version__
from nnunet_synth_aug.cases import Subject, SyntheticSequence
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.training_set import augmented
from nnunet_synth_aug.generator import Generator
from nnunet_synth_aug.priors import Priors, measure
from nnunet_synth_aug.synthesis.cascade import DEFAULT_CYCLE_SECONDS, to_grey
from nnunet_synth_aug.synthesis.controls import agree, fill, filled, in_grey, trained_on


def copies_to_folder(generator: Generator, cohort: Cohort, patients: Iterable[str], folder: Path, n: int, seed: int = 0) -> list[str]:
    """Write ``n`` copies of the training patients that have contours, in turn; those that are there are kept.

    Args:
        generator: whose settings say how copies differ from their patient (``latents``), and on whose grid they lie.
        cohort: that the patients belong to.
        patients: training patients of the generator's fold.
        folder: made if missing; must not hold sequences of another kind.
        n: how many; copy i is the same for any ``n``.
        seed: other seeds give other copies.

    Returns:
        ids of the sequences.

    Raises:
        UserError: a patient is not among those that the generator was trained on, or none has contours.
    """
    subjects = trained_on(generator, cohort, patients, "copy")
    order = np.random.default_rng(seed).permutation(len(subjects))
    chosen = {f"copy_{index:05d}": subjects[int(order[index % len(order)])] for index in range(n)}
    settings = {name: getattr(generator.config.latents, name) for name in ("rotation", "scale", "shift", "warp", "remodel")}
    missing = agree(folder, f"copies {__version__}", {i: [s.patient, seed, settings] for i, s in chosen.items()})
    provenance = {
        "source": "copies",
        "dataset": cohort.name,
        "patients": sorted(s.patient for s in subjects),  # what the leak guard goes by
        "copies": settings,
        "version": __version__,
    }
    numbers = {i: number for number, i in enumerate(chosen)}
    made = (_copy(generator, chosen[i], i, np.random.default_rng([seed, numbers[i], 3]), seed) for i in missing)
    fill(folder, "copying patients", list(chosen), missing, made, provenance)
    return list(chosen)


def _copy(generator: Generator, subject: Subject, sequence_id: str, rng: np.random.Generator, seed: int) -> SyntheticSequence:
    """ED and ES of one patient on the part of the grid that its images fill."""
    sequence = load_sequence(subject)
    frames = sorted({sequence.ed, sequence.es})
    gridded, priors = augmented(subject, sequence, generator.grid, generator.config, rng, frames)
    image, mask = filled(gridded, gridded.image.float().numpy(), gridded.mask.numpy())
    low, high = gridded.grey
    return SyntheticSequence(
        id=sequence_id,
        image=in_grey(image, gridded),
        mask=mask,
        spacing=gridded.spacing,
        ed=gridded.ed,
        es=gridded.es,
        frame_seconds=subject.frame_seconds or DEFAULT_CYCLE_SECONDS / subject.n_frames,
        seed=seed,
        requested=Priors(diagnosis=priors.diagnosis, vendor=priors.vendor),
        measured=measure(mask[gridded.ed], mask[gridded.es], gridded.spacing),
        context=None if gridded.context is None else to_grey(gridded.context, low, high),
    )
