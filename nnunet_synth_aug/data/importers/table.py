"""The table of patients that comes with a source data set, one row each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nnunet_synth_aug.core.errors import UserError

#: What people write where they do not know, in lower case.
_UNKNOWN = {"", "nan", "na", "n/a", "none", "unknown", "-", "?"}


@dataclass(frozen=True)
class SourceTable:
    """Rows by patient; all values are text."""

    path: Path
    rows: dict[str, dict[str, str]]

    def require(self, patients: Iterable[str]) -> None:
        """Raise UserError unless every patient has a row."""
        if missing := [patient for patient in patients if patient not in self.rows]:
            raise UserError(f"{self.path} has no row for {', '.join(missing[:5])}; add it or leave out the patient's folder")

    def text(self, patient: str, column: str) -> str:
        """A value; "" where it is not known or the table lacks the column."""
        value = self.rows[patient].get(column, "").strip()
        return "" if value.lower() in _UNKNOWN else value

    def frame(self, patient: str, column: str, n_frames: int) -> int:
        """A frame counted from 0 that the cine has."""
        text = self.text(patient, column)
        try:
            frame = float(text)
        except ValueError:
            frame = -1.0
        if not (frame.is_integer() and 0 <= frame < n_frames):
            raise UserError(
                f"{self.path} gives {column} of {patient} as {text!r}; its cine has the frames 0 to {n_frames - 1}: correct the table"
            )
        return int(frame)


def find_table(folder: Path, columns: tuple[str, ...], key: str, digits: int = 0) -> SourceTable:
    """Find the CSV with these columns below ``folder``, else in the two folders above; the one with most columns if there are several.

    Args:
        folder: where the patients are.
        columns: that it must have.
        key: the one with the patient.
        digits: of patients that are numbers, which tables write without leading zeros.

    Raises:
        UserError: no such table, or a patient in it twice.
    """
    for places in (folder.rglob("*.csv"), *(parent.glob("*.csv") for parent in folder.resolve().parents[:2])):
        tables = [(path, table) for path in sorted(places) if (table := _read(path)) is not None and set(columns) <= set(table.columns)]
        if tables:
            break
    else:
        raise UserError(f"{folder} has no CSV table with the columns {', '.join(columns)} in it or above it; copy it from the download")
    path, table = max(tables, key=lambda one: len(one[1].columns))
    rows: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        values = {str(name): str(value) for name, value in row.items()}
        patient = values[key].strip()
        if not patient:
            continue  # spreadsheets append empty rows
        if digits and patient.removesuffix(".0").isdigit():
            patient = f"{int(patient.removesuffix('.0')):0{digits}d}"
        if patient in rows:
            raise UserError(f"{path} has two rows for {patient}; remove one")
        rows[patient] = values
    return SourceTable(path, rows)


def _read(path: Path) -> pd.DataFrame | None:
    """The table as text, or None where the file is not one."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        table = pd.read_csv(
            path, sep=";" if header.count(";") > header.count(",") else ",", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError):  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        return None
    return table.rename(columns=lambda name: str(name).strip())
