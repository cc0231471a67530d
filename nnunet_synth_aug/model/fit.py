"""Training of the cascade on one fold's patients: three stages, one process or several, resumed where it was stopped.

With pretraining, the fold's stages continue those of a cascade trained on phantoms: the one that ships with the package if
its networks are the same, else one that is trained first, seen on the fold's own grid, and kept for the other folds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json, sha256, write_json
from nnunet_synth_aug.core.paths import generator_folder, pretraining_folder
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.predicted_masks import Annotator, with_predicted_masks
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.config import GeneratorConfig, PretrainConfig, TrainConfig
from nnunet_synth_aug.model.generator import META, Generator, load_generator, load_vae
from nnunet_synth_aug.model.grid import Grid
from nnunet_synth_aug.model.latents.cache import load_latents, save_latents
from nnunet_synth_aug.model.latents.encode import LatentSet, encode_training_set, with_decoded_priors
from nnunet_synth_aug.model.motion import train_motion
from nnunet_synth_aug.model.noise import measure_grain
from nnunet_synth_aug.model.pretrained import shipped_for
from nnunet_synth_aug.model.pretraining import write_phantoms
from nnunet_synth_aug.model.records import generator_identity, is_complete, scaler_header, stage_identity, take_stage, template_record
from nnunet_synth_aug.model.static import train_static
from nnunet_synth_aug.model.training.checkpoint import save_checkpoint
from nnunet_synth_aug.model.training.distributed import barrier, broadcast, is_first, processes
from nnunet_synth_aug.model.training.loop import Weights
from nnunet_synth_aug.model.training_set import TrainingSet, cohort_grid, load_training_set, with_copies
from nnunet_synth_aug.model.vae.train import train_vae

#: Masks for frames without contours, while a generator is trained.
PREDICTED = "predicted.training"
#: Pixel sizes of pretraining are multiples of this [mm].
PIXEL_STEP = 0.25


def fit_generator(
    dataset: str,
    fold: int | str,
    config: GeneratorConfig,
    device: torch.device,
    folder: Path | None = None,
    reuse: Path | None = None,
    annotator: Annotator | None = None,
) -> Path:
    """Train the three stages on the training patients of one fold; resumes where a killed run stopped.

    Under torchrun every process calls this with the same arguments.

    Args:
        dataset: name or number, as nnU-Net's ``-d``.
        fold: number, or "all".
        config: the preset.
        device: where to train.
        folder: where to; default the fold's place in nnUNet_results.
        reuse: folder of another generator, from which stages are taken that would come out the same.
        annotator: gives masks to the frames that have no contours; default none, so that they teach no mask.

    Returns:
        the folder.
    """
    with processes(device) as mine:
        cohort = Cohort.load(dataset)
        split = fold_patients(cohort, fold)
        cohort = cohort.without_masks(split.unlabelled)
        folder = folder or generator_folder(cohort.name, fold)
        about: dict[str, Any] = {"dataset": cohort.name, "fold": fold, "split_hash": split.hash}
        if annotator is not None:
            cohort = replace(cohort, predictor=hash_json(annotator.provenance))
            about["contoured_by"] = annotator.provenance
        if is_complete(folder, config, cohort, split.train):
            return folder
        if annotator is not None:
            cohort = _annotated(cohort, split.train, annotator, folder / PREDICTED)
        grid = cohort_grid(cohort.select(split.train), config)
        start = None
        if config.pretrain.hearts:
            start = load_generator(_pretrained(config, grid, mine), mine)
            _refuse_known(start, split.val, cohort.name)
        return _fit(cohort, split.train, config, grid, mine, folder, about, start, reuse)


def _annotated(cohort: Cohort, patients: tuple[str, ...], annotator: Annotator, folder: Path) -> Cohort:
    """The cohort with a mask for every frame of the training patients; the first process makes them."""
    if is_first():
        cohort = with_predicted_masks(cohort, patients, annotator, folder)
    barrier()
    return cohort if is_first() else with_predicted_masks(cohort, patients, annotator, folder, write=False)


def _refuse_known(start: Generator, held_out: tuple[str, ...], dataset: str) -> None:
    """A cohort of phantoms may hold some that pretraining has seen."""
    if known := sorted(set(start.provenance["patients"]) & set(held_out)):
        raise UserError(
            f"the generator to start from was trained on {', '.join(known[:5])}, whom this fold of {dataset} holds out; "
            "leave out --pretrain, or make the phantoms with another --seed"
        )


def _pretrained(config: GeneratorConfig, grid: Grid, device: torch.device) -> Path:
    """The cascade trained on phantoms: the shipped one if its networks are these, else one of its own, seen on ``grid``, trained now."""
    if (shipped := shipped_for(config)) is not None:
        return shipped
    own = replace(config, pretrain=PretrainConfig())
    # On a round pixel size, so that folds and cohorts with nearly the same field of view share it.
    grid = replace(grid, pixel=max(PIXEL_STEP, round(grid.pixel / PIXEL_STEP) * PIXEL_STEP))
    root = pretraining_folder(f"phantom_{config.preset}_{hash_json([own.to_json(), asdict(grid), config.pretrain.hearts])[:8]}")
    folder, name = root / "generator", f"phantom cohort of {config.pretrain.hearts}"
    if is_first() and not (root / "cohort").is_dir():
        write_phantoms(root / "cohort", config.pretrain.hearts, config.pretrain.seed)
    barrier()
    cohort = Cohort.read(root / "cohort", name)
    patients = tuple(subject.patient for subject in cohort.subjects)
    if not is_complete(folder, own, cohort, patients):
        _fit(cohort, patients, own, grid, device, folder, {"dataset": name, "fold": "all", "split_hash": ""}, None)
    return folder


def _fit(
    cohort: Cohort,
    patients: tuple[str, ...],
    config: GeneratorConfig,
    grid: Grid,
    device: torch.device,
    folder: Path,
    about: dict[str, Any],
    start: Generator | None,
    reuse: Path | None = None,
) -> Path:
    """Train what is not finished yet in ``folder``.

    Args:
        cohort: of the patients.
        patients: to train on.
        config: of the generator.
        grid: of the generator.
        device: this process's.
        folder: to write.
        about: dataset, fold and split_hash, for the provenance.
        start: the cascade whose weights and scales are continued.
        reuse: as in :func:`fit_generator`.
    """
    me = generator_identity(config, cohort, patients)
    data = load_training_set(cohort, patients, config, grid)
    grain = measure_grain(data)
    meta: dict[str, Any] = read_json(folder / META) if (folder / META).is_file() else {"finished": {}}
    meta |= about | {
        "identity": me,
        "format": 1,
        "version": __version__,
        "config": config.to_json(),
        "patients": list(data.patients),
        "pretraining": None if start is None else {k: start.provenance[k] for k in ("dataset", "generator_hash", "patients")},
        "grid": asdict(data.grid),
        "grain": grain.to_json(),
        "templates": [template_record(case, grain) for case in data.cases],
    }
    running = config if start is None else continued(config)
    origin = "" if start is None else start.provenance["generator_hash"]

    def make(stage: str, run: Callable[[dict[str, Any], Weights | None], tuple[torch.nn.Module, dict[str, torch.Tensor], dict]]) -> None:
        """Take a stage over from another generator or train it, and note it as finished."""
        if stage in meta["finished"]:
            return
        identity = stage_identity(stage, config, data.grid, cohort, data.patients, origin)
        if stage != "vae":
            identity["vae_checkpoint"] = meta["finished"]["vae"]["sha256"]
        identity_hash = hash_json(identity)
        barrier()  # before the first process writes what the others look for
        if is_first() and (entry := take_stage(stage, identity_hash, reuse, folder)) is not None:
            meta["finished"][stage] = entry
            write_json(folder / META, meta)
        barrier()
        meta["finished"] = read_json(folder / META)["finished"]
        if stage in meta["finished"]:
            return
        begun = time.monotonic()
        network, extra, header = run(identity, None if start is None else getattr(start, stage).state_dict())
        if is_first():
            tensors = {f"net.{k}": v for k, v in network.state_dict().items()} | extra
            stage_header = {"stage": stage, "dataset": cohort.name, "fold": str(about["fold"]), **header}
            path = folder / f"{stage}.safetensors"
            save_checkpoint(path, tensors, stage_header)
            seconds = round(time.monotonic() - begun, 1)
            meta["finished"][stage] = {"sha256": sha256(path), "seconds": seconds, "identity": identity_hash}
            write_json(folder / META, meta)
            for leftover in folder.glob(f"{stage}.training.*"):
                leftover.unlink()
        barrier()
        meta["finished"] = read_json(folder / META)["finished"]

    if is_first():
        write_json(folder / META, meta)
    barrier()

    def shown() -> TrainingSet:
        return with_copies(data, config) if config.latents.remodel else data

    make(
        "vae",
        lambda me, weights: (
            train_vae(shown(), running.vae, folder, config.seed, me, device, weights),
            {},
            {"patients": list(data.patients)},
        ),
    )
    if any(not case.gridded.masked for case in data.cases):  # requests are drawn near what is known of the training patients
        told = with_decoded_priors(data, load_vae(folder, config, device), device)
        meta["templates"] = [template_record(case, grain) for case in told.cases]
        if is_first():
            write_json(folder / META, meta)
        barrier()

    @cache
    def latents() -> LatentSet:
        """Made when the first stage that needs them trains; none does where both are taken over."""
        depends = [stage_identity("motion", config, data.grid, cohort, data.patients, origin), meta["finished"]["vae"]["sha256"]]
        known = load_latents(folder, hash_json(depends))
        barrier()
        if known is None:
            scales = None if start is None else (start.scale, start.scaler)
            known = encode_training_set(data, load_vae(folder, config, device), config, device, scales)
            # The sign of a principal direction is arbitrary: all processes must train towards the same targets.
            broadcast([*known.scale.tensors().values(), known.ed, known.motion], device)
            if is_first():
                save_latents(folder, known, hash_json(depends))
        return known

    def trained(network: torch.nn.Module) -> tuple[torch.nn.Module, dict[str, torch.Tensor], dict[str, Any]]:
        return network, latents().scale.tensors(), scaler_header(latents())

    make("static", lambda me, weights: trained(train_static(latents(), running, folder, me, device, weights)))
    make("motion", lambda me, weights: trained(train_motion(latents(), running, folder, me, device, weights)))
    if is_first():
        for leftover in folder.glob("latents.training.*"):
            leftover.unlink()
        shutil.rmtree(folder / PREDICTED, ignore_errors=True)  # masks of patients have no place beside weights
    console.print(f"generator is complete: {folder}")
    return folder


def continued(config: GeneratorConfig) -> GeneratorConfig:
    """With fewer and smaller steps, for stages that continue pretrained ones."""

    def fewer(train: TrainConfig) -> TrainConfig:
        steps = max(1, round(train.steps * config.pretrain.finetune_steps))
        return replace(train, steps=steps, learning_rate=train.learning_rate * config.pretrain.finetune_rate)

    return replace(
        config,
        vae=replace(config.vae, train=fewer(config.vae.train)),
        static=replace(config.static, train=fewer(config.static.train)),
        motion=replace(config.motion, train=fewer(config.motion.train)),
    )
