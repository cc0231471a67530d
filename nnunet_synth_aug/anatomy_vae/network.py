"""Encoder, and one decoder trunk with an image head and a mask head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_synth_aug.config import VAEConfig
from nnunet_synth_aug.labels import N_CLASSES
from nnunet_synth_aug.unet import group_norm


class Block(nn.Module):
    """Residual block; flat ones have (3, 3, 1) kernels."""

    def __init__(self, c_in: int, c_out: int, flat: bool) -> None:
        super().__init__()
        kernel, padding = ((3, 3, 1), (1, 1, 0)) if flat else ((3, 3, 3), (1, 1, 1))
        self.norm1, self.conv1 = group_norm(c_in), nn.Conv3d(c_in, c_out, kernel, padding=padding)
        self.norm2, self.conv2 = group_norm(c_out), nn.Conv3d(c_out, c_out, kernel, padding=padding)
        self.skip = nn.Conv3d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


def fold_pixels(volume: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, C, X, Y, Z) -> (B, C * patch^2, X/patch, Y/patch, Z): most of a CPU's time goes into full-resolution convolutions."""
    B, C, X, Y, Z = volume.shape
    folded = volume.reshape(B, C, X // patch, patch, Y // patch, patch, Z)
    return folded.permute(0, 1, 3, 5, 2, 4, 6).reshape(B, C * patch * patch, X // patch, Y // patch, Z)


def unfold_pixels(volume: torch.Tensor, patch: int) -> torch.Tensor:
    """Inverse of :func:`fold_pixels`."""
    B, C, X, Y, Z = volume.shape
    parts = volume.reshape(B, C // patch**2, patch, patch, X, Y, Z)
    return parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(B, C // patch**2, X * patch, Y * patch, Z)


class AnatomyVAE(nn.Module):
    """Image (B, 1, X, Y, Z) -> latent (B, C, X/f, Y/f, Z) -> image and mask logits; f = patch * 2^(levels - 1)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths, flat = config.channels, config.flat_levels
        self.patch = config.patch
        self.factor = config.patch * 2 ** (len(widths) - 1)
        self.latent_channels = config.latent_channels
        encoder: list[nn.Module] = [nn.Conv3d(2 * config.patch**2, widths[0], (3, 3, 1), padding=(1, 1, 0))]
        for level, width in enumerate(widths):
            if level > 0:  # stride in plane only: 10 mm slices have nothing to spare
                encoder += [nn.Conv3d(widths[level - 1], width, (3, 3, 1), stride=(2, 2, 1), padding=(1, 1, 0))]
                encoder += [Block(width, width, flat=level < flat)]
        encoder += [group_norm(widths[-1]), nn.SiLU(), nn.Conv3d(widths[-1], 2 * config.latent_channels, 1)]
        self.encoder = nn.Sequential(*encoder)

        decoder: list[nn.Module] = [nn.Conv3d(config.latent_channels, widths[-1], 1), Block(widths[-1], widths[-1], flat=False)]
        for level in reversed(range(len(widths) - 1)):
            decoder += [Block(widths[level + 1], widths[level + 1], flat=level + 1 < flat)]
            decoder += [nn.Upsample(scale_factor=(2, 2, 1), mode="nearest")]
            decoder += [nn.Conv3d(widths[level + 1], widths[level], (3, 3, 1), padding=(1, 1, 0))]
        decoder += [Block(widths[0], widths[0], flat=True), group_norm(widths[0]), nn.SiLU()]
        # The last convolutions see single pixels: heads that write a whole patch each leave its pattern in the image.
        pixel_channels = max(8, widths[0] // config.patch**2)
        decoder += [nn.Conv3d(widths[0], pixel_channels * config.patch**2, (3, 3, 1), padding=(1, 1, 0))]
        self.decoder = nn.Sequential(*decoder)
        self.image_head = nn.Conv3d(pixel_channels, 1, (3, 3, 1), padding=(1, 1, 0))
        self.mask_head = nn.Conv3d(pixel_channels, N_CLASSES, (3, 3, 1), padding=(1, 1, 0))

    def encode(self, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean and log-variance, each (B, C, x, y, Z), from image and validity (B, 1, X, Y, Z)."""
        mean, log_variance = self.encoder(fold_pixels(torch.cat([image * valid, valid], dim=1), self.patch)).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (B, 1, X, Y, Z) and mask logits (B, classes, X, Y, Z) from one latent."""
        features = F.silu(unfold_pixels(self.decoder(latent), self.patch))
        return self.image_head(features), self.mask_head(features)


def latent_validity(valid: torch.Tensor, factor: int) -> torch.Tensor:
    """Share of valid pixels under each latent position: (B, 1, X, Y, Z) -> (B, 1, x, y, Z)."""
    return F.avg_pool3d(valid, (factor, factor, 1))
