"""Who the phantom is: diagnosis, scanner, body and ventricular volumes, from published distributions.

Indexed volumes of healthy hearts follow Petersen et al., J Cardiovasc Magn Reson 2017;19:18 (UK Biobank) and Kawel-Boehm et al.,
J Cardiovasc Magn Reson 2020;22:87; the pathological groups follow the inclusion criteria of ACDC (Bernard et al., IEEE TMI 2018):
MINF EF < 40 %, DCM EF < 40 % and LV EDV > 100 mL/m^2, HCM mass raised with EF > 55 %, RV dilated (> 100 mL/m^2) or RV EF < 40 %.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, VENDORS
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import FROM_MASKS, VARIABLES, Priors
from nnunet_synth_aug.data.phantom.signal import Scan


@dataclass(frozen=True)
class Distribution:
    """A truncated normal: mean, standard deviation, and the closed range that values are clipped to."""

    mean: float
    sd: float
    low: float
    high: float

    def at(self, z: float) -> float:
        """The value ``z`` standard deviations from the mean, clipped to the range."""
        return float(np.clip(self.mean + self.sd * z, self.low, self.high))


@dataclass(frozen=True)
class Group:
    """Distributions of one diagnosis; volumes per body surface area."""

    age: Distribution  # years
    lv_edvi: Distribution  # mL/m^2
    lv_ef: Distribution  # %
    lv_massi: Distribution  # g/m^2
    rv_edvi: Distribution  # mL/m^2
    rv_ef: Distribution  # %


GROUPS: dict[str, Group] = {
    "NOR": Group(
        Distribution(45, 15, 20, 75),
        Distribution(78, 10, 60, 98),
        Distribution(61, 4.5, 53, 71),
        Distribution(50, 7, 38, 66),
        Distribution(82, 11, 60, 104),
        Distribution(58, 5, 48, 68),
    ),
    "MINF": Group(
        Distribution(61, 9, 40, 80),
        Distribution(97, 17, 70, 140),
        Distribution(31, 6, 17, 39.5),
        Distribution(61, 9, 45, 85),
        Distribution(70, 12, 50, 98),
        Distribution(50, 8, 34, 65),
    ),
    "DCM": Group(
        Distribution(54, 13, 25, 78),
        Distribution(133, 20, 102, 180),
        Distribution(23, 7, 10, 38),
        Distribution(74, 13, 52, 105),
        Distribution(86, 18, 60, 130),
        Distribution(38, 10, 18, 58),
    ),
    "HCM": Group(
        Distribution(52, 14, 22, 78),
        Distribution(69, 10, 50, 92),
        Distribution(69, 5.5, 58, 80),
        Distribution(88, 17, 65, 130),
        Distribution(68, 10, 50, 90),
        Distribution(62, 6, 50, 74),
    ),
    "RV": Group(
        Distribution(42, 16, 18, 75),
        Distribution(68, 11, 48, 92),
        Distribution(56, 6, 46, 68),
        Distribution(46, 7, 34, 62),
        Distribution(126, 17, 104, 165),
        Distribution(38, 8, 22, 50),
    ),
}


@dataclass(frozen=True)
class Protocol:
    """What a vendor's cine protocol looks like; ranges are (low, high)."""

    tr: float  # ms
    te: float  # ms
    flip: dict[float, tuple[float, float]]  # field strength in T -> degrees
    pixel: tuple[float, float]  # mm
    slab: tuple[float, float]  # mm, excited thickness
    gap: tuple[float, float]  # mm
    frames: tuple[int, int]
    blood_value: tuple[float, float]  # grey value of blood
    bias: float  # exponent of the coil profile left after the vendor's own correction
    resolution: float  # measured share of k-space in the phase-encoding direction


PROTOCOLS: dict[str, Protocol] = {
    "Siemens": Protocol(2.8, 1.2, {1.5: (62, 76), 3.0: (42, 52)}, (1.35, 1.6), (7, 8), (0.5, 2.6), (25, 30), (150, 320), 0.75, 0.80),
    "Philips": Protocol(3.0, 1.5, {1.5: (55, 65), 3.0: (40, 50)}, (1.35, 1.5), (8, 8), (0.0, 2.0), (25, 32), (600, 1100), 0.25, 0.88),
    "GE": Protocol(3.6, 1.6, {1.5: (45, 55), 3.0: (40, 48)}, (1.4, 1.65), (8, 8), (0.0, 2.0), (20, 30), (1300, 2300), 0.5, 0.75),
    "Canon": Protocol(3.4, 1.7, {1.5: (55, 68), 3.0: (42, 50)}, (1.55, 1.85), (6, 8), (1.0, 2.5), (16, 24), (3500, 6500), 0.4, 0.85),
}


#: Share of scans after contrast agent, where protocols vary as between hospitals.
AFTER_AGENT = 0.3


