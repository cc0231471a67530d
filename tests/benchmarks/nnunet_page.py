"""The tables of docs/results/nnunet.md from docs/nnunet/*.json."""

from __future__ import annotations

import re
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
    software = f"nnunetv2 {figures['nnunetv2']}, blosc2 {figures['blosc2']}; Python {figures['python']}; {figures['machine']}"
    return f"{table(head, lines)}\n\n{software}; {figures['data']}, seed {figures['seed']}; {figures['date']}."


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


FIGURES = {f"nnunet {make.__name__}": lambda make=make: make(kept(f"nnunet/{make.__name__}")) for make in (matrix, refresh, loader)}
