"""The tables of docs/results/other-scanners.md from the figures of study S3 in hearts.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from page_table import difference, kept, number, table

FIGURE = "benchmarks/other-scanners"
#: Test sets, the heading of each, and what is contoured there.
TESTS = {"Siemens": ("Siemens elsewhere", "RV MYO LV"), "Philips": ("Philips", "RV MYO LV"), "GE": ("GE", "LV")}
TESTS |= {"validation": ("ACDC", "RV MYO LV")}
ALONE = " without islands"


def _rows(test: str, arm: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = kept(FIGURE)["differences"].get(test, {}).get(arm, {"rows": []})
    return {(row["structure"], row["metric"]): row for row in found["rows"]}


def _arms() -> dict[str, list[int]]:
    """Arm -> seeds that are compared."""
    return {arm: one["seeds"] for arm, one in kept(FIGURE)["differences"]["pooled"].items()}


def pooled() -> str:
    """Every arm against real only: the LV on the three scanners pooled."""
    rows = []
    for arm, seeds in _arms().items():
        plain, alone = _rows("pooled", arm), _rows(f"pooled{ALONE}", arm)
        cells = [difference(one.get(("LV", metric))) for one in (plain, alone) for metric in ("Dice", "HD")]
        rows.append([f"`{arm}`", ", ".join(map(str, seeds)), *cells])
    alone = "largest heart alone"
    return table(["arm", "seeds", "LV Dice", "LV HD [mm]", f"LV Dice, {alone}", f"LV HD [mm], {alone}"], rows)


def by_scanner() -> str:
    """Dice of every structure on every scanner: what real only reaches, and what each arm changes."""
    arms, rows = _arms(), []
    for test, (title, structures) in TESTS.items():
        for structure in structures.split():
            found = [_rows(test, arm).get((structure, "Dice")) for arm in arms]
            real = next((row["baseline_mean"] for row in found if row), None)
            rows.append([title, structure, number(real), *map(difference, found)])
    return table(["scanner", "structure", "`real`", *(f"`{arm}`" for arm in arms)], rows)


def distances() -> str:
    """The same of HD, of the largest heart alone."""
    arms, rows = _arms(), []
    for test, (title, structures) in TESTS.items():
        for structure in structures.split():
            found = [_rows(f"{test}{ALONE}", arm).get((structure, "HD")) for arm in arms]
            real = next((row["baseline_mean"] for row in found if row), None)
            rows.append([title, structure, number(real), *map(difference, found)])
    return table(["scanner", "structure", "`real` [mm]", *(f"`{arm}`" for arm in arms)], rows)


FIGURES: dict[str, Callable[[], str]] = {"scanners pooled": pooled, "scanners dice": by_scanner, "scanners hd": distances}
