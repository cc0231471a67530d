"""Standardisation of latents and of motion, measured on the training patients."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True)
class LatentScale:
    """How latents are standardised; stored in the checkpoints.

    A motion target holds K * C channels, e.g. the 2 * harmonics coefficients of a cycle for each of C latent channels. Few directions
    in them carry nearly all motion. A motion LDM on all of them, each scaled to unit variance, would return the noise of the empty
    ones as jerk.

    Attributes:
        mean: (C,) of ED latents.
        std: (C,) of ED latents.
        region: (x, y), how far the heart moves at each place, at most 1. The still chest must not tremble with the heart's noise.
        directions: (R, K * C), orthonormal principal directions of motion.
        spread: (R,), standard deviation along each direction.
    """

    mean: torch.Tensor
    std: torch.Tensor
    region: torch.Tensor
    directions: torch.Tensor
    spread: torch.Tensor

    @staticmethod
    def measured(
        latents: torch.Tensor, valid: torch.Tensor, motion: torch.Tensor, motion_valid: torch.Tensor, components: int
    ) -> LatentScale:
        """The scale of a training set.

        Args:
            latents: (N, C, x, y, Z) at ED.
            valid: (N, 1, x, y, Z), 1 where latents count.
            motion: (M, K, C, x, y, Z), motion targets.
            motion_valid: (M, 1, x, y, Z).
            components: R, directions to keep.
        """
        weight = valid.sum()
        mean = (latents * valid).sum((0, 2, 3, 4)) / weight
        std = (((latents - mean[:, None, None, None]) ** 2 * valid).sum((0, 2, 3, 4)) / weight).sqrt().clamp_min(1e-4)
        region = _region(motion, motion_valid)
        # One target at a time: all of them in double precision would not fit into a small machine.
        covariance = torch.zeros(motion.shape[1] * motion.shape[2], motion.shape[1] * motion.shape[2], dtype=torch.float64)
        for one, inside in zip(motion, motion_valid[:, 0] > 0, strict=True):
            samples = (one / region[:, :, None]).flatten(0, 1)[:, inside].double()  # (K * C, positions)
            covariance += samples @ samples.T
        variance, directions = torch.linalg.eigh(covariance / motion_valid.sum().double())
        order = variance.argsort(descending=True)[:components]
        return LatentScale(mean, std, region, directions[:, order].T.float(), variance[order].clamp_min(1e-12).sqrt().float())

    def resized(self, motion: torch.Tensor, motion_valid: torch.Tensor) -> LatentScale:
        """The same directions, with the size and the place that motion has in other patients.

        For an LDM that is continued: it has learnt what a direction means, and its objective wants unit variance along it. Patients move
        more than phantoms in the directions of breath and noise, and the heart fills another part of their field of view.

        Args:
            motion: (M, K, C, x, y, Z) of those patients.
            motion_valid: (M, 1, x, y, Z).
        """
        unit = replace(self, region=_region(motion, motion_valid), spread=torch.ones_like(self.spread))
        energy = sum(
            (unit.standardise_motion(one[None])[0] ** 2 * valid).sum((1, 2, 3)).double()
            for one, valid in zip(motion, motion_valid, strict=True)
        )
        return replace(unit, spread=(energy / motion_valid.sum()).clamp_min(1e-12).sqrt().float())

    def standardise(self, latent: torch.Tensor) -> torch.Tensor:
        """ED latents (B, C, x, y, Z) with zero mean and unit variance per channel."""
        return (latent - self.mean[:, None, None, None]) / self.std[:, None, None, None]

    def restore(self, latent: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`standardise`."""
        return latent * self.std[:, None, None, None] + self.mean[:, None, None, None]

    def standardise_motion(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Motion (B, K, C, x, y, Z) -> its principal components (B, R, x, y, Z), each of unit variance."""
        flat = (coefficients / self.region[:, :, None]).flatten(1, 2)
        return torch.einsum("rk,bkxyz->brxyz", self.directions / self.spread[:, None], flat)

    def restore_motion(self, components: torch.Tensor) -> torch.Tensor:
        """Principal components (B, R, x, y, Z) -> motion (B, K, C, x, y, Z)."""
        flat = torch.einsum("rk,brxyz->bkxyz", self.directions * self.spread[:, None], components)
        return flat.unflatten(1, (-1, len(self.mean))) * self.region[:, :, None]

    def anatomy_weight(self, emphasis: float) -> torch.Tensor:
        """How much an error in the ED latent counts at each place, (1, x, y, 1): ``region`` to a power.

        The chest fills most of the grid and teaches nnU-Net little; volumes and masks are decided where the heart is.
        """
        return self.region[None, ..., None] ** emphasis

    def motion_weight(self, emphasis: float) -> torch.Tensor:
        """How much an error in each component counts at each place, (R, x, y, 1): as far as it moves the heart there, to a power.

        Standardised components all look alike, but the first moves the heart ten times as far as the last. Equal weights (power 0) would
        spend most of the loss on components that hardly move it (docs: decisions).
        """
        return ((self.spread / self.spread.mean())[:, None, None] * self.region)[..., None] ** emphasis

    def to(self, device: torch.device) -> LatentScale:
        """The same on another device."""
        return LatentScale(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its parts by their names in a checkpoint."""
        return {f"scale.{f.name}": getattr(self, f.name) for f in fields(self)}

    @staticmethod
    def from_tensors(tensors: dict[str, torch.Tensor]) -> LatentScale:
        """The inverse of :meth:`tensors`; other tensors are ignored."""
        return LatentScale(**{f.name: tensors[f"scale.{f.name}"] for f in fields(LatentScale)})


def _region(motion: torch.Tensor, motion_valid: torch.Tensor) -> torch.Tensor:
    """Where motion lives (x, y), from targets (M, K, C, x, y, Z) where they are valid (M, 1, x, y, Z)."""
    region = (motion**2 * motion_valid[:, None]).sum((0, 1, 2, 5)).sqrt()
    return (region / region.max()).clamp_min(0.1)
