"""Balanced steady-state free precession signal of each tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """Relaxation times at 1.5 T and 3 T in ms, relative proton density, chemical shift in ppm."""

    t1: tuple[float, float]
    t2: tuple[float, float]
    density: float
    shift: float = 0.0


#: Stanisz et al., Magn Reson Med 2005;54:507 (blood, muscle, liver at both fields); de Bazelaire et al., Radiology 2004;230:652
#: (fat, liver, spleen, marrow); von Knobelsdorff-Brenkenhoff et al., J Cardiovasc Magn Reson 2013;15:53 (myocardium). Lung is mostly
#: air: its density is that of the parenchyma.
TISSUES: dict[str, Tissue] = {
    "blood": Tissue((1480, 1900), (250, 220), 0.95),
    "myocardium": Tissue((1000, 1190), (51, 46), 0.80),
    "muscle": Tissue((1010, 1400), (40, 38), 0.78),
    "fat": Tissue((300, 380), (80, 72), 0.92, -3.35),
    "marrow": Tissue((420, 500), (50, 48), 0.65, -3.35),
    "skin": Tissue((900, 1100), (32, 30), 0.65),
    "liver": Tissue((590, 810), (45, 36), 0.72),
    "spleen": Tissue((1060, 1330), (75, 61), 0.80),
    "stomach": Tissue((1500, 1700), (75, 65), 0.75),
    "lung": Tissue((1200, 1300), (40, 34), 0.11),
    "cortex": Tissue((900, 1000), (2, 1.5), 0.15),
}

#: What contrast agent adds to the relaxation rates 1/T1 and 1/T2 of blood and of other tissue [1/s]: about ten minutes after 0.15 mmol/kg,
#: when blood has a T1 of 400 ms and myocardium of 550 ms at 1.5 T.
AGENT_BLOOD, AGENT_TISSUE = (1.8, 2.2), (0.8, 1.0)

#: Larmor frequency of hydrogen in Hz per tesla and ppm.
HZ_PER_PPM_TESLA = 42.577


@dataclass(frozen=True)
class Scan:
    """Sequence settings that decide contrast."""

    tr: float  # ms
    te: float  # ms
    flip: float  # degrees
    field_strength: float  # T


def after_agent(tissue: Tissue, name: str) -> Tissue:
    """A tissue after contrast agent; fat and lung take up none."""
    r1, r2 = AGENT_BLOOD if name == "blood" else AGENT_TISSUE if name not in ("fat", "lung") else (0.0, 0.0)
    t1, t2 = (tuple(1000 / (1000 / ms + rate) for ms in times) for times, rate in ((tissue.t1, r1), (tissue.t2, r2)))
    return replace(tissue, t1=(t1[0], t1[1]), t2=(t2[0], t2[1]))


def brighter(tissues: Mapping[str, Tissue], factors: Mapping[str, float]) -> dict[str, Tissue]:
    """The tissues, some with a multiple of their signal."""
    return {name: replace(tissue, density=tissue.density * factors.get(name, 1.0)) for name, tissue in tissues.items()}


def bssfp(scan: Scan, tissue: Tissue, off_resonance: np.ndarray | float = 0.0) -> np.ndarray:
    """Complex transverse magnetisation at the echo time.

    Steady state after Freeman & Hill, J Magn Reson 1971;4:366, in the notation of Scheffler & Lehnhardt, Eur Radiol 2003;13:2409:
    with precession b per TR, ``M = M0 (1-E1) sin(a) (1 - E2 exp(-ib)) / (C cos(b) + D)``, ``C = E2 (E1-1)(1+cos(a))``,
    ``D = 1 - E1 cos(a) - (E1 - cos(a)) E2^2``; alternating pulses put resonance at b = pi. Fat lies in the neighbouring pass band,
    so its sign is opposite and water-fat borders cancel to the dark lines that real images show.

    Args:
        scan: sequence settings.
        tissue: relaxation times are interpolated between 1.5 T and 3 T.
        off_resonance: field error in Hz, any shape.

    Returns:
        complex64 array of that shape.
    """
    share = np.clip((scan.field_strength - 1.5) / 1.5, 0, 1)
    t1, t2 = (float(x[0] + share * (x[1] - x[0])) for x in (tissue.t1, tissue.t2))
    frequency = np.asarray(off_resonance, dtype=np.float64) + tissue.shift * HZ_PER_PPM_TESLA * scan.field_strength
    precession = 2 * np.pi * frequency * scan.tr / 1000
    b = precession + np.pi
    a = np.deg2rad(scan.flip)
    e1, e2 = np.exp(-scan.tr / t1), np.exp(-scan.tr / t2)
    c = e2 * (e1 - 1) * (1 + np.cos(a))
    d = 1 - e1 * np.cos(a) - (e1 - np.cos(a)) * e2**2
    magnetisation = tissue.density * (1 - e1) * np.sin(a) * (1 - e2 * np.exp(-1j * b)) / (c * np.cos(b) + d)
    # Precession until the echo refocuses the phase at TE = TR/2 up to the sign of the pass band.
    return (magnetisation * np.exp(-scan.te / t2) * np.exp(1j * precession * scan.te / scan.tr)).astype(np.complex64)
