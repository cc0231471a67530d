"""Training of the VAE on labelled ED/ES frames and unlabelled frames of the same cines, in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nnunet_synth_aug.anatomy_vae.losses import consistency, dice_ce, edge_l1, kl_divergence, masked_mean
from nnunet_synth_aug.anatomy_vae.network import AnatomyVAE, latent_validity
from nnunet_synth_aug.config import VAEConfig
from nnunet_synth_aug.data.training_set import TrainingSet
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.labels import N_CLASSES
from nnunet_synth_aug.training import Step, train


@dataclass(frozen=True)
class FrameBatch:
    """Frames for one step: labelled ones first."""

    image: torch.Tensor  # (B, 1, X, Y, Z) in [-1, 1]
    mask: torch.Tensor  # (B, X, Y, Z)
    valid: torch.Tensor  # (B, 1, X, Y, Z)
    annotated: torch.Tensor  # (B, classes)
    n_labelled: int


def augment(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Contrast of one volume in [-1, 1]: gamma and gain, as between scanners."""
    gamma, gain = np.exp(rng.uniform(-0.25, 0.25)), rng.uniform(0.85, 1.1)
    return ((((image + 1) / 2).clamp(0, 1) ** gamma) * gain * 2 - 1).clamp(-1, 1)


def orient(volume: torch.Tensor, turns: int, flip: bool) -> torch.Tensor:
    """One of the eight exact in-plane orientations of (..., X, Y, Z)."""
    volume = torch.rot90(volume, turns, dims=(-3, -2))
    return volume.flip(-3) if flip else volume


class FrameSampler:
    """Draws frames: the patient first, then the frame, so that long cines do not dominate."""

    def __init__(self, data: TrainingSet, config: VAEConfig) -> None:
        self.cases, self.config = data.cases, config
        self.labelled = [c for c in data.cases if c.gridded.labelled]
        if not self.labelled:
            raise UserError("no training patient of this fold has a mask; the generator cannot learn to make any")

    def draw(self, rng: np.random.Generator, device: torch.device) -> FrameBatch:
        n = self.config.train.batch_size
        n_labelled = max(1, round(n * self.config.labelled_share))
        images, masks, valids, annotated = [], [], [], []
        for row in range(n):
            pool = self.labelled if row < n_labelled else self.cases
            case = pool[rng.integers(len(pool))]
            frames = case.gridded.labelled if row < n_labelled else range(len(case.gridded.image))
            frame = frames[int(rng.integers(len(frames)))]
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            images.append(augment(orient(case.gridded.image[frame].float(), turns, flip), rng))
            masks.append(orient(case.gridded.mask[frame], turns, flip))
            valids.append(orient(case.gridded.valid.float(), turns, flip))
            known = torch.zeros(N_CLASSES)
            known[[0, *sorted(case.subject.annotated)]] = 1
            annotated.append(known)
        valid = torch.stack(valids)[:, None].to(device)
        return FrameBatch(
            torch.stack(images)[:, None].to(device) * valid,
            torch.stack(masks).to(device),
            valid,
            torch.stack(annotated).to(device),
            n_labelled,
        )


def vae_loss(network: nn.Module, batch: FrameBatch, config: VAEConfig, step: Step) -> tuple[torch.Tensor, dict[str, float]]:
    """Reconstruction of all frames, DiceCE on labelled ones, the teacher's mask on the others, correct KL."""
    assert isinstance(network, AnatomyVAE)
    mean, log_variance = network.encode(batch.image, batch.valid)
    latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    latent = latent + config.latent_noise * mean.detach().std() * torch.randn_like(mean)
    image, logits = network.decode(latent)
    n, valid = batch.n_labelled, batch.valid
    pixel = masked_mean((image - batch.image).abs(), valid)
    mask = dice_ce(logits[:n], batch.mask[:n], valid[:n], batch.annotated[:n])
    kl = masked_mean(kl_divergence(mean, log_variance), (latent_validity(valid, network.factor) > 0).float())
    loss = pixel + config.edge_weight * edge_l1(image, batch.image, valid) + config.mask_weight * mask + config.kl_weight * kl
    if config.consistency_weight > 0 and step.share >= config.consistency_start and n < len(image):
        teacher = step.teacher
        assert isinstance(teacher, AnatomyVAE)
        with torch.no_grad():
            target = teacher.decode(teacher.encode(batch.image[n:], valid[n:])[0])[1]
        loss = loss + config.consistency_weight * consistency(logits[n:], target, valid[n:])
    return loss, {"l1": pixel.item(), "mask": mask.item(), "kl": kl.item()}


def train_vae(data: TrainingSet, config: VAEConfig, folder: Path, seed: int, identity: dict, device: torch.device) -> AnatomyVAE:
    """Train the VAE; returns its EMA."""
    torch.manual_seed(seed)
    sampler = FrameSampler(data, config)

    def loss(network: nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        return vae_loss(network, sampler.draw(step.rng, device), config, step)

    network = train(AnatomyVAE(config), loss, config.train, folder, "vae", seed, identity, device)
    assert isinstance(network, AnatomyVAE)
    return network
