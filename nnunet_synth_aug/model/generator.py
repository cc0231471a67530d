"""The trained cascade of one fold on disk, with the list of every patient it saw.

fold_0/
  generator.json           config, provenance, state of the stages
  vae.safetensors          static.safetensors   motion.safetensors   (each with a .json twin)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_object, sha256
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.core.settings import Amount, FromZero, Number, Positive, Rule, read
from nnunet_synth_aug.model.conditions import PriorScaler
from nnunet_synth_aug.model.config import Above, GeneratorConfig
from nnunet_synth_aug.model.grid import Grid
from nnunet_synth_aug.model.latents.scale import LatentScale
from nnunet_synth_aug.model.ldm import LatentDiffusion
from nnunet_synth_aug.model.motion import motion_network
from nnunet_synth_aug.model.noise import GREYS, Grain
from nnunet_synth_aug.model.static import static_network
from nnunet_synth_aug.model.template import Template
from nnunet_synth_aug.model.training.checkpoint import load_checkpoint
from nnunet_synth_aug.model.vae.network import AnatomyVAE

STAGES = ("vae", "static", "motion")


@dataclass(frozen=True)
class _Grid:
    size: tuple[Positive, Positive, Positive]
    pixel: Above


@dataclass(frozen=True)
class _Grain:
    spread: Annotated[tuple[Amount, ...], Rule(f"a list of {GREYS} numbers", lambda value: len(value) == GREYS)]
    correlation: Number = 0.0


@dataclass(frozen=True)
class _Template:
    priors: dict[str, Any]
    grey: tuple[Number, Number]
    context: tuple[Number, Number] | None
    n_frames: FromZero  # 0, as the seconds, where the patient has no cine
    frame_seconds: Amount
    closure: Number | None
    es_fraction: Number
    noise: Amount = 1.0


@dataclass(frozen=True)
class _Meta:
    """What ``generator.json`` must hold so that hearts can be sampled, and so that nobody is tested on whom the generator saw."""

    dataset: str
    fold: int | str
    patients: Annotated[tuple[str, ...], Rule("a list of at least one patient", bool)]
    split_hash: str
    pretraining: dict[str, Any] | None
    version: str
    grid: _Grid
    grain: _Grain
    templates: tuple[_Template, ...]  # none in the one of phantoms that is shipped, which is only continued


@dataclass(frozen=True)
class Generator:
    """A trained cascade, ready to sample."""

    config: GeneratorConfig
    grid: Grid
    vae: AnatomyVAE
    static: LatentDiffusion
    motion: LatentDiffusion
    scale: LatentScale
    scaler: PriorScaler
    grain: Grain
    templates: tuple[Template, ...]
    provenance: dict[str, Any]  # dataset, fold, preset, patients, generator_hash, ...
    device: torch.device


def templates_of(generator: Generator) -> tuple[Template, ...]:
    """What is known of the patients to whom hearts are drawn near.

    Raises:
        UserError: nothing, as in the generator of phantoms that is shipped.
    """
    if not generator.templates:
        told = f"the generator of {generator.provenance['dataset']} is only there to be continued"
        raise UserError(f"{told}; run 'synthaug fit' for your dataset and fold")
    return generator.templates


def load_vae(folder: Path, config: GeneratorConfig, device: torch.device) -> AnatomyVAE:
    """The VAE in a generator's folder, ready to be used."""
    network = AnatomyVAE(config.vae)
    _load_weights(network, load_checkpoint(folder / "vae.safetensors")[0])
    return network.to(device).eval()


def _load_weights(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    network.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})


def load_generator(folder: Path, device: torch.device) -> Generator:
    """Load a complete generator.

    Raises:
        UserError: there is none, it is not finished, its file is damaged, or its checkpoints do not belong to it.
    """
    if not (folder / GENERATOR_META).is_file():
        raise UserError(f"there is no generator in {folder}; run 'synthaug fit' for this dataset and fold first")
    meta = read_object(folder / GENERATOR_META, "config", "finished")
    remade = f"delete {folder} and run 'synthaug fit' again"
    if not isinstance(meta["finished"], dict) or not all(isinstance(one, dict) and "sha256" in one for one in meta["finished"].values()):
        raise UserError(f"{folder / GENERATOR_META} does not say which stages are finished; {remade}")
    if missing := [s for s in STAGES if s not in meta["finished"]]:
        raise UserError(f"the generator in {folder} is not finished ({', '.join(missing)}); run the same 'synthaug fit' again to resume")
    for stage in STAGES:
        path = folder / f"{stage}.safetensors"
        if not path.is_file() or sha256(path) != meta["finished"][stage]["sha256"]:
            raise UserError(f"{path} is missing or is not the one that {GENERATOR_META} describes; {remade}")
    read(_Meta, meta, str(folder / GENERATOR_META), remedy=remade, others=True)
    config = GeneratorConfig.from_json(meta["config"], f"{folder / GENERATOR_META}, config")
    if tuple(meta["grid"]["size"]) != tuple(config.grid.size):
        raise UserError(
            f"{folder / GENERATOR_META} has a grid of {meta['grid']['size']} but settings for {list(config.grid.size)}; {remade}"
        )
    try:
        return _assembled(folder, meta, config, device)
    except (KeyError, RuntimeError, TypeError) as error:  # how torch says that tensors are those of another network
        why = " ".join(str(error).split())[:200]
        raise UserError(f"the checkpoints in {folder} are not those of its settings ({why}); {remade}") from error


def _assembled(folder: Path, meta: dict[str, Any], config: GeneratorConfig, device: torch.device) -> Generator:
    static, motion = static_network(config), motion_network(config)
    _load_weights(static, load_checkpoint(folder / "static.safetensors")[0])
    tensors, header = load_checkpoint(folder / "motion.safetensors")
    _load_weights(motion, tensors)
    hashes = {stage: meta["finished"][stage]["sha256"] for stage in STAGES}
    return Generator(
        config=config,
        grid=Grid(tuple(meta["grid"]["size"]), meta["grid"]["pixel"]),
        vae=load_vae(folder, config, device),
        static=static.to(device).eval(),
        motion=motion.to(device).eval(),
        scale=LatentScale.from_tensors(tensors).to(device),
        scaler=PriorScaler(tuple(header["prior_mean"]), tuple(header["prior_std"])),
        grain=Grain.from_json(meta["grain"]),
        templates=tuple(Template.from_json(values, GENERATOR_META) for values in meta["templates"]),
        provenance={
            "dataset": meta["dataset"],
            "fold": meta["fold"],
            "preset": config.preset,
            "patients": meta["patients"],
            "split_hash": meta["split_hash"],
            "pretraining": meta["pretraining"],
            "contoured_by": meta.get("contoured_by"),  # the nnU-Net whose masks of frames without contours it learnt from, if any
            "generator_hash": hash_json(hashes),
            "version": meta["version"],
        },
        device=device,
    )
