"""How sharp a linear autoencoder gives back unseen patients: what a VAE of as many channels should beat (docs/results/generator.md).

    python tests/benchmarks/linear_codes.py -d 28 -f 0

The code of a patch of 8 x 8 pixels is its first principal components, learnt from ED and ES of the fold's training patients in all eight
orientations. The held-out patients are judged as 'synthaug report --only reconstruction' judges a VAE. Writes
docs/benchmarks/linear-codes.json; folders of nnU-Net as usual.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from typing import Any

import numpy as np
import torch
from page_table import DOCS

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.config import preset
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.training_set import TrainingSet, load_training_set
from nnunet_synth_aug.reports.reconstruction import VAE_FIGURES, by_vendor, checkerboard, detail, psnr, ssim, worst_power

#: Pixels a side, as many as lie under a latent position of the presets' VAEs.
SIDE = 8
CHANNELS = (4, 8, 12, 16, 20, 24)


def patches(image: torch.Tensor) -> torch.Tensor:
    """(T, X, Y, Z) -> (T, Z, x, y, SIDE^2)."""
    return image.permute(0, 3, 1, 2).unfold(2, SIDE, SIDE).unfold(3, SIDE, SIDE).flatten(4)


def pixels(coded: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`patches`."""
    T, Z, x, y, _ = coded.shape
    return coded.unflatten(4, (SIDE, SIDE)).permute(0, 2, 4, 3, 5, 1).reshape(T, x * SIDE, y * SIDE, Z)


def components(data: TrainingSet) -> tuple[torch.Tensor, float]:
    """Principal components (SIDE^2, SIDE^2), the first first, about the mean grey value, which comes second."""
    seen = []
    for case in data.cases:
        gridded = case.gridded
        image = gridded.image[[*dict.fromkeys((gridded.ed, gridded.es))]].float()
        inside = patches(gridded.valid.expand_as(image).float()).amin(-1) > 0
        seen.append(patches(image)[inside])
    flat = torch.cat(seen).double()
    square = flat.unflatten(1, (SIDE, SIDE))
    every = torch.cat([torch.rot90(s, k, dims=(1, 2)) for s in (square, square.flip(1)) for k in range(4)]).flatten(1)
    grey = float(every.mean())
    _, directions = torch.linalg.eigh((every - grey).T @ (every - grey))
    return directions.flip(1).T.float(), grey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", required=True)
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("--preset", default="small")
    given = parser.parse_args()
    cohort, config = Cohort.load(given.dataset), preset(given.preset)
    split = fold_patients(cohort, given.fold)
    data = load_training_set(cohort, split.train, config)
    basis, grey = components(data)
    rows: dict[int, list[dict[str, float | str]]] = {n: [] for n in CHANNELS}
    for patient in split.val:
        subject = cohort.subject(patient)
        gridded = to_grid(load_sequence(subject), data.grid, config.grid)
        real, valid = gridded.image.float(), gridded.valid
        code = (patches(real) - grey) @ basis.T
        for n in CHANNELS:
            image = pixels(code[..., :n] @ basis[:n] + grey)
            kept: dict[str, float | str] = {"vendor": subject.priors.vendor or "unknown"}
            kept |= {"psnr": psnr(image, real, valid), "ssim": ssim(image, real, valid), "spectrum": worst_power(image, real, valid)}
            for name, amount in (("detail", detail), ("checkerboard", checkerboard)):
                kept[name] = amount(image, valid) / max(amount(real, valid), 1e-9)
            rows[n].append(kept)
    names = [name for name in VAE_FIGURES if name in rows[CHANNELS[0]][0]]
    found = {str(n): by_vendor(own, names)["all"] for n, own in rows.items()}
    about: dict[str, Any] = {
        "source": cohort.name,
        "training_patients": len(split.train),
        "held_out": len(split.val),
        "preset": given.preset,
    }
    about |= {"machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}", "date": time.strftime("%Y-%m-%d")}
    about |= {"version": __version__, "figures": {name: VAE_FIGURES[name] for name in names}}
    write_json(DOCS / "benchmarks" / "linear-codes.json", {**about, "channels": found})
    for channels, own in found.items():
        print(channels, {name: float(np.round(own[name]["value"], 3)) for name in names})


if __name__ == "__main__":
    main()
