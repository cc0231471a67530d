"""Training of the motion LDM: noise + ED latent + priors -> all coefficients of the cycle at once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nnunet_synth_aug.config import GeneratorConfig
from nnunet_synth_aug.latents import LatentSet
from nnunet_synth_aug.ldm import LatentFlow, latent_flow_loss
from nnunet_synth_aug.training import Step, train


def motion_network(config: GeneratorConfig) -> LatentFlow:
    channels = config.vae.latent_channels
    return LatentFlow(2 * config.latents.harmonics * channels, channels + 1, config.motion)


def train_motion(latents: LatentSet, config: GeneratorConfig, folder: Path, identity: dict, device: torch.device) -> LatentFlow:
    """Train the motion LDM; returns its EMA."""
    torch.manual_seed(config.seed + 2)
    settings = config.motion

    def loss(network: nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.from_numpy(step.rng.integers(len(latents.coefficients), size=settings.train.batch_size))
        subjects = latents.moving[rows]
        x0, valid = latents.coefficients[rows].to(device), latents.valid[subjects].to(device)
        # The static LDM's anatomies are never exact: a little noise on the context keeps the motion from relying on it.
        ed = latents.ed[subjects].to(device)
        ed = (ed + 0.1 * torch.randn_like(ed)) * valid
        conditions = latents.conditions[subjects].to(device)
        return latent_flow_loss(network, x0, torch.cat([ed, valid], dim=1), valid, conditions, settings, step), {}

    network = train(motion_network(config), loss, settings.train, folder, "motion", config.seed + 2, identity, device)
    assert isinstance(network, LatentFlow)
    return network
