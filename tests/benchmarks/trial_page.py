"""The tables of docs/results/try.md from docs/try.json."""

from __future__ import annotations

from typing import Any

from page_table import difference, kept, table

TITLES = {"helps": "helps", "harms": "harms", "mixed": "mixed", "no_difference": "no difference that can be told"}


def runs(figures: dict[str, Any]) -> str:
    """What was proposed, said and taken."""
    rows = []
    for one in figures["tries"]:
        patients = f"{one['training_patients']} / {one['tested_patients']} ({one['tested']})"
        said, took = one["estimated"], one["took"]
        ratio = f"{said['minutes'] / took['minutes']:.2f}"
        times = [f"{said['minutes']:.0f}", f"{took['minutes']:.0f}", ratio, f"{said['megabytes']:.0f}", f"{took['megabytes']:.0f}"]
        arm = f"`{one['arm']}`{', asked for' if one['why'] == 'you asked for it' else ', proposed'}"
        rows.append([one["data"], patients, arm, one["iterations"], *times])
    titles = [
        "data",
        "patients: training / tested",
        "arm",
        "iterations",
        "minutes, said",
        "minutes, taken",
        "said / taken",
    ]
    return table([*titles, "MB, said", "MB, taken"], rows) + "\n" + " ".join(_machines(figures)) + "\n"


def _machines(figures: dict[str, Any]) -> list[str]:
    """On what each try ran, as sentences."""
    every: dict[str, list[str]] = {}
    for one in figures["tries"]:
        every.setdefault(one["machine"], []).append(one["data"])
    return [f"On {machine}: {'; '.join(data)}." for machine, data in every.items()]


def means(figures: dict[str, Any]) -> str:
    """The verdict, and mean Dice and HD, mixed minus real only."""
    rows = []
    for one in figures["tries"]:
        found = {row["metric"]: row for row in one["results"] if row["structure"] == "mean"}
        rows.append([one["data"], TITLES[one["verdict"]], *(difference(found.get(metric)) for metric in ("Dice", "HD"))])
    return table(["data", "verdict", "mean Dice, difference [95 % CI]", "mean HD in mm, difference [95 % CI]"], rows)


def steps(figures: dict[str, Any]) -> str:
    """What each step took."""
    return table(
        ["data", "step", "seconds"],
        [[one["data"], title, f"{seconds:.0f}"] for one in figures["tries"] for title, seconds in one["seconds"].items()],
    )


FIGURES = {f"try {make.__name__}": lambda make=make: make(kept("try")) for make in (runs, means, steps)}
