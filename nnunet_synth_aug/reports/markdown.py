"""``report.md``: the figures of all reports as tables, each with what it means in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Estimate = dict[str, float | None]

CONTROL = """\
Each row compares what was asked for with what a generated heart has. **r**: do larger requests give larger hearts (1 at best)?
**CCC**: do the values themselves agree (1 only if every heart is as asked for)? **slope** below 1: the generator stays too near
to its average heart. **bias**: mean of measured minus requested; **limits**: 95 % of the hearts are expected between them.
**chance**: |r| that shuffled requests reach in one of twenty cases. Brackets are 95 % bootstrap intervals over the patients
whose priors were asked for."""

IMAGE_MASK = """\
Agreement of the generated mask with what an independent nnU-Net, trained on real cases alone, sees in the generated image. It is
bounded by that network's own accuracy on real images. An empty mask counts as a failure, with Dice 0."""

TAUGHT = """\
**This is not independent: the generator learnt from this network's masks, and may share its errors.** A real-only training with
another seed would be."""

RECONSTRUCTION = """\
What the VAE keeps of a real cine when it encodes and decodes it, and what is left when motion is reduced to the periodic basis and to
the components that the motion LDM makes. Generated hearts cannot be better than this."""

REALISM = "Distances between generated and real hearts, beside those between real and real. Tables and definitions: `realism.json`."
TWO_SAMPLE = """\
A small network was trained to tell made hearts from real ones of patients whom the generator never saw, and asked about hearts that it was
not trained on. **AUC** 0.5: it cannot tell; 1: it always can. Training patients are real, so theirs is what chance and their scanners give.
Brackets are 95 % bootstrap intervals over patients."""
MEMORISATION = "Whether generated anatomies are nearer to training patients than to others. Figures and definitions: `memorisation.json`."


def render(report: dict[str, Any]) -> str:
    """The text of ``report.md``."""
    generator = report["generator"]
    references = report["reference_patients"]
    lines = [
        f"# Report on the generator of {generator['dataset']}, fold {generator['fold']}",
        f"Preset {generator['preset']}, generator {generator['generator_hash'][:12]}. Judged with {len(references['patients'])} "
        f"{references['words']}{', its hearts painted around their contours' if report.get('painter') else ''}.",
        *([_figure(report["picture"])] if "picture" in report else []),
    ]
    sections: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "controllability": _controllability,
        "reconstruction": _reconstruction,
        "realism": lambda r: ["## Realism", REALISM, _bullets(r["notes"]), _figure("realism_distances.png")],
        "two_sample": _two_sample,
        "memorisation": lambda r: ["## Memorisation", MEMORISATION, _bullets(r["verdict"]), _figure("memorisation_distances.png")],
    }
    for name, result in report["reports"].items():
        lines += (
            [f"## {name.capitalize().replace('_', '-')}", f"Not made: {result['refused']}."]
            if "refused" in result
            else sections[name](result)
        )
    return "\n\n".join(lines) + "\n"


def headline(report: dict[str, Any]) -> list[str]:
    """The most important figures as lines for the terminal."""
    lines = []
    control = report["reports"].get("controllability", {})
    for source, groups in control.get("open_loop", {}).items():
        for name, a in groups["all"].items():
            if name != "n_slices":
                figures = f"r {_estimate(a['r'], 2)}, CCC {_estimate(a['ccc'], 2)}, mean absolute error {_number(a['mae']['value'], 1)}"
                lines.append(f"{_title(control['variables'][name])} ({source}): {figures} (n = {a['n']})")
    lines += report["reports"].get("memorisation", {}).get("verdict", [])
    return lines


