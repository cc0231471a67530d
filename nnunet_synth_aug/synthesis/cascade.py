"""The cascade, for several hearts at once: priors and seeds -> labelled 4D sequences.

The noise of a heart comes from its own seeds, so that a heart does not depend on its companions in the batch
(beyond the last bits of floating point).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.model.diffusion import Start
from nnunet_synth_aug.model.generator import Generator, templates_of
from nnunet_synth_aug.model.ldm import sample_latent
from nnunet_synth_aug.model.motion_basis import phases
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.model.template import Template
from nnunet_synth_aug.synthesis.closed_loop import Loop, close_loops, pixel_scale
from nnunet_synth_aug.synthesis.decoding import decode, moved, smallest_lv
from nnunet_synth_aug.synthesis.hearts import Anatomy, Origin, Request

#: Where neither the request nor the training cines say.
DEFAULT_CYCLE_SECONDS = 0.9


def _template(generator: Generator, priors: Priors, rng: np.random.Generator) -> Template:
    """A training patient that lends stack geometry and grey values: of the asked vendor, if there is one."""
    known = templates_of(generator)
    pool = [t for t in known if priors.vendor in (None, t.priors.vendor)] or list(known)
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
    scheme = motion_scheme(generator.config)
    noises = [_noise(np.random.default_rng(s), scheme.channels, a.valid) for s, a in zip(seeds, anatomies, strict=True)]
    with torch.no_grad():
        residuals = scheme.sample(
            generator.motion,
            generator.scale,
            torch.cat([a.latent for a in anatomies]),
            torch.cat([a.valid for a in anatomies]),
            generator.scaler.encode([a.given for a in anatomies]).to(generator.device),
            torch.cat(noises),
            [phases(a.n_frames, es=a.template.es_fraction * a.n_frames) for a in anatomies],
        )
    loops = close_loops(generator, anatomies, residuals)
    decoded = decode(generator, [moved(generator, a, loop.applied(r)) for a, r, loop in zip(anatomies, residuals, loops, strict=True)])
    for anatomy, seed, loop in zip(anatomies, seeds, loops, strict=True):
        image, mask = next(decoded)
        if anatomy.request.grain:
            image = np.clip(image + generator.grain.draw(image, np.random.default_rng([seed, 1]), anatomy.template.noise), -1, 1)
        yield _sequence(anatomy, seed, loop, image, mask)


def sample_cycles(generator: Generator, anatomies: list[Anatomy], seeds: list[int]) -> list[SyntheticSequence]:
    """All of :func:`stream_cycles` at once."""
    return list(stream_cycles(generator, anatomies, seeds))


def sample_sequence(generator: Generator, request: Request) -> SyntheticSequence:
    """Anatomy and cycle of one request, whatever comes out."""
    return sample_cycles(generator, sample_anatomies(generator, [request]), [request.seed + 1])[0]


def _sequence(anatomy: Anatomy, seed: int, loop: Loop, image: np.ndarray, mask: np.ndarray) -> SyntheticSequence:
    """The finished sequence from image in [-1, 1] and mask, both (T, X, Y, Z) on the grid."""
    request, template, spacing = anatomy.request, anatomy.template, anatomy.spacing
    image, mask = image[..., anatomy.slices], mask[..., anatomy.slices]
    pixel = 1.0
    if request.calibrate:
        pixel = pixel_scale(request.priors.lv_edv, measure(mask[0], None, spacing).lv_edv)
        spacing = (spacing[0] * pixel, spacing[1] * pixel, spacing[2])
    low, high = template.grey
    es = smallest_lv(mask, anatomy.expected_es)
    return SyntheticSequence(
        id=request.id,
        image=np.clip((image + 1) / 2 * (high - low) + low, min(low, 0), None).astype(np.float32),
        mask=mask,
        spacing=spacing,
        ed=0,
        es=es,
        # The same beat, whatever the number of frames.
        frame_seconds=template.frame_seconds * (template.n_frames / anatomy.n_frames) or DEFAULT_CYCLE_SECONDS / anatomy.n_frames,
        seed=request.seed,
        requested=request.priors,
        measured=measure(mask[0], mask[es], spacing),
        context=None if template.context is None else to_grey(template.context, low, high),
        motion_seed=seed,
        calibration=(pixel, loop.gain) if request.calibrate else None,
        open_loop=loop.open_loop,
    )


def to_grey(context: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Mean and SD from [-1, 1] units to grey values."""
    return ((context[0] + 1) / 2 * (high - low) + low, context[1] / 2 * (high - low))
