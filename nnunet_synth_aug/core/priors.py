"""Clinical priors: what a heart is asked to be, and what a mask says it is.

Every variable is optional; ``None`` means "not specified". ESV is derived from EDV and EF and never
stored, so a request cannot contradict itself (the paper's three volumes can, and do).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, LV, MYO, MYOCARDIAL_DENSITY, RV


@dataclass(frozen=True)
class Variable:
    """One prior: its unit, and the closed range (numbers) or the choices (categories) it may take."""

    unit: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()  # empty for numbers
    description: str = ""


#: Ranges are wide on purpose: they catch typing errors, not rare patients.
VARIABLES: dict[str, Variable] = {
    "diagnosis": Variable("", choices=DIAGNOSES, description="group of the ACDC challenge"),
    "lv_edv": Variable("mL", 20, 600, description="left ventricular end-diastolic volume"),
    "lv_ef": Variable("%", 2, 90, description="left ventricular ejection fraction"),
    "rv_edv": Variable("mL", 20, 600, description="right ventricular end-diastolic volume"),
    "rv_ef": Variable("%", 2, 90, description="right ventricular ejection fraction"),
    "lv_mass": Variable("g", 20, 500, description="left ventricular myocardial mass at ED"),
    "n_slices": Variable("", 3, 24, description="number of short-axis slices in the stack"),
    "slice_thickness": Variable("mm", 3, 20, description="distance between slice centres"),
    "vendor": Variable("", choices=("Siemens", "Philips", "GE", "Canon"), description="scanner manufacturer"),
    "field_strength": Variable("T", 0.2, 7, description="field strength"),
    "sex": Variable("", choices=("F", "M"), description="sex"),
    "age": Variable("years", 0, 120, description="age"),
    "height": Variable("cm", 40, 230, description="body height"),
    "weight": Variable("kg", 2, 300, description="body weight"),
}
NUMERIC: tuple[str, ...] = tuple(n for n, v in VARIABLES.items() if not v.choices)
#: What only a mask can tell.
FROM_MASKS: tuple[str, ...] = ("lv_edv", "lv_ef", "rv_edv", "rv_ef", "lv_mass")
CATEGORICAL: tuple[str, ...] = tuple(n for n, v in VARIABLES.items() if v.choices)


@dataclass(frozen=True)
class Priors:
    """Clinical priors of one heart; units in :data:`VARIABLES`."""

    diagnosis: str | None = None
    lv_edv: float | None = None
    lv_ef: float | None = None
    rv_edv: float | None = None
    rv_ef: float | None = None
    lv_mass: float | None = None
    n_slices: int | None = None
    slice_thickness: float | None = None
    vendor: str | None = None
    field_strength: float | None = None
    sex: str | None = None
    age: float | None = None
    height: float | None = None
    weight: float | None = None

    @property
    def lv_esv(self) -> float | None:
        """LV end-systolic volume in mL, from EDV and EF."""
        return None if self.lv_edv is None or self.lv_ef is None else self.lv_edv * (1 - self.lv_ef / 100)

    @property
    def rv_esv(self) -> float | None:
        """RV end-systolic volume in mL, from EDV and EF."""
        return None if self.rv_edv is None or self.rv_ef is None else self.rv_edv * (1 - self.rv_ef / 100)

    def specified(self) -> dict[str, Any]:
        """The variables that are set."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    def updated(self, other: Priors) -> Priors:
        """These priors with every variable that ``other`` sets."""
        return dataclasses.replace(self, **other.specified())

    def completed(self, told: Priors) -> Priors:
        """These priors with what they do not say of volumes, EF and mass, where ``told`` gives a possible value.

        A patient without contours shows an anatomy as good as any other's. With its volumes, by masks that a network made, the LDMs learn
        to which requests it belongs.
        """

        def possible(name: str) -> bool:
            value = getattr(told, name)
            return value is not None and VARIABLES[name].low <= value <= VARIABLES[name].high

        return dataclasses.replace(self, **{k: getattr(told, k) for k in FROM_MASKS if getattr(self, k) is None and possible(k)})

    @staticmethod
    def from_mapping(values: Mapping[str, Any], where: str = "priors") -> Priors:
        """Build from a table row or JSON; empty strings, None and NaN mean unspecified; checks every value."""
        known: dict[str, Any] = {}
        for name in VARIABLES:
            value = values.get(name)
            if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
                continue
            if VARIABLES[name].choices:
                known[name] = str(value)
            else:
                try:
                    known[name] = float(value)
                except (TypeError, ValueError) as error:
                    raise UserError(f"{where}: {name} is {value!r}, which is not a number") from error
        if (slices := known.get("n_slices")) is not None:
            if not slices.is_integer():
                raise UserError(f"{where}: n_slices is {slices:g}; it must be a whole number")
            known["n_slices"] = int(slices)
        return Priors(**known).validated(where)

    def validated(self, where: str = "priors") -> Priors:
        """Return self, or raise UserError naming the first impossible value."""
        for name, value in self.specified().items():
            variable = VARIABLES[name]
            if variable.choices:
                if value not in variable.choices:
                    raise UserError(f"{where}: {name} {value!r} is unknown; choose one of {', '.join(variable.choices)}")
            elif not (variable.low <= float(value) <= variable.high):
                unit = f" {variable.unit}" if variable.unit else ""
                raise UserError(f"{where}: {name} {value:g}{unit} is outside {variable.low:g} to {variable.high:g}{unit}")
        return self


def volume_ml(mask: np.ndarray, label: int, spacing: tuple[float, float, float]) -> float:
    """Volume in mL of one label by voxel count; mask (X, Y, Z), spacing in mm (1 mL = 1000 mm^3)."""
    return float(np.count_nonzero(mask == label)) * spacing[0] * spacing[1] * spacing[2] / 1000.0


def measure(
    ed: np.ndarray, es: np.ndarray | None, spacing: tuple[float, float, float], structures: frozenset[int] = frozenset({RV, MYO, LV})
) -> Priors:
    """Priors that masks can tell: LV and RV EDV and EF, LV mass at ED, slices, thickness.

    Args:
        ed: end-diastolic mask (X, Y, Z).
        es: end-systolic mask, or None (then EF stays unspecified).
        spacing: mm.
        structures: label values that were annotated; the others stay unspecified.
    """
    values: dict[str, Any] = {"slice_thickness": spacing[2], "n_slices": ed.shape[2]}
    for label, name in ((LV, "lv"), (RV, "rv")):
        if label not in structures:
            continue
        edv = volume_ml(ed, label, spacing)
        if edv <= 0:
            continue
        values[f"{name}_edv"] = edv
        if es is not None:
            values[f"{name}_ef"] = 100.0 * (edv - volume_ml(es, label, spacing)) / edv
    if MYO in structures and (mass := volume_ml(ed, MYO, spacing) * MYOCARDIAL_DENSITY) > 0:
        values["lv_mass"] = mass
    return Priors(**values)
