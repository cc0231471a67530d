"""The training patients as the VAE gives them back: the control for "the VAE just smooths".

Image and mask are decoded from the patient's own latents, frame by frame, with no diffusion and no motion model between, and with the
grain that generated hearts get, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Subject, SyntheticSequence
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.noise import noise_level
from nnunet_synth_aug.synthesis.cascade import DEFAULT_CYCLE_SECONDS, to_grey
from nnunet_synth_aug.synthesis.decoding import decode
from nnunet_synth_aug.synthesis.quality.contours import sound_ranges
from nnunet_synth_aug.synthesis.sources.common import agree, fill, filled, in_grey, labelled_subjects
from nnunet_synth_aug.synthesis.sources.job import Job


def reconstructions_to_folder(generator: Generator, cohort: Cohort, patients: Iterable[str], folder: Path, n: int) -> list[str]:
    """Write one sequence per patient that has nnU-Net cases, at most ``n``; those that are there are kept.

    Args:
        generator: whose VAE reconstructs.
        cohort: that the patients belong to.
        patients: training patients of the generator's fold.
        folder: made if missing; must not hold sequences of another kind.
        n: how many; a folder never holds more than there are patients.

    Returns:
        ids of the sequences.

    Raises:
        UserError: a patient is not among those that the generator was trained on, or none has cases.
    """
    chosen = labelled_subjects(cohort, patients, "reconstruct")
    if foreign := sorted({s.patient for s in chosen} - set(generator.provenance["patients"])):
        raise UserError(f"the generator was not trained on {foreign[0]}, a training patient of this fold; train the fold's own generator")
    chosen = chosen[:n]
    if len(chosen) < n:
        console.print(f"{len(chosen)} reconstructions, one per training patient, instead of {n}")
    wanted = {sequence_name(number): number for number in range(len(chosen))}
    maker = f"reconstructions by {generator.provenance['generator_hash']}"
    missing = agree(folder, maker, {i: chosen[number].patient for i, number in wanted.items()})
    provenance = generator.provenance | {"source": "reconstructions", "reconstructed": [s.patient for s in chosen]}
    made = (reconstructed(generator, chosen[wanted[i]], wanted[i]) for i in missing)
    fill(folder, "reconstructing", list(wanted), missing, made, provenance)
    return list(wanted)


def make(job: Job) -> list[str]:
    """Reconstructions; see :func:`~nnunet_synth_aug.synthesis.sources.job.make`."""
    reconstructions_to_folder(job.generator(), *job.cohort(), job.folder, job.n)
    return []


def sequence_name(number: int) -> str:
    """The id of a reconstruction."""
    return f"reconstruction_{number:05d}"


@torch.no_grad()
def reconstructed(generator: Generator, subject: Subject, number: int) -> SyntheticSequence:
    """Encode and decode every frame of one patient, on the part of the grid that its images fill."""
    gridded = to_grid(load_sequence(subject), generator.grid, generator.config.grid)
    latent = encode(generator.vae, gridded.image, gridded.valid, generator.device)
    image, mask = next(decode(generator, [latent.to(generator.device)]))
    # Rough like a generated heart: the two differ in whose anatomy and motion they show, and in nothing else.
    level = noise_level(gridded, generator.grain)
    image = np.clip(image + generator.grain.draw(image, np.random.default_rng([number, 1]), level), -1, 1)
    image, mask = filled(gridded, image, mask)
    low, high = gridded.grey
    return SyntheticSequence(
        id=sequence_name(number),
        image=in_grey(image, gridded),
        mask=mask,
        spacing=gridded.spacing,
        ed=gridded.ed,
        es=gridded.es,
        frame_seconds=subject.frame_seconds or DEFAULT_CYCLE_SECONDS / len(image),
        seed=number,  # of the grain
        requested=Priors(),
        measured=measure(mask[gridded.ed], mask[gridded.es], gridded.spacing),
        context=None if gridded.context is None else to_grey(gridded.context, low, high),
        sound=sound_ranges(mask),
    )
