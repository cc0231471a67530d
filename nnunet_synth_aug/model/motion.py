"""Training of the motion LDM: noise + ED latent + priors -> the whole cycle at once (or one frame, as in the paper)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.latents.encode import LatentSet
from nnunet_synth_aug.model.ldm import LatentDiffusion, diffusion_loss
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.model.training.distributed import joint_randn, mine
from nnunet_synth_aug.model.training.loop import Step, Weights, train


def motion_network(config: GeneratorConfig) -> LatentDiffusion:
    """The motion LDM with random weights."""
    scheme = motion_scheme(config)
    return LatentDiffusion(scheme.channels, scheme.context_channels, config.motion)


def train_motion(
    latents: LatentSet, config: GeneratorConfig, folder: Path, identity: dict, device: torch.device, weights: Weights | None = None
) -> LatentDiffusion:
    """Train the motion LDM, from ``weights`` if there are any; returns its EMA."""
    torch.manual_seed(config.seed + 2)
    scheme = motion_scheme(config)
    settings, relative = config.motion, latents.scale.motion_weight(config.motion.emphasis).to(device)

    def loss(network: nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rows = torch.from_numpy(mine(step.rng.integers(len(latents.motion), size=settings.train.batch_size)))
        subjects = latents.moving[rows]
        x0, valid = latents.motion[rows].to(device), latents.valid[subjects].to(device)
        # The static LDM's anatomies are never exact: a little noise on the context keeps the motion from relying on it.
        ed = latents.ed[subjects].to(device)
        ed = (ed + 0.1 * joint_randn(ed)) * valid
        conditions = latents.conditions[subjects].to(device)
        context = scheme.context(ed, valid, latents.phase[rows].to(device))
        return diffusion_loss(network, x0, context, valid, conditions, settings, step, relative), {}

    start = motion_network(config)
    if weights is not None:
        start.load_state_dict(weights)
    network = train(start, loss, settings.train, folder, "motion", config.seed + 2, identity, device)
    assert isinstance(network, LatentDiffusion)
    return network
