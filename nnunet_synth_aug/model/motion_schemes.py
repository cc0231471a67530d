"""What the motion LDM makes: a whole cycle at once, or one frame after the other as in the paper.

Both schemes have the same interface, so that nothing else needs to know which one a generator has.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch

from nnunet_synth_aug.model.conditions import Conditions
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.ldm import LatentDiffusion, sample_latent
from nnunet_synth_aug.model.motion_basis import fit_motion, motion


class MotionScheme(ABC):
    """How the residuals of a cycle, its latents minus that of ED, become what the motion LDM learns and samples.

    Args:
        config: of the generator.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels that the motion LDM makes."""

    @property
    @abstractmethod
    def context_channels(self) -> int:
        """Channels of :meth:`context`."""

    @abstractmethod
    def targets(self, residuals: torch.Tensor, phi: torch.Tensor, ed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the motion LDM is taught of one cine.

        Args:
            residuals: (T, C, x, y, Z).
            phi: phases (T,) in radians, 0 at ED.
            ed: index of the ED frame.

        Returns:
            n targets (n, K, C, x, y, Z), and the phase (n,) of each.
        """

    @abstractmethod
    def context(self, ed: torch.Tensor, valid: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        """What the network sees besides the noise: (B, context_channels, x, y, Z).

        Args:
            ed: standardised ED latents (B, C, x, y, Z).
            valid: (B, 1, x, y, Z), 1 inside the stack.
            phase: (B,), of the targets.
        """

    @abstractmethod
    def sample(
        self,
        network: LatentDiffusion,
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
            scale: of the latents.
            ed: standardised ED latents (B, C, x, y, Z).
            valid: (B, 1, x, y, Z).
            conditions: of B.
            noise: (B, channels, x, y, Z).
            phases: of every frame, (T,) per heart, 0 at ED.

        Returns:
            residuals (T, C, x, y, Z) per heart, in units of the latent.
        """


class WholeCycle(MotionScheme):
    """Coefficients of the periodic basis: the cycle closes and ED stays, by construction."""

    @property
    def channels(self) -> int:
        """Principal components that are sampled."""
        return min(self.config.latents.components, 2 * self.config.latents.harmonics * self.config.vae.latent_channels)

    @property
    def context_channels(self) -> int:
        """Of the ED latent and the mask of valid slices."""
        return self.config.vae.latent_channels + 1

    def targets(self, residuals: torch.Tensor, phi: torch.Tensor, ed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`MotionScheme`."""
        return fit_motion(residuals, phi, self.config.latents.harmonics)[None], torch.zeros(1)

    def context(self, ed: torch.Tensor, valid: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        """See :class:`MotionScheme`."""
        return torch.cat([ed, valid], dim=1)

    def sample(
        self,
        network: LatentDiffusion,
        scale: LatentScale,
        ed: torch.Tensor,
        valid: torch.Tensor,
        conditions: Conditions,
        noise: torch.Tensor,
        phases: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        """See :class:`MotionScheme`."""
        context = self.context(ed, valid, torch.zeros(len(ed)))
        coefficients = scale.restore_motion(sample_latent(network, noise, context, valid, conditions, self.config.motion))
        return [motion(coefficients[i : i + 1], phi.to(ed.device))[0] for i, phi in enumerate(phases)]


class FrameByFrame(MotionScheme):
    """The residual of one frame, given its phase; all frames of a heart share their noise. For comparison with the paper."""

    #: Channels of :func:`pseudo_time`.
    TIME_CHANNELS = 3

    @property
    def channels(self) -> int:
        """Principal components of one frame that are sampled."""
        return min(self.config.latents.components, self.config.vae.latent_channels)

    @property
    def context_channels(self) -> int:
        """Of the ED latent, the mask of valid slices, and the time."""
        return self.config.vae.latent_channels + 1 + self.TIME_CHANNELS

    def targets(self, residuals: torch.Tensor, phi: torch.Tensor, ed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`MotionScheme`."""
        others = [i for i in range(len(residuals)) if i != ed]
        return residuals[others][:, None], phi[others]

    def context(self, ed: torch.Tensor, valid: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        """See :class:`MotionScheme`."""
        return torch.cat([ed, valid, pseudo_time(phase, valid)], dim=1)

    def sample(
        self,
        network: LatentDiffusion,
        scale: LatentScale,
        ed: torch.Tensor,
        valid: torch.Tensor,
        conditions: Conditions,
        noise: torch.Tensor,
        phases: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        """See :class:`MotionScheme`."""
        out = []
        for i, phi in enumerate(phases):  # frames are many: one heart is a batch
            rows = torch.full((len(phi),), i, device=ed.device)
            inside = valid[rows]
            context = self.context(ed[rows], inside, phi.to(ed))
            components = sample_latent(network, noise[rows], context, inside, conditions[rows], self.config.motion)
            frames = scale.restore_motion(components)[:, 0]
            out.append(frames * (phi != 0).to(ed)[:, None, None, None, None])  # the ED frame is the anatomy itself
        return out


def pseudo_time(phase: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Planes (B, 3, x, y, Z) that tell the network the phase (B,) of its frame.

    As in the paper they do not come round at the end of the cycle: u = phase / 2 pi, and half a wave of it.
    """
    u = phase / (2 * math.pi)
    planes = torch.stack([2 * u - 1, torch.cos(math.pi * u), torch.sin(math.pi * u)], dim=1)
    return planes[:, :, None, None, None] * valid


def motion_scheme(config: GeneratorConfig) -> MotionScheme:
    """The scheme that ``latents.motion`` names."""
    return FrameByFrame(config) if config.latents.motion == "framewise" else WholeCycle(config)
