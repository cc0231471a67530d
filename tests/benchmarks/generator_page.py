"""The tables of docs/results/generator.md from docs/generator/*.json: the figures of generator.py, and those of single stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from page_table import DOCS, estimate, made, number, table

from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.labels import STRUCTURES

#: What a JSON of a single stage calls its variants, and what was measured.
STAGES = {
    "anatomies": "The static LDM by itself: ED anatomies with the priors of held-out patients. An AUC of 0.5 and distance ratios of 1 are "
    "no sign of memorisation.",
    "variants": "The motion LDM by itself: ES decoded from the true ED latent and sampled motion, compared with the true ES mask.",
    "vaes": "The VAE by itself, trained from random weights: reconstructed cines of held-out patients.",
    "generators": "Masks that the VAE decodes of hearts whose contours it has not seen: Dice, and r and bias of their volumes [mL], EF "
    "[points] and mass [g].",
    "starts": "What the static LDM begins with: the first anatomy of every request of a bank. Sound: no defect at ED, and the volumes that "
    "were asked for. Moved: root mean square between the copy and what came of it, in SD of the latents.",
    "contours": "Slices with contours that nobody would draw: an open wall, a cavity or an RV in pieces. Spoilt: frames torn in the "
    "middle, which are no training cases. Cut: frames whose torn ends a bank leaves out.",
}
#: Of a stage: what a table leaves out.
UNSHOWN = {"n", "clusters", "intercept", "limit_low", "limit_high", "null_r", "p", "mae", "ccc", "loss", "nearest_p"}


def figures(folder: Path = DOCS / "generator") -> str:
    """A section for every JSON file in ``folder``, in the order of their names."""
    studies = [(path.stem, read_json(path)) for path in sorted(folder.glob("*.json"))]
    return "\n".join(_section(name, study) if "arms" in study else _stage(name, study) for name, study in studies)


def _stage(name: str, study: dict[str, Any]) -> str:
    """Figures of one stage by itself, whose script answered its question and is in git up to commit d785fd7."""
    key = next(key for key in STAGES if key in study)
    found = {variant: dict(_leaves(values)) for variant, values in study[key].items()}
    rows = [[title, *(shown.get(title) for shown in found.values())] for title in dict.fromkeys(t for f in found.values() for t in f)]
    about = [f"{n} {what}".strip() for k, what in ABOUT.items() if (n := study.get(k)) is not None]
    parts = [f"## {name}\n", f"{STAGES[key]} {study.get('about', '')} {', '.join([*about, made(study)])}\n".replace("  ", " ")]
    parts += [f"- **{variant}**: `{settings or 'the preset'}`" for variant, settings in study.get("settings", {}).items()]
    parts += ["", table(["", *found], rows)]
    if segmenter := {k: v for k, v in study.get("segmenter", {}).items() if k != "of"}:
        parts.append(f"Mean Dice per slice of a real-only nnU-Net with the masks of *{study['segmenter']['of']}*:\n")
        parts.append(
            table(["", *STRUCTURES], ([f"{p}, {k}", *(v[s] for s in STRUCTURES)] for p, f in segmenter.items() for k, v in f.items()))
        )
    return "\n".join(parts)


ABOUT = {
    "dataset": "",
    "training_patients": "training patients",
    "labelled_patients": "patients with masks",
    "held_out": "held-out patients",
    "judged": "hearts judged",
    "draws": "draws each",
    "steps": "steps",
}


def _leaves(values: dict[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure with the names that lead to it."""
    for key, value in values.items():
        name = f"{place} {key}".strip().replace("_", " ")
        if key in UNSHOWN:
            continue
        if isinstance(value, dict) and "value" not in value:
            yield from _leaves(value, name)
        else:
            yield name, estimate(value, 2) if isinstance(value, dict) else number(value, 2) if isinstance(value, float) else value


