"""What the painter learns from: slices with contours, on pixels of one size, and the style of each patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, zoom

from nnunet_synth_aug.core.cases import Sequence, Spacing
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.model.grid import SHOWS_ALL
from nnunet_synth_aug.model.painter.network import STYLE

#: Quantiles of the grey values of a whole volume that become -1 and 1.
WHOLE = (0.005, 0.995)
#: Pixels around the contours that belong to the heart: epicardial fat and the valves' plane are drawn with it.
MARGIN = 3
#: Quantiles of the grey values around the heart: those that a style keeps, and those of them that the network is told.
QUANTILES, TOLD = np.linspace(0, 1, 41), (2, 10, 20, 30, 38)
#: Sides of squares around the heart [mm]: a style knows what lies in each, because other images show less of the chest than the patient's.
SIDES = (150.0, 200.0, 250.0)
#: In training: rotation [rad], logarithm of the scale, shift [pixels], logarithm of gamma.
TURN, SCALE, SHIFT, GAMMA = 0.35, 0.2, 20.0, 0.25
#: Share of the training slices that show the heart.
WITH_HEART = 0.8


@dataclass(frozen=True)
class Style:
    """How a patient's images look, in grey values from -1 to 1."""

    patient: str
    greys: tuple[float, ...]  # means of RV, MYO and LV
    around: tuple[tuple[float, ...], ...]  # QUANTILES of what lies around the heart, in squares of SIDES and in the whole image
    whole: tuple[float, float]  # mean and standard deviation of the whole image, not clipped to -1 and 1
    side: float  # of the image: root of its area [mm]

    def told(self, gamma: float = 1.0) -> np.ndarray:
        """What the network is told of it (STYLE,); ``gamma`` is the contrast in which the patient is shown."""
        values = np.array([*self.greys, *(self.around[-1][index] for index in TOLD)])
        assert len(values) == STYLE
        return contrasted(values, gamma)

    def around_in(self, side: float) -> tuple[float, ...]:
        """QUANTILES of what lies around the heart in an image of this side [mm]."""
        return self.around[int(np.argmin([abs(one - side) for one in (*SIDES, self.side)]))]

    def context(self, side: float) -> tuple[float, float] | None:
        """Mean and standard deviation of the patient's whole image, for one of this side [mm]; None if that shows all of it."""
        return None if side**2 > SHOWS_ALL * self.side**2 else self.whole

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Style:
        """The inverse of :meth:`to_json`."""
        mean, deviation = map(float, values["whole"])
        around = tuple(tuple(map(float, one)) for one in values["around"])
        return Style(str(values["patient"]), tuple(map(float, values["greys"])), around, (mean, deviation), float(values["side"]))


@dataclass(frozen=True)
class Slice:
    """One slice of a patient."""

    image: np.ndarray  # float32 (X, Y) from -1 to 1
    mask: np.ndarray  # uint8 (X, Y)


@dataclass(frozen=True)
class PatientSlices:
    """A patient's slices whose contours are known, and the patient's style."""

    style: Style
    slices: tuple[Slice, ...]

    @staticmethod
    def of(patient: str, sequence: Sequence, pixel: float) -> PatientSlices | None:
        """Those of the labelled frames of a sequence; None where no mask shows all of RV, MYO and LV.

        Args:
            patient: name.
            sequence: in its own geometry.
            pixel: side of a pixel [mm].
        """
        if not sequence.labelled:
            return None
        own = [
            Slice(image[..., z], mask[..., z])
            for image, mask in (
                (resampled(scaled(sequence.image[t]), sequence.spacing, pixel), labels_resampled(sequence.mask[t], sequence.spacing, pixel))
                for t in sequence.labelled
            )
            for z in range(image.shape[2])
        ]
        style = style_of(patient, own, pixel, _moments(sequence))
        return None if style is None else PatientSlices(style, tuple(own))


def contrasted(values: np.ndarray, gamma: float) -> np.ndarray:
    """Grey values from -1 to 1 under another gamma."""
    return np.asarray(np.clip((values + 1) / 2, 0, 1) ** gamma * 2 - 1, np.float32)


def scaled(image: np.ndarray) -> np.ndarray:
    """A volume in any grey values as float32 from -1 to 1; what a scanner left black does not count."""
    return np.clip(_unclipped(image), -1, 1).astype(np.float32)


def _unclipped(image: np.ndarray) -> np.ndarray:
    seen = image[image != 0]
    low, high = np.quantile(seen, WHOLE) if seen.size else (0.0, 1.0)
    return np.asarray((image - low) / max(float(high - low), 1e-6) * 2 - 1)


def _moments(sequence: Sequence) -> tuple[float, float]:
    """Mean and standard deviation of the labelled frames, each by itself: as nnU-Net's z-score sees them, bright outliers included."""
    found = [_unclipped(sequence.image[t]) for t in sequence.labelled]
    return round(float(np.mean([one.mean() for one in found])), 4), round(float(np.mean([one.std() for one in found])), 4)


