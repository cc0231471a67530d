"""Everything around the heart: chest wall, lung, diaphragm, liver, stomach, spleen and vessels, static over the cycle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Smooth random field of unit standard deviation; ``scale`` is its grain in voxels of the first two axes."""
    coarse = tuple(max(4, round(2.5 * n / scale)) for n in shape[:2]) + tuple(shape[2:])
    noise = gaussian_filter(rng.standard_normal(coarse), (0.8, 0.8, *(0.8,) * (len(shape) - 2)))
    out = zoom(noise, [n / c for n, c in zip(shape, coarse, strict=True)], order=1)
    return (out / max(float(out.std()), 1e-9)).astype(np.float32)


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
class Thorax:
    """Positions in mm in body coordinates (anterior, inferior) about the long axis; z is 0 at the first slice."""

    chest: float  # inner surface of the anterior chest wall at z = 0
    chest_slope: float  # how much nearer it comes per mm towards the apex
    chest_curve: float
    muscle: float  # thickness of the rib layer
    subcutaneous: float  # fat
    rib_phase: float
    diaphragm: float
    diaphragm_slope: float
    diaphragm_peak: float  # anterior position of the top of the dome
    diaphragm_curve: float
    liver_end: float  # posterior end of the liver
    organs: tuple[Ellipse, ...] = ()
    vessels: tuple[Ellipse, ...] = ()
    mediastinum: float = 12.0  # mm of fat between heart and chest wall
    lung_floor: float = field(default=0.0)


def draw_thorax(rng: np.random.Generator, bmi: float, heart: tuple[float, float, float, float], depth: float) -> Thorax:
    """Draw the surroundings.

    Args:
        rng: random numbers.
        bmi: kg/m^2, decides the fat.
        heart: reach of the heart from the long axis: anterior, posterior, superior, inferior, in mm.
        depth: length of the stack in mm.
    """
    anterior, posterior, _, inferior = heart
    fat = float(np.clip(1.6 * (bmi - 17) + rng.normal(0, 3), 4, 40))
    organs: list[Ellipse] = []
    floor = inferior + rng.uniform(3, 7)
    for i in range(3):  # stomach, spleen or bowel, kidney: round things under the diaphragm
        size = rng.uniform(13, 27)
        tissue = str(rng.choice(["stomach", "spleen", "myocardium", "liver"]))
        centre = (-rng.uniform(4, 22) - 26 * i, floor + rng.uniform(2, 8) + size * 0.9 + rng.uniform(0, 8))
        organs.append(
            Ellipse(
                tissue,
                (float(centre[0]), float(centre[1])),
                (float(size), float(size * rng.uniform(0.55, 0.9))),
                float(rng.uniform(0, np.pi)),
                (-40.0, float(depth * rng.uniform(0.5, 1.4))),
                rind=2.5 if tissue == "stomach" else 0.0,
                drift=(float(rng.normal(0, 0.08)), float(rng.normal(-0.12, 0.06))),
            )
        )
    vessels = [
        # Descending aorta and inferior vena cava.
        Ellipse(
            "blood",
            (float(-posterior - rng.uniform(22, 34)), float(rng.uniform(8, 34))),
            (float(rng.uniform(9.5, 12.5)),) * 2,
            0.0,
            (-60.0, float(depth * rng.uniform(0.55, 1.1))),
            rind=1.2,
            drift=(float(rng.normal(0, 0.1)), float(rng.normal(0.1, 0.05))),
        ),
        Ellipse(
            "blood",
            (float(rng.uniform(-12, 8)), float(inferior + rng.uniform(20, 32))),
            (float(rng.uniform(9, 12)), float(rng.uniform(6, 9))),
            float(rng.uniform(-0.4, 0.4)),
            (-60.0, float(depth * rng.uniform(0.1, 0.3))),
            rind=0.8,
        ),
    ]
    for _ in range(rng.integers(45, 80)):  # pulmonary vessels cross the slices as bright dots and short lines
        size = float(0.7 + rng.gamma(1.6, 0.45))
        at = float(rng.uniform(-15, depth + 5))
        reach = float(rng.uniform(5, 16))
        direction = rng.normal(0, 0.5, 2)
        position = (float(rng.uniform(-85, anterior)), float(rng.uniform(-95, 25)))
        vessels.append(
            Ellipse(
                "vessel",
                position,
                (float(size * rng.uniform(1, 2.6)), size),
                float(rng.uniform(0, np.pi)),
                (at - reach, at + reach),
                drift=(float(direction[0]), float(direction[1])),
            )
        )
    return Thorax(
        chest=float(anterior + rng.uniform(5, 11)),
        chest_slope=float(rng.uniform(0.12, 0.3)),
        chest_curve=float(rng.uniform(0.0012, 0.0028)),
        muscle=float(rng.uniform(10, 15)),
        subcutaneous=fat,
        rib_phase=float(rng.uniform(0, 30)),
        diaphragm=float(floor),
        diaphragm_slope=float(rng.uniform(0.1, 0.28)),
        diaphragm_peak=float(rng.uniform(-15, 15)),
        diaphragm_curve=float(rng.uniform(0.002, 0.005)),
        liver_end=float(rng.uniform(-20, 12)),
        organs=tuple(organs),
        vessels=tuple(vessels),
        mediastinum=float(np.clip(0.6 * (bmi - 17), 3, 14)),
    )


