"""A generator of a few thousand random weights on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from nnunet_fixture import DATASET, PATIENTS

from nnunet_synth_aug.core.files import sha256, write_json
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.core.priors import NUMERIC
from nnunet_synth_aug.model.config import GeneratorConfig, GridConfig, LatentConfig, LDMConfig, VAEConfig
from nnunet_synth_aug.model.generator import STAGES, load_generator
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.motion import motion_network
from nnunet_synth_aug.model.motion_schemes import motion_scheme
from nnunet_synth_aug.model.noise import GREYS, Grain
from nnunet_synth_aug.model.static import static_network
from nnunet_synth_aug.model.training.checkpoint import save_checkpoint
from nnunet_synth_aug.model.vae.network import AnatomyVAE

MICRO = GeneratorConfig(
    preset="micro",
    grid=GridConfig(size=(32, 32, 8)),
    vae=VAEConfig(channels=(4, 8), latent_channels=4),
    latents=LatentConfig(harmonics=2, components=12),
    static=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2),
    motion=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2),
)


def write_generator(folder: Path, patients: tuple[str, ...] = PATIENTS[:4], seed: int = 0) -> str:
    """Write it as ``synthaug fit`` does; returns its hash."""
    torch.manual_seed(seed)
    config = MICRO
    networks = {"vae": AnatomyVAE(config.vae), "static": static_network(config), "motion": motion_network(config)}
    channels, components = config.vae.latent_channels, motion_scheme(config).channels
    side = config.grid.size[0] // (config.vae.patch * 2 ** (len(config.vae.channels) - 1))
    scale = LatentScale(
        mean=torch.zeros(channels),
        std=torch.ones(channels),
        region=torch.ones(side, side),
        directions=torch.eye(components, 2 * config.latents.harmonics * channels),
        spread=torch.ones(components),
    )
    header = {"prior_mean": [0.0] * len(NUMERIC), "prior_std": [1.0] * len(NUMERIC)}
    for stage, network in networks.items():
        weights = {f"net.{k}": v for k, v in network.state_dict().items()}
        save_checkpoint(folder / f"{stage}.safetensors", weights | scale.tensors(), header)
    template = {"priors": {"n_slices": 6, "slice_thickness": 8.0}, "grey": [0.0, 900.0], "context": None, "n_frames": 6}
    write_json(
        folder / GENERATOR_META,
        {
            "format": 1,
            "version": "0",
            "config": config.to_json(),
            "dataset": DATASET,
            "fold": 0,
            "patients": list(patients),
            "split_hash": "",
            "pretraining": None,
            "grid": {"size": config.grid.size, "pixel": 4.0},
            "grain": Grain((0.0,) * GREYS).to_json(),
            "templates": [template | {"frame_seconds": 0.05, "closure": 1.0, "es_fraction": 0.4}],
            "finished": {stage: {"sha256": sha256(folder / f"{stage}.safetensors")} for stage in STAGES},
        },
    )
    provenance: dict[str, Any] = load_generator(folder, torch.device("cpu")).provenance
    return str(provenance["generator_hash"])


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # What has ended but was not waited for still answers.
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