def _section(name: str, study: dict[str, Any]) -> str:
    arms = study["arms"]
    about = study.get("about")  # a report that was made by hand
    if about is None:
        cohort = f"{study['hearts']} phantoms" if study["source"] == "phantom" else "ACDC cines"
        patients = next(iter(arms.values()))["training_patients"]
        about = f"{cohort}, fold 0 of {study['folds']} ({patients} training patients), preset `{study['preset']}`, {study['n']} hearts "
        about += f"judged, seed {study['seed']}."
    parts = [f"## {name}\n", f"{about} {made(study)}\n"]
    if dice := study.get("segmenter_dice"):
        told = ", ".join(f"{structure} {value:.2f}" for structure, value in dice.items())
        parts.append(f"Segmenter: nnU-Net 2d of CPU size; Dice on its held-out patients {told}.\n")
    parts += [f"- **{arm}**: `{' '.join(figures['options'])}`" for arm, figures in arms.items() if figures["options"]]
    rows = [[title, *(_shown(read, figures) for figures in arms.values())] for title, read in ROWS]
    rows += _diagnoses(arms)
    parts += ["", table(["", *arms], [row for row in rows if set(row[1:]) - {None, "-"}])]
    swept = {arm: figures["ef_sweep"] for arm, figures in arms.items() if "ef_sweep" in figures}
    if swept:
        efs = next(iter(swept.values()))
        parts.append("Only EF and an EDV of 150 mL requested, five hearts each, mean EF measured:\n")
        parts.append(table(["EF requested", *swept], [[f"{ef} %", *(f"{found[ef]:.1f} %" for found in swept.values())] for ef in efs]))
    return "\n".join([*parts, *(f"*{arm}*: {sentence}\n" for arm, figures in arms.items() for sentence in _words(figures["report"]))])


def _words(reports: dict[str, Any]) -> list[str]:
    """What the realism and memorisation reports say in words."""
    said = [*reports.get("realism", {}).get("notes", [])[:1], *reports.get("memorisation", {}).get("verdict", [])]
    return said + [f"the {name} report was not made: {r['refused']}" for name, r in reports.items() if "refused" in r]


def _shown(read: Callable[[dict[str, Any]], str], figures: dict[str, Any]) -> str | None:
    """A cell; None where a report lacks the figure, e.g. masks over the cycle of a real cine."""
    try:
        return read(figures)
    except (KeyError, TypeError):
        return None


def _at(figures: Any, path: str) -> Any:
    """What lies at ``path`` of keys; "*" is the first one."""
    for key in path.split("."):
        figures = next(iter(figures.values())) if key == "*" else figures[key]
    return figures


def _value(path: str, digits: int) -> Callable[[dict[str, Any]], str]:
    """A number, one with an interval, or a median with its quartiles, of the report."""

    def read(figures: dict[str, Any]) -> str:
        found = _at(figures["report"], path)
        if isinstance(found, dict) and "median" in found:
            return f"{found['median']:.{digits}f} ({found['q25']:.{digits}f}, {found['q75']:.{digits}f})"
        return estimate(found, digits) if isinstance(found, dict) else number(found, digits)

    return read


def _both(name: str) -> Callable[[dict[str, Any]], str]:
    """Of generated and of real cines."""
    return lambda figures: " / ".join(_value(f"realism.temporal.{side}.{name}", 2)(figures) for side in ("synthetic", "real"))


def _agreement(structure: str, metric: str, digits: int) -> Callable[[dict[str, Any]], str]:
    def read(figures: dict[str, Any]) -> str:
        rows = figures["report"]["controllability"]["image_mask"]
        return estimate(next(r for r in rows if (r["structure"], r["phase"]) == (structure, "both"))[metric], digits)

    return read


def _mean_agreement(figures: dict[str, Any]) -> str:
    rows = [row for row in figures["report"]["controllability"]["image_mask"] if row["phase"] == "both"]
    return f"{sum(row['Dice']['value'] for row in rows) / len(rows):.2f}"


def _distance(name: str) -> Callable[[dict[str, Any]], str]:
    def read(figures: dict[str, Any]) -> str:
        entry = figures["report"]["realism"]["distances"][name]
        return f"{entry['distances'][0]['matched']:.3g} / {entry['distances'][0]['floor']:.3g}, p {entry['p']:.3g}"

    return read


