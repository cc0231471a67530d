"""Does the difference between the arms depend on the scanner or the hospital? Tested over patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from evaluation.analysis.breakdown import groups_of
from evaluation.analysis.paired import AUGMENTED, BASELINE
from evaluation.analysis.statistics import between_groups, holm, smallest_between_p
from evaluation.scoring.table import PRIMARY

#: The ways to group patients that are tested, in the order of the report.
TESTED = ("vendor", "centre")
#: Groups of fewer patients are described and take no part in the test: their spread is hardly known.
SMALLEST_GROUP = 5
_COLUMNS = ("way", "structure", "metric", "n", "groups", "too_small", "same_as", "p", "smallest_p", "p_holm", "family")


def dependence(table: pd.DataFrame, values: pd.DataFrame, structures: Sequence[str]) -> pd.DataFrame:
    """Test for every structure and primary metric whether the patients' differences have the same mean in all groups.

    The test is :func:`evaluation.analysis.statistics.between_groups`. A patient has one difference: phases, folds and trainings are
    averaged before. So the test is about these trained networks; what another training would change is not in it.

    Args:
        table: long table, for who belongs where.
        values: from :func:`evaluation.analysis.paired.patient_values`.
        structures: the tested ones.

    Returns:
        Rows for each of ``TESTED`` by which patients are in two groups or more: ``n`` patients in the tested ``groups``, those groups and
        the ``too_small`` ones (names with commas between), ``p`` (NaN where fewer than two groups are large enough, or where another way,
        ``same_as``, groups the patients alike), ``smallest_p`` that these groups could give. ``p_holm`` and ``family`` are NaN and 0; see
        :func:`in_one_family`.
    """
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, str, frozenset[frozenset[str]]], str] = {}
    for way in TESTED:
        of = groups_of(table, way)
        if len(set(of) - {""}) < 2:
            continue
        for structure in structures:
            for metric in PRIMARY:
                one = values[(values["structure"] == structure) & (values["metric"] == metric)].set_index("patient")
                difference = one[AUGMENTED] - one[BASELINE]
                parts = {str(group): part for group, part in difference.groupby(of.reindex(difference.index)) if group}
                large = {group: part for group, part in parts.items() if len(part) >= SMALLEST_GROUP}
                alike = (structure, metric, frozenset(frozenset(part.index) for part in large.values()))
                same_as = seen.setdefault(alike, way)
                possible = len(large) > 1 and same_as == way
                row = {"way": way, "structure": structure, "metric": metric, "n": sum(map(len, large.values()))}
                row |= {"groups": ", ".join(large), "too_small": ", ".join(group for group in parts if group not in large)}
                row |= {"same_as": same_as if same_as != way and len(large) > 1 else "", "p_holm": np.nan, "family": 0}
                row["p"] = between_groups([part.to_numpy(float) for part in large.values()]) if possible else np.nan
                row["smallest_p"] = smallest_between_p([len(part) for part in large.values()]) if possible else np.nan
                rows.append(row)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def in_one_family(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables of :func:`dependence` with ``p_holm``, corrected over all of them, and ``family``, the number of these tests."""
    adjusted = holm(np.concatenate([table["p"].to_numpy(float) for table in tables]))
    ends = np.cumsum([len(table) for table in tables])
    return [
        table.assign(p_holm=p, family=int(np.isfinite(adjusted).sum()))
        for table, p in zip(tables, np.split(adjusted, ends[:-1]), strict=True)
    ]
