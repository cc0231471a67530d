"""Everything around the heart: chest wall, lung, diaphragm, liver, stomach, spleen and vessels, static over the cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Smooth random field of unit standard deviation; ``scale`` is its grain in voxels of the first two axes."""
    coarse = tuple(max(4, round(2.5 * n / scale)) for n in shape[:2]) + tuple(shape[2:])
    noise = gaussian_filter(rng.standard_normal(coarse), (0.8, 0.8, *(0.8,) * (len(shape) - 2)))
    out = zoom(noise, [n / c for n, c in zip(shape, coarse, strict=True)], order=1)
    return (out / max(float(out.std()), 1e-9)).astype(np.float32)


#: Distance over which a wall stops bending, mm.
_FADE = 35.0


def bent(along: np.ndarray, straight: float = np.inf) -> np.ndarray:
    """Square of the position along a wall, which is how far it bends inwards; further out than ``straight`` mm it bends ever less."""
    if np.isinf(straight):
        return np.square(along)
    beyond = np.maximum(np.abs(along) - straight, 0)
    return np.square(np.minimum(np.abs(along), straight)) + 2 * straight * _FADE * (1 - np.exp(-beyond / _FADE))


@dataclass(frozen=True)
class Ellipse:
    """An organ: centre (anterior, inferior), semi-axes in mm, direction, tissue, and the through-plane range."""

    tissue: str
    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float
    range: tuple[float, float]
    rind: float = 0.0  # mm of wall around it
    drift: tuple[float, float] = (0.0, 0.0)  # mm in plane per mm through plane


@dataclass(frozen=True)
class Envelope:
    """How far the heart reaches at ED at each through-plane position, in mm from the long axis."""

    z: np.ndarray
    anterior: np.ndarray
    inferior: np.ndarray

    def at(self, z: float) -> tuple[float, float]:
        """Anterior and inferior reach at position ``z``."""
        return float(np.interp(z, self.z, self.anterior)), float(np.interp(z, self.z, self.inferior))


