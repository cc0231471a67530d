"""A heart that beats half as much: a blend of ED and ES, or a frame of its own cine? Decoded by the generator that ships, on phantoms.

    python tests/benchmarks/beats.py --hearts 16 --json docs/benchmarks/beats.json --picture docs/images/beats.png

Of every unseen phantom, latents of the cine are given half of their contraction in both ways (``nnunet_synth_aug.model.weaker_beat``,
and half of the residual).
What is measured at ES: how well the image tells blood from muscle where the decoded mask says that they are, as the distance
of their mean grey values in pooled standard deviations; and the EF by the mask. A cine's own frames are the yardstick. The last line
printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import LV, MYO
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.pretrained import PHANTOM
from nnunet_synth_aug.model.weaker_beat import beaten

SEED = 9000  # of no other cohort
GAIN = 0.5
WAYS = ("ED", "ES", "blend", "frames")


@torch.no_grad()
def beats(index: int, generator: Any) -> tuple[dict[str, dict[str, float]], np.ndarray, np.ndarray]:
    """Figures by way, and the middle slice of image (4, X, Y) and mask in the order of ``WAYS``, of one phantom."""
    subject = phantom_subject(index, SEED)
    source = subject.source
    sequence = Sequence(source.image, subject.mask, source.spacing, source.ed, source.es, labelled=(source.ed, source.es))
    gridded = to_grid(sequence, generator.grid, generator.config.grid)
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
    middle = int(np.median(np.flatnonzero((masks[0] == LV).any((0, 1)))))
    return found, pictures[..., middle], masks[..., middle]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearts", type=int, default=16)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    generator = load_generator(PHANTOM, torch.device("cpu"))
    made = [beats(index, generator) for index in range(arguments.hearts)]
    figures = {
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "data": f"{arguments.hearts} phantoms of seed {SEED}",
        "generator": generator.provenance["generator_hash"],
        "gain": GAIN,
        "mean": {w: {k: round(float(np.mean([f[w][k] for f, _, _ in made])), 2) for k in made[0][0][w]} for w in WAYS},
        "hearts": [f for f, _, _ in made],
        "frames_better_separated": sum(f["frames"]["separation"] > f["blend"]["separation"] for f, _, _ in made),
    }
    if arguments.picture:
        draw([(pictures, masks) for _, pictures, masks in made[:4]], arguments.picture)
    if arguments.json:
        write_json(arguments.json, figures)
    print(json.dumps(figures))


def draw(rows: list[tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """One row per heart: ED, ES, and both ways to beat half as much."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), len(WAYS), figsize=(2.2 * len(WAYS), 2.3 * len(rows)), layout="constrained")
    titles = ("ED", "ES", f"ES at {GAIN:g}: a blend", f"ES at {GAIN:g}: of its frames")
    for line, (pictures, masks) in zip(axes, rows, strict=True):
        for axis, picture, mask in zip(line, pictures, masks, strict=True):
            axis.imshow(picture.T, cmap="gray", vmin=-1, vmax=1)
            axis.contour(mask.T, levels=[0.5, 1.5, 2.5], colors=["#56b4e9", "#f0e442", "#e69f00"], linewidths=0.7)
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