def drawn_scan(rng: np.random.Generator, vendor: str | None = None, field: float | None = None) -> Scan:
    """A protocol around the usual ones: TR, TE and flip angle as one hospital or another sets them.

    Args:
        rng: where it is from.
        vendor: default any.
        field: strength in T, of which the vendor's nearest has its flip angles; default any of the vendor's.
    """
    protocol = PROTOCOLS[vendor] if vendor in PROTOCOLS else PROTOCOLS[str(rng.choice(list(PROTOCOLS)))]
    usual = float(rng.choice(list(protocol.flip))) if field is None else nearest_field(protocol, field)
    low, high = protocol.flip[usual]
    stretch = float(rng.uniform(0.9, 1.2))
    return Scan(protocol.tr * stretch, protocol.te * stretch, float(rng.uniform(low - 8, high + 5)), field or usual)


def nearest_field(protocol: Protocol, field: float) -> float:
    """The field strength nearest to this one for which the protocol has flip angles [T]."""
    return min(protocol.flip, key=lambda strength: abs(strength - field))


def slot(index: int) -> tuple[str, str]:
    """Diagnosis and vendor of case ``index``: a Latin square, so any 20 consecutive cases hold every pair once."""
    return DIAGNOSES[index % len(DIAGNOSES)], VENDORS[(index % len(DIAGNOSES) + index // len(DIAGNOSES)) % len(VENDORS)]


def refuse_what_no_phantom_has(asked: PriorRequest, where: str = "--prior") -> None:
    """Look at a request before a heart of it is made.

    Args:
        asked: what all hearts of a cohort have.
        where: what the sentences call it.

    Raises:
        UserError: a volume, mass or EF at the end of what a prior may be, which a phantom might miss by a voxel; or an LV EF that no heart
            of the requested diagnosis has.
    """

    def limits(name: str) -> tuple[float, float] | None:
        value = getattr(asked.fixed, name)
        return asked.ranges.get(name) if value is None else (value, value)

    for name in FROM_MASKS:
        if (wanted := limits(name)) is None:
            continue
        variable = VARIABLES[name]
        percent = variable.unit == "%"
        low = variable.low + 1 if percent else np.ceil(1.01 * variable.low)
        high = variable.high - 1 if percent else np.floor(0.99 * variable.high)
        if wanted[0] < low or wanted[1] > high:
            raise UserError(f"{where}: a phantom's {name} lies between {low:g} and {high:g} {variable.unit}; ask for that")
    diagnosis, wanted = asked.fixed.diagnosis, limits("lv_ef")
    if diagnosis is not None and wanted is not None:
        group = GROUPS[diagnosis].lv_ef
        if wanted[1] < group.low or wanted[0] > group.high:
            raise UserError(
                f"{where}: {diagnosis} hearts of the phantom have an lv_ef of {group.low:g} to {group.high:g} %, as in ACDC; "
                "ask for that, or for another diagnosis"
            )


def body_surface(height: float, weight: float) -> float:
    """Body surface area in m^2 from cm and kg (Du Bois & Du Bois, Arch Intern Med 1916;17:863)."""
    return 0.007184 * height**0.725 * weight**0.425


def draw_priors(rng: np.random.Generator, diagnosis: str, vendor: str, asked: Priors) -> Priors:
    """Draw every prior except the number and distance of slices; values in ``asked`` are kept.

    All random numbers are drawn before any is used, so asking for one value leaves the independent ones as they were.
    """
    z = rng.standard_normal(8)
    u = rng.random(3)
    group = GROUPS[diagnosis]
    asked = dataclasses.replace(asked, diagnosis=diagnosis, vendor=vendor)
    sex = asked.sex or ("M" if u[0] < 0.55 else "F")
    height = asked.height or (Distribution(176, 7, 158, 196) if sex == "M" else Distribution(163, 6.5, 148, 182)).at(z[0])
    weight = asked.weight or Distribution(26, 3.8, 18.5, 37).at(z[1]) * (height / 100) ** 2
    area = body_surface(height, weight)
    # Men's indexed volumes and mass exceed women's at equal body surface (Petersen 2017).
    volume, mass = (1.05, 1.1) if sex == "M" else (0.95, 0.9)
    strengths = sorted(PROTOCOLS[vendor].flip)
    drawn = Priors(
        lv_edv=group.lv_edvi.at(z[2]) * area * volume,
        lv_ef=group.lv_ef.at(z[3]),
        # Wide hearts are heavy hearts: share part of the deviation, as population data do.
        lv_mass=group.lv_massi.at(0.5 * z[2] + 0.87 * z[4]) * area * mass,
        rv_edv=group.rv_edvi.at(0.6 * z[2] + 0.8 * z[5]) * area * volume,
        rv_ef=group.rv_ef.at(0.5 * z[3] + 0.87 * z[6]),
        field_strength=strengths[int(u[1] < 0.35)],
        sex=sex,
        age=round(group.age.at(z[7])),
        height=round(height, 1),
        weight=round(weight, 1),
    )
    return drawn.updated(asked)
