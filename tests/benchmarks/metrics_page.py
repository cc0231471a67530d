"""The tables of agreement and speed, from metrics.json and metrics_acdc.json, for the pages on results and on metrics alike."""

from __future__ import annotations

import textwrap
from typing import Any

from page_table import table

Files = dict[str, dict[str, Any]]
MADE_UP, ACDC = "metrics.json", "metrics_acdc.json"
METRICS = ("Dice", "IoU", "HD", "HD95", "ASSD")

SECTION = """## Agreement with medpy, and speed

{agreement}
{speed}
Scoring 3 arms of 3 seeds on 100 patients at ED and ES (1 800 predictions of the made-up size) takes {minutes} of one core instead of
{hours}. {start}
"""


def wrapped(text: str) -> str:
    """A paragraph in lines as long as those of the other pages."""
    return textwrap.fill(text, 140, break_long_words=False, break_on_hyphens=False)


def small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1g}"


def about(files: Files) -> str:
    first = files[MADE_UP]
    return f"medpy {first['medpy']}, version {first['version']}, {first['date']}, {first['machine']} of a shared virtual machine"


def agreement(files: Files) -> str:
    """Largest absolute difference from medpy per metric."""
    rows = []
    for name, what in (
        (MADE_UP, "made-up hearts, 256 x 256 x 12, 1.4 x 1.4 x 10 mm, {cases} cases"),
        (ACDC, "ACDC, ES against ED, {cases} patients"),
    ):
        if name in files:
            rows.append(_agreed(what.format(cases=files[name]["cases"]), files[name]))
    if random := files.get(MADE_UP, {}).get("random"):
        rows.append(_agreed("random masks: one voxel, noise, touching boxes; spacings up to 1:20", random))
    text = (
        f"Largest absolute difference between this package and medpy on the same masks, distances in mm (`tests/benchmarks/metrics.py`; "
        f"{about(files)}); 0 is equality to the last bit:"
    )
    return f"{wrapped(text)}\n\n{table(['data', 'pairs of masks', *METRICS], rows)}"


def _agreed(what: str, found: dict[str, Any]) -> list[str]:
    return [what, str(found["pairs_of_masks"]), *(small(found["max_abs_difference"][m]) for m in METRICS)]


def speed(files: Files) -> str:
    """Times per case and their ratios, each from one run."""
    rows = []
    for name, what in ((MADE_UP, "made-up, 256 x 256 x 12"), (ACDC, "ACDC, ES against ED")):
        if name not in files:
            continue
        found, seconds = files[name], files[name]["cpu_s_per_case"]
        each = [f"{seconds['medpy']:.2f} s", f"{seconds['distances']:.4f} s", f"{found['speedup']:.0f}x"]
        each += [f"{seconds['native']:.4f} s", f"{found['speedup_with_all_metrics']:.0f}x"]
        rows.append([f"{what}, {found['cases']} cases", *each])
    header = ["data", "medpy, whole volume", "HD, HD95, ASSD", "ratio", "all metrics", "ratio"]
    text = (
        "Process CPU time per case of RV, MYO and LV, all in the same run. The first ratio is for HD, HD95 and ASSD together, the last "
        "for all metrics at once (with Dice, IoU, surface Dice, the other HD95 and volumes):"
    )
    return f"{wrapped(text)}\n\n{table(header, rows)}"


def start(files: Files) -> str:
    found = files[MADE_UP]["start_s"]
    first = f"`synthaug compare` needs {found['cpu']:.1f} s of CPU time to its first sentence"
    return f"{first} ({found['wall']:.1f} s on the clock of a busy machine, fastest of five)."


def other_definitions(files: Files) -> str:
    """How far other definitions lie from ours on the same masks, in mm."""
    kinds = [
        ("HD95: larger of the two directed percentiles (MONAI, MetricsReloaded)", "hd95_larger_of_directed_minus_pooled", ""),
        ("ASSD: mean of the two directed means (medpy up to 0.4, panoptica)", "assd_mean_of_means_minus_pooled", ""),
        ("HD of the library surface-distance (surface through corners)", "library_hd_minus_ours", "surface_dice"),
        ("HD95 of the library surface-distance (corners, areas, directed)", "library_hd95_minus_ours", "surface_dice"),
    ]
    present = [name for name in (MADE_UP, ACDC) if name in files]
    rows = []
    for text, key, inside in kinds:
        cells = [text]
        for name in present:
            found = files[name][inside] if inside else files[name]
            mean, largest = (found[f"{key}_{k}"] for k in ("mean", "largest")) if inside else (found[key][k] for k in ("mean", "largest"))
            cells += [f"{mean:+.2f}", f"{largest:.1f}"]
        rows.append(cells)
    titles = {MADE_UP: "made-up hearts", ACDC: "ACDC, ES against ED"}
    header = ["other definition minus ours [mm]", *(f"{titles[n]}: {k}" for n in present for k in ("mean", "largest"))]
    return table(header, rows)


def section(files: Files) -> str:
    seconds = files[MADE_UP]["cpu_s_per_case"]
    return SECTION.format(
        agreement=agreement(files),
        speed=speed(files),
        start=start(files),
        hours=f"{1800 * seconds['medpy'] / 3600:.1f} hours",
        minutes=f"{1800 * seconds['native'] / 60:.1f} minutes",
    )
