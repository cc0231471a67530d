"""What the static and the motion LDM share: a prior-conditioned rectified flow on masked latents."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nnunet_synth_aug.conditions import Conditions, PriorEmbedding
from nnunet_synth_aug.config import LDMConfig
from nnunet_synth_aug.diffusion import draw_times, flow_loss, guided, precondition, sample_flow
from nnunet_synth_aug.training import Step
from nnunet_synth_aug.unet import UNet


class LatentFlow(nn.Module):
    """Velocity of a latent (B, c_out, x, y, Z), given context (B, c_context, x, y, Z) and priors."""

    def __init__(self, c_out: int, c_context: int, config: LDMConfig) -> None:
        super().__init__()
        self.priors = PriorEmbedding(config.embedding)
        self.unet = UNet(c_out + c_context, c_out, config.channels, config.embedding, config.dropout, config.attention)

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        embedding = self.priors(conditions)
        return precondition(lambda scaled, time: self.unet(torch.cat([scaled, context], dim=1), time, embedding), x, t)


def drop_priors(conditions: Conditions, config: LDMConfig, rng: np.random.Generator) -> Conditions:
    """Leave out variables at random, independently per sample and variable, and everything for a share of the samples."""
    shape = tuple(conditions.present.shape)
    keep = rng.random(shape) >= config.prior_dropout
    keep &= (rng.random(shape[0]) >= config.null_share)[:, None]
    return conditions.dropped(torch.from_numpy(keep).to(conditions.present))


def latent_flow_loss(
    network: nn.Module, x0: torch.Tensor, context: torch.Tensor, valid: torch.Tensor, conditions: Conditions, config: LDMConfig, step: Step
) -> torch.Tensor:
    """Flow loss of one batch where ``valid`` (B, 1, x, y, Z) is 1."""
    conditions = drop_priors(conditions, config, step.rng)
    noise = torch.randn_like(x0) * valid
    return flow_loss(lambda x, t: network(x, t, context, conditions), x0, draw_times(len(x0), x0.device), noise, valid)


def sample_latent(
    network: LatentFlow, noise: torch.Tensor, context: torch.Tensor, valid: torch.Tensor, conditions: Conditions, config: LDMConfig
) -> torch.Tensor:
    """Sample with guidance; positions outside ``valid`` stay 0."""
    null = conditions.null()
    velocity = guided(
        lambda x, t: network(x, t, context, conditions) * valid,
        lambda x, t: network(x, t, context, null) * valid,
        config.guidance,
        config.guidance_interval,
    )
    return sample_flow(velocity, noise * valid, config.sampler_steps) * valid
