"""The tables of docs/results/demo.md from docs/walkthrough.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from page_table import comparison, kept, made, number, table
from scipy import stats

Figures = dict[str, Any]
#: Prior in the bank's figures -> what the page calls it.
PRIORS = {
    "lv_edv_mL": "LV EDV [mL]",
    "lv_ef_percent": "LV EF [%]",
    "rv_edv_mL": "RV EDV [mL]",
    "rv_ef_percent": "RV EF [%]",
    "lv_mass_g": "LV mass [g]",
}


def mean(demo: dict[str, Any]) -> dict[str, Any]:
    """Seed, date, and mean Dice and HD of both arms."""
    found = {row["metric"]: row for row in demo["headline"] if row["structure"] == "mean"}
    sides = {"real": "baseline_mean", "mix": "augmented_mean"}
    means = {f"{arm} {metric}": round(row[key], 3) for metric, row in found.items() for arm, key in sides.items()}
    return {"seed": demo["settings"]["seed"], "date": demo["date"], "minutes": round(demo["total_seconds"] / 60, 1)} | means


def about(demo: Figures) -> str:
    return f"{demo['total_seconds'] / 60:.0f} minutes. {made(demo)}"


def seconds(demo: Figures) -> str:
    return table(["step", "seconds"], [[step, f"{took:.0f}"] for step, took in demo["seconds"].items()])


def headline(demo: Figures) -> str:
    quoted = "\n>\n".join(f"> {sentence}" for sentence in demo["conclusion"])
    return f"{comparison(demo['headline'], ['real only', 'mix'])}\nWhat the report concludes:\n\n{quoted}\n"


def bank(demo: Figures) -> str:
    """Share, quality control and motion in three sentences."""
    share, found, quality = demo["share"], demo["bank"], demo["bank"]["quality"]
    reasons = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(quality["reasons"].items(), key=lambda item: -item[1]))
    closure = [found[f"closure_{side}"] for side in ("synthetic", "real")]
    made_up, real = (f"median {c['median']:.2f} (quartiles {c['q25']:.2f}, {c['q75']:.2f})" for c in closure)
    return (
        f"- **Share.** {share['synthetic_samples']} of {share['samples']} training samples were synthetic, counted from the batches that "
        f"the optimiser saw; the trainer begins with {share['ratio']:.2f} and ends with none.\n"
        f"- **Quality control.** {quality['accepted']} of {quality['tries']} samples were accepted ({quality['acceptance_rate']:.0%}), "
        f"{quality['first_try']} of {quality['requests']} requests at the first try; {quality['given_up']} were given up. "
        + (f"Reasons (a sample may have several): {reasons}.\n" if reasons else "\n")
        + f"- **Closure.** Last-to-first step over mean step of {found['n']} generated cines: {made_up}; of the {closure[1]['n']} cines "
        f"that the generator learnt from: {real}.\n"
    )


def priors(demo: Figures) -> str:
    """Requested against measured in the bank's hearts, as the networks made them and as they were adjusted."""
    opened, closed = demo["bank"]["priors_open_loop"], demo["bank"]["priors"]
    rows = []
    for name, title in PRIORS.items():
        cells = [number(one[name][key], 1) for one in (opened, closed) for key in ("mean_measured", "mean_absolute_error")]
        rows.append([title, number(closed[name]["mean_requested"], 1), *cells])
    titles = [f"{what}, {loop} loop" for loop in ("open", "closed") for what in ("measured", "mean absolute error")]
    return table(["", "requested", *titles], rows)


def gain(found: list[dict[str, Any]], metric: str) -> tuple[float, float, float, int]:
    """Mean difference over runs with its 95 % interval (Student's t, runs as units), and in how many runs the mix was better."""
    each = np.array([run[f"mix {metric}"] - run[f"real {metric}"] for run in found])
    half = float(stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else float("nan")
    return float(each.mean()), float(each.mean()) - half, float(each.mean()) + half, int(((each > 0) == (metric == "Dice")).sum())


def runs(figures: Figures) -> str:
    """What every run of the demo ended with, and all together."""
    rows = []
    for run in figures["runs"]:
        cells = [number(run[f"{arm} {metric}"], digits) for metric, digits in (("Dice", 3), ("HD", 1)) for arm in ("real", "mix")]
        rows.append([run["seed"], run["date"], *cells])
    text = table(["seed", "run", "Dice, real only", "Dice, mix", "HD, real only [mm]", "HD, mix [mm]"], rows)
    if len(figures["runs"]) == 1:
        return text + "\nMore runs are to be made.\n"
    for metric, digits, unit in (("Dice", 3, ""), ("HD", 1, " mm")):
        middle, low, high, better = gain(figures["runs"], metric)
        interval = f"[{low:+.{digits}f}, {high:+.{digits}f}]"
        text += f"\nMean {metric}: {middle:+.{digits}f}{unit} {interval}; the mix was better in {better} of {len(figures['runs'])} runs.\n"
    return text


def verdict(figures: Figures) -> str:
    """How often the mix was better, in two sentences."""
    found = figures["runs"]
    dice, _, _, dice_won = gain(found, "Dice")
    hd, _, _, hd_won = gain(found, "HD")
    if len(found) == 1:
        return f"In the one run that was measured, mean Dice changed by {dice:+.3f} with the mix, and mean HD by {hd:+.1f} mm."
    return (
        f"With the mix mean Dice changed by {dice:+.3f} on average and was better in {dice_won} of {len(found)} runs; mean HD changed by "
        f"{hd:+.1f} mm and was better in {hd_won}."
    )


def _demo(make: Callable[[Figures], str]) -> Callable[[], str]:
    return lambda: make(kept("walkthrough")["demo"])


FIGURES = {
    **{f"demo {make.__name__}": _demo(make) for make in (about, seconds, headline, bank, priors)},
    "demo runs": lambda: runs(kept("walkthrough")),
    "demo verdict": lambda: verdict(kept("walkthrough")),
}
