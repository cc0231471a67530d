"""Write what 100 phantoms of the shipped generator lend to generated hearts: priors, stack geometry, timing and grey values.

    python tests/benchmarks/ship_templates.py

Generators of patients keep this of each training patient. `synthaug explore` needs it to ask the shipped generator for hearts.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from nnunet_synth_aug.core.files import atomic_path
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.pretrained import PHANTOM, TEMPLATES
from nnunet_synth_aug.model.pretraining import write_phantoms
from nnunet_synth_aug.model.template import Template
from nnunet_synth_aug.model.training_set import load_training_set

#: Of the phantoms in the shipped generator's last training, and how many of them are made again.
SEED, HEARTS = 2000, 125


def main() -> None:
    generator = load_generator(PHANTOM, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as scratch:
        write_phantoms(folder := Path(scratch) / "phantoms", HEARTS, SEED)
        cohort = Cohort.read(folder, "phantoms")
        seen = {s.patient for s in cohort.subjects} & set(generator.provenance["patients"])
        cases = load_training_set(cohort, tuple(sorted(seen)), generator.config, generator.grid).cases
        templates = [Template.of(case, generator.grain).to_json() for case in cases][:100]
    for template in templates:
        template["priors"] = {k: round(v, 2) if isinstance(v, float) else v for k, v in template["priors"].items()}
    with atomic_path(TEMPLATES) as temporary:
        temporary.write_text("[\n" + ",\n".join(json.dumps(one) for one in templates) + "\n]\n", encoding="utf-8")
    print(f"{len(templates)} templates, {TEMPLATES.stat().st_size} bytes: {TEMPLATES}")


if __name__ == "__main__":
    main()
