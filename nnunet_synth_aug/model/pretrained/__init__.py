"""The generator that ships with the package: trained on phantoms alone, to start from, and to play with in ``synthaug explore``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.model.config import GeneratorConfig
from nnunet_synth_aug.model.generator import Generator, load_generator
from nnunet_synth_aug.model.template import Template

PHANTOM = Path(__file__).with_name("phantom")
#: What 100 of its phantoms lend to hearts. It lies beside the generator: who continues the generator takes over no phantom's grey values.
TEMPLATES = Path(__file__).with_name("templates.json")


def shipped_generator(device: torch.device) -> Generator:
    """The generator of phantoms, ready to sample: hearts are drawn near 100 of its phantoms."""
    generator = load_generator(PHANTOM, device)
    return replace(generator, templates=tuple(Template.from_json(values, TEMPLATES.name) for values in read_json(TEMPLATES)))


def shipped_for(config: GeneratorConfig) -> Path | None:
    """Folder of the shipped generator if its weights fit the networks of ``config``, else None.

    Grid and training may differ: the networks see neighbourhoods, not positions.
    """
    if not (PHANTOM / GENERATOR_META).is_file():
        return None
    theirs = GeneratorConfig.from_json(read_json(PHANTOM / GENERATOR_META)["config"])
    return PHANTOM if _networks(config) == _networks(theirs) else None


def _networks(config: GeneratorConfig) -> list[Any]:
    """All that decides the weights' shapes and what they mean."""
    vae, latents = asdict(config.vae), asdict(config.latents)
    parts: list[Any] = [vae[name] for name in ("patch", "channels", "latent_channels")]
    parts += [latents[name] for name in ("harmonics", "components", "motion")]
    for stage in (config.static, config.motion):
        parts += [getattr(stage, name) for name in ("objective", "channels", "embedding", "attention")]
    return [config.grid.intensity_percentiles, *parts]
