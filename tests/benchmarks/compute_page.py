"""The tables of docs/results/compute.md from the figures of compute.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from page_table import kept, table


def number(value: float) -> str:
    """Three significant digits in plain notation; thousands apart."""
    return f"{round(value, -1):,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"


def case(figures: dict[str, Any]) -> str:
    parts, rows = ("static", "motion", "decoding"), []
    for name, found in figures["counts"].items():
        flop, called = found["case_tflop"], found["evaluations"]
        row = [name, f"{called['static']} / {number(called['motion'])}", *(number(flop[part]) for part in parts)]
        rows.append([*row, f"**{number(flop['total'])}**", number(found["calibration_tflop_at_most"])])
    paper = figures["paper"]
    theirs = {p: " to ".join(dict.fromkeys(number(flop[p]) for flop in paper["case_tflop"])) for p in (*parts, "total")}
    called = f"{paper['evaluations']['static']} / {number(paper['evaluations']['motion'])}"
    rows.append(["the paper", called, *(theirs[part] for part in parts), f"**{theirs['total']}**", None])
    return table(["preset", "evaluations static / motion", "static LDM", "motion LDM", "30 decodes", "total", "calibration, at most"], rows)


def ratio(figures: dict[str, Any]) -> str:
    """By how much the paper's case is larger than that of base."""
    paper = max(flop["total"] for flop in figures["paper"]["case_tflop"])
    return number(paper / figures["counts"]["base"]["case_tflop"]["total"])


def networks(figures: dict[str, Any]) -> str:
    rows = []
    for name, found in figures["counts"].items():
        shapes = [" x ".join(map(str, found[key])) for key in ("grid", "latent")]
        millions = [f"{found['parameters'][key] / 1e6:.2f}" for key in ("vae", "static", "motion")]
        rows.append([name, *shapes, *millions, *(number(found["gflop"][key]) for key in ("encode", "decode", "static", "motion"))])
    return table(["preset", "grid", "latent", "VAE", "static", "motion", "encode", "decode", "static", "motion"], rows)


def training(figures: dict[str, Any]) -> str:
    rows = []
    for name, found in figures["counts"].items():
        pflop = [number(found["training_pflop"][key]) for key in ("vae", "static", "motion", "total")]
        low, high = found["h200_minutes_assumed"]
        shown = f"{low:.0f} to {high:.0f}" if low >= 1 else "under 1" if high < 1 else f"up to {high:.0f}"
        rows.append([name, *pflop, number(found["encoding_tflop"]), shown])
    return table(["preset", "VAE", "static LDM", "motion LDM", "total", "encoding, TFLOP", "H200, min (estimate)"], rows)


def times(figures: dict[str, Any]) -> str:
    rows = []
    for row in figures["timings"]:
        seconds = [number(row["seconds_per_case"]), number(row["cpu_seconds_per_case"])]
        about = [row["machine"], row["preset"], row["batch"]]
        rows.append([*about, *seconds, row["runs"], f"{row['peak_mib']:,}".replace(",", " "), row["torch"], row["date"]])
    return table(["machine", "preset", "cases together", "s per case", "processor s", "runs", "peak MiB", "torch", "date"], rows)


def _of(make: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    return lambda: make(kept("compute"))


FIGURES = {
    "compute case": _of(case),
    "compute ratio": _of(ratio),
    "compute networks": _of(networks),
    "compute training": _of(training),
    "compute times": _of(times),
}
