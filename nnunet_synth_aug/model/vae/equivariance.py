"""Turned, flipped and shrunken latents that must decode to turned, flipped and shrunken images and masks.

Nothing else asks of a VAE that its latents look like what they stand for, and what an LDM has to learn is then needlessly fine: with this
asked for, LDMs learn faster and better at the same reconstruction (EQ-VAE, Kouzelis et al., arXiv 2502.09509).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from nnunet_synth_aug.model.vae.network import to_slices, to_stack

#: Of the latent's side, at least; half leaves a heart of six positions across.
SMALLEST = 0.5


def orient(volume: torch.Tensor, turns: int, flip: bool) -> torch.Tensor:
    """One of the eight exact in-plane orientations of (..., X, Y, Z)."""
    volume = torch.rot90(volume, turns, dims=(-3, -2))
    return volume.flip(-3) if flip else volume


@dataclass(frozen=True)
class Change:
    """One of the eight orientations, and then a scale."""

    turns: int
    flip: bool
    scale: float  # of the sides, at most 1

    @staticmethod
    def draw(rng: np.random.Generator) -> Change:
        return Change(int(rng.integers(4)), bool(rng.integers(2)), float(rng.uniform(SMALLEST, 1)))

    def latent(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, Z) -> (B, C, x', y', Z), a whole number of positions."""
        turned = orient(latent, self.turns, self.flip)
        return self._resized(
            turned, (max(1, round(self.scale * turned.shape[2])), max(1, round(self.scale * turned.shape[3]))), smooth=True
        )

    def image(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, C, *size, Z), filtered against aliasing."""
        return self._resized(orient(image, self.turns, self.flip), size, smooth=True)

    def nearest(self, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(B, C, X, Y, Z) of any type -> (B, C, *size, Z) without new values, for labels and validity."""
        turned = orient(values, self.turns, self.flip)
        return self._resized(turned.float(), size, smooth=False).to(values.dtype)

    @staticmethod
    def _resized(volume: torch.Tensor, size: tuple[int, int], smooth: bool) -> torch.Tensor:
        if tuple(volume.shape[2:4]) == size:
            return volume
        slices = to_slices(volume).float()  # filters against aliasing know no bfloat16
        if smooth:
            small = F.interpolate(slices, size=size, mode="bilinear", align_corners=False, antialias=True)
        else:
            small = F.interpolate(slices, size=size, mode="nearest-exact")
        return to_stack(small, volume.shape[-1])
