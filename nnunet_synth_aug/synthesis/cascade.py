"""The cascade: priors and a seed -> one labelled 4D sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nnunet_synth_aug.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.conditions import Conditions
from nnunet_synth_aug.generator import Generator, Template
from nnunet_synth_aug.labels import LV
from nnunet_synth_aug.ldm import sample_latent
from nnunet_synth_aug.periodic import motion, phases
from nnunet_synth_aug.priors import Priors, measure
from nnunet_synth_aug.synthesis.calibration import motion_gain, pixel_scale

#: Frames where neither the request nor the training cines say.
DEFAULT_FRAMES = 20
DEFAULT_CYCLE_SECONDS = 0.9


@dataclass(frozen=True)
class Request:
    """One heart to make. Whatever is not specified is left to the generator, except the stack's geometry."""

    id: str
    seed: int
    priors: Priors
    n_frames: int | None = None
    calibrate: bool = False  # closed loop, see synthesis.calibration


def _template(generator: Generator, priors: Priors, rng: np.random.Generator) -> Template:
    """A training patient that lends stack geometry and grey values: of the asked vendor, if there is one."""
    pool = [t for t in generator.templates if priors.vendor in (None, t.priors.vendor)] or list(generator.templates)
    return pool[rng.integers(len(pool))]


