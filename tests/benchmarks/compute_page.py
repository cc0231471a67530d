"""The tables of docs/results/compute.md from the figures of compute.py."""

from __future__ import annotations

from typing import Any

from page_table import table

CASE_NOTE = """Open loop: calibrating the EF adds up to what the last column says, and quality control one decode per anatomy.
*base, framewise* is `base` with the motion sampled frame by frame, the paper's scheme. The paper's row is arithmetic on the shapes
of its released networks: 1.13 TFLOP per evaluation of the static LDM, 1.45 to 1.48 of the motion LDM (by two counts), 30 steps, two
evaluations per step for guidance, 29 motion frames, and 1.52 TFLOP for the two decoders of one frame."""

TRAINING_NOTE = """Forward and backward of every step, and the VAE's teacher. The minutes are those of {:.0f} to {:.0f} TFLOP/s in bf16,
which is assumed, not measured. Reading the cines and encoding their augmented copies come on top."""

TIME_NOTE = """Untrained networks, which cost what trained ones cost; median of the runs. Processor seconds are summed over cores: on a
machine that does other work too, they say more than the clock. Peak memory is that of the whole process on a CPU, of all tensors on
a GPU."""


def number(value: float) -> str:
    """Three significant digits in plain notation; thousands apart."""
    return f"{round(value, -1):,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"


def spread(values: list[float]) -> str:
    return " to ".join(dict.fromkeys(number(v) for v in values))


def case_table(figures: dict[str, Any]) -> str:
    parts, rows = ("static", "motion", "decoding"), []
    for name, found in figures["counts"].items():
        case, called = found["case_tflop"], found["evaluations"]
        row = [name, f"{called['static']} / {number(called['motion'])}", *(number(case[part]) for part in parts)]
        rows.append([*row, f"**{number(case['total'])}**", number(found["calibration_tflop_at_most"])])
    paper = figures["paper"]
    theirs = {part: spread([case[part] for case in paper["case_tflop"]]) for part in (*parts, "total")}
    called = f"{paper['evaluations']['static']} / {number(paper['evaluations']['motion'])}"
    rows.append(["the paper", called, *(theirs[part] for part in parts), f"**{theirs['total']}**", ""])
    return table(["preset", "evaluations static / motion", "static LDM", "motion LDM", "30 decodes", "total", "calibration, at most"], rows)


def network_table(figures: dict[str, Any]) -> str:
    rows = []
    for name, found in figures["counts"].items():
        p, g = found["parameters"], found["gflop"]
        shapes = [" x ".join(map(str, found[key])) for key in ("grid", "latent")]
        millions = [f"{n / 1e6:.2f}" for n in (p["vae"], p["static"], p["motion"])]
        rows.append([name, *shapes, *millions, *(number(g[key]) for key in ("encode", "decode", "static", "motion"))])
    return table(["preset", "grid", "latent", "VAE", "static", "motion", "encode", "decode", "static", "motion"], rows)


def training_table(figures: dict[str, Any]) -> str:
    rows = []
    for name, found in figures["counts"].items():
        pflop = [number(found["training_pflop"][key]) for key in ("vae", "static", "motion", "total")]
        minutes = found["h200_minutes_assumed"]
        shown = f"{minutes[0]:.0f} to {minutes[1]:.0f}" if minutes[0] >= 1 else "under 1" if minutes[1] < 1 else f"up to {minutes[1]:.0f}"
        rows.append([name, *pflop, number(found["encoding_tflop"]), shown])
    return table(["preset", "VAE", "static LDM", "motion LDM", "total", "encoding, TFLOP", "H200, min (estimate)"], rows)


def time_table(figures: dict[str, Any]) -> str:
    rows = []
    for row in figures["timings"]:
        memory = f"{row['peak_mib']:,}".replace(",", " ")
        seconds = [number(row["seconds_per_case"]), number(row["cpu_seconds_per_case"])]
        rows.append([row["machine"], row["preset"], str(row["batch"]), *seconds, str(row["runs"]), memory, row["torch"], row["date"]])
    return table(["machine", "preset", "cases together", "s per case", "processor s", "runs", "peak MiB", "torch", "date"], rows)


def page(figures: dict[str, Any]) -> str:
    """All sections, in Markdown."""
    paper = figures["paper"]
    ratio = max(case["total"] for case in paper["case_tflop"]) / figures["counts"]["base"]["case_tflop"]["total"]
    parts = [
        "## One case [TFLOP]",
        case_table(figures),
        CASE_NOTE,
        f"The paper's networks take {number(ratio)} times as much as `base`.",
        "## Networks [million parameters, GFLOP per frame or evaluation]",
        network_table(figures),
        f"The paper's two LDMs have {paper['ldm_parameters'] / 1e6:.0f} M parameters together.",
        "## Training [PFLOP]",
        training_table(figures),
        TRAINING_NOTE.format(*figures["assumed_tflop_per_s"]),
    ]
    if figures["timings"]:
        parts += ["## Time and memory per case", time_table(figures), TIME_NOTE]
    return "\n\n".join(parts) + "\n"
