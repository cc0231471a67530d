"""Priors measured on masks that the VAE decodes: of patients who have no mask, and of copies that beat more or less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import VARIABLES, Priors, measure
from nnunet_synth_aug.model.vae.network import AnatomyVAE


@torch.no_grad()
def measure_decoded(
    vae: AnatomyVAE,
    ends: torch.Tensor,
    valid: torch.Tensor,
    spacing: Spacing,
    device: torch.device,
    structures: frozenset[int] = frozenset({RV, MYO, LV}),
) -> Priors:
    """Volumes, EF and mass of the masks that the VAE decodes at ED and ES.

    Args:
        vae: decodes.
        ends: (2, C, x, y, Z), latents of ED and ES; (1, C, x, y, Z) of a single volume, which tells no EF.
        valid: (X, Y, Z).
        spacing: mm.
        device: of the VAE.
        structures: label values that the VAE was taught.
    """
    ed, *es = _masks(vae, ends, valid, device)
    return measure(ed, es[0] if es else None, spacing, structures)


def _masks(vae: AnatomyVAE, latents: torch.Tensor, valid: torch.Tensor, device: torch.device) -> np.ndarray:
    """Latents (N, C, x, y, Z) -> masks uint8 (N, X, Y, Z), empty where nothing is valid."""
    logits = vae.decode(latents.to(device))[1]
    masks: np.ndarray = (logits.argmax(1).cpu() * (valid > 0)).to(torch.uint8).numpy()
    return masks


@torch.no_grad()
def priors_after_gain(
    vae: AnatomyVAE, ends: torch.Tensor, valid: torch.Tensor, spacing: Spacing, prior: Priors, device: torch.device
) -> Priors:
    """The priors of a heart after a gain on its motion: EF changes in the proportion in which that of the decoded masks does.

    A few dozen patients have a few dozen EFs, and a motion LDM learns those by heart. The same heart beating more or less shows every
    value between.

    Args:
        vae: decodes.
        ends: (3, C, x, y, Z), latents of ED, of ES, and of ES after the gain.
        valid: (X, Y, Z).
        spacing: mm.
        prior: of the heart before.
        device: of the VAE.
    """
    masks = _masks(vae, ends, valid, device)
    before, afterwards = (measure(masks[0], mask, spacing) for mask in masks[1:])

    def after_gain(name: str) -> float | None:
        own, old, new = (getattr(p, name) for p in (prior, before, afterwards))
        limits = VARIABLES[name]
        # No decoded motion, or none to compare with: nothing is known.
        return None if own is None or new is None or not old or old <= 0 else float(np.clip(own * new / old, limits.low, limits.high))

    return replace(prior, lv_ef=after_gain("lv_ef"), rv_ef=after_gain("rv_ef"))
