"""What generators know of hearts without contours: the masks that their VAEs give unlabelled training patients, and strangers.

    python tests/benchmarks/decoded_masks.py -d 901 -f 0 --json docs/generator/masks_ten_patients.json \\
        --generators "ten patients:RUN/default/fold_0;and 15 without contours:RUN/semi/fold_0"

The fold's ``splits_final.json`` lists the unlabelled patients; that somebody contoured them is what makes them tests. ED and ES of each are
encoded and decoded. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generator import machine, public

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.core.labels import PHASES, STRUCTURES
from nnunet_synth_aug.core.priors import FROM_MASKS, measure
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.latents.encode import encode
from nnunet_synth_aug.model.training_set import TrainingCase, load_training_set
from nnunet_synth_aug.reports.statistics import agreement, average

CPU = torch.device("cpu")


@torch.no_grad()
def decoded(generator: Generator, case: TrainingCase) -> tuple[np.ndarray, np.ndarray]:
    """Decoded and drawn masks (2, X, Y, Z) of ED and ES."""
    ends = [case.gridded.ed, case.gridded.es]
    latents = encode(generator.vae, case.gridded.image[ends], case.gridded.valid, CPU)
    found = generator.vae.decode(latents)[1].argmax(1) * (case.gridded.valid > 0)
    return found.numpy(), case.gridded.mask[ends].numpy()


def judge(generator: Generator, cohort: Cohort, patients: tuple[str, ...]) -> dict[str, Any]:
    """Dice per structure and phase, and volumes, EF and mass by the decoded masks against those by the contours."""
    rng = np.random.default_rng(0)
    dice: dict[str, list[float]] = {f"{phase} {name}": [] for phase in PHASES for name in STRUCTURES}
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in FROM_MASKS}
    for case in load_training_set(cohort, patients, generator.config, generator.grid).cases:
        found, truth = decoded(generator, case)
        for number, phase in enumerate(PHASES):
            for name, label in STRUCTURES.items():
                one, other = found[number] == label, truth[number] == label
                dice[f"{phase} {name}"].append(2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum())))
        told, known = (measure(*masks, case.gridded.spacing).specified() for masks in (found, truth))
        for name in FROM_MASKS:
            if name in told and name in known:
                values[name].append((known[name], told[name]))
    return {
        "patients": len(patients),
        "dice": {name: asdict(average(np.array(rows), rng)) for name, rows in dice.items()},
        "volumes": {name: asdict(agreement(*np.array(rows).T, rng)) for name, rows in values.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset")
    parser.add_argument("-f", type=int, default=0, help="its fold")
    parser.add_argument("--generators", required=True, help="LABEL:FOLDER;LABEL:FOLDER")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    try:
        cohort = Cohort.load(options.d)
        split = fold_patients(cohort, options.f)
        wanted = dict(one.split(":", 1) for one in options.generators.split(";"))
        generators = {label.strip(): load_generator(Path(folder), CPU) for label, folder in wanted.items()}
    except (UserError, ValueError) as error:
        parser.error(str(error))
    groups = {"unlabelled": split.unlabelled, "held out": split.val}
    figures = {
        "dataset": cohort.name,
        "labelled_patients": len(split.train) - len(split.unlabelled),
        **machine(options.machine),
        "generators": {
            label: {group: public(judge(generator, cohort, patients)) for group, patients in groups.items() if patients}
            for label, generator in generators.items()
        },
    }
    if options.json is not None:
        write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
