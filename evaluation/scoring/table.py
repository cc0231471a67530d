"""The contract between the parts: one long table, one row per prediction, structure and metric."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation.scoring.levels import LEVEL_METRICS
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.tables import plain_number, read_words, separated, unquoted

if TYPE_CHECKING:
    import pandas as pd

#: Columns of ``metrics.csv``, in this order. ``fold``, ``seed``, ``phase``, ``vendor``, ``centre`` and ``diagnosis`` may be empty.
COLUMNS: tuple[str, ...] = (
    "dataset",
    "vendor",
    "centre",
    "diagnosis",
    "patient",
    "phase",
    "fold",
    "seed",
    "model",
    "mix_ratio",
    "structure",
    "metric",
    "value",
    "unit",
    "failure",
    "prediction_file",
)

#: What identifies one scored structure of one prediction; a row adds ``metric``.
KEY: tuple[str, ...] = ("patient", "phase", "fold", "seed", "model", "structure")
_NUMBERS = {"value", "mix_ratio"}

BOTH_EMPTY = "both empty"
PREDICTION_EMPTY = "prediction empty"
REFERENCE_EMPTY = "reference empty"
PREDICTION_MISSING = "prediction missing"
#: Values of the column ``failure``; "" means that both masks hold the structure.
FAILURES: tuple[str, ...] = ("", BOTH_EMPTY, PREDICTION_EMPTY, REFERENCE_EMPTY, PREDICTION_MISSING)


@dataclass(frozen=True)
class Metric:
    """Unit, direction and definition of one metric, in full and for the foot of a table; ``perfect`` is its value for identical masks."""

    unit: str
    definition: str
    short: str
    perfect: float = 0.0
    higher_is_better: bool = False
    digits: int = 2

    @property
    def sign(self) -> int:
        """+1 where a larger value is better, -1 where a smaller one is."""
        return 1 if self.higher_is_better else -1


#: Default tolerance of the surface Dice: somewhat more than a pixel, and about what two observers differ by (docs/reference/metrics.md).
TOLERANCE_MM = 2.0

METRICS: dict[str, Metric] = {
    "Dice": Metric("", "2 TP / (2 TP + FP + FN) over the voxels of the whole 3D volume.", "2 TP / (2 TP + FP + FN), 3D", 1.0, True, 3),
    "IoU": Metric("", "TP / (TP + FP + FN) over the voxels of the whole 3D volume.", "TP / (TP + FP + FN), 3D", 1.0, True, 3),
    "HD": Metric(
        "mm",
        "Hausdorff distance: the largest distance from a surface voxel of one mask to the nearest surface voxel of the other.",
        "largest surface distance of both directions, 3D, as medpy",
    ),
    "HD95": Metric(
        "mm",
        "95th percentile of the surface distances of both directions, pooled in one list.",
        "95th percentile of both directions pooled, as medpy (MONAI: the larger of the two directions' percentiles)",
    ),
    "ASSD": Metric(
        "mm",
        "Average symmetric surface distance: mean of the surface distances of both directions, pooled in one list.",
        "mean of both directions pooled, as medpy",
    ),
    "Surface Dice": Metric(
        "",
        f"Share of both surfaces, by area, within {TOLERANCE_MM:g} mm (unless another tolerance is stated) of the other; surfaces run "
        "between voxels, as in the library surface-distance.",
        "share of both surfaces by area within the tolerance, as surface-distance",
        1.0,
        True,
        3,
    ),
}
#: Tested and corrected for multiplicity; the others are described with intervals.
PRIMARY: tuple[str, ...] = ("Dice", "HD")
DISTANCES: tuple[str, ...] = ("HD", "HD95", "ASSD")
#: In mL, by voxel count; described, never tested.
VOLUME, REFERENCE_VOLUME = "Volume", "Reference volume"
#: The larger of the two directed 95th percentiles, as in MONAI: only to compare with numbers of such tools.
HD95_DIRECTED = "HD95 max of directed"
UNITS: dict[str, str] = {
    **{name: metric.unit for name, metric in METRICS.items()},
    **dict.fromkeys(LEVEL_METRICS, ""),
    HD95_DIRECTED: "mm",
    VOLUME: "mL",
    REFERENCE_VOLUME: "mL",
}


def validated(table: pd.DataFrame, where: str = "metrics table") -> pd.DataFrame:
    """Return ``table`` with the columns in order, or raise UserError naming what breaks the contract."""
    if "centre" not in table:  # tables of before
        table = table.assign(centre="")
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise UserError(f"{where} lacks the columns {', '.join(missing)}; write it with 'synthaug evaluate' or 'synthaug compare'")
    unknown = sorted(set(table["metric"]) - set(UNITS))
    if unknown:
        raise UserError(f"{where} holds the unknown metrics {', '.join(unknown)}; known are {', '.join(UNITS)}")
    doubled = table.duplicated([*KEY, "metric"])
    if doubled.any():
        row = table.loc[doubled].iloc[0]
        raise UserError(
            f"{where} scores {row['structure']} {row['metric']} of patient {row['patient']} {row['phase']} twice for {row['model']}; "
            "give every case its own id, or name patients and phases in cohort.json"
        )
    if np.isinf(table["value"].to_numpy(float)).any():
        raise UserError(f"{where} holds infinite values; an empty mask must be scored as a failure")
    _refuse_impossible(table, where)
    return table.loc[:, list(COLUMNS)]


def _refuse_impossible(table: pd.DataFrame, where: str) -> None:
    """Values that no metric has, in other units, or left out."""
    value = table["value"]
    shares = table["metric"].map(lambda name: UNITS[name] == "")
    findings = {
        "is below 0": value < 0,
        "is above 1, which no overlap is": shares & (value > 1),
        "is not in the unit of this metric": table["unit"] != table["metric"].map(UNITS),
        "has no value and no failure": value.isna() & (table["failure"] == "") & table["metric"].isin(METRICS),
    }
    for what, wrong in findings.items():
        if wrong.any():
            row = table.loc[wrong].iloc[0]
            shown = f"{row['metric']} of {row['structure']}, patient {row['patient']} {row['phase']} ({row['value']:g} {row['unit']})"
            raise UserError(f"{where}: {shown} {what}; write the table again with 'synthaug evaluate' or 'synthaug compare'")


def read_table(path: Path) -> pd.DataFrame:
    """Read ``metrics.csv``, from whatever program saved it; text columns stay text (fold "0", patient "001").

    Raises:
        UserError: it cannot be read, has no rows, or breaks the contract.
    """
    import pandas as pd  # here because processes that score need the names above, not the tables

    if not path.is_file():
        raise UserError(f"{path} does not exist")
    text, separator = separated(read_words(path))
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
        texts = [c for c in COLUMNS if c not in _NUMBERS and c in table]
        numbers = {c: pd.to_numeric(table[c].map(plain_number)) for c in _NUMBERS if c in table}
        table = table.assign(**{c: table[c].map(unquoted) for c in texts}, **numbers)
    except ValueError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} is not a readable metrics table ({why}); write it again with 'synthaug compare'") from error
    if table.empty:
        raise UserError(f"{path} has no rows; write it again with 'synthaug evaluate' or 'synthaug compare'")
    return validated(table, str(path))
