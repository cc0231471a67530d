"""Tables and texts that people wrote, with whatever program they have."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_synth_aug.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_SEPARATORS = ",;\t|"
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_words(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or Windows' Latin, with or without a byte order mark.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); restore it") from error
    if content[:4] == b"PK\x03\x04":
        raise UserError(f"{path} is a workbook of a spreadsheet program; save it as CSV")
    coding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    if not coding and b"\0" in content[:200]:
        coding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    for name in [coding] if coding else ["utf-8", "cp1252"]:
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if not re.search(r"[\x00-\x08\x0e-\x1f]", text):
            return text
    raise UserError(f"{path} is not text that can be read; save it again as UTF-8")


def read_table(path: Path) -> tuple[list[str], dict[int, dict[str, str]]]:
    """A table, all text and stripped, whatever separates its cells.

    Returns:
        names of the columns, and row number (the header is row 1) -> column -> cell; empty rows are left out.

    Raises:
        UserError: the file cannot be read, has no columns or one of them twice, or a row has more cells than there are columns.
    """
    text, separator = separated(read_words(path))
    try:
        columns, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    except ValueError:
        raise UserError(f"{path} is empty; restore it") from None
    except csv.Error as error:
        raise UserError(f"{path} is not a table ({error}); save it as CSV") from error
    columns = [name.strip() for name in columns]
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise UserError(f"{path} has the column {twice[0]!r} twice; remove one")
    rows = {}
    for number, cells in enumerate(lines, start=2):
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise UserError(
                f"{path}, row {number} has {len(cells)} cells for {len(columns)} columns; correct it, and if numbers have decimal commas "
                "save it with semicolons between the cells"
            )
        if any(cell.strip() for cell in cells):
            rows[number] = dict(zip(columns, [*(unquoted(cell.strip()) for cell in cells), *[""] * len(columns)], strict=False))
    return columns, rows


def separated(text: str) -> tuple[str, str]:
    """The text of a table from its header on, and what separates its cells."""
    text = text.lstrip("\r\n")
    first = _first_line(text)
    if said := re.fullmatch(r"\"?sep=(.)\"?\s*", first):  # a line that Excel understands
        return text[len(first) :].lstrip("\r\n"), said[1]
    return text, max(_SEPARATORS, key=lambda one: _columns(first, one))


def _first_line(text: str) -> str:
    return re.split(r"[\r\n]", text, maxsplit=1)[0]


def _columns(header: str, separator: str) -> int:
    """How many columns a header has with this separator."""
    try:
        return len(next(csv.reader([header], delimiter=separator), []))
    except csv.Error:
        return 0


def quoted(cell: Any) -> Any:
    """A cell to be written: a text that a spreadsheet program would run as a formula gets a ``'`` in front; anything else as it is."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def unquoted(cell: str) -> str:
    """A cell that was read, as it was before :func:`quoted`."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def quoted_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table to be written, with all its texts :func:`quoted`."""
    from pandas.api.types import is_numeric_dtype

    return table.assign(**{name: table[name].map(quoted) for name in table.columns if not is_numeric_dtype(table[name])})


def plain_number(text: str) -> str:
    """``70,5`` as ``70.5``; anything else as it is."""
    return text.replace(",", ".") if re.fullmatch(r"[+-]?\d+,\d+", text) else text
