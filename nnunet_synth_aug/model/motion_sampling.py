"""Residual latent motion from the motion LDM, for several hearts at once, periodic or frame by frame."""

from __future__ import annotations

import math

import torch

from nnunet_synth_aug.model.conditions import Conditions
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.latents.encode import LatentScale
from nnunet_synth_aug.model.ldm import LatentFlow, sample_latent
from nnunet_synth_aug.model.motion_basis import motion

#: Channels of :func:`pseudo_time`.
TIME_CHANNELS = 3


def motion_channels(config: GeneratorConfig) -> int:
    """Channels that the motion LDM makes: components of a whole cycle, or of one frame's residual."""
    if config.latents.motion == "framewise":
        return min(config.latents.components, config.vae.latent_channels)
    return min(config.latents.components, 2 * config.latents.harmonics * config.vae.latent_channels)


def context_channels(config: GeneratorConfig) -> int:
    """Channels of the motion LDM's context: ED latent, slice validity and, frame by frame, the pseudo-time."""
    return config.vae.latent_channels + 1 + (TIME_CHANNELS if config.latents.motion == "framewise" else 0)


def pseudo_time(phase: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Planes (B, 3, x, y, Z) that tell the network the phase (B,) of its frame.

    As in the paper they do not come round at the end of the cycle: u = phase / 2 pi, and half a wave of it.
    """
    u = phase / (2 * math.pi)
    planes = torch.stack([2 * u - 1, torch.cos(math.pi * u), torch.sin(math.pi * u)], dim=1)
    return planes[:, :, None, None, None] * valid


def sample_motion(
    network: LatentFlow,
    config: GeneratorConfig,
    scale: LatentScale,
    ed: torch.Tensor,
    valid: torch.Tensor,
    conditions: Conditions,
    noise: torch.Tensor,
    phases: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Residuals of B hearts.

    Args:
        network: the motion LDM.
        config: of the generator.
        scale: of the latents.
        ed: standardised ED latents (B, C, x, y, Z).
        valid: (B, 1, x, y, Z).
        conditions: of B.
        noise: (B, motion_channels, x, y, Z); frame by frame, all frames of a heart share it.
        phases: of every frame, (T,) per heart, 0 at ED.

    Returns:
        residuals (T, C, x, y, Z) per heart, in units of the latent.
    """
    if config.latents.motion == "fourier":
        context = torch.cat([ed, valid], dim=1)
        coefficients = scale.restore_motion(sample_latent(network, noise, context, valid, conditions, config.motion))
        return [motion(coefficients[i : i + 1], phi.to(ed.device))[0] for i, phi in enumerate(phases)]
    out = []
    for i, phi in enumerate(phases):  # frames are many: one heart is a batch
        rows = torch.full((len(phi),), i, device=ed.device)
        v = valid[rows]
        context = torch.cat([ed[rows], v, pseudo_time(phi.to(ed), v)], dim=1)
        frames = scale.restore_motion(sample_latent(network, noise[rows], context, v, conditions[rows], config.motion))[:, 0]
        out.append(frames * (phi != 0).to(ed)[:, None, None, None, None])  # the ED frame is the anatomy itself
    return out
