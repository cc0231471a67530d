"""Sections of docs/results/generator.md on one stage by itself."""

from __future__ import annotations

from typing import Any

from page_table import table

from nnunet_synth_aug.core.labels import PHASES, STRUCTURES


def anatomies(name: str, study: dict[str, Any]) -> str:
    """Figures of anatomy.py."""
    volumes = {"lv_edv": "LV EDV", "rv_edv": "RV EDV", "lv_mass": "LV mass"}
    head = ["", *(f"{title}, r (slope)" for title in volumes.values()), "defective at ED"]
    head += ["membership AUC", "distance ratio, image", "distance ratio, latent", "near copies"]
    rows = [
        [
            variant,
            *(f"{f['control'][v]['r']:.2f} ({f['control'][v]['slope']:.2f})" for v in volumes),
            f["defective"],
            estimate(f["auc"], 2),
            *(estimate(f["distance_ratio"][space], 2) for space in ("image", "latent")),
            str(f["near_copies"]),
        ]
        for variant, f in study["anatomies"].items()
    ]
    start = "continued from the shipped generator" if study["pretrained"] else "from random weights"
    return "\n".join(
        [
            f"## {name}\n",
            f"The static LDM by itself (`tests/benchmarks/anatomy.py`): `{study['preset']}`, {start}, trained on "
            f"{study['training_patients']} patients of {study['dataset']} with one VAE; {study['judged']} ED anatomies with the priors of "
            f"held-out patients, seed {study['seed']}. *As it is* is the generator's own static LDM. "
            "A membership AUC of 0.5 and a distance ratio of 1 are no sign of memorisation. "
            f"{study['machine']}, {study['date']}, version {study['version']}.\n",
            *(f"- **{variant}**: `{settings or 'the preset'}`" for variant, settings in study["settings"].items()),
            "",
            *(["A continued generator takes half of the steps (`pretrain.finetune_steps`).\n"] if study["pretrained"] else []),
            table(head, rows),
            "",
        ]
    )


def vaes(name: str, study: dict[str, Any]) -> str:
    """Figures of vae.py."""
    figures = {
        "psnr": ("PSNR [dB]", 1),
        "ssim": ("SSIM", 3),
        "structure": ("structure", 2),
        "detail": ("detail", 2),
        "checkerboard": ("checkerboard", 2),
    }
    figures |= {f"dice_{s}": (f"Dice of {s}", 3) for s in STRUCTURES}
    judged = [found for groups in study["vaes"].values() for found in groups.values()]
    figures = {key: told for key, told in figures.items() if all(key in found for found in judged)}  # earlier reports had other ones
    rows = [
        [variant, group, str(found["n"]), *(estimate(found[key], digits) for key, (_, digits) in figures.items())]
        for variant, groups in study["vaes"].items()
        for group, found in groups.items()
    ]
    return "\n".join(
        [
            f"## {name}\n",
            f"The VAE by itself (`tests/benchmarks/vae.py`): {study['steps']} steps from random weights on {study['training_patients']} "
            f"training patients of {study['dataset']}, judged on reconstructed cines of {study['held_out']} held-out patients. "
            f"{study['machine']}, {study['date']}, version {study['version']}.\n",
            *(f"- **{variant}**: `{settings or 'the preset'}`" for variant, settings in study["settings"].items()),
            "",
            table(["VAE", "vendor", "patients", *(title for title, _ in figures.values())], rows),
            "",
        ]
    )


def motion(name: str, study: dict[str, Any]) -> str:
    """Figures of motion.py."""
    head = ["", "EF, r", "EF, slope", "EF, bias [points]", *(f"Dice of {s} at ES" for s in STRUCTURES), "defective at ES"]
    rows = [
        [variant, f"{f['ef_r']:.2f}", f"{f['ef_slope']:.2f}", f"{f['ef_bias']:+.1f}"]
        + [f"{f['es_dice'][s]:.2f}" for s in STRUCTURES]
        + [f["es_defective"]]
        for variant, f in study["variants"].items()
    ]
    if any("ef_alone" in f for f in study["variants"].values()):
        head += ["EF alone asked for: r", "slope", "bias [points]"]
        for row, f in zip(rows, study["variants"].values(), strict=True):
            alone = f.get("ef_alone")
            row += ["-"] * 3 if alone is None else [f"{alone['ef_r']:.2f}", f"{alone['ef_slope']:.2f}", f"{alone['ef_bias']:+.1f}"]
    trained = "one network, sampled in several ways, of " if study["steps"] is None else f"{study['steps']} steps on "
    copies = "" if study["copies"] is None else f" in {study['copies']} copies"
    return "\n".join(
        [
            f"## {name}\n",
            f"The motion LDM by itself (`tests/benchmarks/motion.py`): {trained}{study['training_patients']} training "
            f"patients of {study['dataset']}{copies}; ES decoded from the true ED latent and sampled motion, "
            f"{study['draws']} draws for each of {study['held_out']} held-out hearts, compared with the true ES mask. {study['machine']}, "
            f"{study['date']}, version {study['version']}.\n",
            *(f"- **{variant}**: `{settings or 'the preset'}`" for variant, settings in study["settings"].items()),
            "",
            table(head, rows),
            "",
        ]
    )


