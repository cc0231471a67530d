"""What a generator's folder says of itself: on what it and its stages depend, and what its training patients tell samples."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_path, hash_json, read_json
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.cycle import closure_ratio
from nnunet_synth_aug.model.config import SAMPLING, GeneratorConfig
from nnunet_synth_aug.model.generator import META, STAGES
from nnunet_synth_aug.model.grid import Grid
from nnunet_synth_aug.model.latents.encode import LatentSet
from nnunet_synth_aug.model.motion_basis import ES_SHARE
from nnunet_synth_aug.model.noise import Grain, noise_level
from nnunet_synth_aug.model.training_set import TrainingCase


def generator_identity(config: GeneratorConfig, cohort: Cohort, patients: tuple[str, ...]) -> dict[str, Any]:
    """What a generator depends on. Another identity is another generator."""
    return {"config": hash_json(config.to_json()), "cohort": cohort.hash(), "patients": list(patients)}


def is_complete(folder: Path, config: GeneratorConfig, cohort: Cohort, patients: tuple[str, ...]) -> bool:
    """Whether ``folder`` holds this very generator, finished; refuses another one."""
    if not (folder / META).is_file():
        return False
    meta = read_json(folder / META)
    # Settings are compared as this version reads them: one that is gone since then is no difference.
    config_then = GeneratorConfig.from_json(meta["config"])
    if meta["identity"] | {"config": hash_json(config_then.to_json())} != generator_identity(config, cohort, patients):
        raise UserError(f"{folder} holds a generator of other patients or settings; delete that folder to train a new one")
    if set(meta["finished"]) != set(STAGES):
        return False
    console.print(f"generator is complete: {folder}")
    return True


def stage_identity(
    stage: str, config: GeneratorConfig, grid: Grid, cohort: Cohort, patients: tuple[str, ...], start: str
) -> dict[str, Any]:
    """What one stage depends on, besides the VAE's checkpoint: stages of two generators with one identity are the same."""
    settings: dict[str, Any] = {"grid": config.grid, "vae": config.vae, "pretrain": config.pretrain}
    if stage != "vae":
        settings |= {"latents": config.latents, stage: getattr(config, stage)}
    plain = {name: asdict(part) for name, part in settings.items()}
    if stage == "vae" and config.latents.remodel:  # it sees remodelled copies
        plain["latents"] = asdict(config.latents)
    elif stage != "vae" and not config.latents.remodel:  # as stages were named before there was any
        del plain["latents"]["remodel"]
    if stage != "vae":  # trained alike, however it is sampled
        for name in SAMPLING:
            del plain[stage][name]
    if stage == "static":  # its latents are those of ED, however the motion is described
        for name in ("motion", "harmonics", "components"):
            del plain["latents"][name]
    beat = {} if stage == "vae" else {"beat": "frames"}  # how copies beat less: they were blends of ED and ES before
    return (
        plain
        | beat
        | {
            "seed": config.seed,
            "own_grid": asdict(grid),
            "cohort": cohort.hash(),
            "patients": list(patients),
            "start": start,
        }
    )


def take_stage(stage: str, identity: str, reuse: Path | None, folder: Path) -> dict[str, Any] | None:
    """Copy a finished stage of the same identity from ``reuse``; its entry, or None if there is none."""
    if reuse is None or not (reuse / META).is_file():
        return None
    entry: dict[str, Any] | None = read_json(reuse / META)["finished"].get(stage)
    if entry is None or entry["identity"] != identity:
        return None
    for name in (f"{stage}.json", f"{stage}.safetensors"):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(reuse / name, temporary)
    console.print(f"{stage}: taken from {reuse}")
    return entry


def scaler_header(latents: LatentSet) -> dict[str, Any]:
    return {"prior_mean": list(latents.scaler.mean), "prior_std": list(latents.scaler.std)}


def template_record(case: TrainingCase, grain: Grain) -> dict[str, Any]:
    return {
        "priors": case.priors.specified(),
        "grey": case.gridded.grey,
        "context": case.gridded.context,
        "n_frames": case.subject.n_frames if case.cycle is not None else 0,
        "frame_seconds": case.subject.frame_seconds,
        "closure": closure_ratio(case.gridded.image.float().numpy()) if case.cycle is not None else None,
        "es_fraction": ES_SHARE if case.cycle is None else ((case.subject.es - case.subject.ed) / case.cycle) % 1.0,
        "noise": 1.0 if case.cycle is None else round(noise_level(case.gridded, grain), 3),
    }