def _controllability(result: dict[str, Any]) -> list[str]:
    lines = ["## Controllability", f"{result['n']} hearts, priors of {result['clusters']} patients, open loop.", CONTROL]
    if result["selected_by_quality_control"]:
        lines.append("**The hearts were selected by the quality control, so these figures are better than the generator's own.**")
    tables = {f"Open loop, {source}": groups for source, groups in result["open_loop"].items()}
    tables |= {f"Closed loop, {source}": groups for source, groups in result.get("closed_loop", {}).items()}
    for title, groups in tables.items():
        lines += [f"### {title}", _agreement_table(groups["all"], result["variables"])]
    lines.append(
        "`Slices with heart` compares the requested depth of the stack with the slices that hold heart at ED. The depth itself is always "
        "met, and stacks of real patients reach beyond the heart, too."
    )
    first = next(iter(result["open_loop"].values()))
    if len(first) > 1:
        lines += ["### Per diagnosis, open loop, generated masks", _diagnosis_table(first, result["variables"])]
    if "image_mask" in result:
        rows = [
            [r["structure"], r["phase"], r["n"], _estimate(r["Dice"], 3), _estimate(r["HD95"], 1), r["failures"]]
            for r in result["image_mask"]
        ]
        note = [TAUGHT] if result.get("segmenter_taught_it") else []
        lines += ["### Image and mask", IMAGE_MASK, *note, _table(["structure", "phase", "n", "Dice", "HD95 [mm]", "failures"], rows)]
    return [*lines, _figure("controllability.png")]


def _agreement_table(agreements: dict[str, Any], variables: dict[str, Any]) -> str:
    rows = []
    for name, a in agreements.items():
        limits = f"{_number(a['limit_low']['value'], 1)} to {_number(a['limit_high']['value'], 1)}"
        rows.append(
            [
                _title(variables[name]),
                a["n"],
                *(_estimate(a[key], 2) for key in ("r", "ccc", "slope")),
                *(_estimate(a[key], 1) for key in ("bias", "mae")),
                limits,
                f"{_number(a['null_r'], 2)} (p = {_number(a['p'], 4)})",
                a["not_measurable"],
            ]
        )
    return _table(["variable", "n", "r", "CCC", "slope", "bias", "mean abs. error", "limits", "chance", "not measurable"], rows)


def _diagnosis_table(groups: dict[str, Any], variables: dict[str, Any]) -> str:
    rows = [
        [group, _title(variables[name]), a["n"], a["clusters"], _estimate(a["r"], 2), _estimate(a["bias"], 1), _estimate(a["mae"], 1)]
        for group, agreements in groups.items()
        if group != "all"
        for name, a in agreements.items()
    ]
    return _table(["group", "variable", "hearts", "patients", "r", "bias", "mean abs. error"], rows)


def _reconstruction(result: dict[str, Any]) -> list[str]:
    groups = result["groups"]
    header = ["figure", *(f"{group} (n = {figures['n']})" for group, figures in groups.items())]
    rows = [[title, *(_estimate(figures[name], 3) for figures in groups.values())] for name, title in result["figures"].items()]
    grid = "x".join(map(str, result["grid"]["size"]))
    return ["## Reconstruction", f"{result['patients']}, on the grid of {grid} voxels.", RECONSTRUCTION, _table(header, rows)]


def _two_sample(result: dict[str, Any]) -> list[str]:
    rows = [
        [kind, *((f"not made: {one['refused']}", "-") if "refused" in one else (_estimate(one | {"value": one["auc"]}, 2), one["n_made"]))]
        for kind, one in result["kinds"].items()
    ]
    about = f"{result['patients']} unseen patients."
    return ["## Two-sample test of pixels", TWO_SAMPLE, about, _table(["made hearts", "AUC", "hearts"], rows)]


def _title(variable: dict[str, str]) -> str:
    return f"{variable['title']} [{variable['unit']}]" if variable["unit"] else variable["title"]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _estimate(estimate: Estimate, digits: int) -> str:
    value, low, high = (_number(estimate[k], digits) for k in ("value", "low", "high"))
    return value if low == "-" else f"{value} [{low}, {high}]"


def _table(header: list[str], rows: Iterable[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _figure(name: str) -> str:
    return f"![{name}]({name})"
