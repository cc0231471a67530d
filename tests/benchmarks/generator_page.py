"""The tables of docs/results/generator.md from the figures of generator.py, so that no number is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from page_table import table
from stage_sections import anatomies, contours, decoded_masks, estimate, motion, starts, vaes

from nnunet_synth_aug.core.files import read_json


def figures(folder: Path) -> str:
    """A section for every JSON file in ``folder``, in the order of their names."""
    studies = [(path.stem, read_json(path)) for path in sorted(folder.glob("*.json"))]
    return "\n".join(_kind(study)(name, study) for name, study in studies)


def _kind(study: dict[str, Any]) -> Callable[[str, dict[str, Any]], str]:
    """Which benchmark made the figures."""
    kinds = {"anatomies": anatomies, "variants": motion, "vaes": vaes, "generators": decoded_masks, "starts": starts, "contours": contours}
    return next((section for key, section in kinds.items() if key in study), _section)


def _section(name: str, study: dict[str, Any]) -> str:
    arms = study["arms"]
    made = f"{study['machine']}, {study['date']}, version {study['version']}.\n"
    if "about" in study:  # a report that was made by hand
        about = f"{study['about']} {made}"
    else:
        cohort = f"{study['hearts']} phantoms" if study["source"] == "phantom" else "ACDC cines"
        patients = next(iter(arms.values()))["training_patients"]
        about = (
            f"{cohort}, fold 0 of {study['folds']} ({patients} training patients), preset `{study['preset']}`, {study['n']} hearts judged, "
            f"seed {study['seed']}. {made}"
        )
    if dice := study.get("segmenter_dice"):
        told = ", ".join(f"{structure} {value:.2f}" for structure, value in dice.items())
        length = f", {study['segmenter_iterations']} iterations" if study["segmenter_iterations"] else ""
        about += f"\nSegmenter: nnU-Net 2d of CPU size{length}; Dice on its held-out patients {told}.\n"
    changed = [f"- **{arm}**: `{' '.join(figures['options'])}`" for arm, figures in arms.items() if figures["options"]]
    rows = [[title, *(_shown(read, figures) for figures in arms.values())] for title, read in ROWS]
    rows += _diagnoses(arms)
    kept = [row for row in rows if any(cell != "-" for cell in row[1:])]
    swept = {arm: figures["ef_sweep"] for arm, figures in arms.items() if "ef_sweep" in figures}
    efs = next(iter(swept.values()), {})
    sweep = [[f"{ef} %", *(f"{found[ef]:.1f} %" for found in swept.values())] for ef in efs]
    return "\n".join(
        [
            f"## {name}\n",
            about,
            *changed,
            "",
            table(["", *arms], kept),
            *(
                ["Only EF and an EDV of 150 mL requested, five hearts each, mean EF measured:\n", table(["EF requested", *swept], sweep)]
                if efs
                else []
            ),
            *(f"*{arm}*: {sentence}\n" for arm, figures in arms.items() for sentence in _words(figures)),
        ]
    )


def _words(figures: dict[str, Any]) -> list[str]:
    """What the realism and memorisation reports say in words."""
    reports = figures["report"]
    said = [*reports.get("realism", {}).get("notes", [])[:1], *reports.get("memorisation", {}).get("verdict", [])]
    return said + [f"the {name} report was not made: {r['refused']}" for name, r in reports.items() if "refused" in r]


def _shown(read: Callable[[dict[str, Any]], str], figures: dict[str, Any]) -> str:
    """A cell; "-" where a report lacks the figure, e.g. masks over the cycle of a real cine."""
    try:
        return read(figures)
    except (KeyError, TypeError):
        return "-"


def _control(loop: str, variable: str, figure: str, digits: int) -> Callable[[dict[str, Any]], str]:
    def read(figures: dict[str, Any]) -> str:
        sources = figures["report"]["controllability"][loop]
        return estimate(next(iter(sources.values()))["all"][variable][figure], digits)

    return read


def _seen(variable: str, figure: str, digits: int) -> Callable[[dict[str, Any]], str]:
    """What the independent segmenter measures in the generated images."""
    return lambda figures: estimate(
        figures["report"]["controllability"]["open_loop"]["independent segmenter"]["all"][variable][figure], digits
    )


def _agreement(structure: str, metric: str, digits: int) -> Callable[[dict[str, Any]], str]:
    def read(figures: dict[str, Any]) -> str:
        rows = figures["report"]["controllability"]["image_mask"]
        return estimate(next(r for r in rows if (r["structure"], r["phase"]) == (structure, "both"))[metric], digits)

    return read


def _mean_agreement(figures: dict[str, Any]) -> str:
    rows = [r for r in figures["report"]["controllability"]["image_mask"] if r["phase"] == "both"]
    return f"{sum(r['Dice']['value'] for r in rows) / len(rows):.2f}"


def _reconstruction(name: str, digits: int) -> Callable[[dict[str, Any]], str]:
    return lambda figures: estimate(figures["report"]["reconstruction"]["groups"]["all"][name], digits)


def _temporal(name: str, digits: int = 2) -> Callable[[dict[str, Any]], str]:
    def read(figures: dict[str, Any]) -> str:
        sides = figures["report"]["realism"]["temporal"]
        return " / ".join(_spread(sides[side].get(name), digits) for side in ("synthetic", "real"))

    return read


def _spread(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return f"{value['median']:.{digits}f} ({value['q25']:.{digits}f}, {value['q75']:.{digits}f})"
    return f"{value:.{digits}f}"


def _distance(name: str) -> Callable[[dict[str, Any]], str]:
    def read(figures: dict[str, Any]) -> str:
        entry = figures["report"]["realism"]["distances"][name]
        d = entry["distances"][0]
        return f"{d['matched']:.3g} / {d['floor']:.3g}, p {entry['p']:.3g}"

    return read


def _first(found: dict[str, Any]) -> str:
    """How many requests were met at the first try; studies of before do not tell."""
    return f"; first try {found['first_try']} of {found['requests']}" if "first_try" in found else ""


def _diagnoses(arms: dict[str, Any]) -> list[list[str]]:
    groups = sorted({g for figures in arms.values() for g in figures.get("acceptance", {}).get("by_diagnosis", {})})
    rows = []
    for group in groups:
        cells = []
        for figures in arms.values():
            found = figures["acceptance"]["by_diagnosis"].get(group)
            cells.append("-" if found is None else f"{found['accepted']} of {found['tries']}{_first(found)}")
        rows.append([f"acceptance, {group or 'no diagnosis'}", *cells])
    return rows


VARIABLES = {
    "lv_edv": ("LV EDV", "mL"),
    "lv_ef": ("LV EF", "points"),
    "rv_edv": ("RV EDV", "mL"),
    "rv_ef": ("RV EF", "points"),
    "lv_mass": ("LV mass", "g"),
}
ROWS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    *(
        (f"{title}, {shown}{f' [{unit}]' if figure in ('bias', 'mae') else ''}", _control("open_loop", variable, figure, digits))
        for variable, (title, unit) in VARIABLES.items()
        for figure, shown, digits in (("r", "r", 2), ("ccc", "CCC", 2), ("slope", "slope", 2), ("bias", "bias", 1), ("mae", "MAE", 1))
    ),
    *((f"{VARIABLES[v][0]}, MAE, closed loop [{VARIABLES[v][1]}]", _control("closed_loop", v, "mae", 1)) for v in ("lv_edv", "lv_ef")),
    *(
        (f"{VARIABLES[v][0]}, {shown}, by the segmenter", _seen(v, figure, 2))
        for v in ("lv_edv", "lv_ef", "rv_edv", "lv_mass")
        for figure, shown in (("r", "r"), ("slope", "slope"))
    ),
    ("image-mask agreement: mean Dice", _mean_agreement),
    *((f"image-mask agreement: Dice of {s}", _agreement(s, "Dice", 2)) for s in ("RV", "MYO", "LV")),
    *((f"image-mask agreement: HD95 of {s} [mm]", _agreement(s, "HD95", 1)) for s in ("RV", "MYO", "LV")),
    ("closure, generated / real: median (quartiles)", _temporal("closure")),
    ("closure of real cines without gaps", lambda f: _spread(f["report"]["realism"]["temporal"]["real"]["closure_without_gaps"], 2)),
    ("jerk, generated / real", _temporal("jerk")),
    (
        "share of generated LV curves with one minimum",
        lambda f: f"{f['report']['realism']['temporal']['synthetic']['share_with_one_lv_minimum']:.2f}",
    ),
    (
        "variation of the myocardial volume over the cycle",
        lambda f: _spread(f["report"]["realism"]["temporal"]["synthetic"]["mass_variation"], 3),
    ),
    ("FD-cine, generated / real-real floor, permutation p", _distance("FD-cine")),
    ("FD-seg, generated / real-real floor, permutation p", _distance("FD-seg")),
    ("VAE: PSNR [dB]", _reconstruction("psnr", 1)),
    ("VAE: SSIM", _reconstruction("ssim", 3)),
    ("VAE: structure, share of the real image's", _reconstruction("structure", 2)),
    ("VAE: detail, share of the real image's", _reconstruction("detail", 2)),
    ("VAE: checkerboard, share of the real image's", _reconstruction("checkerboard", 2)),
    *((f"VAE: Dice of {s}", _reconstruction(f"dice_{s}", 3)) for s in ("RV", "MYO", "LV")),
    ("share of latent motion in the basis", _reconstruction("motion_basis", 3)),
    ("share of it in the components", _reconstruction("motion_components", 3)),
    ("training, VAE / static / motion [s]", lambda f: " / ".join(f"{f['fit_seconds'][s]:.0f}" for s in ("vae", "static", "motion"))),
    ("one 30-frame case [s]", lambda f: f"{f['cost']['seconds_per_case']:.1f}"),
    ("peak memory while sampling [GiB]", lambda f: f"{f['cost']['peak_gib']:.1f}"),
    (
        "acceptance",
        lambda f: (
            f"{f['acceptance']['accepted']} of {f['acceptance']['tries']}, {f['acceptance']['given_up']} requests given up"
            f"{_first(f['acceptance'])}"
        ),
    ),
]
