"""Requests for hearts that begin with a training patient's ED, turned, scaled, deformed and half drowned in noise, instead of noise alone.

A static LDM of few patients invents hearts that are torn and chests that are blurred, and nnU-Net then finds hearts where there are none.
Begun with a patient, it changes a heart (SDEdit, Meng et al., arXiv 2108.01073) and leaves the chest around it as it is (blended diffusion,
Avrahami et al., arXiv 2206.02779). Patients without contours are varied, too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from nnunet_synth_aug.core.cases import Subject
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.remodel import Remodelling
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.latents.measured_priors import measure_decoded
from nnunet_synth_aug.model.training_set import augmented
from nnunet_synth_aug.model.vae.network import latent_validity
from nnunet_synth_aug.synthesis.figures import describe
from nnunet_synth_aug.synthesis.hearts import Origin, Request
from nnunet_synth_aug.synthesis.requests import near_ef, refuse_too_many_slices
from nnunet_synth_aug.synthesis.sample import sample_to_folder
from nnunet_synth_aug.synthesis.sources.job import Job

#: Share of the way to noise. At 0.5 hearts are their patient's with other walls; at 1 they are new ones in the patient's chest.
STRENGTH = 0.5


def variations(
    generator: Generator, cohort: Cohort, n: int, seed: int, strength: float = STRENGTH, given: PriorRequest = PriorRequest()
) -> list[Request]:
    """``n`` requests with ids synth_00000..., the training patients in turn; request i is the same for any n.

    The volumes and the mass that are asked for are those of the copy that the heart begins with, the EF is near the patient's.

    Args:
        generator: whose training patients are varied.
        cohort: that they belong to; of patients whose masks are not to be seen, without them.
        n: how many.
        seed: of the whole set.
        strength: see :class:`nnunet_synth_aug.model.diffusion.Start`.
        given: what is asked for instead of the copy's own values.

    Raises:
        UserError: the cohort lacks a training patient of the generator.
    """
    refuse_too_many_slices(given, generator)
    subjects = _as_trained(generator, cohort)
    order = np.random.default_rng(seed).permutation(len(subjects))
    taught = frozenset().union(*(s.annotated for s in subjects if s.masks))
    found = []
    with progress("encoding copies", n) as bar:
        for index in range(n):
            which = int(order[index % len(order)])
            request = _variation(generator, subjects[which], which, index, seed, strength, taught)
            found.append(replace(request, priors=request.priors.updated(given.draw(seed, index))))
            bar.advance(index + 1, subjects[which].patient)
    return found


def make(job: Job) -> list[str]:
    """Variations of the training patients; see :func:`~nnunet_synth_aug.synthesis.sources.job.make`."""
    generator, strength = job.generator(), job.strength or STRENGTH
    asked = variations(generator, job.cohort()[0], job.n, job.seed, strength, job.priors)
    about = {"source": "variations", "strength": strength} | ({"asked": job.priors.to_json()} if job.priors else {})
    sample_to_folder(generator, asked, job.folder, skip_impossible=True, quality=job.quality_control(generator), about=about)
    return describe(job.folder, generator)


def _as_trained(generator: Generator, cohort: Cohort) -> list[Subject]:
    """The training patients in the order of the generator's templates."""
    patients = set(generator.provenance["patients"])
    subjects = [s for s in cohort.subjects if s.patient in patients]
    if len(subjects) < len(generator.templates):
        missing = sorted(patients - {s.patient for s in subjects})
        raise UserError(
            f"{cohort.folder} lacks {missing[0]}, a patient that the generator was trained on; give the dataset that it was fitted on"
        )
    return subjects


@torch.no_grad()
def _variation(
    generator: Generator, subject: Subject, which: int, index: int, seed: int, strength: float, taught: frozenset[int]
) -> Request:
    rng = np.random.default_rng([seed, index, 2])  # another stream than that of requests from noise
    frames = sorted({subject.ed, subject.es}) if subject.cine is not None else [0, 1]
    gridded, priors = augmented(subject, load_sequence(subject), generator.grid, generator.config, rng, frames)
    ends = encode(generator.vae, gridded.image[[gridded.ed, gridded.es]], gridded.valid, generator.device)
    if not gridded.masked:
        told = measure_decoded(generator.vae, ends, gridded.valid, gridded.spacing, generator.device, taught)
        priors = priors.completed(told)
    decoded = generator.vae.decode(ends.to(generator.device))[1].argmax(1).cpu()
    inside = latent_validity(gridded.valid[None, None].float(), generator.vae.factor) > 0
    latent = generator.scale.standardise(ends[:1].to(generator.device)).cpu() * inside
    heart = around_heart(decoded * gridded.valid, generator.vae.factor)
    origin = Origin(generator.templates[which], latent, heart, strength, f"{subject.patient}, copy {index} of seed {seed}")
    return Request(
        f"synth_{index:05d}", int(rng.integers(2**31)), _asked(priors, rng, generator.config.latents.remodel), calibrate=True, origin=origin
    )


def around_heart(mask: torch.Tensor, factor: int) -> torch.Tensor:
    """Where the latent is of the heart, or beside it: bool (1, 1, x, y, Z), from masks (T, X, Y, Z).

    Alike in all slices, so that apex and base may move; everywhere if the masks are empty.
    """
    columns = (mask > 0).any(0).any(-1).float()[None, None]
    if not columns.any():
        columns = torch.ones_like(columns)
    near = F.max_pool2d(F.max_pool2d(columns, factor), 3, stride=1, padding=1) > 0
    return near[..., None].expand(-1, -1, -1, -1, mask.shape[-1])


def _asked(priors: Priors, rng: np.random.Generator, spread: float) -> Priors:
    """What is asked of a copy: its own volumes and mass, an EF near its own or weaker, and nothing that identifies the patient."""
    beat = Remodelling.drawn(rng, spread).beat if spread else 1.0
    lv_ef, rv_ef = (None if ef is None else near_ef(beat * ef, rng) for ef in (priors.lv_ef, priors.rv_ef))
    return replace(priors, age=None, height=None, weight=None, sex=None, lv_ef=lv_ef, rv_ef=rv_ef)
