"""A phantom's normal heart remodelled: what `latents.remodel` shows a generator of, and what its copies measure.

    python tests/benchmarks/remodelling.py --out docs/images/remodelling.png

The heart is a phantom's, because patients' images stay where they are. Prints what each heart measures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.remodel import Remodelling, radial_maps
from nnunet_synth_aug.model.config import PRESETS
from nnunet_synth_aug.model.grid import Grid, Placement, place, to_grid

SEED, INDEX = 77, 0  # a normal heart of a Siemens scanner
CHANGES = {
    "as it is": Remodelling(),
    "dilated": Remodelling(cavity=1.4, wall=0.85),
    "hypertrophic": Remodelling(cavity=0.85, wall=1.8),
    "large RV": Remodelling(rv=1.4),
    "all three": Remodelling(cavity=1.3, wall=1.4, rv=1.35),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/remodelling.png"))
    arguments = parser.parse_args()
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    subject = phantom_subject(INDEX, SEED)
    source = subject.source
    ends = (source.ed, source.es)
    sequence = Sequence(source.image, subject.mask, source.spacing, *ends, labelled=ends)
    grid = Grid((128, 128, PRESETS["base"].grid.size[2]), 1.25)
    figure, axes = plt.subplots(2, len(CHANGES), figsize=(2.4 * len(CHANGES), 5.3), layout="constrained")
    for column, (name, change) in zip(axes.T, CHANGES.items(), strict=True):
        placement = Placement(place(sequence, grid).centre, maps=radial_maps(sequence, change))
        got = to_grid(sequence, grid, PRESETS["base"].grid, placement, list(ends))
        masks = got.mask.numpy()
        found = measure(masks[got.ed], masks[got.es], got.spacing)
        middle = int(np.median(np.flatnonzero((masks[got.ed] == LV).any((0, 1)))))
        title = f"EDV {found.lv_edv:.0f} mL, EF {found.lv_ef:.0f} %\nmass {found.lv_mass:.0f} g, RV EDV {found.rv_edv:.0f} mL"
        print(f"{name}: {' '.join(title.split())}")
        for axis, frame, phase in zip(column, (got.ed, got.es), ("ED", "ES"), strict=True):
            axis.imshow(got.image[frame, :, :, middle].float().numpy().T, cmap="gray", vmin=-1, vmax=1)
            axis.contour(masks[frame, :, :, middle].T, levels=[0.5, 1.5, 2.5], colors=["#56b4e9", "#f0e442", "#e69f00"], linewidths=0.8)
            axis.axis("off")
            axis.set_title(f"{name}, {phase}" + (f"\n{title}" if phase == "ED" else ""), fontsize=8)
    figure.savefig(arguments.out, dpi=80)
    print(arguments.out)


if __name__ == "__main__":
    main()
