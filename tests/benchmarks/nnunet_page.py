"""The tables of docs/results/nnunet.md from docs/nnunet/*.json."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from typing import Any

from page_table import kept, table

GROUPS = {
    "prepare": "Before training",
    "train": "Training",
    "refuse": "What is refused, before the first step",
    "predict": "Prediction and ensembles",
    "choose": "Choosing and post-processing",
    "share": "Sharing a model",
}


def made_with(figures: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    return f"{versions}; Python {figures['python']}; {figures['machine']}; {figures['hearts']}; {figures['date']}."


def matrix(figures: dict[str, Any]) -> str:
    """One table per group of commands."""
    rows = figures["rows"]
    good = sum(row["ok"] for row in rows.values())
    parts = [f"{good} of {len(rows)} rows ended as they should. {made_with(figures)}"]
    for group, title in GROUPS.items():
        lines = []
        for row in (row for row in rows.values() if row["group"] == group):
            facts = "; ".join(f"{key} {value}" for key, value in row.get("facts", {}).items())
            # The sentence itself, without nnU-Net's or our prefix.
            said = re.sub(r"^(Error \(\w+\)|synthaug|RuntimeError): ", "", row.get("says", ""))
            outcome = facts or said or ("" if row["ok"] else f"**{row.get('why', '')}**")
            time = f"{row['seconds']:.0f} ({row['cpu_seconds']:.0f})" if "seconds" in row else None
            lines.append([f"`{row['command']}`", row["configuration"], row["exit_code"], time, outcome])
        if lines:
            parts += [f"### {title}", table(["command", "configuration", "exit code", "seconds (of processor)", "outcome"], lines)]
    return "\n\n".join(parts)


def quota(figures: dict[str, Any]) -> str:
    lines = []
    for name, row in figures["mix00"].items():
        same = ["yes" if row[key] else "**no**" for key in ("same_batches", "same_losses")]
        weights = f"{row['largest_difference_of_weights']:g} over {row['weights'] / 1e6:.1f} million"
        lines.append([name, str(row["steps"]), *same, weights])
    parts = [table(["configuration", "steps", "same batches", "same losses", "largest difference of weights"], lines)]
    parts.append(f"Ratio {figures['ratio']:g}, {figures['batches']} batches each. {made_with(figures)}")
    lines = []
    for row in figures["cells"].values():
        span, allowed = (" to ".join(map(str, row[key])) for key in ("per_batch", "per_batch_allowed"))
        drawn = [f"{row['synthetic']} of {row['samples']}", f"{row['asked']:g}", f"{row['off_by']:+g}", f"{span} ({allowed})"]
        lines.append([row["method"], str(row["workers"]), str(row["batch_size"]), *drawn, str(row["distinct_batches"])])
    head = ["start method", "workers", "batch size", "synthetic samples", "asked for", "off by", "per batch (allowed)", "distinct batches"]
    return "\n\n".join([*parts, table(head, lines)])


RUNS = {
    "undisturbed": "one file per case, renamed into place",
    "writer_killed_half_way": "the same, writer killed half-way (SIGKILL), a second one goes on",
    "naive_way_for_comparison": "for comparison: three files one after the other",
}


def refresh(figures: dict[str, Any]) -> str:
    lines = []
    for name, title in RUNS.items():
        row = figures[name]
        wrong = ", ".join(f"{count} {kind}" for kind, count in row["wrong"].items()) or "none"
        lines.append([title, str(row["replacements"]), f"{row['seconds']:.0f}", str(row["loads"]), wrong, str(row["versions_read"])])
    head = ["way", "replacements", "seconds", "loads checked", "torn or missing", "versions that readers saw"]
    cost = figures["reading_one_case_and_a_2d_patch_cpu_time"]
    reading = (
        f"Reading a case and cutting a 2d patch from it costs {cost['bank_ms']:g} ms of processor time in a plain bank, "
        f"{cost['not_replaced_ms']:g} ms with live refresh, "
        f"and {cost['replaced_ms']:g} ms once the case was replaced ({cost['file_kib']:g} KiB)."
    )
    software = f"nnunetv2 {figures['nnunetv2']}, blosc2 {figures['blosc2']}; Python {figures['python']}; {figures['machine']}"
    return f"{table(head, lines)}\n\n{reading}\n\n{software}; {figures['data']}, seed {figures['seed']}; {figures['date']}."


def counted(places: list[str]) -> str:
    return ", ".join(f"{place} ({n})" for place, n in Counter(places).most_common())


def kills(figures: dict[str, Any]) -> str:
    parts = []
    training, bank = figures.get("training", {}), figures.get("bank", {})
    if blows := training.get("kills"):
        where = counted(["in an epoch" if k["in"].startswith("epoch") else f"in {k['in']}".replace("in before", "before") for k in blows])
        ended, broken = training["trainings"], sum(bool(k["broken_checkpoints"]) for k in blows)
        sound = sum(not t["wrong"] for t in ended)
        wrong = "; ".join(sorted({w for t in ended for w in t["wrong"]}))
        parts.append(
            f"**Training.** {len(blows)} kills in trainings of {figures['epochs']} epochs ({training['undisturbed_seconds']:.0f} s "
            f"undisturbed), {where}; each was started again with `--c`. Unreadable checkpoints left behind: {broken}. Trainings that then "
            "ended with exit code 0, every epoch once on record, the exact share, readable checkpoints and a complete validation: "
            f"{sound} of {len(ended)}{f' ({wrong})' if wrong else ''}."
        )
    if blows := bank.get("kills"):
        files = [k["files"] for k in blows]
        equal = sum(not k["differing"] and k["exit_code_again"] == 0 for k in blows)
        parts.append(
            f"**Bank.** {len(blows)} kills of a bank of {bank['files']} files ({bank['undisturbed_seconds']:.1f} s undisturbed), during "
            f"{counted([k['in'] for k in blows])}; files there at the blow: {min(files)} to {max(files)}, median "
            f"{statistics.median(files):g}. Equal to the undisturbed one, file by file, after the same command again: {equal} of "
            f"{len(blows)}. The generator has random weights, and the quality control, which would reject all it makes, is left out."
        )
    return "\n\n".join([*parts, made_with(figures)])


def loader(figures: dict[str, Any]) -> str:
    lines = []
    for configuration, rows in figures["rows"].items():
        for name, row in rows.items():
            if isinstance(row, dict):
                cells = [
                    f"{row[k]['median_ratio']:.3f} ({row[k]['interval_95'][0]:.3f} to {row[k]['interval_95'][1]:.3f})"
                    for k in ("elapsed", "processor")
                ]
                lines.append([configuration, str(rows["batch_size"]), name, *cells, str(row["pairs"])])
    busy = " Other work ran on the machine meanwhile: the processor times say more." if figures["machine_busy"] else ""
    head = ["configuration", "batch size", "loader", "by the clock", "by processor time", "pairs"]
    return f"{table(head, lines)}\n\n{made_with(figures)}{busy}"


FIGURES = {
    f"nnunet {make.__name__}": lambda make=make: make(kept(f"nnunet/{make.__name__}")) for make in (matrix, quota, refresh, kills, loader)
}
