"""The motion LDM by itself: trained in variants on one generator's latents, judged on the true ED of held-out patients.

    python tests/benchmarks/motion.py -d 921 -f 0 --generator RUN/arms/small_default/generator --out RUN/motion --steps 1800 \\
        --variants "equal weights:motion.emphasis=0.0;by amplitude:motion.emphasis=1.0;by its square:motion.emphasis=2.0" \\
        --json docs/generator/motion_weights.json

    python tests/benchmarks/motion.py -d 921 -f 0 --generator GENERATOR --out RUN/cool --variants "cool:motion.temperature=0.5"

VAE and priors stay the generator's; the training patients are encoded once for all variants. A variant that changes nothing but how the
motion is sampled takes the generator's own network. Judged are ES frames decoded from the true ED latent and sampled motion: EF
requested against measured, Dice with the true ES mask, and quality control of that frame. What the VAE alone keeps of the true ES is
beside it. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generator import machine
from variants import settings_of

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, write_json
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.core.priors import NUMERIC, measure
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.cycle import cycle_frames
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.conditions import Conditions
from nnunet_synth_aug.model.config import SAMPLING, GeneratorConfig, overridden
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.latents.cache import load_latents, save_latents
from nnunet_synth_aug.model.latents.encode import LatentSet, encode, encode_training_set
from nnunet_synth_aug.model.motion import train_motion
from nnunet_synth_aug.model.motion_basis import phases
from nnunet_synth_aug.model.motion_sampling import motion_channels, sample_motion
from nnunet_synth_aug.model.training_set import grid_priors, load_training_set
from nnunet_synth_aug.model.vae.network import latent_validity
from nnunet_synth_aug.reports.reconstruction import dice
from nnunet_synth_aug.synthesis.quality.defects import MIN_ENCLOSED_MOVING, frame_defects

CPU = torch.device("cpu")
#: Motions sampled for each heart.
DRAWS = 2


def held_out(generator: Generator, cohort: Cohort, patients: tuple[str, ...]) -> list[dict[str, Any]]:
    """ED and ES latents, ES phase, validity, true masks and priors of patients with a cine."""
    hearts = []
    for patient in patients:
        subject = cohort.subject(patient)
        if subject.cine is None:
            continue
        sequence = load_sequence(subject)
        gridded = to_grid(sequence, generator.grid, generator.config.grid)
        latent = encode(generator.vae, gridded.image[[gridded.ed, gridded.es]], gridded.valid, CPU)
        phi = phases(len(gridded.image), cycle_frames(sequence.image), subject.ed, subject.es)[gridded.es]
        valid = (latent_validity(gridded.valid[None, None].float(), generator.vae.factor) > 0).float()
        slices = gridded.valid.any(0).any(0)
        hearts.append(
            {
                "ed": latent[0],
                "es": latent[1],
                "phase": phi.float()[None],
                "valid": valid,
                "slices": slices,
                "mask": gridded.mask[gridded.es][..., slices],
                "inside": gridded.valid[..., slices],
                "priors": grid_priors(subject, gridded),
                "spacing": gridded.spacing,
            }
        )
    return hearts


def only(conditions: Conditions, name: str) -> Conditions:
    """With nothing known but one number."""
    keep = torch.zeros_like(conditions.present)
    keep[:, NUMERIC.index(name)] = 1
    return conditions.dropped(keep)


def judge(
    generator: Generator,
    latents: LatentSet | Generator,
    config: GeneratorConfig,
    network: Any,
    hearts: list[dict[str, Any]],
    alone: bool = False,
) -> dict[str, Any]:
    """Figures of one motion LDM, told all priors or the EF ``alone``; of the VAE alone where ``network`` is None."""
    scale = latents.scale
    valid = torch.cat([h["valid"] for h in hearts])
    ed = scale.standardise(torch.stack([h["ed"] for h in hearts])) * valid
    conditions = latents.scaler.encode([h["priors"] for h in hearts])
    if alone:
        conditions = only(conditions, "lv_ef")
    wanted, found, overlap, defective = [], [], [], 0
    for draw in range(1 if network is None else DRAWS):
        noise = torch.randn((len(hearts), motion_channels(config), *valid.shape[2:]), generator=torch.Generator().manual_seed(draw))
        if network is None:
            residuals = [(h["es"] - h["ed"])[None] for h in hearts]
        else:
            residuals = sample_motion(network, config, scale, ed, valid, conditions, noise, [h["phase"] for h in hearts])
        for heart, residual in zip(hearts, residuals, strict=True):
            with torch.no_grad():
                logits = generator.vae.decode(torch.stack([heart["ed"], heart["ed"] + residual[0]]))[1]
            masks = logits.argmax(1).to(torch.uint8)[..., heart["slices"]]
            measured = measure(masks[0].numpy(), masks[1].numpy(), heart["spacing"])
            wanted.append(np.nan if heart["priors"].lv_ef is None else heart["priors"].lv_ef)
            found.append(np.nan if measured.lv_ef is None else measured.lv_ef)
            defective += bool(frame_defects(masks[1].numpy(), MIN_ENCLOSED_MOVING))
            inside = heart["inside"]
            overlap.append([dice(masks[1] == label, (heart["mask"] == label) & inside, inside) for label in STRUCTURES.values()])
    x, y = np.array(wanted, float), np.array(found, float)
    x, y = x[~np.isnan(x + y)], y[~np.isnan(x + y)]
    return {
        "ef_r": round(float(np.corrcoef(x, y)[0, 1]), 3),
        "ef_slope": round(float(np.polyfit(x, y, 1)[0]), 3),
        "ef_bias": round(float(np.mean(y - x)), 1),
        "es_dice": {name: round(float(v), 3) for name, v in zip(STRUCTURES, np.nanmean(overlap, 0), strict=True)},
        "es_defective": f"{defective} of {len(overlap)}",
    }


def both(
    generator: Generator, latents: LatentSet | Generator, config: GeneratorConfig, network: Any, hearts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Figures with all priors known, and under ``ef_alone`` those with nothing but the EF."""
    full, alone = (judge(generator, latents, config, network, hearts, only_ef) for only_ef in (False, True))
    return full | {"ef_alone": {key: alone[key] for key in ("ef_r", "ef_slope", "ef_bias", "es_defective")}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", required=True, help="dataset of the generator")
    parser.add_argument("-f", type=int, default=0, help="its fold")
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="work folder; the same command resumes")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument(
        "--variants", required=True, help='e.g. "equal:motion.emphasis=0.0;wide:motion.channels=[48,96] motion.dropout=0.1"'
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores")
    options = parser.parse_args()
    try:
        variants = settings_of(options.variants, "motion")
    except UserError as error:
        parser.error(str(error))
    generator = load_generator(options.generator, CPU)
    cohort = Cohort.load(options.d)
    split = fold_patients(cohort, options.f)
    cohort = cohort.without_masks(split.unlabelled)
    identity = hash_json([generator.provenance["generator_hash"], cohort.hash(), list(split.train)])
    sampling = {f"motion.{name}" for name in SAMPLING}
    trains = {name for name, settings in variants.items() if not {s.partition("=")[0] for s in settings.split()} <= sampling}
    latents = load_latents(options.out, identity)
    if latents is None and trains:
        data = load_training_set(cohort, split.train, generator.config, generator.grid)
        latents = encode_training_set(data, generator.vae, generator.config, CPU)
        options.out.mkdir(parents=True, exist_ok=True)
        save_latents(options.out, latents, identity)
    hearts = held_out(generator, cohort, split.val)
    figures: dict[str, Any] = {
        "dataset": cohort.name,
        "training_patients": len(split.train),
        "copies": len(latents.ed) if trains and latents is not None else None,
        "held_out": len(hearts),
        "draws": DRAWS,
        "steps": options.steps if trains else None,
        **machine(options.machine),
        "settings": variants,
        "variants": {
            "VAE alone": judge(generator, generator, generator.config, None, hearts),
            "as it is": both(generator, generator, generator.config, generator.motion, hearts),
        },
    }
    for name, settings in variants.items():
        if name not in trains:
            figures["variants"][name] = both(generator, generator, overridden(generator.config, settings.split()), generator.motion, hearts)
        else:
            assert latents is not None
            config = overridden(generator.config, [f"motion.train.steps={options.steps}", *settings.split()])
            own = {"latents": identity, "variant": f"{name}:{settings}"}
            network = train_motion(latents, config, options.out / name.replace(" ", "_"), own, CPU)
            figures["variants"][name] = both(generator, latents, config, network, hearts)
        print(name, figures["variants"][name], flush=True)
        if options.json is not None:
            write_json(options.json, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
