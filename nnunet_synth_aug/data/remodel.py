"""Hearts made larger, thicker or thinner than their patient's, as disease does it: a smooth deformation around each ventricle.

A cohort of volunteers, or of one disease, holds few anatomies. Turned, scaled and warped copies of a heart keep its proportions; dilation
and hypertrophy (ventricular remodelling) change them. The deformation goes along the radius from a ventricle's centre, is the same in all
slices and frames, moves image and mask alike, and leaves the chest beyond its reach as it is. It is invertible by construction: source
radii rise with target radii (monotone cubic interpolation, Fritsch and Carlson, SIAM J. Numer. Anal. 1980).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import VARIABLES, Priors

#: Ranges at ``latents.remodel`` 1: from a normal heart to a DCM of twice the cross-section, an HCM of twice the wall, an RV of twice the
#: cross-section; and how much less it may beat, besides ``latents.gain``.
CAVITY, WALL, RV_SIZE, REST = (0.82, 1.45), (0.7, 1.9), (0.85, 1.45), 0.7
#: How far beyond the heart it reaches, in radii of the larger of both outlines. Nearer, the tissue beside it would be crushed.
REACH = 1.8
#: Beyond these nothing grows: radius of the cavity, thickness of the wall and radius of the RV in mm, and what is asked for. A larger heart
#: stays as large.
LARGEST_MM = (38.0, 20.0, 40.0)
LARGEST = {"lv_edv": 400.0, "rv_edv": 400.0, "lv_mass": 350.0}
#: Inner and outer radius of a normal left ventricle's middle at ED, mm; what requests are changed by where no mask is at hand.
NORMAL_LV = (24.0, 32.0)


@dataclass(frozen=True)
class Remodelling:
    """Factors on the size of the LV's cavity, the thickness of its wall, the size of the RV (in one direction), and the motion."""

    cavity: float = 1.0
    wall: float = 1.0
    rv: float = 1.0
    beat: float = 1.0

    @staticmethod
    def drawn(rng: np.random.Generator, spread: float) -> Remodelling:
        """Log-uniform and independent of each other; ``spread`` 0 changes nothing, 1 covers the ranges above."""

        def between(limits: tuple[float, float]) -> float:
            return math.exp(spread * float(rng.uniform(math.log(limits[0]), math.log(limits[1]))))

        return Remodelling(between(CAVITY), between(WALL), between(RV_SIZE), 1 - spread * REST * float(rng.uniform()))

    def applied(self, priors: Priors) -> Priors:
        """What a heart of these priors is asked to be when it is remodelled so; the mass follows for a normal LV's proportions."""
        inner, outer = NORMAL_LV
        cavity = self.cavity * inner
        ring = ((cavity + self.wall * (outer - inner)) ** 2 - cavity**2) / (outer**2 - inner**2)
        factors = {"lv_edv": self.cavity**2, "rv_edv": self.rv**2, "lv_mass": ring, "lv_ef": self.beat, "rv_ef": self.beat}
        known = {name: value for name in factors if (value := getattr(priors, name)) is not None}
        changed: dict[str, Any] = {
            k: max(_no_more(v, v * factors[k], LARGEST.get(k, math.inf)), VARIABLES[k].low) for k, v in known.items()
        }
        return replace(priors, **{k: round(v, 1) for k, v in changed.items()})


@dataclass(frozen=True)
class RadialMap:
    """A deformation along the radius: where a point of the result takes its value from."""

    centre: tuple[float, float]  # mm from the image's corner
    target: tuple[float, ...]  # radii in the result [mm], rising, the first 0
    source: tuple[float, ...]  # radii in the image that become them, rising; first and last are those of ``target``

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points of the result -> points of the image, mm from its corner."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        radius = torch.hypot(dx, dy)
        inside = radius.clamp(1e-6, self.target[-1])
        ratio = torch.from_numpy(PchipInterpolator(self.target, self.source)(inside.double().numpy())).to(x) / inside
        ratio = torch.where(radius < self.target[-1], ratio, torch.ones_like(ratio))
        return self.centre[0] + ratio * dx, self.centre[1] + ratio * dy


def radial_maps(sequence: Sequence, change: Remodelling) -> tuple[RadialMap, ...]:
    """The deformation of a sequence, from the outlines at ED; to be applied to points of the result in this order.

    Args:
        sequence: whose ED mask tells where the ventricles are. Without LV and muscle there, nothing is deformed.
        change: what to do with them.
    """
    mask, spacing = sequence.mask[sequence.ed], sequence.spacing
    if not (mask == LV).any() or not (mask == MYO).any():
        return ()
    pixel = spacing[0] * spacing[1]
    cavity = (mask == LV).sum((0, 1)) * pixel
    middle = cavity >= 0.5 * cavity.max()  # towards the apex the outlines are smaller
    inner = float(np.sqrt(cavity[middle].mean() / math.pi))
    outer = float(np.sqrt((cavity + (mask == MYO).sum((0, 1)) * pixel)[middle].mean() / math.pi))
    cavity_mm, wall_mm, rv_mm = LARGEST_MM
    new_inner = _no_more(inner, change.cavity * inner, cavity_mm)
    after = (new_inner, new_inner + _no_more(outer - inner, change.wall * (outer - inner), wall_mm))
    maps = [_radial(_centre(mask == LV, spacing), after, (inner, outer))]
    if (mask == RV).any():
        area = (mask == RV).sum((0, 1)) * pixel
        radius = float(np.sqrt(area[area >= 0.5 * area.max()].mean() / math.pi))
        maps.append(_radial(_centre(mask == RV, spacing), (_no_more(radius, change.rv * radius, rv_mm),), (radius,)))
    return tuple(maps)


def _no_more(own: float, wanted: float, largest: float) -> float:
    """``wanted``, but at most the larger of ``largest`` and what there is."""
    return min(wanted, max(own, largest))


def _centre(where: np.ndarray, spacing: tuple[float, float, float]) -> tuple[float, float]:
    x, y = (np.argwhere(where)[:, :2] + 0.5).mean(0)
    return float(x * spacing[0]), float(y * spacing[1])


def _radial(centre: tuple[float, float], after: tuple[float, ...], before: tuple[float, ...]) -> RadialMap:
    """Outlines of these radii become those, and all is as it was from the reach on."""
    reach = REACH * max(after[-1], before[-1])
    return RadialMap(centre, (0.0, *after, reach), (0.0, *before, reach))
