"""The cascade, for several hearts at once: priors and seeds -> labelled 4D sequences.

The noise of a heart comes from its own seeds, so that a heart does not depend on its companions in the batch
(beyond the last bits of floating point).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from nnunet_synth_aug.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.diffusion import Start
from nnunet_synth_aug.generator import Generator, Template
from nnunet_synth_aug.labels import LV
from nnunet_synth_aug.ldm import sample_latent
from nnunet_synth_aug.motion_ldm.sampling import motion_channels, sample_motion
from nnunet_synth_aug.periodic import phases
from nnunet_synth_aug.priors import Priors, measure
from nnunet_synth_aug.synthesis.calibration import motion_gains, pixel_scale
from nnunet_synth_aug.synthesis.specks import without_specks

#: Frames where neither the request nor the training cines say.
DEFAULT_FRAMES = 20
DEFAULT_CYCLE_SECONDS = 0.9
#: Frames that the VAE decodes in one call, whichever hearts they belong to: what bounds the memory of sampling.
DECODED_AT_ONCE = 8


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
    calibrate: bool = False  # closed loop, see synthesis.calibration
    grain: bool = True  # images as noisy as real ones; False gives the decoder's mean
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
    return valid.to(generator.device)


def _noise(rng: np.random.Generator, channels: int, valid: torch.Tensor) -> torch.Tensor:
    """Noise (1, channels, x, y, Z) of one heart."""
    return torch.from_numpy(rng.standard_normal((1, channels, *valid.shape[2:]), dtype=np.float32)).to(valid.device)


@torch.no_grad()
def sample_anatomies(generator: Generator, requests: list[Request]) -> list[Anatomy]:
    """Static LDM, one call: priors and ``request.seed`` of every request -> ED latents."""
    anatomies, noises = [], []
    for request in requests:
        rng = np.random.default_rng(request.seed)
        template = _template(generator, request.priors, rng) if request.origin is None else request.origin.template
        depth = generator.grid.size[2]
        n = min(request.priors.n_slices or int(template.priors.n_slices or depth), depth)
        thickness = request.priors.slice_thickness or float(template.priors.slice_thickness or 10.0)
        given = replace(request.priors, n_slices=n, slice_thickness=thickness)
        noise = _noise(rng, generator.vae.latent_channels, valid := _slices(generator, n))
        noises.append(noise)
        anatomies.append(Anatomy(request, template, given, noise, valid, (generator.grid.pixel, generator.grid.pixel, thickness)))
    valid = torch.cat([a.valid for a in anatomies])
    conditions = generator.scaler.encode([a.given for a in anatomies]).to(generator.device)
    start = _start([r.origin for r in requests], valid)
    latents = sample_latent(generator.static, torch.cat(noises), valid, valid, conditions, generator.config.static, start)
    return [replace(a, latent=latent) for a, latent in zip(anatomies, latents.split(1), strict=True)]


def _start(origins: list[Origin | None], valid: torch.Tensor) -> Start | None:
    """What the anatomies of one call begin with, None for noise alone; ``valid`` is (B, 1, x, y, Z)."""
    known = [o for o in origins if o is not None]
    if not known:
        return None
    if len(known) < len(origins) or len({o.strength for o in known}) > 1:
        raise ValueError("anatomies that begin differently cannot be sampled in one call")
    data = torch.cat([o.latent for o in known]).to(valid.device) * valid
    return Start(data, known[0].strength, torch.cat([o.heart for o in known]).to(valid.device))


def anatomy_masks(generator: Generator, anatomies: list[Anatomy]) -> list[np.ndarray]:
    """ED masks uint8 (X, Y, Z) of anatomies, before any motion is made."""
    latents = [generator.scale.restore(a.latent) * a.valid for a in anatomies]
    return [mask[0][..., a.slices] for a, (_, mask) in zip(anatomies, decode(generator, latents), strict=True)]


def stream_cycles(generator: Generator, anatomies: list[Anatomy], seeds: list[int]) -> Iterator[SyntheticSequence]:
    """Motion LDM, one call: the whole cycle of every anatomy, yielded one by one as they are decoded.

    Args:
        generator: a trained one.
        anatomies: of :func:`sample_anatomies`.
        seeds: of the motion, one per anatomy.
    """
    noises = [_noise(np.random.default_rng(s), motion_channels(generator.config), a.valid) for s, a in zip(seeds, anatomies, strict=True)]
    with torch.no_grad():
        residuals = sample_motion(
            generator.motion,
            generator.config,
            generator.scale,
            torch.cat([a.latent for a in anatomies]),
            torch.cat([a.valid for a in anatomies]),
            generator.scaler.encode([a.given for a in anatomies]).to(generator.device),
            torch.cat(noises),
            [phases(a.n_frames, es=a.template.es_fraction * a.n_frames) for a in anatomies],
        )
    gains, open_loops = _calibrate(generator, anatomies, residuals)
    latents = [_moved(generator, a, gain * r) for a, r, gain in zip(anatomies, residuals, gains, strict=True)]
    decoded = decode(generator, latents)
    for anatomy, seed, gain, open_loop in zip(anatomies, seeds, gains, open_loops, strict=True):
        image, mask = next(decoded)
        if anatomy.request.grain:
            image = np.clip(image + generator.grain.draw(image, np.random.default_rng([seed, 1]), anatomy.template.noise), -1, 1)
        yield _sequence(anatomy, seed, gain, open_loop, image, mask)


def sample_cycles(generator: Generator, anatomies: list[Anatomy], seeds: list[int]) -> list[SyntheticSequence]:
    """All of :func:`stream_cycles` at once."""
    return list(stream_cycles(generator, anatomies, seeds))


def sample_sequence(generator: Generator, request: Request) -> SyntheticSequence:
    """Anatomy and cycle of one request, whatever comes out."""
    return sample_cycles(generator, sample_anatomies(generator, [request]), [request.seed + 1])[0]


def _moved(generator: Generator, anatomy: Anatomy, residuals: torch.Tensor) -> torch.Tensor:
    """Latents (T, C, x, y, Z) of frames with these residuals."""
    return (generator.scale.restore(anatomy.latent) + residuals) * anatomy.valid


def _smallest_lv(mask: np.ndarray, otherwise: int) -> int:
    """Frame of the smallest LV in a mask (T, X, Y, Z); ``otherwise`` if none is smaller than in frame 0."""
    lv = np.count_nonzero(mask == LV, axis=(1, 2, 3))
    return int(lv.argmin()) if lv.min() < lv[0] else otherwise


def _expected_es(anatomy: Anatomy) -> int:
    """The frame at which the training cine that lends the timing has its ES."""
    return min(max(round(anatomy.template.es_fraction * anatomy.n_frames), 1), anatomy.n_frames - 1)


def _sequence(anatomy: Anatomy, seed: int, gain: float, open_loop: Priors | None, image: np.ndarray, mask: np.ndarray) -> SyntheticSequence:
    """The finished sequence from image in [-1, 1] and mask, both (T, X, Y, Z) on the grid."""
    request, template, spacing = anatomy.request, anatomy.template, anatomy.spacing
    image, mask = image[..., anatomy.slices], mask[..., anatomy.slices]
    pixel = 1.0
    if request.calibrate:
        pixel = pixel_scale(request.priors.lv_edv, measure(mask[0], None, spacing).lv_edv)
        spacing = (spacing[0] * pixel, spacing[1] * pixel, spacing[2])
    low, high = template.grey
    es = _smallest_lv(mask, _expected_es(anatomy))
    return SyntheticSequence(
        id=request.id,
        image=np.clip((image + 1) / 2 * (high - low) + low, 0, None).astype(np.float32),
        mask=mask,
        spacing=spacing,
        ed=0,
        es=es,
        frame_seconds=template.frame_seconds or DEFAULT_CYCLE_SECONDS / anatomy.n_frames,
        seed=request.seed,
        requested=request.priors,
        measured=measure(mask[0], mask[es], spacing),
        context=None if template.context is None else to_grey(template.context, low, high),
        motion_seed=seed,
        calibration=(pixel, gain) if request.calibrate else None,
        open_loop=open_loop,
    )


def _calibrate(generator: Generator, anatomies: list[Anatomy], residuals: list[torch.Tensor]) -> tuple[list[float], list[Priors | None]]:
    """Close the loop on the EF of every request that asks for it.

    Returns:
        gain on the residuals (T, C, x, y, Z) of every heart, 1 in the open loop; and what the open loop measured, None
        for requests that do not calibrate.
    """
    gains = [1.0] * len(anatomies)
    open_loops: list[Priors | None] = [None] * len(anatomies)
    es = [0] * len(anatomies)
    closed = [i for i, a in enumerate(anatomies) if a.request.calibrate]
    # Every other frame finds ES nearly: its neighbours decide.
    coarse = decode(generator, [_moved(generator, anatomies[i], residuals[i][::2]) for i in closed])
    ed_masks: dict[int, np.ndarray] = {}
    near: dict[int, list[int]] = {}
    for i, (_, mask) in zip(closed, coarse, strict=True):
        mask = mask[..., anatomies[i].slices]
        ed_masks[i] = mask[0]
        middle = 2 * _smallest_lv(mask, _expected_es(anatomies[i]) // 2)
        near[i] = [t for t in (middle - 1, middle, middle + 1) if 0 < t < anatomies[i].n_frames]
    fine = decode(generator, [_moved(generator, anatomies[i], residuals[i][near[i]]) for i in closed])
    for i, (_, mask) in zip(closed, fine, strict=True):
        mask = mask[..., anatomies[i].slices]
        smallest = int(np.count_nonzero(mask == LV, axis=(1, 2, 3)).argmin())
        es[i] = near[i][smallest]
        open_loops[i] = measure(ed_masks[i], mask[smallest], anatomies[i].spacing)

    def efs_of(hearts: list[int], tried: list[float]) -> list[float]:
        latents = [_moved(generator, anatomies[i], gain * residuals[i][es[i] : es[i] + 1]) for i, gain in zip(hearts, tried, strict=True)]
        masks = [mask[0][..., anatomies[i].slices] for i, (_, mask) in zip(hearts, decode(generator, latents), strict=True)]
        return [100 * (1 - np.count_nonzero(m == LV) / np.count_nonzero(ed_masks[i] == LV)) for i, m in zip(hearts, masks, strict=True)]

    known = {i: o.lv_ef for i, o in enumerate(open_loops) if o is not None and o.lv_ef is not None}
    wanted = {i: ef for i in known if (ef := anatomies[i].request.priors.lv_ef) is not None}
    for i, gain in motion_gains(efs_of, wanted, known).items():
        gains[i] = gain
    return gains, open_loops


def to_grey(context: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Mean and SD from [-1, 1] units to grey values."""
    return ((context[0] + 1) / 2 * (high - low) + low, context[1] / 2 * (high - low))


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
