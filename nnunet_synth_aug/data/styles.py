"""Looks of patients whom nobody has contoured: their grey values, sharpness and noise, for hearts of others. Nothing moves.

A style is measured on ED and ES alone, in a circle around the place where they differ most. Where the image darkens most from ED to ES,
the cavity has given way to the wall: what is there at ED is the level of blood, and at ES that of muscle. With the darkest and the
brightest these are the four levels of a style, as nnU-Net's z-score shows them, and with them go how sharp and how noisy the image is.
In a heart of that style the contours tell blood and muscle, and all grey values are moved so that its four levels become the style's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from nnunet_synth_aug.core.cases import Sequence as Cine
from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.labels import LV, MYO, RV

#: Changes when the same patients give another look.
VERSION = 1
#: Radius of the circle around the heart [mm], and the share of the slices at either end of the stack that is left out.
RADIUS, ENDS = 50.0, 0.2
#: Quantiles that count as the darkest and the brightest.
DARK, BRIGHT = 0.01, 0.995
#: Share of the circle that counts as what darkens most; and the quantiles of contoured muscle and blood that it shows on the average: blood
#: beside the wall of the LV is brighter than most. By 17 ACDC patients.
DARKENING, OF_MUSCLE, OF_BLOOD = 0.05, 0.6, 0.78
#: Levels are at least this far apart, in standard deviations.
APART = 0.05
#: Widths [mm] between which an image has the structure that tells how sharp it is.
FINE, COARSE = 1.0, 2.0
#: Most that a heart is blurred [mm] or sharpened by.
MOST_BLUR, MOST_SHARPENED = 2.0, 1.0


@dataclass(frozen=True)
class Style:
    """How one patient's heart is shown. Grey values are in standard deviations of the whole image from its mean."""

    patient: str
    levels: tuple[float, float, float, float]  # the darkest, muscle, blood, the brightest
    sharpness: float  # spread of fine structure over that of all
    noise: float  # standard deviation

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return asdict(self) | {"levels": list(self.levels)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Style:
        """The inverse of :meth:`to_json`."""
        dark, muscle, blood, bright = map(float, values["levels"])
        return Style(str(values["patient"]), (dark, muscle, blood, bright), float(values["sharpness"]), float(values["noise"]))


def style_of(patient: str, cine: Cine) -> Style:
    """The style of a patient's ED and ES, which must be two frames; contours, if there are any, are not looked at."""
    frames = [cine.ed, cine.es]
    around = circle(cine.image.shape[1:], cine.spacing, moving_centre(cine.image[frames], cine.spacing))
    shown = [whole_scaled(cine.image[frame]) for frame in frames]
    soft = [gaussian_filter(image, (FINE / cine.spacing[0], FINE / cine.spacing[1], 0))[around] for image in shown]
    change = soft[0] - soft[1]
    rim = change >= np.quantile(change, 1 - DARKENING)
    dark, bright = np.quantile(np.concatenate([image[around] for image in shown]), (DARK, BRIGHT))
    dark, muscle, blood, bright = _rising(dark, np.median(soft[1][rim]), np.median(soft[0][rim]), bright, APART).round(4).tolist()
    sharpness, noise = (float(np.mean([of(image, around, cine.spacing) for image in shown])) for of in (_sharpness, _noise))
    return Style(patient, (dark, muscle, blood, bright), round(sharpness, 4), round(noise, 4))


def _rising(dark: float, muscle: float, blood: float, bright: float, apart: float) -> np.ndarray:
    """Four levels, each above the one before (4,)."""
    steps = np.arange(4) * apart
    return np.maximum.accumulate(np.array([dark, muscle, blood, bright]) - steps) + steps


def _own_levels(sequence: SyntheticSequence, ends: list[int], around: np.ndarray) -> np.ndarray:
    """The four levels of a heart with contours, in its grey values (4,)."""
    image, mask = sequence.image[ends], sequence.mask[ends]
    dark, middle, light, bright = np.quantile(np.concatenate([one[around] for one in image]), (DARK, 0.5, 0.9, BRIGHT))
    muscle, blood = image[mask == MYO], image[(mask == LV) | (mask == RV)]
    middle = np.quantile(muscle, OF_MUSCLE) if muscle.size else middle
    light = np.quantile(blood, OF_BLOOD) if blood.size else light
    return _rising(dark, middle, light, bright, 0.01 * max(float(bright - dark), 1e-6))


def style_for(styles: Sequence[Style], heart: str, number: int) -> Style:
    """The style of look number ``number`` of a heart, always the same; a heart's looks are of different patients if there are enough."""
    order = np.random.default_rng([zlib.crc32(heart.encode()), VERSION]).permutation(len(styles))
    return styles[int(order[(number - 1) % len(styles)])]


def styled(sequence: SyntheticSequence, style: Style, frames: Iterable[int]) -> SyntheticSequence:
    """The sequence with these frames in another patient's style; contours are as they were.

    A frame comes out alike whichever others are asked for: grey values are measured at ED and ES.

    Args:
        sequence: image in any grey values.
        style: of :func:`style_of`.
        frames: which.
    """
    ends = [*dict.fromkeys((sequence.ed, sequence.es))]
    # Found as in the patients whose style it is: both circles then hold as much chest.
    around = circle(sequence.image.shape[1:], sequence.spacing, moving_centre(sequence.image[ends], sequence.spacing))
    own, wanted = _own_levels(sequence, ends, around), np.array(style.levels)
    dark = min(float(np.quantile(sequence.image[sequence.ed], 0.001)), 0.0)
    lowest = float(_mapped(np.array([dark]), own, wanted)[0])
    shown = {t: _mapped(sequence.image[t], own, wanted) for t in ends}
    amount = _amount(shown[sequence.ed], around, sequence.spacing, style.sharpness)
    filtered = _filtered(shown[sequence.ed], amount, sequence.spacing)
    noise = float(np.sqrt(max(style.noise**2 - _noise(filtered, around, sequence.spacing) ** 2, 0)))
    seed = zlib.crc32(f"{sequence.id} {style.patient}".encode())
    image = sequence.image.copy()
    for frame in frames:
        out = _filtered(_mapped(sequence.image[frame], own, wanted), amount, sequence.spacing)
        out += np.random.default_rng([seed, frame]).normal(0, noise, out.shape)
        # Above 0, because nnU-Net takes 0 for what lies outside of the scan; what a scanner left black stays black.
        black = (sequence.image[frame] == 0) & (dark == 0)
        image[frame] = np.where(black, 0, np.maximum(out - lowest, 1e-3))
    return replace(sequence, image=image, context=(-lowest, 1.0))


def moving_centre(image: np.ndarray, spacing: Spacing) -> tuple[float, float]:
    """Where a heart beats, in mm from the image's corner: where ED and ES differ most; of a single frame the middle.

    Args:
        image: (1 or 2, X, Y, Z).
        spacing: mm.
    """
    sides = np.array(image.shape[1:3]) * spacing[:2]
    if len(image) < 2:
        return float(sides[0] / 2), float(sides[1] / 2)
    change = np.abs(image[1].astype(np.float32) - image[0])
    width = (30 / spacing[0], 30 / spacing[1])
    still = gaussian_filter(change[..., _slices(change.shape[2])].mean(2), width)
    x, y = ((np.arange(n) + 0.5) * mm for n, mm in zip(still.shape, spacing, strict=False))
    middle = np.exp(-((x[:, None] - sides[0] / 2) ** 2) / (2 * (sides[0] / 5) ** 2) - (y - sides[1] / 2) ** 2 / (2 * (sides[1] / 5) ** 2))
    place = np.unravel_index(int((still * middle).argmax()), still.shape)
    return float(x[place[0]]), float(y[place[1]])


def _slices(n: int) -> slice:
    """Those away from the ends of a stack."""
    cut = int(ENDS * n)
    return slice(cut, n - cut)


def circle(shape: tuple[int, ...], spacing: Spacing, centre: Sequence[float]) -> np.ndarray:
    """Where the heart and what is beside it are, bool (X, Y, Z)."""
    x, y = ((np.arange(n) + 0.5) * mm - c for n, mm, c in zip(shape, spacing, centre, strict=False))
    around = np.zeros(shape, bool)
    around[..., _slices(shape[2])] = (x[:, None] ** 2 + y**2 <= RADIUS**2)[..., None]
    return around


def whole_scaled(image: np.ndarray) -> np.ndarray:
    """In standard deviations of the whole image from its mean, without the black border that nnU-Net crops."""
    inside = np.argwhere(image != 0)
    low, high = inside.min(0), inside.max(0) + 1
    whole = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    scaled: np.ndarray = (image - whole.mean()) / max(float(whole.std()), 1e-8)
    return scaled.astype(np.float32)


def _mapped(image: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Levels ``own`` become ``wanted``; beyond them values go on as steeply as they do on the whole."""
    steep = (wanted[-1] - wanted[0]) / (own[-1] - own[0])
    inner = np.interp(image, own, wanted)
    return (inner + steep * (np.minimum(image - own[0], 0) + np.maximum(image - own[-1], 0))).astype(np.float32)


def _sharpness(image: np.ndarray, around: np.ndarray, spacing: Spacing) -> float:
    fine, coarse = (gaussian_filter(image, (width / spacing[0], width / spacing[1], 0)) for width in (FINE, COARSE))
    return float((fine - coarse)[around].std() / max(float(coarse[around].std()), 1e-8))


def _noise(image: np.ndarray, around: np.ndarray, spacing: Spacing) -> float:
    """Standard deviation of what neither rows nor columns share, robustly."""
    crossed = np.diff(np.diff(image, axis=0), axis=1) / 2
    return float(np.median(np.abs(crossed[around[1:, 1:]])) / 0.6745)


def _filtered(image: np.ndarray, amount: float, spacing: Spacing) -> np.ndarray:
    """Blurred by ``-amount`` mm, or sharpened by ``amount``."""
    width = -amount if amount < 0 else COARSE
    soft = gaussian_filter(image, (width / spacing[0], width / spacing[1], 0)) if amount else image
    return (soft if amount <= 0 else image + amount * (image - soft)).astype(np.float32)


def _amount(image: np.ndarray, around: np.ndarray, spacing: Spacing, wanted: float) -> float:
    """How much to filter so that the image is as sharp as wanted."""
    where = np.argwhere(around)
    box = tuple(slice(max(low - 8, 0), high + 9) for low, high in zip(where.min(0), where.max(0), strict=True))
    image, around = image[box], around[box]
    low, high = -MOST_BLUR, MOST_SHARPENED
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if _sharpness(_filtered(image, middle, spacing), around, spacing) < wanted else (low, middle)
    return round((low + high) / 2, 2)
