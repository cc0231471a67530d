"""What a whole field of view shows beyond the heart's surroundings: back, spine, the chest's upper wall, bowel, and air around the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from nnunet_synth_aug.data.phantom.thorax import Ellipse, Painter, Thorax, bent, lung_vessels, paint_chest_wall, paint_organs

#: Distance along a wall from which on it bends ever less, and radius of the body's corners, mm.
FAR, CORNER = 80.0, 12.0


@dataclass(frozen=True)
class Torso:
    """Positions in mm in body coordinates (anterior, inferior) about the long axis, as in :class:`Thorax`."""

    back: float  # inner surface of the posterior chest wall, behind the long axis
    top: float  # inner surface of the upper chest wall, above the long axis
    curves: tuple[float, float]  # of both, per mm
    spine: Ellipse
    muscles: tuple[Ellipse, ...]  # beside the spine
    bowel: tuple[Ellipse, ...]
    vessels: tuple[Ellipse, ...]  # of the lung


def draw_torso(rng: np.random.Generator, thorax: Thorax, posterior: float) -> Torso:
    """Draw what lies beyond the surroundings.

    Args:
        rng: random numbers.
        thorax: the surroundings.
        posterior: reach of the heart away from the chest wall, in mm.
    """
    back = posterior + float(rng.uniform(50, 80))
    floor, depth = thorax.diaphragm[0], float(thorax.envelope.z[-1])
    beside = float(rng.uniform(5, 45))
    drift = (float(rng.normal(0, 0.1)), float(rng.normal(0, 0.15)))
    size = float(rng.uniform(17, 22))
    everywhere = (-200.0, 200.0)
    bowel = []
    for _ in range(int(rng.integers(8, 14))):
        tissue = str(rng.choice(["stomach", "spleen", "muscle", "liver", "lung"]))
        half = float(rng.uniform(10, 30))
        at = float(rng.uniform(-20, depth + 20))
        bowel.append(
            Ellipse(
                tissue,
                (float(rng.uniform(-back + 15, 55)), float(floor + rng.uniform(45, 190))),
                (half, half * float(rng.uniform(0.5, 0.95))),
                float(rng.uniform(0, np.pi)),
                (at - float(rng.uniform(20, 70)), at + float(rng.uniform(20, 70))),
                rind=float(rng.uniform(1.5, 3)) if tissue in ("stomach", "lung") else 0.0,
                drift=(float(rng.normal(0, 0.1)), float(rng.normal(0, 0.1))),
            )
        )
    return Torso(
        back=back,
        top=float(rng.uniform(95, 140)),
        curves=(float(rng.uniform(0.0008, 0.0022)), float(rng.uniform(0.001, 0.003))),
        spine=Ellipse("marrow", (4 - back, beside), (size, size * float(rng.uniform(0.75, 1))), 0.0, everywhere, rind=1.5, drift=drift),
        muscles=tuple(
            Ellipse("muscle", (-back - 14, beside + side * float(rng.uniform(24, 32))), (15.0, 22.0), 0.0, everywhere, drift=drift)
            for side in (-1, 1)
        ),
        bowel=tuple(bowel),
        vessels=lung_vessels(rng, 70, (-back, 40, -150, -60), depth),
    )


def paint_torso(
    torso: Torso, thorax: Thorax, image: np.ndarray, u: np.ndarray, v: np.ndarray, z: float, pixel: float, tissues: dict[str, np.ndarray]
) -> np.ndarray:
    """The complex signal (X, Y) of :func:`~nnunet_synth_aug.data.phantom.thorax.paint_thorax`, with what lies beyond.

    Args:
        torso, thorax: what to paint.
        image: that signal; it is painted on.
        u, v: body coordinates (X, Y), mm.
        z: through-plane position, mm.
        pixel: mm.
        tissues: signals (X, Y) by name.
    """
    p = Painter(u, v, pixel, tissues, image)
    beyond, below = thorax.depths(u, v, z)
    for e in torso.vessels:
        if e.range[0] < z < e.range[1]:
            p.paint("blood", np.minimum(p.ellipse_distance(e, z - e.range[0]), -3 - below), 0.8)
    paint_organs(p, torso.bowel, below, z)
    spine = p.ellipse_distance(torso.spine, z)
    for e in torso.muscles:
        p.paint("fat", p.ellipse_distance(e, z) + 3)
        p.paint("muscle", p.ellipse_distance(e, z))
    p.paint("fat", spine + 5)
    p.paint("cortex", spine + torso.spine.rind)
    p.paint("marrow", spine)
    # Muscles and spine lie in the wall: the wall begins behind them there.
    near = np.exp(-np.square((v - torso.spine.centre[1]) / 45))
    behind = -u - torso.back + torso.curves[0] * bent(v, FAR) - 24 * near
    above = -v - torso.top + torso.curves[1] * bent(u, FAR)
    # One wall around the body, with round corners; that of the front again, as bowel and vessels may have covered it.
    walls = np.stack([beyond, behind, above])
    around = CORNER * logsumexp(walls / CORNER, axis=0)
    paint_chest_wall(p, thorax, around, np.where(above > np.maximum(beyond, behind), u, v), z)
    return p.image
