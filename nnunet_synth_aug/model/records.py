"""What a generator and its stages depend on, as its folder says, so that what would come out the same is not trained again."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_path, hash_json, read_json, read_object
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.model.config import SAMPLING, GeneratorConfig, LatentConfig, LDMConfig
from nnunet_synth_aug.model.generator import STAGES
from nnunet_synth_aug.model.grid import Grid


def generator_identity(config: GeneratorConfig, cohort: Cohort, patients: tuple[str, ...]) -> dict[str, Any]:
    """What a generator depends on. Another identity is another generator."""
    return {"config": hash_json(config.to_json()), "cohort": cohort.hash(), "patients": list(patients)}


def is_complete(folder: Path, config: GeneratorConfig, cohort: Cohort, patients: tuple[str, ...]) -> bool:
    """Whether ``folder`` holds this very generator, finished; refuses another one."""
    if not (folder / GENERATOR_META).is_file():
        return False
    meta = read_object(folder / GENERATOR_META, "config", "identity", "finished")
    # Settings are compared as this version reads them: one that is gone since then is no difference.
    config_then = GeneratorConfig.from_json(meta["config"])
    if meta["identity"] | {"config": hash_json(config_then.to_json())} != generator_identity(config, cohort, patients):
        raise UserError(f"{folder} holds a generator of other patients or settings; delete that folder to train a new one")
    if set(meta["finished"]) != set(STAGES):
        return False
    console.print(f"generator is complete: {folder}")
    return True


def _vae_settings(config: GeneratorConfig) -> dict[str, Any]:
    copies = asdict(config.latents) if config.latents.remodel else None  # it sees remodelled copies of the patients
    return {"vae": asdict(config.vae), "copies": copies}


def _static_settings(config: GeneratorConfig) -> dict[str, Any]:
    # Its latents are those of ED, however the motion is described.
    return {"latents": _without(config.latents, ("motion", "harmonics", "components")), "static": _without(config.static, SAMPLING)}


def _motion_settings(config: GeneratorConfig) -> dict[str, Any]:
    return {"latents": asdict(config.latents), "motion": _without(config.motion, SAMPLING)}


def _without(part: LatentConfig | LDMConfig, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if name not in names}


#: Settings on which the training of each stage depends, besides those of :func:`stage_identity`.
_SETTINGS = {"vae": _vae_settings, "static": _static_settings, "motion": _motion_settings}


def stage_identity(
    stage: str, config: GeneratorConfig, grid: Grid, cohort: Cohort, patients: tuple[str, ...], start: str, vae: str | None = None
) -> dict[str, Any]:
    """What one stage depends on: stages of two generators with one identity are the same.

    Args:
        stage: one of STAGES.
        config: of the generator.
        grid: of the generator.
        cohort: of the patients.
        patients: to train on.
        start: hash of the generator that is continued, or "".
        vae: SHA-256 of the VAE's checkpoint, for the stages that train on its latents.
    """
    return _SETTINGS[stage](config) | {
        "seed": config.seed,
        "grid": asdict(config.grid),
        "own_grid": asdict(grid),
        "pretrain": asdict(config.pretrain),
        "cohort": cohort.hash(),
        "patients": list(patients),
        "start": start,
        "vae_checkpoint": vae,
    }


def take_stage(stage: str, identity: str, reuse: Path | None, folder: Path) -> dict[str, Any] | None:
    """Copy a finished stage of the same identity from ``reuse``; its entry, or None if there is none."""
    if reuse is None or not (reuse / GENERATOR_META).is_file():
        return None
    entry: dict[str, Any] | None = read_json(reuse / GENERATOR_META)["finished"].get(stage)
    if entry is None or entry["identity"] != identity:
        return None
    for name in (f"{stage}.json", f"{stage}.safetensors"):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(reuse / name, temporary)
    console.print(f"{stage}: taken from {reuse}")
    return entry
