"""The tables of docs/results/other-scanners.md from the figures of study S3 in hearts.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from page_table import difference, kept, number, table

#: Patches of 96 pixels, and of 160.
SIZES = ("benchmarks/other-scanners", "benchmarks/other-scanners-160")
#: Test sets, and the heading of each.
TESTS = {"Siemens": "Siemens elsewhere", "Philips": "Philips", "GE": "GE", "validation": "ACDC"}
ALONE = " without islands"


def _rows(figure: str, test: str, arm: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = kept(figure)["differences"].get(test, {}).get(arm, {"rows": []})
    return {(row["structure"], row["metric"]): row for row in found["rows"]}


def _arms(figure: str) -> dict[str, list[int]]:
    """Arm -> seeds that are compared; the arm that gained most comes first."""
    seeds = {arm: one["seeds"] for arm, one in kept(figure)["differences"]["pooled"].items()}
    return dict(sorted(seeds.items(), key=lambda one: -_rows(figure, "pooled", one[0])["mean", "Dice"]["difference"]))


def pooled(figure: str) -> str:
    """Every arm against real only on the three scanners pooled: the LV, and the mean over structures."""
    rows = []
    for arm, seeds in _arms(figure).items():
        plain, alone = (_rows(figure, f"pooled{end}", arm) for end in ("", ALONE))
        cells = [difference(one.get(wanted)) for one in (plain, alone) for wanted in (("LV", "Dice"), ("LV", "HD"), ("mean", "Dice"))]
        rows.append([f"`{arm}`", ", ".join(map(str, seeds)), *cells])
    names = ("LV Dice", "LV HD [mm]", "mean Dice")
    return table(["arm", "seeds", *names, *(f"{name}, largest heart alone" for name in names)], rows)


def by_scanner(figure: str, structure: str, metric: str, end: str = "") -> str:
    """One structure on every scanner: what real only reaches, and what each arm changes."""
    arms = _arms(figure)
    found = {arm: [_rows(figure, f"{test}{end}", arm).get((structure, metric)) for test in TESTS] for arm in arms}
    most = max(arms, key=lambda arm: len(arms[arm]))  # of all seeds of real only
    rows = [["`real`", len(arms[most]), *(number(row and row["baseline_mean"]) for row in found[most])]]
    rows += [[f"`{arm}`", len(seeds), *map(difference, found[arm])] for arm, seeds in arms.items()]
    return table(["arm", "trainings", *TESTS.values()], rows)


def holm(figure: str) -> str:
    """p of the arms with most trainings, in a sentence."""
    most = max(map(len, _arms(figure).values()))
    found = {arm: _rows(figure, "pooled", arm)["LV", "Dice"] for arm, seeds in _arms(figure).items() if len(seeds) == most}
    p = [f"{row['p_holm']:.2f} (`{arm}`)" for arm, row in found.items() if row["difference"] > 0]
    return (
        f"After Holm's correction over all structures, metrics and arms p of LV Dice is {' and '.join(p)}: each interval stands by itself."
    )


def poor(figure: str) -> str:
    """How many patients are found badly."""
    counts, arms = kept(figure)["poorly_found"], ["real", *_arms(figure)]
    rows = [["patients", *(counts[test]["real"][1] for test in TESTS)]]
    rows += [[f"`{arm}`", *(f"{counts[test][arm][0]:g}" for test in TESTS)] for arm in arms]
    return table(["arm", *TESTS.values()], rows)


def _of(figure: str, ending: str) -> dict[str, Callable[[], str]]:
    return {
        f"scanners pooled{ending}": partial(pooled, figure),
        f"scanners dice{ending}": partial(by_scanner, figure, "mean", "Dice"),
        f"scanners lv{ending}": partial(by_scanner, figure, "LV", "Dice"),
        f"scanners poor{ending}": partial(poor, figure),
        f"scanners hd{ending}": partial(by_scanner, figure, "LV", "HD", ALONE),
    }


FIGURES = _of(SIZES[0], "") | _of(SIZES[1], " 160") | {"scanners holm": partial(holm, SIZES[0])}
