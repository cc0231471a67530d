"""The noise of an image, which a decoder leaves out.

The decoder returns about the middle of all images that a latent may stand for, and that has no noise. What a sample lacks besides, fine
structure, must not be made up from a noise field: the whole difference of image and reconstruction is ten times as large as the noise.

Noise is what changes from frame to frame and back: the second difference in time, of which steady motion has none and edges have none
either. Real noise is not white in the plane, because scanners and the way to the grid interpolate, so neighbours share some of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from nnunet_synth_aug.model.grid import Gridded
from nnunet_synth_aug.model.training_set import TrainingSet

#: Bins of the grey values (-1 to 1).
GREYS = 12
PATIENTS, TRIPLES = 64, 4  # looked at, at most; three consecutive frames each
#: Pixels of a grey value below which the noise of all of them is believed more than its own.
FEW = 1000
#: How far one heart's noise may be from its cohort's: beyond, it is the measurement that is wrong.
LEVELS = (0.25, 4.0)
#: From the median of absolute values to a standard deviation, which pixels that move hardly change; a second difference of white
#: noise has six times its variance.
_TO_SD = 1 / 0.6745
_OF_SECOND_DIFFERENCE = 1 / np.sqrt(6)
#: A kernel (b, 1, b) gives neighbours a correlation of at most sqrt(1/2).
_MOST = 0.7


@dataclass(frozen=True)
class Grain:
    """Standard deviation of the noise by grey value, in units of the image in [-1, 1], and how much of it neighbours share."""

    spread: tuple[float, ...]  # (GREYS,)
    correlation: float = 0.0  # of neighbours in plane

    def draw(self, image: np.ndarray, rng: np.random.Generator, level: float = 1.0) -> np.ndarray:
        """Noise float32 for decoded frames ``image`` (T, X, Y, Z) in [-1, 1]; slices and frames are independent.

        Args:
            image: decoded.
            rng: decides all of it.
            level: of one heart, see :func:`noise_level`.
        """
        spread = level * np.interp(image, grey_centres(), self.spread).astype(np.float32)
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        if self.correlation:
            side = (1 - np.sqrt(1 - 2 * self.correlation**2)) / (2 * self.correlation)  # 2b / (1 + 2b^2) = correlation
            kernel = np.array([side, 1, side]) / np.sqrt(1 + 2 * side**2)
            for axis in (1, 2):
                noise = ndimage.convolve1d(noise, kernel, axis, mode="wrap")
        return noise * spread

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return {"spread": list(self.spread), "correlation": self.correlation}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Grain:
        """From what :meth:`to_json` gave."""
        return Grain(tuple(values["spread"]), values.get("correlation", 0.0))


def grey_centres() -> np.ndarray:
    """Grey values in [-1, 1] at which the noise is known."""
    return (np.arange(GREYS) + 0.5) / GREYS * 2 - 1


def measure_grain(data: TrainingSet) -> Grain:
    """Noise of the training patients that have a cine, from a few frames of each."""
    moving = [case for case in data.cases if case.cycle is not None and len(case.gridded.image) > 2]
    chosen = np.linspace(0, len(moving) - 1, min(PATIENTS, len(moving))).round().astype(int)
    pieces, insides = [], []
    for case in (moving[i].gridded for i in chosen):
        own, inside = _pieces(case)
        pieces += own
        insides += [inside] * len(own)
    return grain_of(pieces, insides)


def _pieces(heart: Gridded) -> tuple[list[np.ndarray], np.ndarray]:
    """A few pieces of three consecutive frames (3, X, Y, Z) in [-1, 1], and where they are inside (X, Y, Z); slices that exist only."""
    slices = heart.valid.any(0).any(0)
    last = len(heart.image) - 3
    starts = sorted({*np.linspace(0, last, min(TRIPLES, last + 1)).round().astype(int).tolist()}) if last >= 0 else []
    return [heart.image[t : t + 3][..., slices].float().numpy() for t in starts], heart.valid[..., slices].numpy() > 0


def noise_level(heart: Gridded, grain: Grain) -> float:
    """How noisy one heart's images are, as a multiple of its cohort's ``grain``; 1 where it has no three consecutive frames.

    Coils, field strengths and breath-holds differ: in one cohort some patients' images have three times the noise of others.
    """
    pieces, inside = _pieces(heart)
    ratios = []
    for image in pieces:
        change, counts, grey = _changes(image, inside)
        expected = np.interp(grey, grey_centres(), grain.spread)
        ratios.append((np.abs(change[:, counts]) / np.maximum(expected[:, counts], 1e-6)).ravel())
    everything = np.concatenate(ratios) if ratios else np.zeros(0)
    if not everything.size or not any(grain.spread):
        return 1.0
    return float(np.clip(np.median(everything) * _TO_SD * _OF_SECOND_DIFFERENCE, *LEVELS))


def _changes(image: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Second differences in time (T - 2, X, Y, Z), where they count (X, Y, Z), and the grey value around (T - 2, X, Y, Z)."""
    square = np.ones((3, 3, 1), bool)
    inside = ndimage.binary_erosion(inside, square)  # neighbours count, too
    # Clipped pixels have no noise: what is at the ends of the window says nothing.
    inside = inside & ~ndimage.binary_dilation((np.abs(image) > 0.999).any(axis=0), square)
    return np.diff(image, 2, axis=0), inside, ndimage.uniform_filter(image[1:-1], (1, 3, 3, 1))


def grain_of(pieces: list[np.ndarray], insides: list[np.ndarray]) -> Grain:
    """Noise of pieces of cines, each at least three consecutive frames (T, X, Y, Z) in [-1, 1], where they are inside (X, Y, Z)."""
    found: list[list[np.ndarray]] = [[] for _ in range(GREYS)]
    shared: list[float] = []
    for image, whole in zip(pieces, insides, strict=True):
        change, inside, around = _changes(image, whole)
        size, grey = np.abs(change[:, inside]), around[:, inside]
        bins = np.clip(((grey + 1) / 2 * GREYS).astype(int), 0, GREYS - 1)
        for b in range(GREYS):
            found[b].append(size[bins == b])
        shared += _shared(change, inside)
    pooled = [np.concatenate(values) if values else np.zeros(0, np.float32) for values in found]
    everything = np.concatenate(pooled)
    overall = float(np.median(everything)) if everything.size else 0.0  # of images that are clipped everywhere nothing is known
    own = np.array([float(np.median(values)) if values.size else overall for values in pooled])
    count = np.array([values.size for values in pooled])
    spread = (count * own + FEW * overall) / (count + FEW) * _TO_SD * _OF_SECOND_DIFFERENCE
    correlation = float(np.clip(np.median(shared), 0, _MOST)) if shared else 0.0
    return Grain(tuple(spread.round(6).tolist()), round(correlation, 3))


def _shared(change: np.ndarray, inside: np.ndarray) -> list[float]:
    """Correlation of neighbours along X and along Y, robustly: 1 - var(difference) / (2 var)."""
    found = []
    for axis in (0, 1):
        both = inside & np.roll(inside, -1, axis)
        both[(slice(None),) * axis + (-1,)] = False  # the last has no neighbour
        size = np.median(np.abs(change[:, both])) if both.any() else 0.0
        if size > 0:
            difference = np.median(np.abs(np.roll(change, -1, axis + 1) - change)[:, both])
            found.append(1 - float(difference / size) ** 2 / 2)
    return found
