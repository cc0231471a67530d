"""Tables of the report: paired summary, headline, groups; all from one value per patient and arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evaluation.pairing import AUGMENTED, BASELINE, MEAN, SIDES, patient_values
from evaluation.statistics import ALPHA, bca_interval, holm, signed_rank
from evaluation.table import METRICS, PRIMARY

BETTER, WORSE = "better with augmentation", "worse with augmentation"
NO_EVIDENCE, MIXED = "no evidence of a difference", "inconclusive: the mean difference and the ranks point in opposite directions"
#: Averages of differences below this are rounding noise of the mean, not a win or a loss.
TIE = 1e-10


def paired_summary(values: pd.DataFrame, structures: list[str]) -> pd.DataFrame:
    """Describe both arms and their paired difference, and test the primary family.

    Args:
        values: from :func:`evaluation.pairing.patient_values`.
        structures: the tested ones, in order; the average over them follows as ``mean``, untested.

    Returns:
        One row per structure and metric: n patients; mean, sd, median, q1, q3 per arm; ``difference``
        (augmented - baseline) with ``ci_low``, ``ci_high``; ``p`` and ``p_holm`` (NaN outside the primary
        family structures x {Dice, HD}); ``effect`` (rank-biserial, positive favours augmented); patients
        ``better``, ``ties``, ``worse``; ``verdict`` ("" outside the primary family).
    """
    rows = [_row(values, s, m) for s in [*structures, MEAN] for m in METRICS]
    table = pd.DataFrame(rows)
    family = table["metric"].isin(PRIMARY) & (table["structure"] != MEAN)
    table["p"] = table["p"].where(family)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    table["verdict"] = [_verdict(row) if tested else "" for row, tested in zip(table.to_dict("records"), family, strict=True)]
    return table


def _row(values: pd.DataFrame, structure: str, metric: str) -> dict[str, Any]:
    chosen = values[(values["structure"] == structure) & (values["metric"] == metric)]
    arms = {side: chosen[side].to_numpy(float) for side in SIDES}
    d = arms[AUGMENTED] - arms[BASELINE]
    definition = METRICS[metric]
    low, high = bca_interval(d)
    test = signed_rank(d)
    row: dict[str, Any] = {"structure": structure, "metric": metric, "unit": definition.unit, "n": d.size}
    for side, x in arms.items():
        q1, median, q3 = np.quantile(x, [0.25, 0.5, 0.75]) if x.size else (np.nan,) * 3
        row |= {f"{side}_mean": x.mean() if x.size else np.nan, f"{side}_sd": x.std(ddof=1) if x.size > 1 else np.nan}
        row |= {f"{side}_median": median, f"{side}_q1": q1, f"{side}_q3": q3}
    gain = d * definition.sign
    return row | {
        "difference": d.mean() if d.size else np.nan,
        "ci_low": low,
        "ci_high": high,
        "p": test.p,
        "effect": test.rank_biserial * definition.sign,
        "better": int((gain > TIE).sum()),
        "ties": int((np.abs(gain) <= TIE).sum()),
        "worse": int((gain < -TIE).sum()),
    }


def _verdict(row: dict[Any, Any]) -> str:
    """The test decides whether there is a difference; its direction must be that of both mean and ranks."""
    if not row["p_holm"] < ALPHA:
        return NO_EVIDENCE
    gain = row["difference"] * METRICS[row["metric"]].sign
    if gain > 0 and row["effect"] > 0:
        return BETTER
    return WORSE if gain < 0 and row["effect"] < 0 else MIXED


HEADLINE_COLUMNS = (BASELINE, AUGMENTED, "difference", "ci_low", "ci_high", "p_holm")


def headline(summary: pd.DataFrame) -> pd.DataFrame:
    """Primary metrics only: rows structures and ``mean``; columns (metric, one of ``HEADLINE_COLUMNS``)."""
    renamed = summary.rename(columns={f"{side}_mean": side for side in SIDES})
    parts = {m: renamed[renamed["metric"] == m].set_index("structure")[list(HEADLINE_COLUMNS)] for m in PRIMARY}
    return pd.concat(parts, axis=1)


def by_phase(pairs: pd.DataFrame, structures: list[str]) -> pd.DataFrame:
    """Mean of each arm per phase, structure and primary metric; descriptive."""
    named = pairs[pairs["metric"].isin(PRIMARY) & (pairs["phase"] != "") & pairs["structure"].isin(structures)]
    means = named.dropna(subset=list(SIDES)).groupby(["phase", "structure", "metric"], sort=False)[list(SIDES)]
    table = means.mean().assign(n=means.size()).reset_index()
    table["difference"] = table[AUGMENTED] - table[BASELINE]
    order = {s: i for i, s in enumerate(structures)}
    return table.sort_values(["phase", "structure"], key=lambda c: c.map(order) if c.name == "structure" else c, kind="stable").reset_index(
        drop=True
    )


def by_group(values: pd.DataFrame, groups: pd.Series, structures: list[str]) -> pd.DataFrame:
    """Paired difference of the primary metrics within each group of patients; descriptive, unadjusted intervals.

    Args:
        groups: group by patient id; patients with "" are left out.
    """
    rows: list[dict[str, Any]] = []
    for group in sorted(set(groups) - {""}):
        members = values[values["patient"].isin(groups.index[groups == group])]
        for structure in [*structures, MEAN]:
            for metric in PRIMARY:
                row = _row(members, structure, metric)
                if row["n"]:
                    rows.append({"group": group, **{k: row[k] for k in ("structure", "metric", "n", "difference", "ci_low", "ci_high")}})
    return pd.DataFrame(rows)


def patient_groups(table: pd.DataFrame, column: str) -> pd.Series:
    """``vendor`` or ``diagnosis`` by patient id."""
    return table.drop_duplicates("patient").set_index("patient")[column]


def sensitivity(pairs: pd.DataFrame, structures: list[str]) -> pd.DataFrame:
    """The paired summary of ``pairs`` (failures left out by the caller), primary metrics only, without tests."""
    table = paired_summary(patient_values(pairs), structures)
    return table[table["metric"].isin(PRIMARY)].drop(columns=["p", "p_holm", "verdict"]).reset_index(drop=True)
