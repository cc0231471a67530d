"""What a decoder leaves out: the grain of an image.

The decoder is trained to come close to the image on average, so it returns the middle of all images that a latent may stand for,
which is smoother than any of them. A sample of the image needs the rest of that distribution. Its simplest description is
measured on the training patients, from the difference of image and reconstruction: how large it is for each grey value,
how it is spread over spatial frequencies, and how much of it stays where it is while the heart beats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nnunet_synth_aug.anatomy_vae.network import AnatomyVAE
from nnunet_synth_aug.console import progress
from nnunet_synth_aug.data.training_set import TrainingSet
from nnunet_synth_aug.latents import encode

#: Bins of the radial spectrum (0 to 0.5 cycles per pixel; the corners belong to the last) and of the grey values (-1 to 1).
FREQUENCIES, GREYS = 24, 12
PATIENTS, FRAMES = 64, 4  # looked at, at most


@dataclass(frozen=True)
class Grain:
    """Statistics of what reconstructions lack, in units of the image in [-1, 1]."""

    spread: tuple[float, ...]  # standard deviation, by grey value of the reconstruction
    amplitude: tuple[float, ...]  # by spatial frequency, relative
    still: float  # share of the variance that is the same in every frame

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Grain float32 for decoded frames ``image`` (T, X, Y, Z) in [-1, 1]."""
        shared = self._field((1, *image.shape[1:]), rng)
        own = self._field(image.shape, rng)
        field = np.sqrt(self.still) * shared + np.sqrt(1 - self.still) * own
        return (field * np.interp(image, grey_centres(), self.spread)).astype(np.float32)

    def _field(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Unit-variance noise (T, X, Y, Z) with the spectrum in plane; slices are independent."""
        amplitude = np.asarray(self.amplitude)[frequency_bins(shape[1], shape[2])]
        amplitude = amplitude / max(np.sqrt((amplitude**2).mean()), 1e-12)
        white = np.fft.fft2(rng.standard_normal(shape, dtype=np.float32), axes=(1, 2))
        return np.fft.ifft2(white * amplitude[None, :, :, None], axes=(1, 2)).real

    def to_json(self) -> dict[str, Any]:
        return {"spread": list(self.spread), "amplitude": list(self.amplitude), "still": self.still}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Grain:
        return Grain(tuple(values["spread"]), tuple(values["amplitude"]), values["still"])


def grey_centres() -> np.ndarray:
    return (np.arange(GREYS) + 0.5) / GREYS * 2 - 1


def frequency_bins(x: int, y: int) -> np.ndarray:
    """Index (X, Y) of the bin of every frequency of an in-plane FFT."""
    radius = np.hypot(np.fft.fftfreq(x)[:, None], np.fft.fftfreq(y)[None, :])
    return np.minimum((radius / 0.5 * FREQUENCIES).astype(int), FREQUENCIES - 1)


@torch.no_grad()
def measure_grain(data: TrainingSet, vae: AnatomyVAE, device: torch.device) -> Grain:
    """Grain of the training patients, by reconstructing a few frames of each."""
    cases = [data.cases[i] for i in np.linspace(0, len(data.cases) - 1, min(PATIENTS, len(data.cases))).round().astype(int)]
    residuals, images, insides = [], [], []
    with progress("grain", len(cases)) as bar:
        for number, case in enumerate(cases):
            count = len(case.gridded.image)
            frames = sorted({*np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int).tolist()})
            real, valid = case.gridded.image[frames], case.gridded.valid
            image = vae.decode(encode(vae, real, valid, device).to(device))[0][:, 0].float().clamp(-1, 1).cpu()
            slices = valid.any(0).any(0)
            residuals.append((real.float() - image)[..., slices].numpy())
            images.append(image[..., slices].numpy())
            insides.append(valid[..., slices].numpy())
            bar.advance(number + 1, case.subject.patient)
    return grain_of(residuals, images, insides)


def grain_of(residuals: list[np.ndarray], images: list[np.ndarray], insides: list[np.ndarray]) -> Grain:
    """Statistics of residuals (T, X, Y, Z) given the reconstructions (T, X, Y, Z) and what is inside (X, Y, Z), one entry per patient."""
    total, count = np.zeros(GREYS), np.zeros(GREYS)
    for residual, image, inside in zip(residuals, images, insides, strict=True):
        bins = np.clip(((image[:, inside] + 1) / 2 * GREYS).astype(int), 0, GREYS - 1).ravel()
        total += np.bincount(bins, (residual[:, inside] ** 2).ravel().astype(float), GREYS)
        count += np.bincount(bins, minlength=GREYS)
    overall = total.sum() / max(count.sum(), 1)
    # A grey value that hardly occurs says little: it is drawn towards the average.
    spread = np.sqrt((total + 1000 * overall) / (count + 1000))
    power, weight, same, all_of_it = np.zeros(FREQUENCIES), np.zeros(FREQUENCIES), 0.0, 0.0
    for residual, image, inside in zip(residuals, images, insides, strict=True):
        white = residual / np.maximum(np.interp(image, grey_centres(), spread), 1e-6) * inside
        bins = frequency_bins(*white.shape[1:3])
        spectrum = (np.abs(np.fft.fft2(white, axes=(1, 2))) ** 2).sum((0, 3))
        power += np.bincount(bins.ravel(), spectrum.ravel(), FREQUENCIES)
        weight += np.bincount(bins.ravel(), minlength=FREQUENCIES) * float(inside.sum()) * len(white)
        if (n := len(white)) > 1:  # of n(n-1) ordered pairs of frames
            same += float((white.sum(0) ** 2).sum() - (white**2).sum()) / (n * (n - 1))
            all_of_it += float((white**2).sum()) / n
    amplitude = np.sqrt(power / np.maximum(weight, 1))
    still = min(max(same / all_of_it, 0.0), 1.0) if all_of_it > 0 else 0.0
    return Grain(tuple(spread.round(6).tolist()), tuple(amplitude.round(6).tolist()), round(still, 4))
