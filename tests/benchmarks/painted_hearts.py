"""Do the generator's hearts, painted around their masks, look like patients, and do they fit their masks? (docs/decisions/painter.md)

    python tests/benchmarks/painted_hearts.py -d 901 -f 0 --segmenter RESULTS --out RUN [-n 40] [--generator FOLDER]

Hearts of the fold's generator that pass the quality control are shown as they are decoded, and painted around the same masks with the
painter of ``synthaug bank --render painter``, which is trained if it is not there. The segmenter, a real-only nnU-Net of the fold, is
asked about them: with which Dice does it find the given masks at ED and ES? A small network is asked to tell them from patients whom the
generator has not seen (two-sample test). Writes docs/benchmarks/painted-hearts.json and RUN/painted.png, which must not be published.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_table import DOCS
from painter import agreement, square
from skimage.io import imsave

from nnunet_synth_aug import __version__
from nnunet_synth_aug.cli.options import generator_at, real_only_network
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.nnunet.painting import fold_hearts
from nnunet_synth_aug.reports.cines import labelled_sequence, patients, request_group
from nnunet_synth_aug.reports.controllability.agreement import average
from nnunet_synth_aug.reports.two_sample import two_sample, views
from nnunet_synth_aug.synthesis.quality.control import ALL_CHECKS
from nnunet_synth_aug.synthesis.requests import RequestPlan
from nnunet_synth_aug.synthesis.sample import sample_accepted

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", dest="dataset", required=True)
    parser.add_argument("-f", dest="fold", type=int, default=0)
    parser.add_argument("-n", type=int, default=40)
    parser.add_argument("--segmenter", type=Path, required=True)
    parser.add_argument("--generator", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    generator = load_generator(generator_at(given.dataset, str(given.fold), given.generator), CPU)
    cohort = Cohort.load(given.dataset)
    network = real_only_network(given.dataset, str(given.fold), given.segmenter, "cpu")
    show = fold_hearts(cohort.name, given.fold, None, CPU)
    asked = RequestPlan(seed=0, n_frames=6).requests(generator, given.n)
    dices: dict[str, list[dict[str, float]]] = {}
    shown: dict[str, list[Any]] = {}
    rows, painting, hearts = [], 0.0, 0
    with progress("hearts", len(asked)) as bar:
        for number in range(0, len(asked), 8):
            for outcome in sample_accepted(generator, asked[number : number + 8], ALL_CHECKS):
                bar.advance(number + 1, outcome.request.id)
                if (heart := outcome.sequence) is None:
                    continue
                hearts += 1
                began = time.process_time()
                painted = show(heart)
                painting += time.process_time() - began
                frames = sorted({heart.ed, heart.es})
                for name, one in {"decoded": heart, "painted": painted}.items():
                    dices.setdefault(name, []).append(agreement(network, one.image[frames], one.mask[frames], one.spacing, one.context))
                    shown.setdefault(name, []).append(views(labelled_sequence(one), request_group(one)))
                if len(rows) < 8:
                    rows.append(np.concatenate([square(one.image[one.ed], one.mask[one.ed]) for one in (heart, painted)], 1))
    imsave(given.out / "painted.png", np.concatenate(rows), check_contrast=False)
    unseen = [one for one in patients(generator, cohort)[1] if one.masks]
    real = [seen for one in unseen if (seen := views(load_sequence(one), one.patient)) is not None]
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {}
    for name, own in dices.items():
        figures[name] = {"dice": {s: asdict(average(np.array([one[s] for one in own]), rng)) for s in STRUCTURES}}
        figures[name]["two_sample"] = two_sample(real, [one for one in shown[name] if one is not None])
    about: dict[str, Any] = {"source": cohort.name, "fold": given.fold, "preset": generator.config.preset, "hearts": hearts}
    about |= {"asked": given.n, "taught": len(show.painter.styles), "patients": len(real), "segmenter": network.provenance["trainer"]}
    about |= {"painting_cpu_seconds_per_frame": round(painting / max(hearts, 1) / 6, 2)}
    about |= {"machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}", "date": time.strftime("%Y-%m-%d")}
    write_json(DOCS / "benchmarks" / "painted-hearts.json", {**about, "version": __version__, "figures": figures})
    for name, one in figures.items():
        print(name, {s: round(v["value"], 3) for s, v in one["dice"].items()}, {k: round(v, 3) for k, v in one["two_sample"].items()})


if __name__ == "__main__":
    main()
