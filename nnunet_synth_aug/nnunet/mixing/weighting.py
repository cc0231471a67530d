"""Which synthetic cases are drawn more often, and what their patches are centred on.

Both are relative: what is not named has weight 1. Real cases are drawn as nnU-Net draws them, always.

``diagnosis`` weighs cases by the diagnosis that their heart was asked to have. ``structure`` weighs what nnU-Net centres a patch on
where it forces foreground (a third of the samples): it chooses uniformly between the labels that a case has, and with these
weights between those of a synthetic case. Weighing cases by structure instead would do nothing, since every heart has all three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, STRUCTURES
from nnunet_synth_aug.core.settings import OneOf

Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Weights:
    """The ``weights`` object in the plans' ``synth_aug``."""

    diagnosis: dict[Annotated[str, OneOf(*DIAGNOSES)], Weight] = field(default_factory=dict)
    structure: dict[Annotated[str, OneOf(*STRUCTURES)], Weight] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weights, choices in (("diagnosis", self.diagnosis, DIAGNOSES), ("structure", self.structure, STRUCTURES)):
            if not any(weights.get(one, 1) for one in choices):
                raise ValueError(f"{name} leaves nothing to draw; give one of {', '.join(choices)} a weight above 0")

    def recorded(self) -> dict[str, Any]:
        """As it is written into the plans."""
        return {kind: dict(weights) for kind, weights in vars(self).items() if weights}


def draw_probabilities(cases: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> dict[str, float] | None:
    """Case id -> probability of being the next synthetic sample; None: all alike.

    In a bank of several sources each source has an equal part of the draws before weights: a copy has two frames and a phantom as
    many as was asked for, and that should not decide how many copies a training sees.

    Args:
        cases: entries of the bank's manifest, with ``id``, ``requested`` and, where there are several, ``source``.
        weights: of diagnoses.

    Raises:
        UserError: the bank lacks a named diagnosis, or all of its cases have weight 0.
    """
    diagnoses = [str(case["requested"].get("diagnosis", "unspecified")) for case in cases]
    held = sorted(set(diagnoses))
    if absent := [name for name in weights if name not in held]:
        raise UserError(
            f"weights.diagnosis names {', '.join(absent)}, but the bank's hearts are {', '.join(held)}; name these or make another bank"
        )
    sources = [case.get("source") for case in cases]
    cases_of = Counter(sources)
    if not weights and len(cases_of) == 1:
        return None
    drawn = np.array([weights.get(diagnosis, 1.0) / cases_of[source] for diagnosis, source in zip(diagnoses, sources, strict=True)])
    if not drawn.any():
        raise UserError(f"weights.diagnosis leaves no case of the bank to draw; give one of {', '.join(held)} a weight above 0")
    return dict(zip((case["id"] for case in cases), (drawn / drawn.sum()).tolist(), strict=True))


class WeightedPatches:
    """A dataset of synthetic cases whose forced foreground is chosen by structure.

    nnU-Net chooses uniformly between the non-empty ``class_locations`` of a case. Each time a case is loaded, all but one
    are taken away.
    """

    def __init__(self, cases: Any, weights: Mapping[str, float], lookup: np.ndarray) -> None:
        """``cases``: an nnU-Net dataset. ``lookup``: from this package's label values to the dataset's, of ``label_lookup``."""
        self._cases = cases
        self._weights = {int(lookup[label]): weights.get(name, 1.0) for name, label in STRUCTURES.items()}
        self.identifiers: list[str] = cases.identifiers

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """A case whose forced foreground is drawn by the weights of its structures."""
        data, seg, previous, properties = self._cases.load_case(identifier)
        return data, seg, previous, properties | {"class_locations": self._choose(properties["class_locations"])}

    def _choose(self, locations: dict[Any, Any]) -> dict[Any, Any]:
        # With an ignore label there is one more entry, (-1, 0, ...): all that is annotated, for patches without forced foreground.
        annotated = {key: voxels for key, voxels in locations.items() if isinstance(key, tuple) and -1 in key}
        present = [key for key, voxels in locations.items() if key not in annotated and len(voxels) > 0]
        weights = np.array([self._weight(key) for key in present])
        if not weights.any():
            return locations
        key = present[np.random.choice(len(present), p=weights / weights.sum())]
        return {key: locations[key]} | annotated

    def _weight(self, key: int | tuple[int, ...]) -> float:
        """Of a label, or of a region: the mean over its structures."""
        return float(np.mean([self._weights[int(value)] for value in (key if isinstance(key, tuple) else (key,))]))
