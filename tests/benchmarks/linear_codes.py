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
from nnunet_synth_aug.model.painter.codes import Basis
from nnunet_synth_aug.model.training_set import TrainingSet, load_training_set
from nnunet_synth_aug.reports.reconstruction import VAE_FIGURES, by_vendor, checkerboard, detail, psnr, ssim, worst_power

CHANNELS = (4, 8, 12, 16, 20, 24)


def slices(volumes: torch.Tensor) -> torch.Tensor:
    """(T, X, Y, Z) -> (T * Z, X, Y)."""
    return volumes.movedim(-1, 1).flatten(0, 1)


def components(data: TrainingSet) -> tuple[Basis, float]:
    """Of ED and ES in all eight orientations, about the mean grey value, which comes second."""
    pairs = [case.gridded.image[[*dict.fromkeys((case.gridded.ed, case.gridded.es))]].float() for case in data.cases]
    valid = torch.cat([slices(case.gridded.valid.expand_as(pair)) for case, pair in zip(data.cases, pairs, strict=True)])
    image = torch.cat([slices(pair) for pair in pairs])
    grey = float(image[valid].mean())

    def turned(v: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.rot90(w, turns, (1, 2)) for w in (v, v.flip(1)) for turns in range(4)])

    return Basis.of(turned(image - grey), turned(valid.float()), max(CHANNELS)), grey


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
        code = basis.code(slices(real) - grey)
        for n in CHANNELS:
            kept_only = code * (torch.arange(max(CHANNELS)) < n)[:, None, None]
            image = (basis.image(kept_only) + grey).unflatten(0, (len(real), -1)).movedim(1, -1)
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
    about |= {"version": __version__, "figures": {name: VAE_FIGURES[name].replace(" of the VAE", "") for name in names}}
    write_json(DOCS / "benchmarks" / "linear-codes.json", {**about, "channels": found})
    for channels, own in found.items():
        print(channels, {name: float(np.round(own[name]["value"], 3)) for name in names})


if __name__ == "__main__":
    main()
