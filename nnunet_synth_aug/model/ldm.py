"""What the static and the motion LDM share: a prior-conditioned diffusion of masked latents."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nnunet_synth_aug.model.conditions import Conditions, PriorEmbedding
from nnunet_synth_aug.model.config import LDMConfig
from nnunet_synth_aug.model.diffusion import Start, guided, objective
from nnunet_synth_aug.model.training.distributed import joint_randn, mine, world
from nnunet_synth_aug.model.training.loop import Step
from nnunet_synth_aug.model.unet import UNet


class LatentDiffusion(nn.Module):
    """The network F(u, t) of :mod:`diffusion` for a latent (B, c_out, x, y, Z), given context (B, c_context, x, y, Z) and priors."""

    def __init__(self, c_out: int, c_context: int, config: LDMConfig) -> None:
        super().__init__()
        self.priors = PriorEmbedding(config.embedding)
        self.unet = UNet(c_out + c_context, c_out, config.channels, config.embedding, config.dropout, config.attention)

    def forward(self, u: torch.Tensor, t: torch.Tensor, context: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """The network's output for latents ``u`` (B, C, x, y, Z) at times ``t`` (B,)."""
        return self.unet(torch.cat([u, context], dim=1), t, self.priors(conditions))


def drop_priors(conditions: Conditions, config: LDMConfig, rng: np.random.Generator) -> Conditions:
    """Leave out variables at random, and everything for a share of the samples.

    Args:
        conditions: of this process's rows of the batch.
        config: how often.
        rng: draws for the rows of all processes.
    """
    rows, variables = conditions.present.shape
    rows *= world()
    keep = rng.random((rows, variables)) >= config.prior_dropout
    keep &= (rng.random(rows) >= config.null_share)[:, None]
    return conditions.dropped(torch.from_numpy(mine(keep)).to(conditions.present))


def diffusion_loss(
    network: nn.Module,
    x0: torch.Tensor,
    context: torch.Tensor,
    valid: torch.Tensor,
    conditions: Conditions,
    config: LDMConfig,
    step: Step,
    relative: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean loss of this process's rows of a batch.

    Args:
        network: a :class:`LatentDiffusion`.
        x0: (B, C, x, y, Z), standardised.
        context: (B, c_context, x, y, Z).
        valid: (B, 1, x, y, Z); what is 0 there is neither seen nor punished.
        conditions: of B, before any is dropped.
        config: objective and dropout of priors.
        step: its random numbers decide what is dropped.
        relative: how much an error counts there, broadcastable to (C, x, y, Z); default all alike. Only ratios matter.
    """
    chosen = objective(config.objective)
    conditions = drop_priors(conditions, config, step.rng)
    noise = joint_randn(x0) * valid
    t = mine(chosen.draw_times(len(x0) * world(), x0.device))
    weight = valid if relative is None else valid * relative.to(valid)
    return chosen.loss(lambda u, time: network(u, time, context, conditions), x0, t, noise, weight).mean()


def sample_latent(
    network: LatentDiffusion,
    noise: torch.Tensor,
    context: torch.Tensor,
    valid: torch.Tensor,
    conditions: Conditions,
    config: LDMConfig,
    start: Start | None = None,
) -> torch.Tensor:
    """Sample B latents at once with guidance, from noise or from ``start``; positions outside ``valid`` stay 0."""
    rows = torch.arange(2 * len(noise), device=noise.device)
    twice, with_priors = rows % len(noise), rows < len(noise)
    both, context2, valid2 = conditions[twice], context[twice], valid[twice]
    both = both.dropped(with_priors.to(both.present)[:, None])
    guide = guided(
        lambda u, t: network(u, t, context, conditions) * valid,
        lambda u, t: network(u, t, context2, both) * valid2,
        config.guidance,
        config.guidance_interval,
    )
    noise = config.temperature * noise * valid
    return objective(config.objective).sample(guide, noise, config.sampler_steps, start) * valid
