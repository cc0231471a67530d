"""How masks are scored: four settings that the command line takes and that travel unchanged to the metric, and to the report.

The distance to an empty mask is infinite, and an infinite value would make every mean infinite. Leaving such cases out
rewards the model that failed. The default therefore puts the largest distance that the image allows in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from evaluation.scoring.table import TOLERANCE_MM
from nnunet_synth_aug.core.errors import UserError

#: mm, for all structures or by structure.
Tolerance = float | Mapping[str, float]
#: Who computes the distances: the same values, one much slower.
ENGINES = ("native", "medpy")
PENALTY, NAN, DROP = "penalty", "nan", "drop"

_EXCLUDED = "Where both masks are empty there is nothing to score: every metric is NaN, and the pair is counted."
#: What an empty mask or a missing prediction scores, by the policy's name, as the reports print it.
EMPTY_POLICIES: dict[str, str] = {
    PENALTY: "One mask empty, or a prediction that is missing and was allowed to be: overlap 0, distances the diagonal of the image "
    f"box, which no distance can exceed. {_EXCLUDED}",
    NAN: f"One mask empty: overlap 0, distances NaN and left out of every mean. A missing prediction is NaN throughout. {_EXCLUDED}",
    DROP: f"One mask empty, or a prediction missing: every metric NaN, so that the pair takes no part in any mean. {_EXCLUDED}",
}


@dataclass(frozen=True)
class ScoringRules:
    """By which rules masks are scored.

    Args:
        engine: one of ``ENGINES``.
        empty: one of ``EMPTY_POLICIES``.
        tolerance: mm of the surface Dice, for all structures or by structure (``TOLERANCE_MM`` for those not named).
        largest_heart: score the largest connected heart of every prediction alone, as nnU-Net's postprocessing of the foreground
            leaves it.

    Raises:
        UserError: an engine or a policy that does not exist.
    """

    engine: str = "native"
    empty: str = PENALTY
    tolerance: Tolerance = TOLERANCE_MM
    largest_heart: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UserError(f"there is no metric engine {self.engine!r}; choose one of {', '.join(ENGINES)}")
        if self.empty not in EMPTY_POLICIES:
            raise UserError(f"there is no policy {self.empty!r} for empty masks; choose one of {', '.join(EMPTY_POLICIES)}")

    def tolerance_of(self, structure: str) -> float:
        """Tolerance of one structure's surface Dice in mm."""
        return self.tolerance.get(structure, TOLERANCE_MM) if isinstance(self.tolerance, Mapping) else self.tolerance

    def of(self, structures: Iterable[str]) -> ScoringRules:
        """The same, with the tolerance of each of these structures by its name."""
        return replace(self, tolerance={s: self.tolerance_of(s) for s in structures})

    def tolerance_text(self) -> str:
        """``2 mm``, or by structure where they differ."""
        by_name = self.tolerance if isinstance(self.tolerance, Mapping) else {"": self.tolerance}
        different = set(by_name.values())
        return f"{different.pop():g} mm" if len(different) == 1 else ", ".join(f"{s} {mm:g} mm" for s, mm in by_name.items())


BY_DEFAULT = ScoringRules()
BY_DEFAULT = ScoringRules()
#: Rules that a table came without, in the same files.
_UNKNOWN = {"engine": "", "empty_masks": {"policy": "", "rule": ""}, "surface_dice_tolerance_mm": {}, "largest_heart": False}


def to_json(rules: ScoringRules | None) -> dict[str, Any]:
    """As ``evaluation.json`` and ``comparison.json`` hold the rules; ``rules`` are those :meth:`ScoringRules.of` the structures."""
    if rules is None:
        return dict(_UNKNOWN)
    return {
        "engine": rules.engine,
        "empty_masks": {"policy": rules.empty, "rule": EMPTY_POLICIES[rules.empty]},
        "surface_dice_tolerance_mm": dict(rules.tolerance) if isinstance(rules.tolerance, Mapping) else rules.tolerance,
        "largest_heart": rules.largest_heart,
    }


def from_json(about: Mapping[str, Any]) -> ScoringRules | None:
    """What :func:`to_json` wrote; None where that is not known.

    Raises:
        UserError: a rule that this version does not know.
    """
    policy = about.get("empty_masks", {}).get("policy")
    if not policy:
        return None
    tolerance = about.get("surface_dice_tolerance_mm", TOLERANCE_MM)
    return ScoringRules(about.get("engine") or "native", policy, tolerance, about.get("largest_heart", False))
