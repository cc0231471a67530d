"""ED anatomies begun with noise or with copies of training patients: how many are sound at the first try, and how far they go.

    python tests/benchmarks/variations.py -d 901 --generator FOLDER --strengths 0.05,0.5,0.8,1.0 \\
        --json docs/generator/variations_ten_patients.json

Requests are those of a bank. An anatomy is sound if its ED mask has no defect and the volumes that were asked for. The last line printed
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generator import machine

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.synthesis.accept import ALL_CHECKS
from nnunet_synth_aug.synthesis.cascade import anatomy_masks, sample_anatomies
from nnunet_synth_aug.synthesis.hearts import Request
from nnunet_synth_aug.synthesis.requests import RequestPlan
from nnunet_synth_aug.synthesis.sources.variations import variations

CPU = torch.device("cpu")
#: Anatomies sampled at once.
BATCH = 10


def judge(generator: Generator, asked: list[Request]) -> dict[str, Any]:
    """First anatomies of these requests."""
    reasons: Counter[str] = Counter()
    sound, moved = 0, []
    for first in range(0, len(asked), BATCH):
        anatomies = sample_anatomies(generator, asked[first : first + BATCH])
        for anatomy, mask in zip(anatomies, anatomy_masks(generator, anatomies), strict=True):
            found = ALL_CHECKS.anatomy(anatomy, mask)
            sound += not found
            reasons.update(found)
            if (origin := anatomy.request.origin) is not None:
                heart = (anatomy.valid * origin.heart).expand_as(anatomy.latent) > 0
                moved.append(float((anatomy.latent - origin.latent)[heart].square().mean().sqrt()))
    return {
        "asked": len(asked),
        "sound": sound,
        "reasons": dict(reasons.most_common()),
        "moved": round(float(np.mean(moved)), 3) if moved else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset of the generator")
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--strengths", default="0.05,0.5,0.7,0.8,0.9,1.0")
    parser.add_argument("-n", type=int, default=100, help="requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", default="", help="a sentence on the generator")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    try:
        generator, cohort = load_generator(options.generator, CPU), Cohort.load(options.d)
        cohort = cohort.without_masks(fold_patients(cohort, generator.provenance["fold"]).unlabelled)
        copies = variations(generator, cohort, options.n, options.seed)
    except UserError as error:
        parser.error(str(error))
    found = {"noise alone": judge(generator, RequestPlan(options.seed).requests(generator, options.n))}
    print(json.dumps(found), flush=True)
    for strength in (float(s) for s in options.strengths.split(",")):
        varied = [replace(r, origin=replace(r.origin, strength=strength)) for r in copies if r.origin is not None]
        found[f"a copy, strength {strength:g}"] = judge(generator, varied)
        print(json.dumps(found), flush=True)
    figures = {
        "about": options.label,
        "dataset": cohort.name,
        "training_patients": len(generator.provenance["patients"]),
        "seed": options.seed,
        "preset": generator.config.preset,
        **machine(options.machine),
        "starts": found,
    }
    if options.json is not None:
        write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
