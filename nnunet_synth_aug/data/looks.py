"""Looks of other scanners: one heart as another protocol, coil and reconstruction would show it. Nothing moves, so its contours hold.

The contours, softened, say where blood and muscle are; the rest of the chest is parted into dark, middle and bright. Each tissue's grey
values are multiplied by the ratio of two bSSFP signals: under a drawn protocol, and under the one that the image is taken to have. On top
come what flow and contrast agent do to blood and muscle, coil shading, slices of unequal gain, blur, saturation, gamma and Rician noise.
The ranges are those of the vendors' protocols (``data.phantom.physiology``) and of physiology; no patient was used to choose them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import gaussian_filter

from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.data.phantom.physiology import AFTER_AGENT, drawn_scan
from nnunet_synth_aug.data.phantom.signal import TISSUES, Scan, after_agent, bssfp

#: Changes when the same seed gives another look.
VERSION = 1
#: What the dark, middle and bright parts of a chest may be.
AROUND = (("lung",), ("muscle", "liver", "spleen"), ("fat", "liver", "blood"))
#: No tissue changes by more: beyond lies fat in a dark band, which hides what is beside it.
MOST_GAIN = 2.0
#: Width of a soft border between tissues [mm].
SOFT = 1.0


@dataclass(frozen=True)
class Look:
    """How one heart is shown. Lists of numbers are factors unless they say a unit."""

    scan: Scan  # the protocol that shows it
    own: Scan  # the one that its image is taken to have
    agent: bool  # after contrast agent
    lv_blood: float  # flow into the slice brightens blood
    rv_blood: float
    muscle: float  # relaxation times differ between people
    around: tuple[str, str, str]  # what dark, middle and bright parts of the chest are
    shading: tuple[float, ...]  # exponent's coefficients of x, y, xy, xx, yy and z, each from -1 to 1 over the image
    slices: float  # standard deviation of the slices' gain
    blur: float  # mm, standard deviation in the plane
    bleed: float  # share of both neighbours in a slice
    white: float  # quantile of grey values that becomes white
    gamma: float
    noise: float  # standard deviation over white, in both channels
    seed: int  # of noise and of the slices' gain

    @staticmethod
    def drawn(rng: np.random.Generator, vendor: str | None = None) -> Look:
        """A random one.

        Args:
            rng: where it is from.
            vendor: of the scanner that made the image, if known.
        """
        own, scan = drawn_scan(rng, vendor), drawn_scan(rng)
        blood = float(rng.uniform(0.8, 1.25))
        between = [(0.9, 1.1), (0.9, 1.1), (0.85, 1.2)]
        left, right, muscle = (float(rng.uniform(*limits)) for limits in between)
        dark, middle, bright = (str(rng.choice(names)) for names in AROUND)
        return Look(
            scan=scan,
            own=own,
            agent=bool(rng.uniform() < AFTER_AGENT),
            lv_blood=blood * left,
            rv_blood=blood * right,
            muscle=muscle,
            around=(dark, middle, bright),
            shading=tuple(rng.normal(0, (0.25, 0.25, 0.15, 0.15, 0.15, 0.08)).round(4).tolist()),
            slices=float(rng.uniform(0, 0.06)),
            blur=float(rng.uniform(0, 1.4)),
            bleed=float(rng.uniform(0, 0.1)),
            white=float(rng.uniform(0.985, 1.0)),
            gamma=float(np.exp(rng.uniform(np.log(0.75), np.log(1.35)))),
            noise=float(rng.uniform(0, 0.05)),
            seed=int(rng.integers(2**31)),
        )

    def gain(self, name: str) -> float:
        """Factor on the grey values of a tissue, relative to that of blood."""
        return min(max(self._change(name) / self._change("blood"), 1 / MOST_GAIN), MOST_GAIN)

    def _change(self, name: str) -> float:
        tissue = TISSUES[name]
        now = after_agent(tissue, name) if self.agent else tissue
        return abs(complex(bssfp(self.scan, now))) / abs(complex(bssfp(self.own, tissue)))


def look_of(heart: str, number: int, vendor: str | None = None) -> Look:
    """Look number ``number`` of a heart, always the same.

    Args:
        heart: its name.
        number: from 1.
        vendor: of the scanner that made the image, if known.
    """
    return Look.drawn(np.random.default_rng([zlib.crc32(heart.encode()), number, VERSION]), vendor)


def looked(sequence: SyntheticSequence, look: Look, frames: Iterable[int]) -> SyntheticSequence:
    """The sequence with these frames in another look; contours are as they were.

    A frame comes out alike whichever others are asked for: grey values are measured at ED.

    Args:
        sequence: image in any grey values; where some are negative, the darkest of ED stand for no signal.
        look: of :meth:`Look.drawn`.
        frames: which.
    """
    dark = min(float(np.quantile(sequence.image[sequence.ed], 0.001)), 0.0)
    ed = np.clip(sequence.image[sequence.ed] - dark, 0, None)
    white = float(np.quantile(ed, 0.995)) or 1.0
    centres = _parts(ed[sequence.mask[sequence.ed] == 0] / white)

    def shown(frame: int) -> np.ndarray:
        own = np.clip(sequence.image[frame] - dark, 0, None)
        return white * _shown(own / white, sequence.mask[frame], sequence.spacing, look, centres, frame)

    image = sequence.image.copy()
    for frame in frames:
        image[frame] = shown(frame) + dark
    return replace(sequence, image=image, context=_context(sequence.context, dark, ed, shown(sequence.ed)))


def _shown(image: np.ndarray, mask: np.ndarray, spacing: Spacing, look: Look, centres: np.ndarray, frame: int) -> np.ndarray:
    """One frame (X, Y, Z), white about 1."""
    rng = np.random.default_rng([look.seed, frame])
    out = image * _gains(image, mask, spacing, look, centres) * _shading(image.shape, look)
    if look.bleed and out.shape[2] > 1:
        beside = np.concatenate([out[..., :1], out, out[..., -1:]], axis=2)
        out = (1 - 2 * look.bleed) * out + look.bleed * (beside[..., :-2] + beside[..., 2:])
    out = gaussian_filter(out, (look.blur / spacing[0], look.blur / spacing[1], 0))
    out = np.clip(out / max(float(np.quantile(out, look.white)), 1e-6), 0, 1.5) ** look.gamma
    noise = rng.normal(0, look.noise, (2, *out.shape)) if look.noise else np.zeros((2, 1, 1, 1))
    out = np.hypot(out + noise[0], noise[1])
    return np.where(image > 0, out, 0).astype(np.float32)  # what a scanner left black stays black


def _gains(image: np.ndarray, mask: np.ndarray, spacing: Spacing, look: Look, centres: np.ndarray) -> np.ndarray:
    """Factor on every voxel, (X, Y, Z)."""
    sigma = (SOFT / spacing[0], SOFT / spacing[1], 0)
    known = {LV: look.lv_blood, RV: look.rv_blood, MYO: look.gain("myocardium") * look.muscle}
    shares = {label: gaussian_filter((mask == label).astype(np.float32), sigma) for label in known if (mask == label).any()}
    width = max(float(np.diff(centres).min()), 0.02) / 2
    parts = np.exp(-0.5 * np.square((image[None] - centres[:, None, None, None]) / width)) + 1e-6
    parts /= parts.sum(axis=0)
    around = np.tensordot([look.gain(name) for name in look.around], parts, axes=1)
    rest = np.clip(1 - sum(shares.values(), np.zeros_like(image)), 0, 1)
    return sum((known[label] * share for label, share in shares.items()), rest * around)


def _parts(values: np.ndarray) -> np.ndarray:
    """Grey values of the dark, middle and bright parts, rising (3,)."""
    start = np.quantile(values, (0.2, 0.6, 0.9)) if values.size else np.zeros(3)
    if np.diff(start).min() < 0.01:  # nearly one grey value, or nothing but heart
        return np.array([0.1, 0.4, 0.8])
    thinned = values[:: max(values.size // 20_000, 1)].astype(np.float64)
    return np.sort(kmeans2(thinned[:, None], start[:, None], minit="matrix", missing="raise")[0][:, 0])


def _shading(shape: tuple[int, ...], look: Look) -> np.ndarray:
    """Coil profile and gain of every slice, (X, Y, Z)."""
    x, y, z = (np.linspace(-1, 1, n).reshape([-1 if axis == own else 1 for axis in range(3)]) for own, n in enumerate(shape))
    terms = (x, y, x * y, x * x, y * y, z)
    slices = np.random.default_rng(look.seed).normal(0, 1, shape[2])
    return np.exp(sum((c * term for c, term in zip(look.shading, terms, strict=True)), look.slices * slices[None, None]))


def _context(context: tuple[float, float] | None, dark: float, before: np.ndarray, after: np.ndarray) -> tuple[float, float] | None:
    """Mean and standard deviation of the whole field of view, changed as those of what is at hand."""
    if context is None:
        return None
    mean, spread = (float(of(after)) / max(float(of(before)), 1e-6) for of in (np.mean, np.std))
    return (context[0] - dark) * mean + dark, context[1] * spread
