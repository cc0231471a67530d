"""The tables of docs/results/demo.md from docs/walkthrough.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from page_table import comparison, kept, made, number, table

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
    """Date, and mean Dice and HD of both arms."""
    found = {row["metric"]: row for row in demo["headline"] if row["structure"] == "mean"}
    sides = {"real": "baseline_mean", "mix50": "augmented_mean"}
    means = {f"{arm} {metric}": round(row[key], 3) for metric, row in found.items() for arm, key in sides.items()}
    return {"date": demo["date"]} | means


def about(demo: Figures) -> str:
    return f"{demo['total_seconds'] / 60:.0f} minutes. {made(demo)}"


def seconds(demo: Figures) -> str:
    return table(["step", "seconds"], [[step, f"{took:.0f}"] for step, took in demo["seconds"].items()])


def headline(demo: Figures) -> str:
    quoted = "\n>\n".join(f"> {sentence}" for sentence in demo["conclusion"])
    return f"{comparison(demo['headline'], ['real only', 'mix50'])}\nWhat the report concludes:\n\n{quoted}\n"


def bank(demo: Figures) -> str:
    """Share, quality control and motion in three sentences."""
    share, found, quality = demo["share"], demo["bank"], demo["bank"]["quality"]
    reasons = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(quality["reasons"].items(), key=lambda item: -item[1]))
    closure = [found[f"closure_{side}"] for side in ("synthetic", "real")]
    made_up, real = (f"median {c['median']:.2f} (quartiles {c['q25']:.2f}, {c['q75']:.2f})" for c in closure)
    return (
        f"- **Share.** {share['synthetic_samples']} of {share['samples']} training samples were synthetic, counted from the batches that "
        f"the optimiser saw; the name asks for {share['ratio']:.2f}.\n"
        f"- **Quality control.** {quality['accepted']} of {quality['tries']} samples were accepted ({quality['acceptance_rate']:.0%}), "
        f"{quality['first_try']} of {quality['requests']} requests at the first try; {quality['given_up']} were given up. "
        f"Reasons (a sample may have several): {reasons}.\n"
        f"- **Closure.** Last-to-first step over mean step of {found['n']} generated cines: {made_up}; of the {closure[1]['n']} cines that "
        f"the generator learnt from: {real}.\n"
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


def runs(figures: Figures) -> str:
    """What every run of the demo ended with."""
    rows = []
    for run in [*figures["other_runs"], mean(figures["demo"])]:
        cells = [number(run.get(f"{arm} {metric}"), digits) for metric, digits in (("Dice", 3), ("HD", 1)) for arm in ("real", "mix50")]
        rows.append([run["date"], *cells])
    return table(["run", "Dice, real only", "Dice, mix50", "HD, real only [mm]", "HD, mix50 [mm]"], rows)


def trainings(figures: Figures) -> str:
    found = figures["trainings"]
    columns = [key for key in found["runs"][0] if key.endswith((" Dice", " HD"))]
    rows = [[run["seed"], run["arm"], *(number(run[column]) for column in columns)] for run in found["runs"]]
    parts = [table(["training", "arm", *(f"{c} [mm]" if c.endswith("HD") else c for c in columns)], rows)]
    for arm, one in found["comparisons"].items():
        parts += [f"All trainings of each arm together, real only against {arm}:\n", comparison(one["headline"], ["real only", arm])]
        parts.append("\n>\n".join(f"> {sentence}" for sentence in one["conclusion"]) + "\n")
    return "\n".join(parts)


def _demo(make: Callable[[Figures], str]) -> Callable[[], str]:
    return lambda: make(kept("walkthrough")["demo"])


FIGURES = {
    **{f"demo {make.__name__}": _demo(make) for make in (about, seconds, headline, bank, priors)},
    "demo runs": lambda: runs(kept("walkthrough")),
    "demo trainings": lambda: trainings(kept("walkthrough")),
}
