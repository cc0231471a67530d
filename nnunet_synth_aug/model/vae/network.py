"""Encoder, and one decoder trunk with an image head and a mask head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_synth_aug.core.labels import N_CLASSES
from nnunet_synth_aug.model.config import VAEConfig
from nnunet_synth_aug.model.unet import group_norm


class Block(nn.Module):
    """Residual block."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = group_norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, X, Y) to (N, C', X, Y)."""
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


def to_slices(volume: torch.Tensor) -> torch.Tensor:
    """(B, C, X, Y, Z) -> (B * Z, C, X, Y)."""
    return volume.permute(0, 4, 1, 2, 3).flatten(0, 1)


def to_stack(slices: torch.Tensor, depth: int) -> torch.Tensor:
    """Inverse of :func:`to_slices`."""
    return slices.unflatten(0, (-1, depth)).permute(0, 2, 3, 4, 1)


class AnatomyVAE(nn.Module):
    """Image (B, 1, X, Y, Z) -> latent (B, C, X/f, Y/f, Z) -> image and mask logits; f = patch * 2^(levels - 1).

    Every slice is coded by itself: slices lie 5 to 10 mm apart, and what they have to do with each other is for the LDMs to learn.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.channels
        self.patch = config.patch
        self.factor = config.patch * 2 ** (len(widths) - 1)
        self.latent_channels = config.latent_channels
        # Most of a CPU's time would go into full-resolution convolutions: pixels are folded into channels first.
        encoder: list[nn.Module] = [nn.PixelUnshuffle(config.patch), nn.Conv2d(2 * config.patch**2, widths[0], 3, padding=1)]
        for level, width in enumerate(widths):
            if level > 0:
                encoder += [nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1), Block(width, width)]
        encoder += [group_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], 2 * config.latent_channels, 1)]
        self.encoder = nn.Sequential(*encoder)

        decoder: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 1), Block(widths[-1], widths[-1])]
        for level in reversed(range(len(widths) - 1)):
            decoder += [Block(widths[level + 1], widths[level + 1]), nn.Upsample(scale_factor=2, mode="nearest")]
            decoder += [nn.Conv2d(widths[level + 1], widths[level], 3, padding=1)]
        decoder += [Block(widths[0], widths[0]), group_norm(widths[0]), nn.SiLU()]
        # The last convolutions see single pixels: heads that write a whole patch each leave its pattern in the image.
        pixel_channels = max(8, widths[0] // config.patch**2)
        decoder += [nn.Conv2d(widths[0], pixel_channels * config.patch**2, 3, padding=1), nn.PixelShuffle(config.patch), nn.SiLU()]
        self.decoder = nn.Sequential(*decoder)
        self.image_head = nn.Conv2d(pixel_channels, 1, 3, padding=1)
        self.mask_head = nn.Conv2d(pixel_channels, N_CLASSES, 3, padding=1)

    def encode(self, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean and log-variance, each (B, C, x, y, Z), from image and validity (B, 1, X, Y, Z)."""
        slices = to_slices(torch.cat([image * valid, valid], dim=1))
        mean, log_variance = to_stack(self.encoder(slices), image.shape[-1]).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (B, 1, X, Y, Z) and mask logits (B, classes, X, Y, Z) from one latent."""
        features = self.decoder(to_slices(latent))
        depth = latent.shape[-1]
        return to_stack(self.image_head(features), depth), to_stack(self.mask_head(features), depth)


def latent_validity(valid: torch.Tensor, factor: int) -> torch.Tensor:
    """Share of valid pixels under each latent position: (B, 1, X, Y, Z) -> (B, 1, x, y, Z)."""
    return F.avg_pool3d(valid, (factor, factor, 1))