def _accepted(found: dict[str, Any]) -> str:
    first = f"; first try {found['first_try']} of {found['requests']}" if "first_try" in found else ""  # studies of before do not tell
    return f"{found['accepted']} of {found['tries']}{first}"


def _diagnoses(arms: dict[str, Any]) -> list[list[str | None]]:
    accepted = [figures.get("acceptance", {}) for figures in arms.values()]
    groups = sorted({group for found in accepted for group in found.get("by_diagnosis", {})})
    rows: list[list[str | None]] = [["acceptance", *(_accepted(found) if found else None for found in accepted)]]
    for group in groups:
        of = [found["by_diagnosis"].get(group) if found else None for found in accepted]
        rows.append([f"acceptance, {group or 'no diagnosis'}", *(found and _accepted(found) for found in of)])
    return rows


OPEN, SEEN = "controllability.open_loop.*.all", "controllability.open_loop.independent segmenter.all"
VARIABLES = {
    "lv_edv": "LV EDV [mL]",
    "lv_ef": "LV EF [points]",
    "rv_edv": "RV EDV [mL]",
    "rv_ef": "RV EF [points]",
    "lv_mass": "LV mass [g]",
}
CONTROL = {"r": ("r", 2), "ccc": ("CCC", 2), "slope": ("slope", 2), "bias": ("bias", 1), "mae": ("MAE", 1)}
RECONSTRUCTION = {"psnr": ("PSNR [dB]", 1), "ssim": ("SSIM", 3)}
RECONSTRUCTION |= {key: (f"{key}, share of the real image's", 2) for key in ("structure", "detail", "checkerboard")}
RECONSTRUCTION |= {"spectrum": ("power of the frequencies kept worst, share of the real image's", 2)}
RECONSTRUCTION |= {f"dice_{s}": (f"Dice of {s}", 3) for s in STRUCTURES}
RECONSTRUCTION |= {"motion_basis": ("share of latent motion in the basis", 3), "motion_components": ("share of it in the components", 3)}
ROWS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    *((f"{title}, {shown}", _value(f"{OPEN}.{v}.{key}", d)) for v, title in VARIABLES.items() for key, (shown, d) in CONTROL.items()),
    *((f"{VARIABLES[v]}, MAE, closed loop", _value(f"controllability.closed_loop.*.all.{v}.mae", 1)) for v in ("lv_edv", "lv_ef")),
    *(
        (f"{VARIABLES[v]}, {key}, by the segmenter", _value(f"{SEEN}.{v}.{key}", 2))
        for v in ("lv_edv", "lv_ef", "rv_edv", "lv_mass")
        for key in ("r", "slope")
    ),
    ("image-mask agreement: mean Dice", _mean_agreement),
    *((f"image-mask agreement: Dice of {s}", _agreement(s, "Dice", 2)) for s in STRUCTURES),
    *((f"image-mask agreement: HD95 of {s} [mm]", _agreement(s, "HD95", 1)) for s in STRUCTURES),
    ("closure, generated / real: median (quartiles)", _both("closure")),
    ("closure of real cines without gaps", _value("realism.temporal.real.closure_without_gaps", 2)),
    ("jerk, generated / real", _both("jerk")),
    ("share of generated LV curves with one minimum", _value("realism.temporal.synthetic.share_with_one_lv_minimum", 2)),
    ("variation of the myocardial volume over the cycle", _value("realism.temporal.synthetic.mass_variation", 3)),
    ("FD-cine, generated / real-real floor, permutation p", _distance("FD-cine")),
    ("FD-seg, generated / real-real floor, permutation p", _distance("FD-seg")),
    *((f"VAE: {title}", _value(f"reconstruction.groups.all.{key}", digits)) for key, (title, digits) in RECONSTRUCTION.items()),
    ("training, VAE / static / motion [s]", lambda f: " / ".join(f"{f['fit_seconds'][s]:.0f}" for s in ("vae", "static", "motion"))),
    ("one 30-frame case [s]", lambda f: f"{f['cost']['seconds_per_case']:.1f}"),
    ("peak memory while sampling [GiB]", lambda f: f"{f['cost']['peak_gib']:.1f}"),
]
FIGURES = {"generator": figures}
