"""The VAE by itself: trained in variants on one fold, judged on reconstructions of its held-out patients, per vendor.

    python tests/benchmarks/vae.py -d 901 -f 0 --generator GENERATOR --out RUN/vae \\
        --variants "labelled frames only:vae.labelled_share=1.0" --json docs/generator/vae_unlabelled.json

GENERATOR's own VAE, trained from random weights on the same fold, is the first row; the variants differ from it in nothing but what
they name: patients, seed, steps and batch size are its own. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from generator import machine, public
from variants import settings_of

from nnunet_synth_aug.anatomy_vae.stage import train_vae
from nnunet_synth_aug.config import overridden
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.data.training_set import load_training_set
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import hash_json, write_json
from nnunet_synth_aug.generator import load_generator
from nnunet_synth_aug.reports.reconstruction import reconstruction_report

CPU = torch.device("cpu")
#: What the VAE alone decides.
FIGURES = ("psnr", "ssim", "dice_RV", "dice_MYO", "dice_LV")


def judge(generator: Any, cohort: Cohort, out: Path) -> dict[str, Any]:
    """Figures by vendor."""
    out.mkdir(parents=True, exist_ok=True)
    groups = public(reconstruction_report(generator, cohort, out))["groups"]
    return {group: {"n": found["n"], **{name: found[name] for name in FIGURES}} for group, found in groups.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset of the generator")
    parser.add_argument("-f", type=int, default=0, help="its fold")
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="work folder; the same command resumes")
    parser.add_argument("--variants", required=True, help='e.g. "labelled frames only:vae.labelled_share=1.0"')
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    try:
        variants = settings_of(options.variants, "vae")
    except UserError as error:
        parser.error(str(error))
    generator = load_generator(options.generator, CPU)
    if generator.provenance["pretraining"] is not None:
        parser.error(
            f"{options.generator} continues a pretrained VAE, but the variants start from random weights; fit one without --pretrain"
        )
    cohort = Cohort.load(options.d)
    split = fold_patients(cohort, options.f)
    data = load_training_set(cohort, split.train, generator.config, generator.grid)
    figures: dict[str, Any] = {
        "dataset": cohort.name,
        "training_patients": len(split.train),
        "held_out": len(split.val),
        "steps": generator.config.vae.train.steps,
        **machine(options.machine),
        "settings": variants,
        "vaes": {"default": judge(generator, cohort, options.out / "default")},
    }
    for name, settings in variants.items():
        config, folder = overridden(generator.config, settings.split()), options.out / name.replace(" ", "_")
        identity = {"generator": generator.provenance["generator_hash"], "cohort": cohort.hash(), "settings": hash_json(settings)}
        network = train_vae(data, config.vae, folder, config.seed, identity, CPU)
        figures["vaes"][name] = judge(replace(generator, vae=network, config=config), cohort, folder)
        if options.json is not None:
            write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
