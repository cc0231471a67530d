"""The table of patients that comes with a source data set, one row each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.tables import plain_number, read_table

#: What people write where they do not know, in lower case.
_UNKNOWN = {"", "nan", "na", "n/a", "none", "unknown", "-", "?"}


@dataclass(frozen=True)
class SourceTable:
    """Rows by patient; all values are text, and columns have the names of :func:`_plain`."""

    path: Path
    rows: dict[str, dict[str, str]]

    def require(self, patients: Iterable[str]) -> None:
        """Raise UserError unless every patient has a row."""
        if missing := [patient for patient in patients if patient not in self.rows]:
            raise UserError(f"{self.path} has no row for {', '.join(missing[:5])}; add it or leave out the patient's folder")

    def text(self, patient: str, column: str) -> str:
        """A value; "" where it is not known or the table lacks the column. Decimal commas are made points."""
        value = self.rows[patient].get(_plain(column), "").strip()
        return "" if value.lower() in _UNKNOWN else plain_number(value)

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


#: First word of a vendor's name, in lower case -> vendor here.
_VENDORS = {"siemens": "Siemens", "philips": "Philips", "ge": "GE", "general": "GE", "canon": "Canon"}


def named_vendor(maker: str) -> str | None:
    """The vendor that a maker's name means, such as "GE MEDICAL SYSTEMS"; None if unknown."""
    return _VENDORS.get(maker.lower().split(" ")[0])


def read_rows(path: Path, key: str) -> SourceTable:
    """A table whose column ``key`` names the patients.

    Raises:
        UserError: unreadable, without that column, or a patient in it twice.
    """
    names, lines = read_table(path)
    if _plain(key) not in map(_plain, names):
        raise UserError(f"{path} has no column {key!r}; add it")
    return SourceTable(path, _by_patient(path, [{_plain(name): value for name, value in line.items()} for line in lines.values()], key))


def find_table(folder: Path, columns: tuple[str, ...], key: str, digits: int = 0) -> SourceTable:
    """Find the CSV with these columns below ``folder``, else in the two folders above; the one with most columns if there are several.

    Args:
        folder: where the patients are.
        columns: that it must have, in capitals or not.
        key: the one with the patient.
        digits: of patients that are numbers, which tables write without leading zeros.

    Raises:
        UserError: no such table, or a patient in it twice.
    """
    wanted = {_plain(column): column for column in columns}
    wrong: list[str] = []
    for place, deep in ((folder, True), *((parent, False) for parent in folder.resolve().parents[:2])):
        tables: list[tuple[Path, list[str], list[dict[str, str]]]] = []
        for path in _csv_files(place, deep):
            try:
                names, lines = read_table(path)
            except UserError as error:
                wrong.append(str(error))
                continue
            plain = [_plain(name) for name in names]
            if lacking := [column for name, column in wanted.items() if name not in plain]:
                wrong.append(f"{path} lacks {', '.join(lacking)}")
            elif twice := [name for name, one in zip(names, plain, strict=True) if one and plain.count(one) > 1]:
                wrong.append(f"{path} has two columns {twice[0]!r}")
            elif not lines:
                wrong.append(f"{path} has no rows")
            else:
                tables.append((path, names, [{_plain(name): value for name, value in line.items()} for line in lines.values()]))
        if tables:
            break
    else:
        remedy = f"correct what is there: {'; '.join(wrong[:3])}" if wrong else "copy it from the download"
        raise UserError(f"{folder} has no CSV table with the columns {', '.join(columns)} in it or above it; {remedy}")
    path, columns_there, found = max(tables, key=lambda one: len(one[1]))
    for other, theirs, contents in tables:
        if len(theirs) == len(columns_there) and contents != found:
            raise UserError(f"{path} and {other} have equally many columns and other contents; remove the one that is not meant")
    return SourceTable(path, _by_patient(path, found, key, digits))


def _by_patient(path: Path, lines: list[dict[str, str]], key: str, digits: int = 0) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for values in lines:
        patient = values[_plain(key)]
        if not patient:
            continue  # spreadsheets append empty rows
        if digits and patient.removesuffix(".0").isdecimal():
            patient = f"{int(patient.removesuffix('.0')):0{digits}d}"
        if patient in rows:
            raise UserError(f"{path} has two rows for {patient}; remove one")
        rows[patient] = values
    return rows


def _csv_files(folder: Path, deep: bool) -> list[Path]:
    endings = (".csv", ".tsv")
    return sorted(path for path in (folder.rglob("*") if deep else folder.glob("*")) if path.suffix.lower() in endings and path.is_file())


def _plain(column: str) -> str:
    """A column's name without capitals, spaces and marks."""
    return "".join(letter for letter in column.casefold() if letter.isalnum())
