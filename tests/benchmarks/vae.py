"""The VAE by itself: trained in variants on one fold, judged on reconstructions of its held-out patients, per vendor.

    python tests/benchmarks/vae.py -d 901 -f 0 --preset small --out RUN/vae \\
        --variants "default:;labelled frames only:vae.labelled_share=1.0" --json docs/generator/vae_unlabelled.json

All start from random weights and differ in nothing but what they name: patients, seed, steps and batch size are the same. A variant whose
VAE a generator of the same patients holds already is not trained again (--reuse). The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from generator import machine, public
from variants import settings_of

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, write_json
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import FoldPatients, fold_patients
from nnunet_synth_aug.model.config import GeneratorConfig, overridden, preset
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.grid import Grid, to_grid
from nnunet_synth_aug.model.training_set import cohort_grid, load_training_set
from nnunet_synth_aug.model.vae.network import AnatomyVAE
from nnunet_synth_aug.model.vae.train import train_vae
from nnunet_synth_aug.reports.reconstruction import VAE_FIGURES, by_vendor, vae_figures

CPU = torch.device("cpu")


def judge(vae: AnatomyVAE, cohort: Cohort, patients: tuple[str, ...], grid: Grid, config: GeneratorConfig) -> dict[str, Any]:
    """Figures of held-out patients by vendor."""
    rows = []
    for subject in (cohort.subject(patient) for patient in patients):
        gridded = to_grid(load_sequence(subject), grid, config.grid)
        rows.append({"vendor": subject.priors.vendor or "unknown", **vae_figures(vae, subject, gridded, CPU)[0]})
    figures: dict[str, Any] = public(by_vendor(rows, list(VAE_FIGURES)))
    return figures


def holds(generator: Generator, config: GeneratorConfig, dataset: str, split: FoldPatients) -> bool:
    """Whether the VAE of ``generator`` is the one that training would give: of these patients and settings, from random weights."""
    known = generator.provenance
    same_patients = (known["dataset"], known["split_hash"]) == (dataset, split.hash) and set(known["patients"]) == set(split.train)
    same_settings = (generator.config.vae, generator.config.grid, generator.config.seed) == (config.vae, config.grid, config.seed)
    return known["pretraining"] is None and same_patients and same_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset")
    parser.add_argument("-f", type=int, default=0, help="its fold")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="work folder; the same command resumes")
    parser.add_argument("--variants", required=True, help='e.g. "default:;labelled frames only:vae.labelled_share=1.0"')
    parser.add_argument("--reuse", type=Path, help="a finished generator whose VAE stands for the variant of its settings")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    try:
        variants = settings_of(options.variants, "vae")
        base, cohort = overridden(preset(options.preset), [f"seed={options.seed}"]), Cohort.load(options.d)
        split = fold_patients(cohort, options.f)
        cohort = cohort.without_masks(split.unlabelled)
        there = None if options.reuse is None else load_generator(options.reuse, CPU)
    except UserError as error:
        parser.error(str(error))
    grid = cohort_grid(cohort.select(split.train), base)
    data = load_training_set(cohort, split.train, base, grid)
    figures: dict[str, Any] = {
        "dataset": cohort.name,
        "training_patients": len(split.train),
        "held_out": len(split.val),
        "preset": options.preset,
        "seed": options.seed,
        **machine(options.machine),
        "settings": variants,
        "vaes": {},
    }
    for name, text in variants.items():
        config, folder = overridden(base, text.split()), options.out / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        identity = {"cohort": cohort.hash(), "patients": list(split.train), "config": hash_json(config.to_json())}
        if there is not None and holds(there, config, cohort.name, split):
            network = there.vae
        else:
            network = train_vae(data, config.vae, folder, config.seed, identity, CPU)
        figures["vaes"][name] = judge(network.eval(), cohort, split.val, grid, config)
        figures["steps"] = config.vae.train.steps
        if options.json is not None:
            write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
