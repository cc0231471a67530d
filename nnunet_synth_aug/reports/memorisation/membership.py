"""Membership inference: can the static LDM's own loss tell its training patients from unseen ones?

A generator that has learnt the population fits both alike; one that has learnt its patients fits them better (loss-based
membership inference, Yeom et al., arXiv 1709.01604; on diffusion models Carlini et al., arXiv 2301.13188).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata

from nnunet_synth_aug.core.cases import Sequence, Subject
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.ldm import diffusion_loss
from nnunet_synth_aug.model.training.loop import Step
from nnunet_synth_aug.model.training_set import grid_priors
from nnunet_synth_aug.model.vae.network import latent_validity

#: Times and noises per patient, in batches of BATCH; the same ones for everybody.
DRAWS, BATCH = 64, 16


@torch.no_grad()
def static_loss(generator: Generator, subject: Subject, sequence: Sequence) -> float:
    """Training loss of the static LDM on one patient, averaged over the same times, noises and dropped priors for every patient."""
    frames = sorted({sequence.ed, sequence.es})
    gridded = to_grid(sequence, generator.grid, generator.config.grid, frames=frames)
    device = generator.device
    image = gridded.image[gridded.ed][None, None].float().to(device)
    valid = gridded.valid[None, None].float().to(device)
    inside = (latent_validity(valid, generator.vae.factor) > 0).float()
    latent = generator.scale.standardise(generator.vae.encode(image, valid)[0].float()) * inside
    x0, inside = (v.expand(BATCH, -1, -1, -1, -1) for v in (latent, inside))
    conditions = generator.scaler.encode([grid_priors(subject, gridded)] * BATCH).to(device)
    losses = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for batch in range(DRAWS // BATCH):
            torch.manual_seed(batch)
            step = Step(0, 0.0, np.random.default_rng(batch), generator.static)
            losses.append(float(diffusion_loss(generator.static, x0, inside, inside, conditions, generator.config.static, step)))
    return float(np.mean(losses))


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Chance that a random member has a smaller loss than a random other (ties count half): the area under the ROC curve."""
    ranks = rankdata(np.concatenate([members, others]))
    n, m = len(members), len(others)
    return float(1 - (ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def auc_interval(members: np.ndarray, others: np.ndarray, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of :func:`auc`, patients resampled within each group."""
    rng = np.random.default_rng(seed)
    smaller = (members[:, None] < others[None]) + 0.5 * (members[:, None] == others[None])
    draws = [
        smaller[np.ix_(rng.integers(0, len(members), len(members)), rng.integers(0, len(others), len(others)))].mean()
        for _ in range(resamples)
    ]
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