@dataclass(frozen=True)
class Thorax:
    """Positions in mm in body coordinates (anterior, inferior) about the long axis; z is 0 at the first slice."""

    envelope: Envelope
    chest: tuple[float, float]  # inner surface of the anterior chest wall at the base and at the apex
    chest_curve: float
    muscle: float  # thickness of the rib layer
    subcutaneous: float  # fat
    ribs: tuple[tuple[float, float, float], ...]  # position along the chest wall, depth, half-length
    diaphragm: tuple[float, float]  # top of the dome at the base and at the apex
    diaphragm_peak: float  # anterior position of the top of the dome
    diaphragm_curve: float
    liver_end: float  # posterior end of the liver
    pad: float  # mm of fat between heart and chest wall
    organs: tuple[Ellipse, ...]
    great_vessels: tuple[Ellipse, ...]
    lung_vessels: tuple[Ellipse, ...]
    liver_vessels: tuple[Ellipse, ...]
    straight: float = np.inf  # mm along the chest wall from which on it bends less

    def surfaces(self, z: float) -> tuple[float, float]:
        """Chest wall and diaphragm at position ``z``: along straight lines, but never inside the heart."""
        share = float(np.clip(z / self.envelope.z[-1], -0.4, 1.3))
        anterior, inferior = self.envelope.at(z)
        chest = self.chest[0] + share * (self.chest[1] - self.chest[0])
        diaphragm = self.diaphragm[0] + share * (self.diaphragm[1] - self.diaphragm[0])
        return max(chest, anterior + 5), max(diaphragm, inferior + 3)

    def depths(self, u: np.ndarray, v: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
        """How far points (X, Y) lie beyond the inner surface of the anterior chest wall, and under the diaphragm, mm."""
        chest, diaphragm = self.surfaces(z)
        inner = chest - self.chest_curve * bent(v + 10, self.straight)
        return u - inner, v - diaphragm - self.diaphragm_curve * np.square(u - self.diaphragm_peak)


def lung_vessels(rng: np.random.Generator, n: int, box: tuple[float, float, float, float], depth: float) -> tuple[Ellipse, ...]:
    """Vessels of the lung inside ``box`` (anterior low, high, inferior low, high), over ``depth`` mm of slices."""
    return _dots(rng, n, box, depth, 1.05)


def _dots(rng: np.random.Generator, n: int, box: tuple[float, float, float, float], depth: float, size: float) -> tuple[Ellipse, ...]:
    """Vessels crossing the slices as dots and short lines inside ``box`` (anterior low, high, inferior low, high)."""
    out = []
    for _ in range(n):
        radius = float(size * (0.6 + rng.gamma(1.5, 0.35)))
        at, half = float(rng.uniform(-15, depth + 5)), float(rng.uniform(5, 18))
        direction = rng.normal(0, 0.45, 2)
        out.append(
            Ellipse(
                "blood",
                (float(rng.uniform(box[0], box[1])), float(rng.uniform(box[2], box[3]))),
                (float(radius * (1 + rng.gamma(1.0, 1.0))), radius),
                float(rng.uniform(0, np.pi)),
                (at - half, at + half),
                drift=(float(direction[0]), float(direction[1])),
            )
        )
    return tuple(out)


def _organs(rng: np.random.Generator, floor: float, depth: float) -> tuple[Ellipse, ...]:
    """Stomach, spleen, bowel: round things under the diaphragm, posterior of the liver."""
    organs = []
    for i in range(4):
        size = float(rng.uniform(12, 24))
        tissue = str(rng.choice(["stomach", "spleen", "myocardium", "liver"]))
        organs.append(
            Ellipse(
                tissue,
                (float(-rng.uniform(-4, 14) - 24 * i), float(floor + rng.uniform(2, 10) + size * 0.8)),
                (size, float(size * rng.uniform(0.6, 0.95))),
                float(rng.uniform(0, np.pi)),
                (-40.0, float(depth * rng.uniform(0.6, 1.6))),
                rind=2.5 if tissue == "stomach" else 0.0,
                drift=(float(rng.normal(0, 0.1)), float(rng.normal(-0.15, 0.06))),
            )
        )
    return tuple(organs)


def draw_thorax(rng: np.random.Generator, bmi: float, envelope: Envelope, posterior: float) -> Thorax:
    """Draw the surroundings.

    Args:
        rng: random numbers.
        bmi: kg/m^2, decides the fat.
        envelope: reach of the heart; the chest wall and the diaphragm follow it towards the apex.
        posterior: reach of the heart away from the chest wall, in mm.
    """
    depth = float(envelope.z[-1])
    anterior, inferior = float(envelope.anterior.max()), float(envelope.inferior.max())
    floor = inferior + float(rng.uniform(3, 8))
    great = []
    if rng.random() < 0.6:  # descending aorta, where the field of view reaches the spine
        great.append(
            Ellipse(
                "blood",
                (float(-posterior - rng.uniform(24, 38)), float(rng.uniform(5, 34))),
                (float(rng.uniform(9, 12)), float(rng.uniform(9, 12))),
                0.0,
                (-60.0, depth * float(rng.uniform(0.55, 1.1))),
                rind=1.5,
                drift=(float(rng.normal(0, 0.12)), float(rng.normal(0.12, 0.06))),
            )
        )
    great.append(  # inferior vena cava and hepatic veins
        Ellipse(
            "blood",
            (float(rng.uniform(-14, 10)), float(inferior + rng.uniform(18, 30))),
            (float(rng.uniform(8, 12)), float(rng.uniform(5, 8))),
            float(rng.uniform(-0.5, 0.5)),
            (-60.0, depth * float(rng.uniform(0.1, 0.35))),
            rind=0.8,
        )
    )
    positions = np.cumsum(rng.uniform(24, 42, 8)) - 130
    return Thorax(
        envelope=envelope,
        chest=(anterior + float(rng.uniform(5, 10)), float(rng.uniform(16, 28))),
        chest_curve=float(rng.uniform(0.0012, 0.0028)),
        muscle=float(rng.uniform(10, 15)),
        subcutaneous=float(np.clip(1.6 * (bmi - 17) + rng.normal(0, 3), 4, 40)),
        ribs=tuple((float(p), float(rng.uniform(0.35, 0.65)), float(rng.uniform(5.5, 11))) for p in positions),
        diaphragm=(floor, float(rng.uniform(12, 24))),
        diaphragm_peak=float(rng.uniform(-15, 15)),
        diaphragm_curve=float(rng.uniform(0.002, 0.006)),
        liver_end=float(rng.uniform(-24, 8)),
        pad=float(np.clip(0.75 * (bmi - 17), 3, 13)),
        organs=_organs(rng, floor, depth),
        great_vessels=tuple(great),
        lung_vessels=lung_vessels(rng, int(rng.integers(90, 150)), (-105, anterior, -105, 30), depth),
        liver_vessels=_dots(rng, int(rng.integers(25, 45)), (-40, anterior + 20, 10, inferior + 60), depth, 1.3),
    )


class Painter:
    """Paints tissues over each other with soft edges into a complex image (X, Y)."""

    def __init__(self, u: np.ndarray, v: np.ndarray, pixel: float, tissues: dict[str, np.ndarray], image: np.ndarray | None = None) -> None:
        self.u, self.v, self.pixel, self.tissues = u, v, pixel, tissues
        self.image = tissues["lung"].copy() if image is None else image

    def paint(self, tissue: str, distance: np.ndarray, opacity: float = 1.0) -> None:
        """Paint where the signed ``distance`` (mm, positive inside) says so."""
        cover = np.clip(distance / self.pixel + 0.5, 0, 1) * opacity
        self.image += cover * (self.tissues[tissue] - self.image)

    def ellipse_distance(self, e: Ellipse, z: float) -> np.ndarray:
        """Distance of every pixel of a slice from an ellipse, in units of its radius."""
        du, dv = self.u - e.centre[0] - e.drift[0] * z, self.v - e.centre[1] - e.drift[1] * z
        cos, sin = np.cos(e.angle), np.sin(e.angle)
        radius = np.hypot((cos * du + sin * dv) / e.axes[0], (cos * dv - sin * du) / e.axes[1])
        return (1 - radius) * min(e.axes)


def paint_thorax(
    thorax: Thorax, u: np.ndarray, v: np.ndarray, z: float, pixel: float, step: float, tissues: dict[str, np.ndarray]
) -> np.ndarray:
    """Complex signal (X, Y) of the surroundings at through-plane position ``z`` mm.

    ``step`` is the thickness of the sub-slice in mm; ``tissues`` maps names to signals (X, Y).
    """
    p = Painter(u, v, pixel, tissues)
    chest_pixel, dome_pixel = (
        float(np.hypot(pixel, after - before))
        for before, after in zip(thorax.surfaces(z - step / 2), thorax.surfaces(z + step / 2), strict=True)
    )
    share = z / float(thorax.envelope.z[-1])
    beyond, below = thorax.depths(u, v, z)
    for e in thorax.lung_vessels:
        if e.range[0] < z < e.range[1]:
            p.paint("blood", p.ellipse_distance(e, z - e.range[0]), 0.8)
    # Fat behind the sternum, widest in the angle between chest wall and diaphragm where the pericardial pad lies.
    p.paint("fat", beyond + thorax.pad * (1 + max(share, 0)) * (0.5 + 2.2 * np.exp(-np.square((below + 6) / 24))))
    p.pixel = dome_pixel
    _paint_abdomen(p, thorax, below, z)
    p.pixel = pixel
    for e in thorax.great_vessels:
        if e.range[0] < z < e.range[1]:
            d = p.ellipse_distance(e, z)
            p.paint("fat", d + e.rind + 3)
            p.paint("muscle", d + e.rind)
            p.paint("blood", d)
    p.pixel = chest_pixel  # an oblique surface blurs over the sub-slice
    paint_chest_wall(p, thorax, beyond, v, z)
    return p.image


def _paint_abdomen(p: Painter, thorax: Thorax, below: np.ndarray, z: float) -> None:
    """Diaphragm, liver with vessels, and the organs behind it in fat; ``below`` is the depth under the dome in mm."""
    p.paint("muscle", below + 2)
    p.paint("fat", below - 1)
    liver = np.minimum(below - 1.5, p.u - thorax.liver_end - 0.3 * below)
    p.paint("liver", liver)
    for e in thorax.liver_vessels:
        if e.range[0] < z < e.range[1]:
            p.paint("blood", np.minimum(p.ellipse_distance(e, z - e.range[0]), liver - 3), 0.5)
    paint_organs(p, thorax.organs, below, z)


def paint_organs(p: Painter, organs: tuple[Ellipse, ...], below: np.ndarray, z: float) -> None:
    """Organs in fat at through-plane position ``z``, where ``below``, the depth under the diaphragm in mm (X, Y), leaves room."""
    for e in organs:
        if e.range[0] < z < e.range[1]:
            d = p.ellipse_distance(e, z)
            p.paint("fat", np.minimum(d + e.rind + 2, below - 1))
            if e.rind:
                p.paint("muscle", np.minimum(d + e.rind, below - 2))
            p.paint(e.tissue, np.minimum(d, below - 2 - e.rind))


def paint_chest_wall(p: Painter, thorax: Thorax, q: np.ndarray, along: np.ndarray, z: float) -> None:
    """Ribs between muscle layers, subcutaneous fat, skin and air.

    Args:
        p: paints.
        thorax: tells thicknesses, and where the ribs are.
        q: depth from the inner surface, mm (X, Y).
        along: position along the wall, mm (X, Y).
        z: through-plane position, mm.
    """
    p.paint("muscle", q)
    for position, depth, half in thorax.ribs:
        # Ribs slope downwards: each slice cuts them a little higher.
        rib = 1 - np.hypot((q - depth * thorax.muscle) / 5.0, (along - position + 0.35 * z) / half)
        p.paint("cortex", np.minimum(rib * 5.0, q), 0.6)
        p.paint("marrow", np.minimum((rib - 0.25) * 5.0, q - 1), 0.8)
    edge = q - thorax.muscle
    p.paint("fat", 1.6 - np.abs(edge))
    p.paint("muscle", edge - 1.6)
    p.paint("fat", edge - 7)
    p.paint("skin", edge - 7 - thorax.subcutaneous)
    p.paint("air", edge - 9.5 - thorax.subcutaneous)
