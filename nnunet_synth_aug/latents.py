"""The training set of both LDMs: ED latents and periodic motion coefficients of augmented cines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nnunet_synth_aug.anatomy_vae.network import AnatomyVAE, latent_validity
from nnunet_synth_aug.conditions import Conditions, PriorScaler
from nnunet_synth_aug.config import GeneratorConfig
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.training_set import TrainingCase, TrainingSet, augmented
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.periodic import fit_motion, phases
from nnunet_synth_aug.priors import Priors


@dataclass(frozen=True)
class LatentScale:
    """Standardisation of latents; travels in the checkpoints.

    mean, std (C,): of ED latents. motion (2K, C): scale of each coefficient; region (x, y): where in the
    grid motion lives, so that the still chest does not tremble with the noise that the heart needs.
    """

    mean: torch.Tensor
    std: torch.Tensor
    motion: torch.Tensor
    region: torch.Tensor

    def standardise(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, Z) -> zero mean, unit variance per channel."""
        return (latent - self.mean[:, None, None, None]) / self.std[:, None, None, None]

    def restore(self, latent: torch.Tensor) -> torch.Tensor:
        return latent * self.std[:, None, None, None] + self.mean[:, None, None, None]

    def standardise_motion(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, 2K, C, x, y, Z) -> (B, 2K*C, x, y, Z)."""
        scaled = coefficients / (self.motion[:, :, None, None, None] * self.region[:, :, None])
        return scaled.flatten(1, 2)

    def restore_motion(self, scaled: torch.Tensor) -> torch.Tensor:
        """(B, 2K*C, x, y, Z) -> (B, 2K, C, x, y, Z)."""
        return scaled.unflatten(1, tuple(self.motion.shape)) * (self.motion[:, :, None, None, None] * self.region[:, :, None])

    def to(self, device: torch.device) -> LatentScale:
        return LatentScale(self.mean.to(device), self.std.to(device), self.motion.to(device), self.region.to(device))

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f"scale.{k}": getattr(self, k) for k in ("mean", "std", "motion", "region")}

    @staticmethod
    def from_tensors(tensors: dict[str, torch.Tensor]) -> LatentScale:
        return LatentScale(**{k: tensors[f"scale.{k}"] for k in ("mean", "std", "motion", "region")})


@dataclass(frozen=True)
class LatentSet:
    """Standardised latents of all patients and variants (N), with their conditions."""

    ed: torch.Tensor  # (N, C, x, y, Z)
    coefficients: torch.Tensor  # (M, 2K*C, x, y, Z): those with a cine
    moving: torch.Tensor  # (M,) index into N
    valid: torch.Tensor  # (N, 1, x, y, Z)
    conditions: Conditions  # of N
    scaler: PriorScaler
    scale: LatentScale


@torch.no_grad()
def _encode(vae: AnatomyVAE, image: torch.Tensor, valid: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Posterior means (T, C, x, y, Z) of frames (T, X, Y, Z)."""
    out = []
    for frames in image.split(8):
        x = frames[:, None].float().to(device)
        v = valid[None, None].float().expand_as(x).to(device)
        out.append(vae.encode(x, v)[0].float().cpu())
    return torch.cat(out)


def _chosen_frames(case: TrainingCase, limit: int) -> list[int]:
    """ED, ES and an even selection of the others."""
    n = case.subject.n_frames if case.subject.cine is not None else 2
    if case.subject.cine is None:
        return [0, 1]
    picked = {case.subject.ed, case.subject.es} | set(np.linspace(0, n - 1, min(limit, n)).round().astype(int).tolist())
    return sorted(picked)


def encode_training_set(data: TrainingSet, vae: AnatomyVAE, config: GeneratorConfig, device: torch.device) -> LatentSet:
    """Encode every patient in ``variants`` augmented copies and fit the periodic motion of each."""
    settings = config.latents
    ed: list[torch.Tensor] = []
    valids: list[torch.Tensor] = []
    coefficients: list[torch.Tensor] = []
    moving: list[int] = []
    priors: list[Priors] = []
    plain: list[Priors] = []
    with progress("encoding", len(data.cases) * settings.variants) as bar:
        for number, case in enumerate(data.cases):
            frames = _chosen_frames(case, settings.max_frames)
            sequence = load_sequence(case.subject)
            for variant in range(settings.variants):
                if variant == 0:
                    index = torch.tensor(frames)
                    gridded, prior = case.gridded, case.priors
                    image, ed_at = gridded.image[index], frames.index(gridded.ed)
                else:
                    rng = np.random.default_rng([config.seed, number, variant])
                    gridded, prior = augmented(case.subject, sequence, data.grid, config, rng, frames)
                    image, ed_at = gridded.image, gridded.ed
                latent = _encode(vae, image, gridded.valid, device)
                if case.cycle is not None:
                    phi = phases(case.subject.n_frames, case.cycle, case.subject.ed)[frames]
                    coefficients.append(fit_motion(latent - latent[ed_at], phi.float(), settings.harmonics))
                    moving.append(len(ed))
                ed.append(latent[ed_at])
                valids.append((latent_validity(gridded.valid[None, None].float(), vae.factor) > 0).float()[0])
                priors.append(prior)
                if variant == 0:
                    plain.append(prior)
                bar.advance(number * settings.variants + variant + 1, case.subject.patient)
    if not moving:
        raise UserError("no training patient of this fold has a 4D cine; the motion LDM cannot learn to move")
    scaler = PriorScaler.fit(plain)
    latents, valid, motion = torch.stack(ed), torch.stack(valids), torch.stack(coefficients)
    scale = _scale(latents, valid, motion, valid[moving])
    return LatentSet(
        ed=scale.standardise(latents) * valid,
        coefficients=scale.standardise_motion(motion) * valid[moving],
        moving=torch.tensor(moving),
        valid=valid,
        conditions=scaler.encode(priors),
        scaler=scaler,
        scale=scale,
    )


def _scale(latents: torch.Tensor, valid: torch.Tensor, motion: torch.Tensor, motion_valid: torch.Tensor) -> LatentScale:
    weight = valid.sum()
    mean = (latents * valid).sum((0, 2, 3, 4)) / weight
    std = (((latents - mean[:, None, None, None]) ** 2 * valid).sum((0, 2, 3, 4)) / weight).sqrt().clamp_min(1e-4)
    energy = motion**2 * motion_valid[:, None]  # (M, 2K, C, x, y, Z)
    region = (energy / (std**2)[:, None, None, None]).sum((0, 1, 2, 5)).sqrt()
    region = (region / region.max()).clamp_min(0.1)
    within = motion / region[:, :, None]
    rms = ((within**2 * motion_valid[:, None]).sum((0, 3, 4, 5)) / motion_valid.sum()).sqrt()
    # High harmonics carry little energy; scaled to unit variance their noise would come back as jerk.
    return LatentScale(mean, std, rms.clamp_min(0.15 * rms.amax(0, keepdim=True)).clamp_min(1e-5), region)
