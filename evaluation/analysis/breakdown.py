"""Paired differences of groups of patients and parts of their images, and of all without the failures; described, not tested.

Whether differences depend on the group is tested in :mod:`evaluation.analysis.dependence`.
"""

from __future__ import annotations

import pandas as pd

from evaluation.analysis.paired import MEAN, described, patient_values
from evaluation.scoring.levels import LEVEL_METRICS, LEVELS
from evaluation.scoring.table import PRIMARY

#: Ways to break the patients or their images down, in the order of the report.
BREAKDOWNS = ("phase", "slice level", "vendor", "centre", "diagnosis")
_SHOWN = ("structure", "metric", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "effect")


def breakdown(table: pd.DataFrame, pairs: pd.DataFrame, structures: list[str]) -> dict[str, pd.DataFrame]:
    """Paired differences per phase, slice level, vendor, centre and diagnosis; descriptive, with unadjusted intervals.

    Phase and slice level look at parts of every patient, the others at some patients. Patients without a group are left out.

    Args:
        table: long table, for who belongs where.
        pairs: from :func:`evaluation.analysis.paired.pair_cases`.

    Returns:
        One table per way in ``BREAKDOWNS``: columns group and ``_SHOWN``; primary metrics, for slice levels Dice alone.
    """
    primary = pairs[pairs["metric"].isin(PRIMARY)]
    every = [*structures, MEAN]
    parts: dict[str, list[tuple[str, pd.DataFrame]]] = {
        "phase": [(str(phase), part) for phase, part in primary.groupby("phase") if phase],
        "slice level": [
            (level, pairs[pairs["metric"] == name].assign(metric="Dice")) for level, name in zip(LEVELS, LEVEL_METRICS, strict=True)
        ],
    }
    for column in ("vendor", "centre", "diagnosis"):
        groups = groups_of(table, column)
        of = primary["patient"].map(groups)
        parts[column] = [(str(group), primary[of == group]) for group in sorted(set(groups) - {""})]
    found = {}
    for way in BREAKDOWNS:
        rows = [
            {"group": group, **{k: row[k] for k in _SHOWN}}
            for group, part in parts[way]
            for row in described(patient_values(part), [(s, m) for s in every for m in PRIMARY])
            if row["n"]
        ]
        found[way] = pd.DataFrame(rows, columns=["group", *_SHOWN])
    return found


def groups_of(table: pd.DataFrame, column: str) -> pd.Series:
    """Patient -> group; "" where no row says it, and both names where rows say two."""
    return table.groupby("patient", sort=False)[column].agg(lambda told: " and ".join(sorted(set(told) - {""})))


def sensitivity(pairs: pd.DataFrame, structures: list[str]) -> pd.DataFrame:
    """The paired summary of ``pairs`` (failures left out by the caller), primary metrics only, without tests."""
    keys = [(s, m) for s in [*structures, MEAN] for m in PRIMARY]
    return pd.DataFrame(described(patient_values(pairs), keys)).drop(columns="p")
