"""Figures of the memorisation audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report.style import AUGMENTED_COLOUR, GREY, INK, LOSS, RULE, sober
from nnunet_synth_aug.reports.memorisation.neighbours import Portrait
from nnunet_synth_aug.reports.realism.figures import save

UNITS = {"latent": "RMS difference of standardised latents", "image": "1 - correlation of images"}


def distance_figure(neighbours: dict[str, dict[str, Any]], path: Path) -> None:
    """Cumulative nearest-neighbour distances in each space; a memorising generator's red curve lies left of the blue one."""
    from matplotlib.figure import Figure

    lines = (
        ("synthetic_to_training", "generated to training", LOSS, "-"),
        ("synthetic_to_held_out", "generated to unseen", AUGMENTED_COLOUR, "-"),
        ("held_out_to_training", "unseen to training", INK, "--"),
        ("training_to_other_training", "training to other training", GREY, ":"),
    )
    with sober():
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        for axes, (space, found) in zip(figure.subplots(1, len(neighbours)), neighbours.items(), strict=True):
            for key, label, colour, style in lines:
                values = np.asarray(found[key])
                axes.step(
                    [values[0], *values], np.linspace(0, 1, len(values) + 1), color=colour, ls=style, lw=1.6, where="post", label=label
                )
            axes.set_xlabel(f"distance to the nearest ({UNITS[space]})")
            axes.set_title(space)
            axes.grid(color=RULE, lw=0.6)
            axes.set_axisbelow(True)
        figure.supylabel("share of hearts", fontsize=9)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncol=4, frameon=False, fontsize=8)
    save(figure, path)


def pairs_figure(sides: dict[str, list[Portrait]], pairs: list[dict[str, Any]], path: Path) -> None:
    """Generated anatomies nearest to a training patient, beside that patient and the nearest unseen one: ED, middle slice, common pose."""
    from matplotlib.figure import Figure

    portraits = {side: {p.id: p for p in found} for side, found in sides.items()}
    with sober():
        figure = Figure(figsize=(6, 2.1 * len(pairs)), layout="constrained")
        for row, pair in zip(figure.subplots(len(pairs), 3, squeeze=False), pairs, strict=True):
            mirrored = int(pair["mirrored"][0])
            shown = (
                (portraits["synthetic"][pair["synthetic"]].picture[mirrored], f"{pair['synthetic']}{' (mirrored)' if mirrored else ''}"),
                (portraits["training"][pair["training"]].picture[0], f"training {pair['training']}\ndistance {pair['to_training']:.2f}"),
                # The unseen patient is mirrored instead if the generated heart was compared with it the other way round.
                (
                    portraits["held_out"][pair["held_out"]].picture[int(pair["mirrored"][0] != pair["mirrored"][1])],
                    f"unseen {pair['held_out']}\ndistance {pair['to_held_out']:.2f}",
                ),
            )
            for axes, (picture, title) in zip(row, shown, strict=True):
                axes.imshow(picture[..., picture.shape[2] // 2].T[::-1], cmap="gray", vmin=-1, vmax=1)
                axes.set_title(title, fontsize=7, fontweight="normal")
                axes.set_axis_off()
    save(figure, path)
