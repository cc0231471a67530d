"""Hearts on their way: what is asked for, what it begins with, and the anatomy that is to be moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.model.template import Template

#: Frames where neither the request nor the training cines say.
DEFAULT_FRAMES = 20


@dataclass(frozen=True)
class Origin:
    """A training patient's ED that an anatomy begins with, instead of with noise alone."""

    template: Template  # of that patient
    latent: torch.Tensor  # (1, C, x, y, Z), standardised
    heart: torch.Tensor  # bool (1, 1, x, y, Z): where the anatomy may change; around it the patient's chest is kept
    strength: float  # of the change, see diffusion.Start
    name: str  # which patient and copy it is


@dataclass(frozen=True)
class Request:
    """One heart to make. Whatever is not specified is left to the generator, except the stack's geometry."""

    id: str
    seed: int
    priors: Priors
    n_frames: int | None = None
    calibrate: bool = False  # closed loop, see synthesis.closed_loop
    grain: bool = True  # images as noisy as real ones; False gives the decoder's mean
    asked: Priors | None = None  # what the user set of ``priors``; None: all of it
    origin: Origin | None = None  # all requests of one call have one of the same strength, or none has


@dataclass(frozen=True)
class Anatomy:
    """The first half of a heart: its ED latent, and the geometry it was made for."""

    request: Request
    template: Template
    given: Priors  # what the networks are told: the request, and the stack's geometry
    latent: torch.Tensor  # (1, C, x, y, Z), standardised
    valid: torch.Tensor  # (1, 1, x, y, Z)
    spacing: Spacing  # mm

    @property
    def slices(self) -> slice:
        """The stack within the grid."""
        n = self.given.n_slices or 0
        before = (self.valid.shape[-1] - n) // 2
        return slice(before, before + n)

    @property
    def n_frames(self) -> int:
        """Frames of the cycle: as requested, or those of the training cine that lends the geometry."""
        return self.request.n_frames or self.template.n_frames or DEFAULT_FRAMES

    @property
    def expected_es(self) -> int:
        """The frame at which the training cine that lends the timing has its ES."""
        return min(max(round(self.template.es_fraction * self.n_frames), 1), self.n_frames - 1)
