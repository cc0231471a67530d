"""What is done to copies of hearts, on phantoms: pictures for docs/concepts/sources.md, and what a weaker beat costs.

    python tests/benchmarks/copies.py [--hearts 16] [--json docs/benchmarks/beats.json] [--images docs/images]

remodelling.png: a normal heart as it is and remodelled. beats.png: a heart that beats half as much, as a blend of ED and ES and by
frames of its own cine (``nnunet_synth_aug.model.weaker_beat``), decoded by the generator that ships. Measured at ES is how well the
image tells blood from muscle where the decoded mask says that they are, as the distance of their mean grey values in pooled standard
deviations; and the EF by the mask.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from page_table import DOCS

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import LV, MYO
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.remodel import Remodelling, radial_maps
from nnunet_synth_aug.model.config import PRESETS
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.grid import Grid, Placement, place, to_grid
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.pretrained import PHANTOM
from nnunet_synth_aug.model.weaker_beat import beaten

NORMAL = (0, 77)  # number and seed of a normal heart of a Siemens scanner
CHANGES = {
    "as it is": Remodelling(),
    "dilated": Remodelling(cavity=1.4, wall=0.85),
    "hypertrophic": Remodelling(cavity=0.85, wall=1.8),
    "large RV": Remodelling(rv=1.4),
    "all three": Remodelling(cavity=1.3, wall=1.4, rv=1.35),
}
SEED = 9000  # of the beating hearts; of no other cohort
GAIN = 0.5
WAYS = {"ED": "ED", "ES": "ES", "blend": f"ES at {GAIN:g}: a blend", "frames": f"ES at {GAIN:g}: of its frames"}


def phantom(number: int, seed: int) -> Sequence:
    subject = phantom_subject(number, seed)
    ends = (subject.source.ed, subject.source.es)
    return Sequence(subject.source.image, subject.mask, subject.source.spacing, *ends, labelled=ends)


def middle(mask: np.ndarray) -> int:
    """The middle slice of those with a left ventricle, of (X, Y, Z)."""
    return int(np.median(np.flatnonzero((mask == LV).any((0, 1)))))


def show(axis: Any, image: np.ndarray, mask: np.ndarray, title: str) -> None:
    axis.imshow(image.T, cmap="gray", vmin=-1, vmax=1)
    axis.contour(mask.T, levels=[0.5, 1.5, 2.5], colors=["#56b4e9", "#f0e442", "#e69f00"], linewidths=0.8)
    axis.axis("off")
    axis.set_title(title, fontsize=8)


def remodelling(path: Path) -> None:
    """ED above ES, one column per change, with what the masks measure."""
    sequence = phantom(*NORMAL)
    grid = Grid((128, 128, PRESETS["base"].grid.size[2]), 1.25)
    figure, axes = plt.subplots(2, len(CHANGES), figsize=(2.4 * len(CHANGES), 5.3), layout="constrained")
    for column, (name, change) in zip(axes.T, CHANGES.items(), strict=True):
        placement = Placement(place(sequence, grid).centre, maps=radial_maps(sequence, change))
        got = to_grid(sequence, grid, PRESETS["base"].grid, placement, [sequence.ed, sequence.es])
        masks, images = got.mask.numpy(), got.image.float().numpy()
        found = measure(masks[got.ed], masks[got.es], got.spacing)
        told = f"EDV {found.lv_edv:.0f} mL, EF {found.lv_ef:.0f} %\nmass {found.lv_mass:.0f} g, RV EDV {found.rv_edv:.0f} mL"
        z = middle(masks[got.ed])
        show(column[0], images[got.ed, ..., z], masks[got.ed, ..., z], f"{name}, ED\n{told}")
        show(column[1], images[got.es, ..., z], masks[got.es, ..., z], f"{name}, ES")
    figure.savefig(path, dpi=80)


@torch.no_grad()
def beats(number: int, generator: Any) -> tuple[dict[str, dict[str, float]], np.ndarray, np.ndarray]:
    """Figures by way, and the middle slice of image (4, X, Y) and mask in the order of ``WAYS``, of one phantom."""
    gridded = to_grid(phantom(number, SEED), generator.grid, generator.config.grid)
    latent = encode(generator.vae, gridded.image, gridded.valid, generator.device)
    residuals = latent - latent[gridded.ed]
    es = residuals[gridded.es]
    shown = [torch.zeros_like(es), es, GAIN * es, beaten(residuals, gridded.ed, gridded.es, GAIN)[gridded.es]]
    image, logits = generator.vae.decode(latent[gridded.ed] + torch.stack(shown))
    masks = (logits.argmax(1) * (gridded.valid > 0)).numpy()
    pictures = image[:, 0].float().numpy()
    volumes = [np.count_nonzero(mask == LV) for mask in masks]
    found = {}
    for way, picture, mask, volume in zip(WAYS, pictures, masks, volumes, strict=True):
        blood, muscle = picture[mask == LV], picture[mask == MYO]
        apart = (blood.mean() - muscle.mean()) / np.sqrt((blood.var() + muscle.var()) / 2)
        found[way] = {"separation": float(apart), "ef": 100 * (1 - volume / volumes[0])}
    z = middle(masks[0])
    return found, pictures[..., z], masks[..., z]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearts", type=int, default=16, help="that beat half as much")
    parser.add_argument("--json", type=Path, default=DOCS / "benchmarks" / "beats.json")
    parser.add_argument("--images", type=Path, default=DOCS / "images")
    arguments = parser.parse_args()
    remodelling(arguments.images / "remodelling.png")
    generator = load_generator(PHANTOM, torch.device("cpu"))
    made = [beats(number, generator) for number in range(arguments.hearts)]
    hearts = [found for found, _, _ in made]
    figure, axes = plt.subplots(len(made[:4]), len(WAYS), figsize=(9, 2.3 * len(made[:4])), layout="constrained", squeeze=False)
    for line, (_, pictures, masks) in zip(axes, made, strict=False):
        for axis, picture, mask, title in zip(line, pictures, masks, WAYS.values(), strict=True):
            show(axis, picture, mask, title)
    figure.savefig(arguments.images / "beats.png", dpi=80)
    figures = {
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "data": f"{arguments.hearts} phantoms of seed {SEED}",
        "generator": generator.provenance["generator_hash"],
        "gain": GAIN,
        "mean": {way: {k: round(float(np.mean([heart[way][k] for heart in hearts])), 2) for k in hearts[0][way]} for way in WAYS},
        "hearts": hearts,
        "frames_better_separated": sum(heart["frames"]["separation"] > heart["blend"]["separation"] for heart in hearts),
    }
    write_json(arguments.json, figures)
    print(f"figures: {arguments.json}")


if __name__ == "__main__":
    main()
