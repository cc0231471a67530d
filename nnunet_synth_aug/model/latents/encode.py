"""The training set of both LDMs: ED latents and periodic motion coefficients of augmented cines."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.remodel import Remodelling
from nnunet_synth_aug.model.conditions import Conditions, PriorScaler
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.latents.measured_priors import regained, told_by_masks
from nnunet_synth_aug.model.motion_basis import fit_motion, phases
from nnunet_synth_aug.model.training_set import TrainingSet, augmented, chosen_frames
from nnunet_synth_aug.model.vae.network import AnatomyVAE, latent_validity
from nnunet_synth_aug.model.weaker_beat import STRONGER, beaten


@dataclass(frozen=True)
class LatentScale:
    """Standardisation of latents; travels in the checkpoints.

    mean, std (C,): of ED latents. region (x, y): where in the grid motion lives, so that the still chest does not
    tremble with the noise that the heart needs. directions (R, 2K*C): the orthonormal principal directions of the
    coefficients, spread (R,): the standard deviation along each. Few directions carry nearly all motion; a motion LDM
    on all 2K*C coefficients, each scaled to unit variance, would return the noise of the empty ones as jerk.
    """

    mean: torch.Tensor
    std: torch.Tensor
    region: torch.Tensor
    directions: torch.Tensor
    spread: torch.Tensor

    def standardise(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, Z) -> zero mean, unit variance per channel."""
        return (latent - self.mean[:, None, None, None]) / self.std[:, None, None, None]

    def restore(self, latent: torch.Tensor) -> torch.Tensor:
        return latent * self.std[:, None, None, None] + self.mean[:, None, None, None]

    def standardise_motion(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients (B, 2K, C, x, y, Z) -> their principal components (B, R, x, y, Z), each of unit variance."""
        flat = (coefficients / self.region[:, :, None]).flatten(1, 2)
        return torch.einsum("rk,bkxyz->brxyz", self.directions / self.spread[:, None], flat)

    def restore_motion(self, components: torch.Tensor) -> torch.Tensor:
        """(B, R, x, y, Z) -> (B, 2K, C, x, y, Z)."""
        flat = torch.einsum("rk,brxyz->bkxyz", self.directions * self.spread[:, None], components)
        return flat.unflatten(1, (-1, len(self.mean))) * self.region[:, :, None]

    def anatomy_weight(self, emphasis: float) -> torch.Tensor:
        """How much an error in the ED latent counts at each place, (1, x, y, 1): as the heart moves there, to a power.

        The chest fills most of the grid and teaches nnU-Net little; volumes and masks are decided where the heart is.
        """
        return self.region[None, ..., None] ** emphasis

    def motion_weight(self, emphasis: float) -> torch.Tensor:
        """How much an error in each component counts at each place, (R, x, y, 1): as the heart moves by it there, to a power.

        Standardised components all look alike, but the first moves the heart ten times as far as the last: equal weights
        (power 0) spend most of the loss on components that hardly move it (docs/decisions.md).
        """
        return ((self.spread / self.spread.mean())[:, None, None] * self.region)[..., None] ** emphasis

    def to(self, device: torch.device) -> LatentScale:
        return LatentScale(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f"scale.{f.name}": getattr(self, f.name) for f in fields(self)}

    @staticmethod
    def from_tensors(tensors: dict[str, torch.Tensor]) -> LatentScale:
        return LatentScale(**{f.name: tensors[f"scale.{f.name}"] for f in fields(LatentScale)})


@dataclass(frozen=True)
class LatentSet:
    """Standardised latents of all patients and variants (N), with their conditions."""

    ed: torch.Tensor  # (N, C, x, y, Z)
    motion: torch.Tensor  # (M, R, x, y, Z): of those with a cine; framewise, of each of their frames but ED
    moving: torch.Tensor  # (M,) index into N
    phase: torch.Tensor  # (M,) phase of the frame; 0 where ``motion`` is that of a whole cycle
    valid: torch.Tensor  # (N, 1, x, y, Z)
    conditions: Conditions  # of N
    scaler: PriorScaler
    scale: LatentScale


@torch.no_grad()
def encode(vae: AnatomyVAE, image: torch.Tensor, valid: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Posterior means (T, C, x, y, Z) of frames (T, X, Y, Z)."""
    out = []
    for frames in image.split(8):
        x = frames[:, None].float().to(device)
        v = valid[None, None].float().expand_as(x).to(device)
        out.append(vae.encode(x, v)[0].float().cpu())
    return torch.cat(out)


def with_decoded_priors(data: TrainingSet, vae: AnatomyVAE, device: torch.device) -> TrainingSet:
    """The training set in which patients without masks have the volumes, EF and mass of the masks that the VAE gives them."""
    cases = []
    for case in data.cases:
        if not (gridded := case.gridded).masked:
            ends = encode(vae, gridded.image[[gridded.ed, gridded.es]], gridded.valid, device)
            told = told_by_masks(vae, ends, gridded.valid, gridded.spacing, device, data.structures)
            case = replace(case, priors=case.priors.completed(told))
        cases.append(case)
    return replace(data, cases=cases)


def encode_training_set(
    data: TrainingSet,
    vae: AnatomyVAE,
    config: GeneratorConfig,
    device: torch.device,
    scales: tuple[LatentScale, PriorScaler] | None = None,
) -> LatentSet:
    """Encode every patient in several augmented copies and fit the periodic motion of each.

    Copies of patients without masks get the volumes, EF and mass of the masks that the VAE decodes.

    Args:
        data: the patients.
        vae: encodes them.
        config: of the generator.
        device: of the VAE.
        scales: those of the generator that is continued, whose LDMs speak their language; default the patients' own. Only how much and
            where the patients move is always their own.
    """
    settings = config.latents
    variants = settings.variants(len(data.cases))
    ed: list[torch.Tensor] = []
    valids: list[torch.Tensor] = []
    coefficients: list[torch.Tensor] = []
    moving: list[int] = []
    phase: list[float] = []
    priors: list[Priors] = []
    plain: list[Priors] = []
    taught = data.structures
    with progress("encoding", len(data.cases) * variants) as bar:
        for number, case in enumerate(data.cases):
            frames = chosen_frames(case, settings.max_frames)
            sequence = load_sequence(case.subject)
            for variant in range(variants):
                if variant == 0:
                    index = torch.tensor(frames)
                    gridded, prior = case.gridded, case.priors
                    image, ed_at, es_at = gridded.image[index], frames.index(gridded.ed), frames.index(gridded.es)
                else:
                    rng = np.random.default_rng([config.seed, number, variant])
                    gridded, prior = augmented(case.subject, sequence, data.grid, config, rng, frames)
                    image, ed_at, es_at = gridded.image, gridded.ed, gridded.es
                latent = encode(vae, image, gridded.valid, device)
                ends = latent[[ed_at, es_at]]
                if not gridded.masked:
                    prior = prior.completed(told_by_masks(vae, ends, gridded.valid, gridded.spacing, device, taught))
                residuals = latent - latent[ed_at]
                if variant and (settings.gain or settings.remodel):
                    # From a stream of its own: with and without it, a copy shows the same heart in the same pose.
                    beat = np.random.default_rng([config.seed, number, variant, 1])
                    gain = float(beat.uniform(1 - settings.gain, 1 + min(settings.gain, STRONGER)))
                    gain *= Remodelling.drawn(beat, settings.remodel).beat
                    residuals = beaten(residuals, ed_at, es_at, gain)
                    beating = torch.stack([*ends, latent[ed_at] + residuals[es_at]])
                    prior = regained(vae, beating, gridded.valid, gridded.spacing, prior, device)
                if case.cycle is not None:
                    phi = phases(case.subject.n_frames, case.cycle, case.subject.ed, case.subject.es)[frames].float()
                    if settings.motion == "framewise":
                        others = [i for i in range(len(frames)) if i != ed_at]
                        coefficients += list(residuals[others][:, None])
                        moving += [len(ed)] * len(others)
                        phase += phi[others].tolist()
                    else:
                        coefficients.append(fit_motion(residuals, phi, settings.harmonics))
                        moving.append(len(ed))
                        phase.append(0.0)
                ed.append(latent[ed_at])
                valids.append((latent_validity(gridded.valid[None, None].float(), vae.factor) > 0).float()[0])
                priors.append(prior)
                if variant == 0:
                    plain.append(prior)
                bar.advance(number * variants + variant + 1, case.subject.patient)
    if not moving:
        raise UserError("no training patient of this fold has a 4D cine; the motion LDM cannot learn to move")
    latents, valid, motion = torch.stack(ed), torch.stack(valids), torch.stack(coefficients)
    if scales is None:
        scale, scaler = _scale(latents, valid, motion, valid[moving], settings.components), PriorScaler.fit(plain)
    else:
        scale, scaler = _sized(scales[0].to(torch.device("cpu")), motion, valid[moving]), scales[1]
    return LatentSet(
        ed=scale.standardise(latents) * valid,
        motion=scale.standardise_motion(motion) * valid[moving],
        moving=torch.tensor(moving),
        phase=torch.tensor(phase),
        valid=valid,
        conditions=scaler.encode(priors),
        scaler=scaler,
        scale=scale,
    )


def _region(motion: torch.Tensor, motion_valid: torch.Tensor) -> torch.Tensor:
    """Where motion lives (x, y), from coefficients (M, 2K, C, x, y, Z) where they are valid."""
    region = (motion**2 * motion_valid[:, None]).sum((0, 1, 2, 5)).sqrt()
    return (region / region.max()).clamp_min(0.1)


def _sized(scale: LatentScale, motion: torch.Tensor, motion_valid: torch.Tensor) -> LatentScale:
    """The directions of ``scale`` with the size and the place that motion has in these coefficients.

    The LDM that is continued knows what a direction means, and its objective wants unit variance along it. Patients move more than
    phantoms in the directions of breath and noise, and the heart fills another part of their field of view.
    """
    unit = replace(scale, region=_region(motion, motion_valid), spread=torch.ones_like(scale.spread))
    energy = sum(
        (unit.standardise_motion(one[None])[0] ** 2 * valid).sum((1, 2, 3)).double()
        for one, valid in zip(motion, motion_valid, strict=True)
    )
    return replace(unit, spread=(energy / motion_valid.sum()).clamp_min(1e-12).sqrt().float())


def _scale(latents: torch.Tensor, valid: torch.Tensor, motion: torch.Tensor, motion_valid: torch.Tensor, components: int) -> LatentScale:
    """Statistics of ED latents (N, C, x, y, Z) and coefficients (M, 2K, C, x, y, Z) where they are valid."""
    weight = valid.sum()
    mean = (latents * valid).sum((0, 2, 3, 4)) / weight
    std = (((latents - mean[:, None, None, None]) ** 2 * valid).sum((0, 2, 3, 4)) / weight).sqrt().clamp_min(1e-4)
    region = _region(motion, motion_valid)
    # One cine at a time: all of them in double precision would not fit into a small machine.
    covariance = torch.zeros(motion.shape[1] * motion.shape[2], motion.shape[1] * motion.shape[2], dtype=torch.float64)
    for one, inside in zip(motion, motion_valid[:, 0] > 0, strict=True):
        samples = (one / region[:, :, None]).flatten(0, 1)[:, inside].double()  # (2K*C, positions)
        covariance += samples @ samples.T
    variance, directions = torch.linalg.eigh(covariance / motion_valid.sum().double())
    order = variance.argsort(descending=True)[:components]
    return LatentScale(mean, std, region, directions[:, order].T.float(), variance[order].clamp_min(1e-12).sqrt().float())
