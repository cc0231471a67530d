"""New hearts: every one a request to the generator, checked, and asked for again until it passes."""

from __future__ import annotations

from nnunet_synth_aug.synthesis.figures import describe
from nnunet_synth_aug.synthesis.requests import PATIENTS, RequestPlan, priors_like
from nnunet_synth_aug.synthesis.sample import sample_to_folder
from nnunet_synth_aug.synthesis.sources.job import Job


def make(job: Job) -> list[str]:
    """Sample ``job.n`` hearts with the priors that ``job.priors`` asks for; see :func:`~nnunet_synth_aug.synthesis.sources.job.make`."""
    generator = job.generator()
    plan = RequestPlan(seed=job.seed, priors=job.priors, like=job.like, others=priors_like(job.like, job.dataset))
    about = ({"asked": job.priors.to_json()} if job.priors else {}) | ({"like": job.like} if job.like != PATIENTS else {})
    quality = job.quality_control(generator)
    asked = plan.requests(generator, job.n)
    sample_to_folder(generator, asked, job.folder, skip_impossible=True, quality=quality, about=about, show=job.show())
    return describe(job.folder, generator)