def _slices(generator: Generator, n: int) -> torch.Tensor:
    """Validity (1, 1, x, y, Z) of a stack of n slices: centred, as in training."""
    size, factor = generator.grid.size, generator.vae.factor
    before = (size[2] - n) // 2
    valid = torch.zeros(1, 1, size[0] // factor, size[1] // factor, size[2])
    valid[..., before : before + n] = 1
    return valid


def _noise(rng: np.random.Generator, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(device)


@dataclass(frozen=True)
class Anatomy:
    """The first half of a heart: its ED latent, and the geometry it was made for."""

    request: Request
    template: Template
    conditions: Conditions
    latent: torch.Tensor  # (1, C, x, y, Z), standardised
    valid: torch.Tensor  # (1, 1, x, y, Z)
    n_slices: int
    spacing: Spacing  # mm

    @property
    def slices(self) -> slice:
        """The stack within the grid."""
        before = (self.valid.shape[-1] - self.n_slices) // 2
        return slice(before, before + self.n_slices)


@torch.no_grad()
def sample_anatomy(generator: Generator, request: Request) -> Anatomy:
    """Static LDM: priors and ``request.seed`` -> the ED latent."""
    rng = np.random.default_rng(request.seed)
    template = _template(generator, request.priors, rng)
    n = min(request.priors.n_slices or int(template.priors.n_slices or generator.grid.size[2]), generator.grid.size[2])
    thickness = request.priors.slice_thickness or float(template.priors.slice_thickness or 10.0)
    asked = replace(request.priors, n_slices=n, slice_thickness=thickness)
    conditions = generator.scaler.encode([asked]).to(generator.device)
    valid = _slices(generator, n).to(generator.device)
    noise = _noise(rng, (1, generator.vae.latent_channels, *valid.shape[2:]), generator.device)
    latent = sample_latent(generator.static, noise, valid, valid, conditions, generator.config.static)
    return Anatomy(request, template, conditions, latent, valid, n, (generator.grid.pixel, generator.grid.pixel, thickness))


def anatomy_mask(generator: Generator, anatomy: Anatomy) -> np.ndarray:
    """ED mask uint8 (X, Y, Z) of an anatomy, before any motion is made."""
    return decode(generator, generator.scale.restore(anatomy.latent) * anatomy.valid)[1][0][..., anatomy.slices]


@torch.no_grad()
def sample_cycle(generator: Generator, anatomy: Anatomy, seed: int) -> SyntheticSequence:
    """Motion LDM: the anatomy's whole cycle, decoded."""
    request, template = anatomy.request, anatomy.template
    channels = 2 * generator.config.latents.harmonics * generator.vae.latent_channels
    noise = _noise(np.random.default_rng(seed), (1, channels, *anatomy.valid.shape[2:]), generator.device)
    context = torch.cat([anatomy.latent, anatomy.valid], dim=1)
    scaled = sample_latent(generator.motion, noise, context, anatomy.valid, anatomy.conditions, generator.config.motion)
    n_frames = request.n_frames or template.n_frames or DEFAULT_FRAMES
    residuals = motion(generator.scale.restore_motion(scaled), phases(n_frames).to(generator.device))[0]
    ed = generator.scale.restore(anatomy.latent)
    gain, pixel = 1.0, 1.0
    if request.calibrate:
        gain = _calibrated_gain(generator, anatomy, ed, residuals)
    image, mask = decode(generator, (ed + gain * residuals) * anatomy.valid)
    image, mask = image[..., anatomy.slices], mask[..., anatomy.slices]
    spacing = anatomy.spacing
    if request.calibrate:
        pixel = pixel_scale(request.priors.lv_edv, measure(mask[0], None, spacing).lv_edv)
        spacing = (spacing[0] * pixel, spacing[1] * pixel, spacing[2])
    low, high = template.grey
    lv = np.count_nonzero(mask == LV, axis=(1, 2, 3))
    es = int(lv.argmin()) if lv.min() < lv[0] else n_frames // 3
    return SyntheticSequence(
        id=request.id,
        image=np.clip((image + 1) / 2 * (high - low) + low, 0, None).astype(np.float32),
        mask=mask,
        spacing=spacing,
        ed=0,
        es=es,
        frame_seconds=template.frame_seconds or DEFAULT_CYCLE_SECONDS / n_frames,
        seed=request.seed,
        requested=request.priors,
        measured=measure(mask[0], mask[es], spacing),
        context=None if template.context is None else _to_grey(template.context, low, high),
        motion_seed=seed,
        calibration=(pixel, gain) if request.calibrate else None,
    )


def _calibrated_gain(generator: Generator, anatomy: Anatomy, ed: torch.Tensor, residuals: torch.Tensor) -> float:
    """Gain on the residuals (T, C, x, y, Z) with which the LV reaches the requested EF in its smallest frame."""
    if anatomy.request.priors.lv_ef is None:
        return 1.0
    # Every other frame finds ES well enough: the volume curve is flat there.
    masks = decode(generator, (ed + residuals[::2]) * anatomy.valid)[1][..., anatomy.slices]
    lv = np.count_nonzero(masks == LV, axis=(1, 2, 3))
    es = 2 * (int(lv[1:].argmin()) + 1) if len(lv) > 1 else 1

    def ef_of(gain: float) -> float:
        smallest = decode(generator, (ed + gain * residuals[es : es + 1]) * anatomy.valid)[1][..., anatomy.slices]
        return 100 * (1 - np.count_nonzero(smallest == LV) / max(int(lv[0]), 1))

    return motion_gain(ef_of, anatomy.request.priors.lv_ef)


def sample_sequence(generator: Generator, request: Request) -> SyntheticSequence:
    """Anatomy and cycle; the same request gives the same sequence, whatever else is sampled."""
    return sample_cycle(generator, sample_anatomy(generator, request), request.seed + 1)


def _to_grey(context: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Mean and SD from [-1, 1] units to grey values."""
    return ((context[0] + 1) / 2 * (high - low) + low, context[1] / 2 * (high - low))


@torch.no_grad()
def decode(generator: Generator, latents: torch.Tensor, batch: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Latents (T, C, x, y, Z) -> image float32 (T, X, Y, Z) in [-1, 1] and mask uint8 (T, X, Y, Z)."""
    images, masks = [], []
    for part in latents.split(batch):
        image, logits = generator.vae.decode(part)
        images.append(image[:, 0].clamp(-1, 1).float().cpu().numpy())
        masks.append(logits.argmax(1).to(torch.uint8).cpu().numpy())
    return np.concatenate(images), np.concatenate(masks)
