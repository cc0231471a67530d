"""What the hearts of a set are asked for: ``--prior NAME=VALUE`` or ``--prior NAME=LOW..HIGH``, on the command line and in Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import VARIABLES, Priors

_BETWEEN = ".."
#: A number as people write it: what Python also takes for one, such as 1_0, may be a slip.
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


@dataclass(frozen=True)
class PriorRequest:
    """Priors that every heart of a set has, and ranges from which each heart draws its own."""

    fixed: Priors = Priors()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # name -> lowest and highest value

    def __bool__(self) -> bool:
        return bool(self.fixed.specified() or self.ranges)

    def draw(self, seed: int, index: int) -> Priors:
        """The priors of heart number ``index``: the fixed ones, and a uniform draw from every range.

        Args:
            seed: of the set.
            index: from 0; the same heart gets the same priors whatever the number of hearts.
        """
        rng = np.random.default_rng([seed, index, 5])  # of its own: a range changes nothing else about the heart
        drawn: dict[str, Any] = {}
        for name, (low, high) in sorted(self.ranges.items()):
            whole = name in WHOLE
            drawn[name] = int(rng.integers(round(low), round(high) + 1)) if whole else round(float(rng.uniform(low, high)), 1)
        return self.fixed.updated(Priors(**drawn))

    def with_fixed(self, more: Priors) -> PriorRequest:
        """The same with what ``more`` sets fixed, too."""
        ranges = {name: limits for name, limits in self.ranges.items() if name not in more.specified()}
        return PriorRequest(self.fixed.updated(more), ranges)

    def to_json(self) -> dict[str, Any]:
        """For provenance: a value, or ``[low, high]``."""
        return self.fixed.specified() | {name: list(limits) for name, limits in sorted(self.ranges.items())}

    @staticmethod
    def from_json(values: Mapping[str, Any], where: str = "priors") -> PriorRequest:
        """From a mapping of names to values, ``[low, high]`` pairs or texts such as ``"20..30"``.

        Raises:
            UserError: an unknown name, or a value that no heart has.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"{where} are {values!r}; give a mapping of names to values, such as {{'lv_ef': 30}}")
        texts = []
        for name, value in values.items():
            pair = isinstance(value, (list, tuple)) and len(value) == 2
            texts.append(f"{name}={value[0]}{_BETWEEN}{value[1]}" if pair else f"{name}={value}")
        return parse_priors(texts, where)


#: Priors that are whole numbers.
WHOLE = tuple(f.name for f in fields(Priors) if str(f.type).startswith("int"))


def parse_priors(texts: Iterable[str], where: str = "--prior") -> PriorRequest:
    """Texts such as ``lv_ef=30``, ``lv_edv=150..250`` or ``diagnosis=DCM``.

    Args:
        texts: one per prior.
        where: what the sentences call them.

    Raises:
        UserError: not of that form, an unknown name, a name that comes twice, or a value that no heart has.
    """
    values: dict[str, Any] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise UserError(f"{where} {text}: write NAME=VALUE or NAME=LOW{_BETWEEN}HIGH, such as lv_ef=30 or lv_ef=20{_BETWEEN}30")
        if name not in VARIABLES:
            near = get_close_matches(name.lower(), VARIABLES, 1) or [v for v in VARIABLES if v.endswith(f"_{name}")][:1]
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{where} {text}: there is no prior {name!r}; {hint}choose from {', '.join(VARIABLES)}")
        if name in values or name in ranges:
            once = "give it once" if VARIABLES[name].choices else f"give it once, or a range such as {name}=LOW{_BETWEEN}HIGH"
            raise UserError(f"{where} {text}: {name} is asked for twice; {once}")
        if VARIABLES[name].choices or _NUMBER.fullmatch(value):
            values[name] = _as_written(name, value)
        else:
            ranges[name] = _limits(name, value, f"{where} {text}")
    return PriorRequest(Priors.from_mapping(values, where), ranges)


def _limits(name: str, value: str, where: str) -> tuple[float, float]:
    ends = re.fullmatch(f"({_NUMBER.pattern}){re.escape(_BETWEEN)}({_NUMBER.pattern})", value)
    if ends is None:
        example = f"{name}={VARIABLES[name].low:g}{_BETWEEN}{VARIABLES[name].high:g}"
        raise UserError(f"{where}: {value!r} is not a number, nor a range with both ends and two dots between, such as {example}")
    if float(ends[1]) == float(ends[3]):
        raise UserError(f"{where}: both ends are the same; write {name}={ends[1]}")
    if float(ends[1]) > float(ends[3]):
        raise UserError(f"{where}: write the lower end first: {name}={ends[3]}{_BETWEEN}{ends[1]}")
    low, high = (getattr(Priors.from_mapping({name: end}, where), name) for end in (ends[1], ends[3]))
    return float(low), float(high)


def _as_written(name: str, value: str) -> str:
    """A choice as this package writes it: "siemens" is Siemens."""
    return next((choice for choice in VARIABLES[name].choices if choice.lower() == value.lower()), value)
