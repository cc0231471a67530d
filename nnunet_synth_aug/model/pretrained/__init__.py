"""The generator that ships with the package: trained on phantoms alone, for the generators of patients to start from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.generator import META

PHANTOM = Path(__file__).with_name("phantom")


def shipped_for(config: GeneratorConfig) -> Path | None:
    """Folder of the shipped generator if its weights fit the networks of ``config``, else None.

    Grid and training may differ: the networks see neighbourhoods, not positions.
    """
    if not (PHANTOM / META).is_file():
        return None
    theirs = GeneratorConfig.from_json(read_json(PHANTOM / META)["config"])
    return PHANTOM if _networks(config) == _networks(theirs) else None


def _networks(config: GeneratorConfig) -> list[Any]:
    """All that decides the weights' shapes and what they mean."""
    vae, latents = asdict(config.vae), asdict(config.latents)
    parts: list[Any] = [vae[name] for name in ("patch", "channels", "latent_channels")]
    parts += [latents[name] for name in ("harmonics", "components", "motion")]
    for stage in (config.static, config.motion):
        parts += [getattr(stage, name) for name in ("objective", "channels", "embedding", "attention")]
    return [config.grid.intensity_percentiles, *parts]
