"""Tables in Markdown from committed figures, for all scripts that make pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.files import read_json

DOCS = Path(__file__).resolve().parents[2] / "docs"


def kept(name: str) -> Any:
    """The figures in ``docs/NAME.json``."""
    return read_json(DOCS / f"{name}.json")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The table, with a line end behind it; a cell that is None is shown as "-"."""
    cells = [["-" if cell is None else str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(header), ["---"] * len(header), *cells]) + "\n"


def number(value: float | None, digits: int | None = None) -> str:
    """With so many digits; else three below 2 and one above."""
    if value is None:
        return "-"
    return f"{value:.{(3 if abs(value) < 2 else 1) if digits is None else digits}f}"


def p_value(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)


def estimate(value: dict[str, Any], digits: int) -> str:
    """``value`` with its interval from ``low`` to ``high``, if there is one."""
    shown = number(value["value"], digits)
    return shown if value.get("low") is None else f"{shown} [{number(value['low'], digits)}, {number(value['high'], digits)}]"


def difference(row: dict[str, Any] | None) -> str:
    """Of a row of a comparison, with its interval: Dice with three digits, distances with one."""
    if row is None or row["difference"] is None:
        return "-"
    digits = 3 if row["metric"] == "Dice" else 1
    low, high = ("-" if row[key] is None else f"{row[key]:+.{digits}f}" for key in ("ci_low", "ci_high"))
    return f"{row['difference']:+.{digits}f} [{low}, {high}]"


def comparison(rows: list[dict[str, Any]], arms: Sequence[str]) -> str:
    """The first table of a report: every structure and metric in both arms.

    Args:
        rows: ``headline`` or ``summary`` of comparison.json.
        arms: names of baseline and augmented.
    """
    cells = []
    for row in rows:
        means = [number(row[f"{side}_mean"]) for side in ("baseline", "augmented")]
        about = [f"{row['structure']} {row['metric']} {row['unit'] or ''}".strip(), row["n"]]
        cells.append([*about, *means, difference(row), p_value(row["p_holm"]), row["verdict"] or "not tested"])
    return table(["", "patients", *arms, "difference [95 % CI]", "Holm p", ""], cells)


def made(study: dict[str, Any]) -> str:
    """Machine, date and version."""
    return f"{study['machine']}, {study['date']}, version {study['version']}."