def resampled(image: np.ndarray, spacing: Spacing, pixel: float) -> np.ndarray:
    """(X, Y, Z) on pixels of another size."""
    coarser = pixel / min(spacing[:2])
    smooth = gaussian_filter(image, (0.3 * coarser, 0.3 * coarser, 0)) if coarser > 1.5 else image
    return np.asarray(zoom(smooth, (spacing[0] / pixel, spacing[1] / pixel, 1), order=1, mode="nearest", grid_mode=True))


def labels_resampled(mask: np.ndarray, spacing: Spacing, pixel: float) -> np.ndarray:
    """Labels (X, Y, Z) on pixels of another size."""
    return np.asarray(zoom(mask, (spacing[0] / pixel, spacing[1] / pixel, 1), order=0, mode="nearest", grid_mode=True))


def heart(mask: torch.Tensor) -> torch.Tensor:
    """Where the heart and its margin are, float (N, X, Y), of masks (N, X, Y)."""
    return F.max_pool2d((mask > 0).float()[:, None], 2 * MARGIN + 1, 1, MARGIN)[:, 0]


def style_of(patient: str, slices: Iterable[Slice], pixel: float, whole: tuple[float, float]) -> Style | None:
    """The style of a patient; None where the slices do not show all of RV, MYO and LV.

    Args:
        patient: name.
        slices: of one shape.
        pixel: side of their pixels [mm].
        whole: see :class:`Style`.
    """
    slices = list(slices)
    inside = {label: [one.image[one.mask == label] for one in slices] for label in (RV, MYO, LV)}
    pooled = [np.concatenate(parts) if parts else np.zeros(0) for parts in inside.values()]
    if not all(values.size for values in pooled):
        return None
    middle = np.concatenate([np.argwhere(one.mask > 0) for one in slices]).mean(0)
    x, y = (np.abs(np.arange(n) - at) * 2 * pixel for n, at in zip(slices[0].mask.shape, middle, strict=True))
    reach = np.maximum(x[:, None], y[None])  # side of the square around the heart that just holds the pixel
    images = np.stack([one.image for one in slices])
    outside = heart(torch.from_numpy(np.stack([one.mask for one in slices]))).numpy() == 0
    shown = [outside & (reach <= side) for side in (*SIDES, np.inf)]
    around = [tuple(_quantiles(images[one] if one.any() else images.ravel())) for one in shown]
    size = float(np.sqrt(slices[0].mask.size)) * pixel
    return Style(patient, tuple(round(float(v.mean()), 4) for v in pooled), tuple(around), whole, round(size, 1))


def _quantiles(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.quantile(values, QUANTILES).round(4)]


class SliceSampler:
    """Draws squares of slices, turned, scaled, shifted and in other contrasts: the patient first, then the slice.

    Args:
        patients: whom to draw.
        side: of the squares, in pixels.
    """

    def __init__(self, patients: list[PatientSlices], side: int) -> None:
        self.patients, self.side = patients, side
        self.with_heart = [[one for one in patient.slices if one.mask.any()] for patient in patients]

    def draw(self, rng: np.random.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images (n, side, side) from -1 to 1, masks uint8 like them, and styles (n, STYLE)."""
        images, masks, styles = [], [], []
        for _ in range(n):
            number = int(rng.integers(len(self.patients)))
            patient = self.patients[number]
            pool = self.with_heart[number] if rng.uniform() < WITH_HEART else patient.slices
            image, mask = self._square(pool[int(rng.integers(len(pool)))], rng)
            gamma = float(np.exp(rng.uniform(-GAMMA, GAMMA)))
            images.append(torch.from_numpy(contrasted(image, gamma)))
            masks.append(torch.from_numpy(mask))
            styles.append(torch.from_numpy(patient.style.told(gamma)))
        return torch.stack(images), torch.stack(masks), torch.stack(styles)

    def _square(self, one: Slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shift = rng.uniform(-SHIFT, SHIFT, 2)
        return square(one, self.side, shift, float(rng.uniform(-TURN, TURN)), float(np.exp(rng.uniform(-SCALE, SCALE))))


def square(
    one: Slice, side: int, shift: np.ndarray | tuple[float, float] = (0.0, 0.0), angle: float = 0.0, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask (side, side) around the heart, moved by ``shift`` [pixels], turned and enlarged."""
    inside = np.argwhere(one.mask > 0)
    middle = inside.mean(0) if len(inside) else np.array(one.mask.shape) / 2
    x, y = (float(c) for c in middle + shift)
    step = (torch.arange(side) + 0.5 - side / 2) / scale
    dx, dy = torch.meshgrid(step, step, indexing="ij")
    px = np.cos(angle) * dx - np.sin(angle) * dy + x
    py = np.sin(angle) * dx + np.cos(angle) * dy + y
    # align_corners=False: -1 and 1 are the outer edges; the last axis of the points is (Y, X).
    points = torch.stack([2 * py / one.image.shape[1] - 1, 2 * px / one.image.shape[0] - 1], -1)[None].float()

    def sampled(values: np.ndarray, mode: str) -> np.ndarray:
        volume = torch.from_numpy(values.astype(np.float32))[None, None]
        return np.asarray(F.grid_sample(volume, points, mode=mode, padding_mode="reflection", align_corners=False)[0, 0].numpy())

    return sampled(one.image, "bicubic").clip(-1, 1), sampled(one.mask, "nearest").astype(np.uint8)
