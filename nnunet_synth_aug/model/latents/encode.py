"""The training set of both LDMs: ED latents and motion of augmented cines."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.phantom.motion import Cycle
from nnunet_synth_aug.data.remodel import Remodelling
from nnunet_synth_aug.model.conditions import Conditions, PriorScaler
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.grid import Gridded
from nnunet_synth_aug.model.latents.measured_priors import measure_decoded, priors_after_gain
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.motion_basis import ES_SHARE, phases
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.model.training_set import TrainingCase, TrainingSet, augmented, chosen_frames
from nnunet_synth_aug.model.vae.network import AnatomyVAE, latent_validity
from nnunet_synth_aug.model.weaker_beat import STRONGER, beaten

#: Frames of a cycle that is made of ED and ES.
PAIR_FRAMES = 20


@dataclass(frozen=True)
class LatentSet:
    """Standardised latents of all patients and their copies (N), with their conditions."""

    ed: torch.Tensor  # (N, C, x, y, Z)
    motion: torch.Tensor  # (M, R, x, y, Z): targets of those with a cine, one or several each, see motion_schemes
    moving: torch.Tensor  # (M,) index into N
    phase: torch.Tensor  # (M,) phase of the target; 0 where it is that of a whole cycle
    valid: torch.Tensor  # (N, 1, x, y, Z)
    conditions: Conditions  # of N
    scaler: PriorScaler
    scale: LatentScale


@dataclass(frozen=True)
class EncodedCopy:
    """A patient, or an augmented copy, as latents that are not standardised yet."""

    ed: torch.Tensor  # (C, x, y, Z)
    valid: torch.Tensor  # (1, x, y, Z)
    priors: Priors
    motion: torch.Tensor | None  # (n, K, C, x, y, Z), its motion targets; None without a cine
    phase: torch.Tensor  # (n,)
    original: bool  # the patient, not a copy


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
            ends = encode(vae, gridded.image[[*dict.fromkeys((gridded.ed, gridded.es))]], gridded.valid, device)
            measured = measure_decoded(vae, ends, gridded.valid, gridded.spacing, device, data.structures)
            case = replace(case, priors=case.priors.completed(measured))
        cases.append(case)
    return replace(data, cases=cases)


def encode_training_set(
    data: TrainingSet,
    vae: AnatomyVAE,
    config: GeneratorConfig,
    device: torch.device,
    scales: tuple[LatentScale, PriorScaler] | None = None,
) -> LatentSet:
    """Encode every patient in several augmented copies, with the motion of each.

    Copies of patients without masks get the volumes, EF and mass of the masks that the VAE decodes.

    Args:
        data: the patients.
        vae: encodes them.
        config: of the generator.
        device: of the VAE.
        scales: of the pretrained generator; None computes them from these patients. How much and where the heart moves is always computed.

    """
    encoder = _CopyEncoder(data, vae, config, device)
    variants = config.latents.variants(len(data.cases))
    copies: list[EncodedCopy] = []
    with progress("encoding", len(data.cases) * variants) as bar:
        for number, case in enumerate(data.cases):
            sequence = load_sequence(case.subject)
            for variant in range(variants):
                copies.append(encoder.copy(case, sequence, number, variant))
                bar.advance(len(copies), case.subject.patient)
    return _stacked(copies, config.latents.components, scales)


class _CopyEncoder:
    """Encodes copies of the patients of one training set."""

    def __init__(self, data: TrainingSet, vae: AnatomyVAE, config: GeneratorConfig, device: torch.device) -> None:
        self.data, self.vae, self.config, self.device = data, vae, config, device
        self.scheme = motion_scheme(config)
        self.only_pairs = all(case.cycle is None for case in data.cases)  # then ED and ES of each tell how it moves

    def copy(self, case: TrainingCase, sequence: Sequence, number: int, variant: int) -> EncodedCopy:
        """One copy of a patient.

        Args:
            case: the patient on the grid.
            sequence: the patient as recorded.
            number: of the patient in the training set.
            variant: number of the copy; 0 is the patient unchanged.
        """
        frames = chosen_frames(case, self.config.latents.max_frames)
        if variant == 0:
            gridded, priors = case.gridded, case.priors
            image, ed, es = gridded.image[torch.tensor(frames)], frames.index(gridded.ed), frames.index(gridded.es)
        else:
            rng = np.random.default_rng([self.config.seed, number, variant])
            gridded, priors = augmented(case.subject, sequence, self.data.grid, self.config, rng, frames)
            image, ed, es = gridded.image, gridded.ed, gridded.es
        latent = encode(self.vae, image, gridded.valid, self.device)
        still = ed == es  # a single volume says nothing of motion
        if not gridded.masked:
            ends = latent[[ed] if still else [ed, es]]
            measured = measure_decoded(self.vae, ends, gridded.valid, gridded.spacing, self.device, self.data.structures)
            priors = priors.completed(measured)
        ends = latent[[ed, es]]
        residuals, phi = latent - latent[ed], None
        if case.cycle is not None:
            phi = phases(case.subject.n_frames, case.cycle, case.subject.ed, case.subject.es)[frames].float()
        elif self.only_pairs and not still:
            residuals, phi, ed, es = cycle_of_pair(residuals[es])
        if variant and not still and (self.config.latents.gain or self.config.latents.remodel):
            # From a stream of its own: with and without it, a copy shows the same heart in the same pose.
            rng = np.random.default_rng([self.config.seed, number, variant, 1])
            residuals, priors = self._beating(ends, residuals, gridded, priors, ed, es, rng)
        motion, phase = (None, torch.zeros(0)) if phi is None else self.scheme.targets(residuals, phi, ed)
        valid = (latent_validity(gridded.valid[None, None].float(), self.vae.factor) > 0).float()[0]
        return EncodedCopy(ends[0], valid, priors, motion, phase, variant == 0)

    def _beating(
        self, ends: torch.Tensor, residuals: torch.Tensor, gridded: Gridded, priors: Priors, ed: int, es: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, Priors]:
        """Residuals and priors of a copy that beats less, or a little more, than its patient; ``ends`` (2, C, x, y, Z) are ED and ES."""
        settings = self.config.latents
        gain = float(rng.uniform(1 - settings.gain, 1 + min(settings.gain, STRONGER)))
        gain *= Remodelling.drawn(rng, settings.remodel).beat
        residuals = beaten(residuals, ed, es, gain)
        three = torch.stack([*ends, ends[0] + residuals[es]])
        return residuals, priors_after_gain(self.vae, three, gridded.valid, gridded.spacing, priors, self.device)


def cycle_of_pair(contracted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """A cycle for a heart of which only ED and ES are known: between them it contracts and fills as hearts usually do.

    Args:
        contracted: residual of ES (C, x, y, Z).

    Returns:
        residuals (PAIR_FRAMES, C, x, y, Z), their phases in radians, and the indices of ED and ES.
    """
    usual = Cycle(PAIR_FRAMES, 1.0, ES_SHARE, 1.0, 0.3)
    share = torch.from_numpy(usual.activation(usual.phases)).to(contracted)
    return share[:, None, None, None, None] * contracted, phases(PAIR_FRAMES).float(), 0, round(ES_SHARE * PAIR_FRAMES)


def _stacked(copies: list[EncodedCopy], components: int, scales: tuple[LatentScale, PriorScaler] | None) -> LatentSet:
    """The copies as one standardised set; ``scales`` as in :func:`encode_training_set`."""
    moving = torch.tensor([number for number, copy in enumerate(copies) for _ in copy.phase], dtype=torch.long)
    latents, valid = torch.stack([copy.ed for copy in copies]), torch.stack([copy.valid for copy in copies])
    motion = torch.cat([copy.motion for copy in copies if copy.motion is not None])
    if scales is None:
        scale = LatentScale.measured(latents, valid, motion, valid[moving], components)
        scaler = PriorScaler.fit([copy.priors for copy in copies if copy.original])
    else:
        scale, scaler = scales[0].to(torch.device("cpu")).resized(motion, valid[moving]), scales[1]
    return LatentSet(
        ed=scale.standardise(latents) * valid,
        motion=scale.standardise_motion(motion) * valid[moving],
        moving=moving,
        phase=torch.cat([copy.phase for copy in copies]),
        valid=valid,
        conditions=scaler.encode([copy.priors for copy in copies]),
        scaler=scaler,
        scale=scale,
    )
