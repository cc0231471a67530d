"""The static LDM by itself: trained in variants on one generator's VAE, judged on control of the ED anatomy and on memorisation.

    python tests/benchmarks/anatomy.py -d 901 -f 0 --generator FOLDER --out RUN \\
        --variants "deformed:;not deformed:latents.warp=0.0;deformed, a third of the steps:static.train.steps=900" \\
        --json docs/generator/anatomy_ten_patients.json

The VAE stays the generator's. A generator that continues the shipped one has its variants continue that, too. Variants may change
static.* and latents.*; the training patients are encoded once for all variants with the same latents. Judged are ED masks of anatomies
sampled with the priors of held-out patients (open loop, no quality control): volumes requested against measured, defects, and the figures
of the memorisation audit. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generator import machine
from variants import settings_of

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, write_json
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.config import overridden
from nnunet_synth_aug.model.fit import continued
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.latents.cache import load_latents, save_latents
from nnunet_synth_aug.model.latents.encode import LatentSet, encode_training_set
from nnunet_synth_aug.model.pretrained import shipped_for
from nnunet_synth_aug.model.static import train_static
from nnunet_synth_aug.model.training_set import load_training_set
from nnunet_synth_aug.reports.cines import patients
from nnunet_synth_aug.reports.controllability.requests import judging_requests
from nnunet_synth_aug.reports.memorisation.membership import static_loss
from nnunet_synth_aug.reports.memorisation.neighbours import SPACES, Portrait, portrait
from nnunet_synth_aug.reports.memorisation.section import membership_of, neighbours_in
from nnunet_synth_aug.synthesis.cascade import sample_anatomies
from nnunet_synth_aug.synthesis.decoding import decode
from nnunet_synth_aug.synthesis.quality.defects import MIN_ENCLOSED, frame_defects

CPU = torch.device("cpu")
#: What an ED mask tells.
VOLUMES = ("lv_edv", "rv_edv", "lv_mass")
#: Anatomies sampled at once.
BATCH = 10


def start_of(generator: Generator) -> Generator | None:
    """The shipped generator if ``generator`` continued it, None if it started from random weights."""
    if (pretraining := generator.provenance["pretraining"]) is None:
        return None
    folder = shipped_for(generator.config)
    start = None if folder is None else load_generator(folder, CPU)
    if start is None or start.provenance["generator_hash"] != pretraining["generator_hash"]:
        raise UserError("the generator continued another one than the package ships now; fit it again")
    return start


def judge(generator: Generator, cohort: Cohort, n: int, seed: int) -> dict[str, Any]:
    """Control and memorisation of the ED anatomies of one generator."""
    training, held_out = patients(generator, cohort)
    sides: dict[str, list[Portrait | None]] = {"training": [], "held_out": [], "synthetic": []}
    losses: dict[str, list[float]] = {"training": [], "held_out": []}
    for side, subjects in (("training", training), ("held_out", held_out)):
        for subject in subjects:
            sequence = load_sequence(subject)
            losses[side].append(static_loss(generator, subject, sequence))
            sides[side].append(portrait(generator, sequence, subject.patient, subject.patient))
    requests = judging_requests(generator, cohort, n, seed)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in VOLUMES}
    defective = 0
    for first in range(0, n, BATCH):
        anatomies = sample_anatomies(generator, requests[first : first + BATCH])
        decoded = decode(generator, [generator.scale.restore(a.latent) * a.valid for a in anatomies])
        for anatomy, (image, mask) in zip(anatomies, decoded, strict=True):
            image, mask = image[..., anatomy.slices], mask[..., anatomy.slices]
            defective += bool(frame_defects(mask[0], MIN_ENCLOSED))
            measured = measure(mask[0], None, anatomy.spacing)
            for name in VOLUMES:
                asked, found = getattr(anatomy.request.priors, name), getattr(measured, name)
                if asked is not None and found is not None:
                    pairs[name].append((asked, found))
            alone = Sequence(image[:1], mask[:1], anatomy.spacing, 0, 0, (0,))
            # Requests with the priors of one patient form a group, as in the audit.
            sides["synthetic"].append(portrait(generator, alone, anatomy.request.id, hash_json(anatomy.request.priors.specified())))
    known = {side: [p for p in found if p is not None] for side, found in sides.items()}
    membership, neighbours = membership_of(losses), {space: neighbours_in(known, space) for space in SPACES}
    return {
        "control": {name: _agreement(np.array(found)) for name, found in pairs.items()},
        "defective": f"{defective} of {n}",
        "auc": {"value": membership["auc"], "low": membership["low"], "high": membership["high"]},
        "loss": {side: round(membership[f"mean_loss_{side}"], 4) for side in ("training", "held_out")},
        "distance_ratio": {
            space: {"value": found["ratio"]["median"], "low": found["ratio"]["low"], "high": found["ratio"]["high"]}
            for space, found in neighbours.items()
        },
        "nearest_p": {space: found["nearest_is_training"]["p"] for space, found in neighbours.items()},
        "near_copies": neighbours["latent"]["near_copies"],
    }


def _agreement(pairs: np.ndarray) -> dict[str, float]:
    asked, found = pairs.T
    return {
        "r": round(float(np.corrcoef(asked, found)[0, 1]), 3),
        "slope": round(float(np.polyfit(asked, found, 1)[0]), 3),
        "bias": round(float(np.mean(found - asked)), 1),
    }


def encoded(generator: Generator, cohort: Cohort, start: Generator | None, settings: list[str], out: Path) -> tuple[str, LatentSet]:
    """The latents of the training patients, from the work folder if they are there."""
    config = overridden(generator.config, settings)
    depends = [generator.provenance["generator_hash"], cohort.hash(), config.to_json()["latents"]]
    identity = hash_json(depends)
    folder = out / f"latents_{identity[:8]}"
    latents = load_latents(folder, identity)
    if latents is None:
        split = fold_patients(cohort, generator.provenance["fold"])
        cohort = cohort.without_masks(split.unlabelled)
        data = load_training_set(cohort, split.train, config, generator.grid)
        latents = encode_training_set(data, generator.vae, config, CPU, None if start is None else (start.scale, start.scaler))
        folder.mkdir(parents=True, exist_ok=True)
        save_latents(folder, latents, identity)
    return identity, latents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset of the generator")
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="work folder; the same command resumes")
    parser.add_argument("--variants", required=True, help='e.g. "default:;more dropout:static.dropout=0.2"')
    parser.add_argument("-n", type=int, default=90, help="anatomies to judge, of the held-out patients in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    try:
        variants = settings_of(options.variants, "static", "latents")
        generator, cohort = load_generator(options.generator, CPU), Cohort.load(options.d)
        start = start_of(generator)
    except UserError as error:
        parser.error(str(error))
    figures: dict[str, Any] = {
        "dataset": cohort.name,
        "training_patients": len(generator.provenance["patients"]),
        "judged": options.n,
        "seed": options.seed,
        "pretrained": start is not None,
        "preset": generator.config.preset,
        **machine(options.machine),
        "settings": variants,
        "anatomies": {"as it is": judge(generator, cohort, options.n, options.seed)},
    }
    for name, text in variants.items():
        settings = text.split()
        config = overridden(generator.config, settings)
        own = [one for one in settings if one.startswith("latents.")]
        identity, latents = encoded(generator, cohort, start, own, options.out)
        folder = options.out / name.replace(" ", "_")
        weights = None if start is None else start.static.state_dict()
        running = config if start is None else continued(config)
        network = train_static(latents, running, folder, {"latents": identity, "variant": f"{name}:{text}"}, CPU, weights)
        variant = replace(generator, static=network.eval(), scale=latents.scale, scaler=latents.scaler, config=config)
        figures["anatomies"][name] = judge(variant, cohort, options.n, options.seed)
        print(name, json.dumps(figures["anatomies"][name]), flush=True)
        if options.json is not None:
            write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
