"""What ``synthaug evaluate`` prints: the main numbers, what they mean, and where the rest is."""

from __future__ import annotations

from typing import Any

from evaluation.evaluate import ABOUT, TABLE, Evaluation
from evaluation.scoring.table import METRICS


def printed(result: Evaluation) -> str:
    """The report of one folder as text of up to 132 columns."""
    overall = result.structures[result.structures["phase"] == "all"]
    shown = [m for m in METRICS if m in set(overall["metric"])]
    rows = [["structure", "cases", *(f"{m} [{METRICS[m].unit}]" if METRICS[m].unit else m for m in shown), "failed", "both empty"]]
    for structure, of_one in overall.groupby("structure", sort=False):
        by_metric = of_one.set_index("metric")
        cells = [_spread(by_metric.loc[m].to_dict(), METRICS[m].digits) for m in shown]
        first = of_one.iloc[0]
        rows.append([str(structure), str(first["n"]), *cells, str(first["failures"]), str(first["excluded"])])
    lines = [f"{result.about['model']} on {result.about['dataset']}, {result.about['cases']} predictions; mean ± SD over cases", ""]
    lines += _aligned(rows)
    if not result.agreement.empty:
        lines += ["", "Predicted minus true volumes, patients with ED and ES:", ""]
        volumes = [["quantity", "n", "bias", "95 % limits of agreement", "mean absolute error", "Pearson r"]]
        for row in result.agreement.to_dict("records"):
            limits = f"{row['limit_low']:+.1f} to {row['limit_high']:+.1f}"
            volumes.append(
                [f"{row['quantity']} [{row['unit']}]", str(row["n"]), f"{row['bias']:+.1f}", limits, f"{row['mae']:.1f}", f"{row['r']:.3f}"]
            )
        lines += _aligned(volumes)
    lines += [
        "",
        "Distances in mm, 3D, voxel centres, 6-neighbour surface, as in medpy; HD95 and ASSD pool both directions (MONAI's HD95 does not).",
        "Surface Dice within "
        + ", ".join(f"{mm:g} mm ({s})" for s, mm in result.about["surface_dice_tolerance_mm"].items())
        + ", by area, as in surface-distance.",
        *(["Largest connected heart of every prediction alone (--largest-heart)."] if result.about["largest_heart"] else []),
        f"Policy '{result.about['empty_masks']['policy']}': {result.about['empty_masks']['rule']}",
        *result.notes,
    ]
    if len(result.failures):
        lines += ["", "Failures:", "", *result.failures.to_string(index=False).splitlines()]
    return "\n".join([*lines, "", f"results: {result.out / TABLE}; definitions and rules: {result.out / ABOUT}"])


def _spread(row: dict[Any, Any], digits: int) -> str:
    return f"{row['mean']:.{digits}f} ± {row['sd']:.{digits}f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