def decoded_masks(name: str, study: dict[str, Any]) -> str:
    """Figures of decoded_masks.py."""
    structures = [f"{phase} {s}" for phase in PHASES for s in STRUCTURES]
    volumes = {"lv_edv": "LV EDV", "lv_ef": "LV EF", "rv_edv": "RV EDV", "rv_ef": "RV EF", "lv_mass": "LV mass"}
    dice, volume = [], []
    for generator, groups in study["generators"].items():
        for group, found in groups.items():
            who = [generator, f"{group} ({found['patients']})"]
            dice.append([*who, *(estimate(found["dice"][s], 2) for s in structures)])
            told = found["volumes"]
            volume.append([*who, *(f"{estimate(told[v]['r'], 2)}, {told[v]['bias']['value']:+.1f}" for v in volumes)])
    return "\n".join(
        [
            f"## {name}\n",
            "What the VAE tells of a heart whose contours it has not seen (`tests/benchmarks/decoded_masks.py`): Dice of the masks that it "
            f"decodes, and r and bias of volumes [mL], EF [points] and mass [g] by them. Generators of {study['labelled_patients']} "
            f"contoured patients of {study['dataset']} and, where the name says so, of the unlabelled ones. {study['machine']}, "
            f"{study['date']}, version {study['version']}.\n",
            table(["VAE of", "patients", *structures], dice),
            table(["VAE of", "patients", *(f"{title}: r, bias" for title in volumes.values())], volume),
        ]
    )


def contours(name: str, study: dict[str, Any]) -> str:
    """Figures of torn_slices.py."""
    rows, dice = [], []
    for masks, phases in study["contours"].items():
        for phase, f in phases.items():
            rows.append([masks, phase, str(f["slices"]), _share(f["torn"], f["slices"]), str(f["frames"]), str(f["spoilt"]), str(f["cut"])])
    for phase, kinds in study["segmenter"].items():
        if phase in PHASES:
            dice += [[phase, kind, str(f["slices"]), *(f"{f[s]:.2f}" for s in STRUCTURES)] for kind, f in kinds.items()]
    parts = [
        f"## {name}\n",
        "Slices with contours that nobody would draw (`tests/benchmarks/torn_slices.py`, `synthesis.contours`): an open or scattered wall, "
        "a cavity or an RV in pieces. Frames whose middle is torn are no training cases; of others a bank leaves the torn ends out. "
        f"{study.get('about', '')}{study['machine']}, {study['date']}, version {study['version']}.\n",
        table(["masks", "phase", "slices with labels", "torn", "frames", "torn in the middle", "with torn ends"], rows),
    ]
    if dice:
        parts.append(
            f"What a real-only nnU-Net of the fold sees in the images of *{study['segmenter']['of']}*: mean Dice per slice with their "
            "own masks.\n"
        )
        parts.append(table(["phase", "slices", "n", *STRUCTURES], dice))
    return "\n".join(parts)


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else "0"


def starts(name: str, study: dict[str, Any]) -> str:
    """Figures of variations.py."""
    rows = []
    for start, f in study["starts"].items():
        reasons = ", ".join(f"{reason} {n}" for reason, n in list(f["reasons"].items())[:4])
        rows.append([start, f"{f['sound']} of {f['asked']}", "-" if f["moved"] is None else f"{f['moved']:.2f}", reasons])
    return "\n".join(
        [
            f"## {name}\n",
            f"What the static LDM begins with (`tests/benchmarks/variations.py`): {study['about']} `{study['preset']}`, "
            f"{study['training_patients']} patients of {study['dataset']}; requests of a bank, the first anatomy of each, seed "
            f"{study['seed']}. Sound: no defect at ED, and the volumes that were asked for. Moved: root mean square between the copy and "
            f"what came out of it, in SD of the latents in and beside the heart. "
            f"{study['machine']}, {study['date']}, version {study['version']}.\n",
            table(["begun with", "sound at the first try", "moved", "commonest reasons"], rows),
            "",
        ]
    )


def estimate(value: dict[str, Any], digits: int) -> str:
    shown = f"{value['value']:.{digits}f}"
    if value.get("low") is None:
        return shown
    return f"{shown} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
