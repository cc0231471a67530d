"""Priors that the VAE's own masks tell: of augmented motion, and of patients who have no mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import VARIABLES, Priors, measure
from nnunet_synth_aug.model.vae.network import AnatomyVAE


@torch.no_grad()
def told_by_masks(
    vae: AnatomyVAE,
    ends: torch.Tensor,
    valid: torch.Tensor,
    spacing: Spacing,
    device: torch.device,
    structures: frozenset[int] = frozenset({RV, MYO, LV}),
) -> Priors:
    """What the decoded masks of ED and ES measure.

    Args:
        vae: decodes.
        ends: (2, C, x, y, Z), latents of ED and ES.
        valid: (X, Y, Z).
        spacing: mm.
        device: of the VAE.
        structures: label values that the VAE was taught.
    """
    ed, es = _masks(vae, ends, valid, device)
    return measure(ed, es, spacing, structures)


def _masks(vae: AnatomyVAE, latents: torch.Tensor, valid: torch.Tensor, device: torch.device) -> np.ndarray:
    """Latents (N, C, x, y, Z) -> masks uint8 (N, X, Y, Z), empty where nothing is valid."""
    logits = vae.decode(latents.to(device))[1]
    masks: np.ndarray = (logits.argmax(1).cpu() * (valid > 0)).to(torch.uint8).numpy()
    return masks


@torch.no_grad()
def regained(vae: AnatomyVAE, ends: torch.Tensor, valid: torch.Tensor, spacing: Spacing, prior: Priors, device: torch.device) -> Priors:
    """The priors of a heart that beats more or less than its own.

    A few dozen patients have a few dozen EFs, and a motion LDM learns those by heart. The same heart beating more or less shows every
    value between. EF changes in the proportion in which that of the decoded masks does.

    Args:
        vae: decodes.
        ends: (3, C, x, y, Z), latents of ED, of ES, and of ES as it is to be.
        valid: (X, Y, Z).
        spacing: mm.
        prior: of the heart as it is.
        device: of the VAE.
    """
    masks = _masks(vae, ends, valid, device)
    before, after = (measure(masks[0], mask, spacing) for mask in masks[1:])

    def moved(name: str) -> float | None:
        own, old, new = (getattr(p, name) for p in (prior, before, after))
        limits = VARIABLES[name]
        # No decoded motion, or none to compare with: nothing is known.
        return None if own is None or new is None or not old or old <= 0 else float(np.clip(own * new / old, limits.low, limits.high))

    return replace(prior, lv_ef=moved("lv_ef"), rv_ef=moved("rv_ef"))
