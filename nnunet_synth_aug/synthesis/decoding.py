"""From latents to images and masks, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.synthesis.hearts import Anatomy
from nnunet_synth_aug.synthesis.specks import without_specks

#: Frames that the VAE decodes in one call, whichever hearts they belong to: what bounds the memory of sampling.
DECODED_AT_ONCE = 8


def moved(generator: Generator, anatomy: Anatomy, residuals: torch.Tensor) -> torch.Tensor:
    """Latents (T, C, x, y, Z) of frames with these residuals."""
    return (generator.scale.restore(anatomy.latent) + residuals) * anatomy.valid


@torch.no_grad()
def decode(generator: Generator, hearts: list[torch.Tensor]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decode hearts one after the other; neighbours share a call of the VAE where their frames do not fill one.

    Args:
        generator: whose VAE decodes.
        hearts: latents (T, C, x, y, Z), T may differ.

    Yields:
        image float32 (T, X, Y, Z) in [-1, 1] and mask uint8 (T, X, Y, Z) without specks of every heart.
    """
    if not hearts:
        return
    lengths = iter(len(heart) for heart in hearts)
    wanted: int | None = next(lengths)
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for part in torch.cat(hearts).split(DECODED_AT_ONCE):
        image, logits = generator.vae.decode(part)
        images += list(image[:, 0].clamp(-1, 1).float().cpu().numpy())
        likely = logits.topk(2, dim=1).indices.to(torch.uint8).cpu().numpy()
        masks += [without_specks(best, second) for best, second in likely]
        while wanted is not None and len(images) >= wanted:
            yield np.stack(images[:wanted]), np.stack(masks[:wanted])
            del images[:wanted], masks[:wanted]
            wanted = next(lengths, None)


def smallest_lv(mask: np.ndarray, otherwise: int) -> int:
    """Frame of the smallest LV in a mask (T, X, Y, Z); ``otherwise`` if none is smaller than in frame 0."""
    lv = np.count_nonzero(mask == LV, axis=(1, 2, 3))
    return int(lv.argmin()) if lv.min() < lv[0] else otherwise
