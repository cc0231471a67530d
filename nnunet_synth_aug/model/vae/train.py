"""Training of the VAE on slices of labelled ED/ES frames and of unlabelled frames of the same cines, in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import N_CLASSES
from nnunet_synth_aug.model.config import VAEConfig
from nnunet_synth_aug.model.training.distributed import joint_mean, joint_randn, mine, world
from nnunet_synth_aug.model.training.loop import Step, Weights, train
from nnunet_synth_aug.model.training_set import TrainingCase, TrainingSet
from nnunet_synth_aug.model.vae.losses import consistency, dice_ce, edge_l1, kl_divergence, row_mean, texture_l1
from nnunet_synth_aug.model.vae.network import AnatomyVAE, latent_validity


@dataclass(frozen=True)
class FrameBatch:
    """This process's slices for one step, of a frame each: those of labelled frames first."""

    image: torch.Tensor  # (B, 1, X, Y, 1) in [-1, 1]
    mask: torch.Tensor  # (B, X, Y, 1)
    valid: torch.Tensor  # (B, 1, X, Y, 1)
    annotated: torch.Tensor  # (B, classes)
    predicted: torch.Tensor  # (B,) 1 where the mask is a network's
    n_labelled: int  # of B
    joint_labelled: int  # of the joint batch of all processes


@dataclass(frozen=True)
class FrameChoice:
    """One row of a batch, before anything is computed for it."""

    case: TrainingCase
    frame: int
    level: int  # slice
    turns: int
    flip: bool
    gamma: float
    gain: float


def augment(image: torch.Tensor, gamma: float, gain: float) -> torch.Tensor:
    """Contrast of one volume in [-1, 1]: gamma and gain, as between scanners."""
    return ((((image + 1) / 2).clamp(0, 1) ** gamma) * gain * 2 - 1).clamp(-1, 1)


def orient(volume: torch.Tensor, turns: int, flip: bool) -> torch.Tensor:
    """One of the eight in-plane orientations of (..., X, Y, Z)."""
    volume = torch.rot90(volume, turns, dims=(-3, -2))
    return volume.flip(-3) if flip else volume


class FrameSampler:
    """Draws slices: the patient first, then the frame, then the slice, so that long cines do not dominate.

    One slice of each frame, because its neighbours would teach nearly the same: as many slices of as many frames teach more.
    """

    def __init__(self, data: TrainingSet, config: VAEConfig) -> None:
        self.cases, self.config = data.cases, config
        self.labelled = [c for c in data.cases if c.gridded.labelled]
        if not self.labelled:
            raise UserError("no training patient of this fold has a mask; the generator cannot learn to make any")

    def draw(self, rng: np.random.Generator, device: torch.device) -> FrameBatch:
        """The joint batch is chosen, and this process's rows of it are made."""
        n = self.config.train.batch_size
        n_labelled = max(1, round(n * self.config.labelled_share))
        images, masks, valids, annotated, predicted = [], [], [], [], []
        for choice in mine([self._choose(rng, row < n_labelled) for row in range(n)]):
            gridded = choice.case.gridded
            one = slice(choice.level, choice.level + 1)
            image = orient(gridded.image[choice.frame, ..., one].float(), choice.turns, choice.flip)
            images.append(augment(image, choice.gamma, choice.gain))
            masks.append(orient(gridded.mask[choice.frame, ..., one], choice.turns, choice.flip))
            valids.append(orient(gridded.valid[..., one].float(), choice.turns, choice.flip))
            known = torch.zeros(N_CLASSES)
            known[[0, *sorted(choice.case.subject.annotated)]] = 1
            annotated.append(known)
            predicted.append(float(choice.frame in gridded.predicted))
        valid = torch.stack(valids)[:, None].to(device)
        return FrameBatch(
            torch.stack(images)[:, None].to(device) * valid,
            torch.stack(masks).to(device),
            valid,
            torch.stack(annotated).to(device),
            torch.tensor(predicted, device=device),
            len(mine(list(range(n_labelled)))),
            n_labelled,
        )

    def _choose(self, rng: np.random.Generator, labelled: bool) -> FrameChoice:
        pool = self.labelled if labelled else self.cases
        case = pool[rng.integers(len(pool))]
        frames = case.gridded.labelled if labelled else range(len(case.gridded.image))
        frame = frames[int(rng.integers(len(frames)))]
        levels = case.gridded.valid.any(0).any(0).nonzero()[:, 0].tolist()
        level = levels[int(rng.integers(len(levels)))]
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        return FrameChoice(
            case, frame, level, turns, flip, gamma=float(np.exp(rng.uniform(-0.25, 0.25))), gain=float(rng.uniform(0.85, 1.1))
        )


def vae_loss(network: nn.Module, batch: FrameBatch, config: VAEConfig, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Reconstruction of all frames, DiceCE on labelled ones, on the others with a network's mask or the teacher's, correct KL."""
    assert isinstance(network, AnatomyVAE)
    mean, log_variance = (v.float() for v in network.encode(batch.image, batch.valid))
    latent = mean + joint_randn(mean) * (0.5 * log_variance).exp()
    spread = mean.detach().std(dim=(1, 2, 3, 4), keepdim=True)
    latent = latent + config.latent_noise * spread * joint_randn(mean)
    kl = row_mean(kl_divergence(mean, log_variance), (latent_validity(batch.valid, network.factor) > 0).float())
    image, logits = network.decode(latent)
    image, n, valid = image.float(), batch.n_labelled, batch.valid
    joint, joint_unlabelled = len(image) * world(), len(image) * world() - batch.joint_labelled
    pixel = joint_mean(row_mean((image - batch.image).abs(), valid), joint)
    edge = joint_mean(edge_l1(image, batch.image, valid), joint)
    mask = joint_mean(dice_ce(logits[:n], batch.mask[:n], valid[:n], batch.annotated[:n]), batch.joint_labelled)
    kl = joint_mean(kl, joint)
    texture = joint_mean(texture_l1(image, batch.image, valid), joint)
    loss = pixel + edge + config.texture_weight * texture + mask + config.kl_weight * kl
    told = batch.predicted[n:]
    if told.any():
        rows = dice_ce(logits[n:], batch.mask[n:], valid[n:], batch.annotated[n:])
        loss = loss + config.predicted_weight * joint_mean(rows * told, joint_unlabelled)
    if config.consistency_weight > 0 and step.share >= config.consistency_start and not told.all():
        teacher = step.teacher
        assert isinstance(teacher, AnatomyVAE)
        with torch.no_grad():
            target = teacher.decode(teacher.encode(batch.image[n:], batch.valid[n:])[0])[1]
        rows = consistency(logits[n:], target, valid[n:])
        loss = loss + config.consistency_weight * joint_mean(rows * (1 - told), joint_unlabelled)
    return loss, {"l1": pixel.detach(), "mask": mask.detach(), "kl": kl.detach()}


def train_vae(
    data: TrainingSet, config: VAEConfig, folder: Path, seed: int, identity: dict, device: torch.device, weights: Weights | None = None
) -> AnatomyVAE:
    """Train the VAE, from ``weights`` if there are any; returns its EMA."""
    torch.manual_seed(seed)
    sampler = FrameSampler(data, config)

    def loss(network: nn.Module, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return vae_loss(network, sampler.draw(step.rng, device), config, step)

    start = AnatomyVAE(config)
    if weights is not None:
        start.load_state_dict(weights)
    network = train(start, loss, config.train, folder, "vae", seed, identity, device)
    assert isinstance(network, AnatomyVAE)
    return network
