"""The trained cascade of one fold on disk, with the list of every patient it saw, and the command that trains it.

fold_0/
  generator.json           config, provenance, state of the stages
  vae.safetensors          static.safetensors   motion.safetensors   (each with a .json twin)
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_synth_aug import __version__
from nnunet_synth_aug.anatomy_vae.network import AnatomyVAE
from nnunet_synth_aug.anatomy_vae.stage import train_vae
from nnunet_synth_aug.checkpoint import load_checkpoint, save_checkpoint
from nnunet_synth_aug.conditions import PriorScaler
from nnunet_synth_aug.config import GeneratorConfig
from nnunet_synth_aug.console import console
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.gating import closure_ratio
from nnunet_synth_aug.data.grid import Grid
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.data.training_set import TrainingSet, load_training_set
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import hash_json, read_json, sha256, write_json
from nnunet_synth_aug.latents import LatentScale, LatentSet, encode_training_set
from nnunet_synth_aug.ldm import LatentFlow
from nnunet_synth_aug.motion_ldm.stage import motion_network, train_motion
from nnunet_synth_aug.paths import generator_folder
from nnunet_synth_aug.priors import Priors
from nnunet_synth_aug.static_ldm.stage import static_network, train_static

STAGES = ("vae", "static", "motion")
META = "generator.json"


@dataclass(frozen=True)
class Template:
    """What a training patient tells about things that priors do not fix: stack geometry and grey values."""

    priors: Priors
    grey: tuple[float, float]
    context: tuple[float, float] | None
    n_frames: int
    frame_seconds: float
    closure: float | None  # last-to-first step over mean step of the real cine; None without one


@dataclass(frozen=True)
class Generator:
    """A trained cascade, ready to sample."""

    config: GeneratorConfig
    grid: Grid
    vae: AnatomyVAE
    static: LatentFlow
    motion: LatentFlow
    scale: LatentScale
    scaler: PriorScaler
    templates: tuple[Template, ...]
    provenance: dict[str, Any]  # dataset, fold, preset, patients, generator_hash, ...
    device: torch.device


def identity(config: GeneratorConfig, cohort: Cohort, patients: tuple[str, ...]) -> dict[str, Any]:
    """What a generator depends on. Another identity is another generator."""
    return {"config": hash_json(config.to_json()), "cohort": cohort.hash(), "patients": list(patients)}


def fit_generator(dataset: str, fold: int | str, config: GeneratorConfig, device: torch.device, folder: Path | None = None) -> Path:
    """Train the three stages on the training patients of one fold; resumes where a killed run stopped.

    Args:
        dataset: name or number, as nnU-Net's ``-d``.
        fold: number, or "all".
        config: the preset.
        device: where to train.
        folder: where to; default the fold's place in nnUNet_results.

    Returns:
        the folder.
    """
    cohort = Cohort.load(dataset)
    split = fold_patients(cohort, fold)
    folder = folder or generator_folder(cohort.name, fold)
    me = identity(config, cohort, split.train)
    meta_path = folder / META
    meta: dict[str, Any] = read_json(meta_path) if meta_path.is_file() else {"identity": me, "finished": {}}
    if meta["identity"] != me:
        raise UserError(f"{folder} holds a generator of other patients or settings; delete that folder to train a new one")
    if set(meta["finished"]) == set(STAGES):
        console.print(f"generator is complete: {folder}")
        return folder
    data = load_training_set(cohort, split.train, config)
    meta |= {
        "format": 1,
        "version": __version__,
        "config": config.to_json(),
        "dataset": cohort.name,
        "fold": fold,
        "split_hash": split.hash,
        "patients": list(data.patients),
        "grid": asdict(data.grid),
        "templates": [_template(data, i) for i in range(len(data.cases))],
    }
    write_json(meta_path, meta)

    def finish(stage: str, network: torch.nn.Module, extra: dict[str, torch.Tensor], header: dict[str, Any], seconds: float) -> None:
        tensors = {f"net.{k}": v for k, v in network.state_dict().items()} | extra
        save_checkpoint(folder / f"{stage}.safetensors", tensors, {"stage": stage, "dataset": cohort.name, "fold": str(fold), **header})
        meta["finished"][stage] = {"sha256": sha256(folder / f"{stage}.safetensors"), "seconds": round(seconds, 1)}
        write_json(meta_path, meta)
        for leftover in folder.glob(f"{stage}.training.*"):
            leftover.unlink()

    start = time.monotonic()
    if "vae" not in meta["finished"]:
        vae = train_vae(data, config.vae, folder, config.seed, me, device)
        finish("vae", vae, {}, {"patients": list(data.patients)}, time.monotonic() - start)
    vae = load_vae(folder, config, device)
    latents = encode_training_set(data, vae, config, device)
    for stage, run in (("static", train_static), ("motion", train_motion)):
        if stage not in meta["finished"]:
            start = time.monotonic()
            network = run(latents, config, folder, me | {"vae": meta["finished"]["vae"]["sha256"]}, device)
            finish(stage, network, latents.scale.tensors(), _scaler_header(latents), time.monotonic() - start)
    console.print(f"generator is complete: {folder}")
    return folder


def _scaler_header(latents: LatentSet) -> dict[str, Any]:
    return {"prior_mean": list(latents.scaler.mean), "prior_std": list(latents.scaler.std)}


def _template(data: TrainingSet, index: int) -> dict[str, Any]:
    case = data.cases[index]
    return {
        "priors": case.priors.specified(),
        "grey": case.gridded.grey,
        "context": case.gridded.context,
        "n_frames": case.subject.n_frames if case.cycle is not None else 0,
        "frame_seconds": case.subject.frame_seconds,
        "closure": closure_ratio(case.gridded.image.float().numpy()) if case.cycle is not None else None,
    }


def load_vae(folder: Path, config: GeneratorConfig, device: torch.device) -> AnatomyVAE:
    network = AnatomyVAE(config.vae)
    _load_weights(network, load_checkpoint(folder / "vae.safetensors")[0])
    return network.to(device).eval()


def _load_weights(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    network.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})


def load_generator(folder: Path, device: torch.device) -> Generator:
    """Load a complete generator; refuses an unfinished one and checkpoints that do not belong together."""
    if not (folder / META).is_file():
        raise UserError(f"there is no generator in {folder}; run 'synthaug fit' for this dataset and fold first")
    meta = read_json(folder / META)
    if missing := [s for s in STAGES if s not in meta["finished"]]:
        raise UserError(f"the generator in {folder} is not finished ({', '.join(missing)}); run the same 'synthaug fit' again to resume")
    for stage in STAGES:
        path = folder / f"{stage}.safetensors"
        if not path.is_file() or sha256(path) != meta["finished"][stage]["sha256"]:
            raise UserError(f"{path} is missing or is not the one that {META} describes; delete {folder} and run 'synthaug fit' again")
    config = GeneratorConfig.from_json(meta["config"])
    static, motion = static_network(config), motion_network(config)
    tensors, header = load_checkpoint(folder / "static.safetensors")
    _load_weights(static, tensors)
    _load_weights(motion, load_checkpoint(folder / "motion.safetensors")[0])
    hashes = {stage: meta["finished"][stage]["sha256"] for stage in STAGES}
    return Generator(
        config=config,
        grid=Grid(tuple(meta["grid"]["size"]), meta["grid"]["pixel"]),
        vae=load_vae(folder, config, device),
        static=static.to(device).eval(),
        motion=motion.to(device).eval(),
        scale=LatentScale.from_tensors(tensors).to(device),
        scaler=PriorScaler(tuple(header["prior_mean"]), tuple(header["prior_std"])),
        templates=tuple(
            Template(
                Priors.from_mapping(t["priors"], META),
                (t["grey"][0], t["grey"][1]),
                None if t["context"] is None else (t["context"][0], t["context"][1]),
                t["n_frames"],
                t["frame_seconds"],
                t["closure"],
            )
            for t in meta["templates"]
        ),
        provenance={
            "dataset": meta["dataset"],
            "fold": meta["fold"],
            "preset": config.preset,
            "patients": meta["patients"],
            "split_hash": meta["split_hash"],
            "generator_hash": hash_json(hashes),
            "version": meta["version"],
        },
        device=device,
    )
