"""Training of the static LDM: noise + priors + slice validity -> standardised ED latent."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.latents.encode import LatentSet
from nnunet_synth_aug.model.ldm import LatentDiffusion, diffusion_loss
from nnunet_synth_aug.model.training.distributed import mine
from nnunet_synth_aug.model.training.loop import Step, Weights, train


def static_network(config: GeneratorConfig) -> LatentDiffusion:
    """The network of the static LDM, with random weights."""
    return LatentDiffusion(config.vae.latent_channels, 1, config.static)


def train_static(
    latents: LatentSet, config: GeneratorConfig, folder: Path, identity: dict, device: torch.device, weights: Weights | None = None
) -> LatentDiffusion:
    """Train the static LDM, from ``weights`` if there are any; returns its EMA."""
    torch.manual_seed(config.seed + 1)
    settings, relative = config.static, latents.scale.anatomy_weight(config.static.emphasis).to(device)

    def loss(network: nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rows = torch.from_numpy(mine(step.rng.integers(len(latents.ed), size=settings.train.batch_size)))
        x0, valid = latents.ed[rows].to(device), latents.valid[rows].to(device)
        conditions = latents.conditions[rows].to(device)
        return diffusion_loss(network, x0, valid, valid, conditions, settings, step, relative), {}

    start = static_network(config)
    if weights is not None:
        start.load_state_dict(weights)
    network = train(start, loss, settings.train, folder, "static", config.seed + 1, identity, device)
    assert isinstance(network, LatentDiffusion)
    return network
