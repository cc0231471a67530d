"""The noise of an image, which a decoder leaves out.

The decoder returns about the middle of all images that a latent may stand for, and that has no noise. What a sample lacks besides, fine
structure, must not be made up from a noise field: the whole difference of image and reconstruction is ten times as large as the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from nnunet_synth_aug.data.training_set import TrainingSet

#: Bins of the grey values (-1 to 1).
GREYS = 12
PATIENTS, FRAMES = 64, 4  # looked at, at most
#: Pixels of a grey value below which the noise of all of them is believed more than its own.
FEW = 1000

#: Answers to noise, not to planes and ramps; the standard deviation of its answer to white noise of unit variance is 6 (Immerkaer 1996,
#: "Fast noise variance estimation", doi 10.1006/cviu.1996.0060).
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)[None, :, :, None]
_TO_SD = 1 / (6 * 0.6745)  # from the median of its absolute values, which edges hardly move


@dataclass(frozen=True)
class Grain:
    """Standard deviation of the noise by grey value, in units of the image in [-1, 1]."""

    spread: tuple[float, ...]  # (GREYS,)

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Noise float32 for decoded frames ``image`` (T, X, Y, Z) in [-1, 1]; pixels, slices and frames are independent."""
        spread = np.interp(image, grey_centres(), self.spread).astype(np.float32)
        return rng.standard_normal(image.shape, dtype=np.float32) * spread

    def to_json(self) -> dict[str, Any]:
        return {"spread": list(self.spread)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Grain:
        return Grain(tuple(values["spread"]))


def grey_centres() -> np.ndarray:
    return (np.arange(GREYS) + 0.5) / GREYS * 2 - 1


def measure_grain(data: TrainingSet) -> Grain:
    """Noise of the training patients, from a few frames of each."""
    chosen = np.linspace(0, len(data.cases) - 1, min(PATIENTS, len(data.cases))).round().astype(int)
    images, insides = [], []
    for case in (data.cases[i].gridded for i in chosen):
        frames = sorted({*np.linspace(0, len(case.image) - 1, min(FRAMES, len(case.image))).round().astype(int).tolist()})
        slices = case.valid.any(0).any(0)
        images.append(case.image[frames][..., slices].float().numpy())
        insides.append(case.valid[..., slices].numpy() > 0)
    return grain_of(images, insides)


def grain_of(images: list[np.ndarray], insides: list[np.ndarray]) -> Grain:
    """Noise of images (T, X, Y, Z) in [-1, 1] where they are inside (X, Y, Z), one entry per patient."""
    found: list[list[np.ndarray]] = [[] for _ in range(GREYS)]
    square = np.ones((3, 3, 1), bool)
    for image, inside in zip(images, insides, strict=True):
        inside = ndimage.binary_erosion(inside, square)  # the mask sees neighbours
        # Clipped pixels have no noise: what is at the ends of the window says nothing.
        inside = inside & ~ndimage.binary_dilation((np.abs(image) > 0.999).any(axis=0), square)
        answer = np.abs(ndimage.convolve(image, _MASK))[:, inside]
        grey = ndimage.uniform_filter(image, (1, 3, 3, 1))[:, inside]
        bins = np.clip(((grey + 1) / 2 * GREYS).astype(int), 0, GREYS - 1)
        for b in range(GREYS):
            found[b].append(answer[bins == b])
    pooled = [np.concatenate(values) for values in found]
    everything = np.concatenate(pooled)
    overall = float(np.median(everything)) if everything.size else 0.0  # of images that are clipped everywhere nothing is known
    own = np.array([float(np.median(values)) if values.size else overall for values in pooled])
    count = np.array([values.size for values in pooled])
    spread = (count * own + FEW * overall) / (count + FEW) * _TO_SD
    return Grain(tuple(spread.round(6).tolist()))
