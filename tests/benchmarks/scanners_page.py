"""The tables of docs/results/other-scanners.md from the figures of study S3 in hearts.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from page_table import difference, kept, number, table

#: Patches of 96 pixels, and of 160.
SIZES = ("benchmarks/other-scanners", "benchmarks/other-scanners-160")
#: Test sets, the heading of each, and what is contoured there.
TESTS = {"Siemens": ("Siemens elsewhere", "RV MYO LV"), "Philips": ("Philips", "RV MYO LV"), "GE": ("GE", "LV")}
TESTS |= {"validation": ("ACDC", "RV MYO LV")}
ALONE = " without islands"


def _rows(figure: str, test: str, arm: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = kept(figure)["differences"].get(test, {}).get(arm, {"rows": []})
    return {(row["structure"], row["metric"]): row for row in found["rows"]}


def _arms(figure: str) -> dict[str, list[int]]:
    """Arm -> seeds that are compared."""
    return {arm: one["seeds"] for arm, one in kept(figure)["differences"]["pooled"].items()}


def pooled(figure: str) -> str:
    """Every arm against real only on the three scanners pooled: the LV, and the mean over structures."""
    rows = []
    for arm, seeds in _arms(figure).items():
        plain, alone = (_rows(figure, f"pooled{end}", arm) for end in ("", ALONE))
        cells = [difference(one.get(wanted)) for one in (plain, alone) for wanted in (("LV", "Dice"), ("LV", "HD"), ("mean", "Dice"))]
        rows.append([f"`{arm}`", ", ".join(map(str, seeds)), *cells])
    names = ("LV Dice", "LV HD [mm]", "mean Dice")
    return table(["arm", "seeds", *names, *(f"{name}, largest heart alone" for name in names)], rows)


def by_scanner(figure: str, metric: str, end: str = "") -> str:
    """Every structure on every scanner: what real only reaches, and what each arm changes."""
    arms, rows = _arms(figure), []
    for test, (title, structures) in TESTS.items():
        for structure in structures.split():
            found = [_rows(figure, f"{test}{end}", arm).get((structure, metric)) for arm in arms]
            real = next((row["baseline_mean"] for row in found if row), None)
            rows.append([title, structure, number(real), *map(difference, found)])
    return table(["scanner", "structure", "`real`", *(f"`{arm}`" for arm in arms)], rows)


def poor(figure: str) -> str:
    """How many patients are found badly."""
    counts, arms = kept(figure)["poorly_found"], ["real", *_arms(figure)]
    rows = [[title, counts[test]["real"][1], *(f"{counts[test][arm][0]:g}" for arm in arms)] for test, (title, _) in TESTS.items()]
    return table(["scanner", "patients", *(f"`{arm}`" for arm in arms)], rows)


def _of(figure: str, ending: str) -> dict[str, Callable[[], str]]:
    return {
        f"scanners pooled{ending}": partial(pooled, figure),
        f"scanners dice{ending}": partial(by_scanner, figure, "Dice"),
        f"scanners poor{ending}": partial(poor, figure),
        f"scanners hd{ending}": partial(by_scanner, figure, "HD", ALONE),
    }


FIGURES = _of(SIZES[0], "") | _of(SIZES[1], " 160")
