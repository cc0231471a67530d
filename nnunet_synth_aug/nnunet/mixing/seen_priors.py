"""Which hearts the optimiser saw: synthetic samples counted by prior, in tenths of the bank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nnunet_synth_aug.core.priors import FROM_MASKS, VARIABLES

KINDS = ("requested", "measured")
COUNTED = ("diagnosis", *FROM_MASKS)
TENTHS = 10

#: kind -> prior -> samples per tenth (numbers), or per name (categories)
Counts = dict[str, dict[str, Any]]


class SeenPriors:
    """Counts draws of synthetic cases by what their hearts were asked for, and by what they measure.

    The edges of the tenths are the deciles of the bank, a heart counting once per case: a training that draws every case alike
    sees about as many samples in every tenth. Live refresh adds hearts; they are counted between the same edges.
    """

    def __init__(self, cases: Iterable[Mapping[str, Any]]) -> None:
        """Find the edges of the tenths.

        Args:
            cases: of the bank's manifest, with ``id``, ``requested`` and ``measured``.
        """
        self._priors: dict[str, Mapping[str, Any]] = {case["id"]: case for case in cases}
        self._edges: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            for name in COUNTED:
                found = [v for case in self._priors.values() if (v := (case.get(kind) or {}).get(name)) is not None]
                if found and not VARIABLES[name].choices:
                    self._edges[kind][name] = np.quantile(np.asarray(found, float), np.linspace(0, 1, TENTHS + 1))

    @property
    def edges(self) -> Counts:
        """Kind -> prior -> the eleven deciles, in the prior's unit."""
        return {kind: {name: edges.round(2).tolist() for name, edges in found.items()} for kind, found in self._edges.items()}

    def refreshed(self, journal: Iterable[Mapping[str, Any]]) -> None:
        """Learn what the hearts are that a generator put in the place of others.

        Args:
            journal: entries with ``cases``, ``version``, ``requested`` and ``measured``.
        """
        for entry in journal:
            for case in entry.get("cases") or ():
                self._priors[f"{case}@{entry['version']}"] = entry

    def unknown(self, drawn: Iterable[str]) -> bool:
        """Whether a drawn case is one that nothing is known of yet."""
        return any(case not in self._priors for case in drawn)

    def count(self, drawn: Counter[str]) -> Counts:
        """Samples by prior.

        Args:
            drawn: case id, with ``@version`` where it was replaced -> samples.
        """
        counts: Counts = {kind: {} for kind in KINDS}
        for case, samples in drawn.items():
            about = self._priors.get(case, {})
            for kind in KINDS:
                for name in COUNTED:
                    if (value := (about.get(kind) or {}).get(name)) is None:
                        continue
                    if VARIABLES[name].choices:
                        names = counts[kind].setdefault(name, {})
                        names[str(value)] = names.get(str(value), 0) + samples
                    elif name in self._edges[kind]:
                        counts[kind].setdefault(name, [0] * TENTHS)[self._tenth(kind, name, float(value))] += samples
        return counts

    def _tenth(self, kind: str, name: str, value: float) -> int:
        return int(np.clip(np.searchsorted(self._edges[kind][name], value, side="right") - 1, 0, TENTHS - 1))


def added(counts: Iterable[Counts]) -> Counts:
    """The sum of the counts of several epochs."""
    total: Counts = {kind: {} for kind in KINDS}
    for one in counts:
        for kind, priors in one.items():
            for name, found in priors.items():
                if isinstance(found, dict):
                    names = total[kind].setdefault(name, {})
                    for value, samples in found.items():
                        names[value] = names.get(value, 0) + samples
                else:
                    before = total[kind].get(name, [0] * TENTHS)
                    total[kind][name] = [a + b for a, b in zip(before, found, strict=True)]
    return total