class Painter:
    """Paints tissues over each other with soft edges into a complex image (X, Y)."""

    def __init__(self, u: np.ndarray, v: np.ndarray, pixel: float, tissues: dict[str, np.ndarray]) -> None:
        self.u, self.v, self.pixel, self.tissues = u, v, pixel, tissues
        self.image = tissues["lung"].copy()

    def paint(self, tissue: str, distance: np.ndarray, opacity: float = 1.0) -> None:
        """Paint where the signed ``distance`` (mm, positive inside) says so."""
        cover = np.clip(distance / self.pixel + 0.5, 0, 1) * opacity
        self.image += cover * (self.tissues[tissue] - self.image)

    def ellipse_distance(self, e: Ellipse, z: float) -> np.ndarray:
        du, dv = self.u - e.centre[0] - e.drift[0] * z, self.v - e.centre[1] - e.drift[1] * z
        cos, sin = np.cos(e.angle), np.sin(e.angle)
        radius = np.hypot((cos * du + sin * dv) / e.axes[0], (cos * dv - sin * du) / e.axes[1])
        return (1 - radius) * min(e.axes)


def paint_thorax(thorax: Thorax, u: np.ndarray, v: np.ndarray, z: float, pixel: float, tissues: dict[str, np.ndarray]) -> np.ndarray:
    """Complex signal (X, Y) of the surroundings at through-plane position ``z`` mm; ``tissues`` maps names to signals (X, Y)."""
    p = Painter(u, v, pixel, tissues)
    inner = thorax.chest - thorax.chest_slope * z - thorax.chest_curve * np.square(v + 10)
    dome = thorax.diaphragm - thorax.diaphragm_slope * z + thorax.diaphragm_curve * np.square(u - thorax.diaphragm_peak)
    for e in thorax.vessels:
        if e.tissue == "vessel" and e.range[0] < z < e.range[1]:
            p.paint("blood", p.ellipse_distance(e, z - e.range[0]), 0.55)
    # Fat behind the sternum and in the angle between chest wall and diaphragm.
    corner = thorax.mediastinum * (1 + 1.6 * np.exp(-np.square((v - dome) / 22)))
    p.paint("fat", u - inner + corner)
    below = v - dome
    p.paint("muscle", below + 1.5)
    p.paint("fat", below - 1.5)
    p.paint("liver", np.minimum(below - 2.5, u - thorax.liver_end - 0.25 * (v - dome)))
    for e in thorax.organs:
        if e.range[0] < z < e.range[1]:
            d = p.ellipse_distance(e, z)
            if e.rind:
                p.paint("muscle", np.minimum(d + e.rind, below - 2))
            p.paint(e.tissue, np.minimum(d, below - 3))
    for e in thorax.vessels:
        if e.tissue == "blood" and e.range[0] < z < e.range[1]:
            d = p.ellipse_distance(e, z)
            p.paint("muscle", d + e.rind)
            p.paint("blood", d)
    q = u - inner
    p.paint("muscle", q)
    # Ribs every 26 mm: a dark cortex around bright marrow; the slices cut them obliquely.
    along = np.mod(v + thorax.rib_phase + 0.35 * z, 27) - 13.5
    rib = 1 - np.hypot((q - 0.5 * thorax.muscle) / 4.6, along / 7.0)
    p.paint("cortex", np.minimum(rib * 4.6, q))
    p.paint("marrow", np.minimum((rib - 0.3) * 4.6, q - 1))
    p.paint("fat", np.minimum(q - thorax.muscle, 1.3 + 0 * q - np.abs(q - thorax.muscle)))
    p.paint("muscle", q - thorax.muscle - 1.5)
    p.paint("fat", q - thorax.muscle - 7)
    p.paint("skin", q - thorax.muscle - 7 - thorax.subcutaneous)
    p.paint("air", q - thorax.muscle - 9.5 - thorax.subcutaneous)
    return p.image
