"""The closed loop on the ejection fractions of several hearts at once: beating more or less brings the LV to its EF.

The volume at ED is closed elsewhere, by the pixel size (see :mod:`nnunet_synth_aug.synthesis.calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.weaker_beat import beaten
from nnunet_synth_aug.synthesis.calibration import motion_gains
from nnunet_synth_aug.synthesis.decoding import decode, moved, smallest_lv
from nnunet_synth_aug.synthesis.hearts import Anatomy


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
