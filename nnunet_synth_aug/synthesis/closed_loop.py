"""The closed loop: what the generator missed of EDV and EF is mended on the heart itself, and recorded.

The open loop tells how good a generator is; the closed loop is what a user wants. Two exact handles exist: the pixel size (volumes
scale with its square, nothing is resampled) and one gain on the motion (EF grows with it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.weaker_beat import beaten
from nnunet_synth_aug.synthesis.decoding import decode, moved, smallest_lv
from nnunet_synth_aug.synthesis.hearts import Anatomy

#: Pixels change by at most this share: beyond, the anatomy would be another one.
MAX_PIXEL_CHANGE = 0.08
GAINS = (0.5, 2.2)
#: Percentage points of EF at which the search stops, and the most gains it may try, the open loop's 1 included.
EF_TOLERANCE, MAX_TRIES = 1.5, 6


@dataclass(frozen=True)
class Loop:
    """What the closed loop does to the motion of one heart."""

    gain: float = 1.0  # on the contraction
    es: int = 0  # frame of the smallest LV before
    open_loop: Priors | None = None  # measured before; None in the open loop

    def applied(self, residuals: torch.Tensor) -> torch.Tensor:
        """Residuals (T, C, x, y, Z) of the heart that beats as it should."""
        return residuals if self.gain == 1 else beaten(residuals, 0, self.es, self.gain)


@dataclass(frozen=True)
class _Seen:
    """What a quick look at a cycle tells."""

    es: int  # frame of the smallest LV
    ed: np.ndarray  # mask (X, Y, Z) at ED
    measured: Priors


def close_loops(generator: Generator, anatomies: list[Anatomy], residuals: list[torch.Tensor]) -> list[Loop]:
    """Close the loop on the EF of every request that asks for it.

    Args:
        generator: a trained one.
        anatomies: what moves.
        residuals: latents (T, C, x, y, Z) of every heart.

    Returns:
        one per heart, in order; of a request in the open loop the default, which changes nothing.
    """
    closed = [i for i, a in enumerate(anatomies) if a.request.calibrate]
    seen = dict(zip(closed, _look(generator, [anatomies[i] for i in closed], [residuals[i] for i in closed]), strict=True))

    def efs_of(hearts: list[int], tried: list[float]) -> list[float]:
        beating = [Loop(gain, seen[i].es).applied(residuals[i]) for i, gain in zip(hearts, tried, strict=True)]
        latents = [moved(generator, anatomies[i], r[seen[i].es : seen[i].es + 1]) for i, r in zip(hearts, beating, strict=True)]
        masks = [mask[0][..., anatomies[i].slices] for i, (_, mask) in zip(hearts, decode(generator, latents), strict=True)]
        return [100 * (1 - np.count_nonzero(m == LV) / np.count_nonzero(seen[i].ed == LV)) for i, m in zip(hearts, masks, strict=True)]

    known = {i: ef for i, s in seen.items() if (ef := s.measured.lv_ef) is not None}
    wanted = {i: ef for i in known if (ef := anatomies[i].request.priors.lv_ef) is not None}
    gains = motion_gains(efs_of, wanted, known)
    return [Loop(gains.get(i, 1.0), seen[i].es, seen[i].measured) if i in seen else Loop() for i in range(len(anatomies))]


def _look(generator: Generator, anatomies: list[Anatomy], residuals: list[torch.Tensor]) -> list[_Seen]:
    """ED and ES of every heart. Every other frame finds ES nearly: its neighbours decide."""
    coarse = decode(generator, [moved(generator, a, r[::2]) for a, r in zip(anatomies, residuals, strict=True)])
    eds: list[np.ndarray] = []
    near: list[list[int]] = []
    for anatomy, (_, mask) in zip(anatomies, coarse, strict=True):
        mask = mask[..., anatomy.slices]
        eds.append(mask[0])
        middle = 2 * smallest_lv(mask, anatomy.expected_es // 2)
        near.append([t for t in (middle - 1, middle, middle + 1) if 0 < t < anatomy.n_frames])
    fine = decode(generator, [moved(generator, a, r[t]) for a, r, t in zip(anatomies, residuals, near, strict=True)])
    found = []
    for anatomy, ed, frames, (_, mask) in zip(anatomies, eds, near, fine, strict=True):
        mask = mask[..., anatomy.slices]
        smallest = int(np.count_nonzero(mask == LV, axis=(1, 2, 3)).argmin())
        found.append(_Seen(frames[smallest], ed, measure(ed, mask[smallest], anatomy.spacing)))
    return found


def pixel_scale(requested_edv: float | None, measured_edv: float | None) -> float:
    """Factor on the in-plane pixel size that brings EDV to the request, within +-8 %."""
    if requested_edv is None or not measured_edv:
        return 1.0
    return float(np.clip(np.sqrt(requested_edv / measured_edv), 1 - MAX_PIXEL_CHANGE, 1 + MAX_PIXEL_CHANGE))


def motion_gains(
    efs_of: Callable[[list[int], list[float]], list[float]], requested: dict[int, float], open_loop: dict[int, float]
) -> dict[int, float]:
    """Gains on the motion at which EFs are the requested ones, by bisection in step; the best of those tried.

    Args:
        efs_of: EFs [%] of the given hearts at the given gains; each call decodes one frame per heart.
        requested: EF [%] by heart.
        open_loop: EF [%] by heart at gain 1.
    """
    tried = {heart: {1.0: open_loop[heart]} for heart in requested}
    between = {heart: (1.0, GAINS[1]) if open_loop[heart] < ef else (GAINS[0], 1.0) for heart, ef in requested.items()}

    def error(heart: int, gain: float) -> float:
        return abs(tried[heart][gain] - requested[heart])

    for _ in range(MAX_TRIES - 1):
        hearts = [h for h in requested if min(error(h, gain) for gain in tried[h]) > EF_TOLERANCE]
        if not hearts:
            break
        gains = [(between[h][0] * between[h][1]) ** 0.5 for h in hearts]
        for heart, gain, ef in zip(hearts, gains, efs_of(hearts, gains), strict=True):
            tried[heart][gain] = ef
            low, high = between[heart]
            between[heart] = (gain, high) if ef < requested[heart] else (low, gain)
    return {heart: min(tried[heart], key=lambda gain: error(heart, gain)) for heart in requested}
