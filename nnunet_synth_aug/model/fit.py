"""Training of the cascade on one fold's patients: three stages, one process or several, resumed where it was stopped.

With pretraining, the fold's stages continue those of a cascade trained on phantoms: the one that ships with the package if
its networks are the same, else one that is trained first, seen on the fold's own grid, and kept for the other folds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json, refuse_read_only, sha256, write_json
from nnunet_synth_aug.core.paths import GENERATOR_META, generator_folder, pretraining_folder
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.phantom import phantom_name
from nnunet_synth_aug.data.predicted_masks import FrameSegmenter, with_predicted_masks
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.config import GeneratorConfig, PretrainConfig, TrainConfig
from nnunet_synth_aug.model.generator import Generator, load_generator, load_vae
from nnunet_synth_aug.model.grid import Grid
from nnunet_synth_aug.model.latents.cache import load_latents, save_latents
from nnunet_synth_aug.model.latents.encode import LatentSet, encode_training_set, with_decoded_priors
from nnunet_synth_aug.model.motion import train_motion
from nnunet_synth_aug.model.noise import measure_grain
from nnunet_synth_aug.model.pretrained import shipped_for
from nnunet_synth_aug.model.pretraining import write_phantoms
from nnunet_synth_aug.model.records import generator_identity, is_complete, stage_identity, take_stage
from nnunet_synth_aug.model.static import train_static
from nnunet_synth_aug.model.template import Template
from nnunet_synth_aug.model.training.checkpoint import save_checkpoint
from nnunet_synth_aug.model.training.distributed import broadcast, by_first, processes
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
    segmenter: FrameSegmenter | None = None,
    contoured_only: bool = False,
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
        segmenter: gives masks to the frames that have no contours; default none, so that they teach no mask.
        contoured_only: leaves out the patients who have no contours.

    Returns:
        the folder.
    """
    with processes(device) as mine:
        cohort = Cohort.load(dataset)
        split = fold_patients(cohort, fold)
        cohort = cohort.without_masks(split.unlabelled)
        patients = tuple(p for p in split.train if not contoured_only or cohort.subject(p).masks)
        _refuse_stills(cohort.select(patients), fold, config)
        folder = folder or generator_folder(cohort.name, fold)
        about: dict[str, Any] = {"dataset": cohort.name, "fold": fold, "split_hash": split.hash}
        if segmenter is not None:
            cohort = replace(cohort, segmenter=hash_json(segmenter.provenance))
            about["contoured_by"] = segmenter.provenance
        if is_complete(folder, config, cohort, patients):
            return folder
        refuse_read_only(folder)  # before hours of work
        if segmenter is not None:
            cohort = _segmented(cohort, patients, segmenter, folder / PREDICTED)
        grid = cohort_grid(cohort.select(patients), config)
        start = None
        if config.pretrain.hearts:
            shipped = shipped_for(config)
            if shipped is None:  # the phantoms that will be made
                _refuse_known({phantom_name(i, config.pretrain.seed) for i in range(config.pretrain.hearts)}, split.val, cohort.name)
            start = load_generator(shipped or _pretrained(config, grid, mine), mine)
            _refuse_known(set(start.provenance["patients"]), split.val, cohort.name)
        return _Fit(cohort, patients, config, grid, mine, folder, about, start, reuse).run()


def _refuse_stills(patients: Cohort, fold: int | str, config: GeneratorConfig) -> None:
    """Without a cine nothing tells how hearts move, but a generator that knows it can be continued."""
    if not config.pretrain.hearts and all(subject.cine is None for subject in patients.subjects):
        raise UserError(
            f"no training patient of {patients.name} has a 4D cine in fold {fold}, so nothing tells how hearts move; add --pretrain "
            "phantom, whose motion is then adapted to the patients' ED and ES"
        )


def _segmented(cohort: Cohort, patients: tuple[str, ...], segmenter: FrameSegmenter, folder: Path) -> Cohort:
    """The cohort with a mask for every frame of the training patients; the first process makes them."""
    by_first(lambda: with_predicted_masks(cohort, patients, segmenter, folder))
    return with_predicted_masks(cohort, patients, segmenter, folder, write=False)


def _refuse_known(taught: set[str], held_out: tuple[str, ...], dataset: str) -> None:
    """A cohort of phantoms may hold some that pretraining sees."""
    if known := sorted(taught & set(held_out)):
        raise UserError(
            f"the generator to start from is trained on {', '.join(known[:5])}, whom this fold of {dataset} holds out; "
            "leave out --pretrain, or make the phantoms with another --seed"
        )


def _pretrained(config: GeneratorConfig, grid: Grid, device: torch.device) -> Path:
    """A cascade of these networks trained on phantoms, seen on ``grid``; trained now if it is not there."""
    own = replace(config, pretrain=PretrainConfig())
    # On a round pixel size, so that folds and cohorts with nearly the same field of view share it.
    grid = replace(grid, pixel=max(PIXEL_STEP, round(grid.pixel / PIXEL_STEP) * PIXEL_STEP))
    root = pretraining_folder(f"phantom_{config.preset}_{hash_json([own.to_json(), asdict(grid), config.pretrain.hearts])[:8]}")
    folder, name = root / "generator", f"phantom cohort of {config.pretrain.hearts}"

    def write_cohort() -> None:
        if not (root / "cohort").is_dir():
            write_phantoms(root / "cohort", config.pretrain.hearts, config.pretrain.seed)

    by_first(write_cohort)
    cohort = Cohort.read(root / "cohort", name)
    patients = tuple(subject.patient for subject in cohort.subjects)
    if not is_complete(folder, own, cohort, patients):
        _Fit(cohort, patients, own, grid, device, folder, {"dataset": name, "fold": "all", "split_hash": ""}).run()
    return folder


@dataclass(frozen=True)
class _Trained:
    """A stage that has just been trained."""

    network: torch.nn.Module
    tensors: dict[str, torch.Tensor]  # to keep beside the weights
    header: dict[str, Any]


class _Fit:
    """One generator's folder, and the three stages that are taken over or trained into it.

    Args:
        cohort: of the patients.
        patients: to train on.
        config: of the generator.
        grid: of the generator.
        device: this process's.
        folder: to write.
        about: dataset, fold and split_hash, for the provenance.
        start: the generator whose weights and scales are continued.
        reuse: as in :func:`fit_generator`.
    """

    def __init__(
        self,
        cohort: Cohort,
        patients: tuple[str, ...],
        config: GeneratorConfig,
        grid: Grid,
        device: torch.device,
        folder: Path,
        about: dict[str, Any],
        start: Generator | None = None,
        reuse: Path | None = None,
    ) -> None:
        self.cohort, self.config, self.device, self.folder, self.start, self.reuse = cohort, config, device, folder, start, reuse
        self.data = load_training_set(cohort, patients, config, grid)
        moving = any(case.cycle is not None for case in self.data.cases)
        self.grain = measure_grain(self.data) if moving or start is None else start.grain
        self.steps = config if start is None else continued(config)
        known = read_json(folder / GENERATOR_META) if (folder / GENERATOR_META).is_file() else {"finished": {}}
        self.meta: dict[str, Any] = (
            known
            | about
            | {
                "identity": generator_identity(config, cohort, patients),
                "format": 1,
                "version": __version__,
                "config": config.to_json(),
                "patients": list(self.data.patients),
                "pretraining": None if start is None else {k: start.provenance[k] for k in ("dataset", "generator_hash", "patients")},
                "grid": asdict(self.data.grid),
                "grain": self.grain.to_json(),
                "templates": self._templates(self.data),
            }
        )

    def run(self) -> Path:
        """Finish what is not finished yet; returns the folder."""
        by_first(self._write_meta)
        self._make("vae", self._train_vae)
        if any(not case.gridded.masked for case in self.data.cases):  # requests are drawn near what is known of the training patients
            vae = load_vae(self.folder, self.config, self.device)
            self.meta["templates"] = self._templates(with_decoded_priors(self.data, vae, self.device))
            by_first(self._write_meta)
        self._make("static", self._train_static)
        self._make("motion", self._train_motion)
        by_first(self._tidy_up)
        console.print(f"generator is complete: {self.folder}")
        return self.folder

    def _make(self, stage: str, train: Callable[[dict[str, Any], Weights | None], _Trained]) -> None:
        """Take a stage over from another generator or train it, unless it is finished."""
        if stage in self.meta["finished"]:
            return
        identity = self._identity(stage)
        by_first(lambda: self._take(stage, hash_json(identity)))
        self._read_finished()
        if stage in self.meta["finished"]:
            return
        begun = time.monotonic()
        trained = train(identity, None if self.start is None else getattr(self.start, stage).state_dict())
        seconds = round(time.monotonic() - begun, 1)
        by_first(lambda: self._save(stage, trained, {"seconds": seconds, "identity": hash_json(identity)}))
        self._read_finished()

    def _identity(self, stage: str) -> dict[str, Any]:
        vae = None if stage == "vae" else self.meta["finished"]["vae"]["sha256"]
        origin = "" if self.start is None else self.start.provenance["generator_hash"]
        return stage_identity(stage, self.config, self.data.grid, self.cohort, self.data.patients, origin, vae)

    def _train_vae(self, identity: dict[str, Any], weights: Weights | None) -> _Trained:
        shown = with_copies(self.data, self.config) if self.config.latents.remodel else self.data
        network = train_vae(shown, self.steps.vae, self.folder, self.config.seed, identity, self.device, weights)
        return _Trained(network, {}, {"patients": list(self.data.patients)})

    def _train_static(self, identity: dict[str, Any], weights: Weights | None) -> _Trained:
        return self._with_scale(train_static(self._latents, self.steps, self.folder, identity, self.device, weights))

    def _train_motion(self, identity: dict[str, Any], weights: Weights | None) -> _Trained:
        return self._with_scale(train_motion(self._latents, self.steps, self.folder, identity, self.device, weights))

    def _with_scale(self, network: torch.nn.Module) -> _Trained:
        """An LDM with the scales of its latents and priors."""
        scaler = self._latents.scaler
        return _Trained(network, self._latents.scale.tensors(), {"prior_mean": list(scaler.mean), "prior_std": list(scaler.std)})

    @cached_property
    def _latents(self) -> LatentSet:
        """Made when the first stage that needs them trains; none does where both are taken over."""
        identity = hash_json(self._identity("motion"))
        known = load_latents(self.folder, identity)
        if known is not None:
            return known
        scales = None if self.start is None else (self.start.scale, self.start.scaler)
        made = encode_training_set(self.data, load_vae(self.folder, self.config, self.device), self.config, self.device, scales)
        # The sign of a principal direction is arbitrary: all processes must train towards the same targets.
        broadcast([*made.scale.tensors().values(), made.ed, made.motion], self.device)
        by_first(lambda: save_latents(self.folder, made, identity))
        return made

    def _templates(self, data: TrainingSet) -> list[dict[str, Any]]:
        return [Template.of(case, self.grain).to_json() for case in data.cases]

    def _take(self, stage: str, identity: str) -> None:
        if (entry := take_stage(stage, identity, self.reuse, self.folder)) is not None:
            self.meta["finished"][stage] = entry
            self._write_meta()

    def _save(self, stage: str, trained: _Trained, entry: dict[str, Any]) -> None:
        """Write a trained stage, and note it as finished."""
        path = self.folder / f"{stage}.safetensors"
        tensors = {f"net.{name}": tensor for name, tensor in trained.network.state_dict().items()} | trained.tensors
        save_checkpoint(path, tensors, {"stage": stage, "dataset": self.cohort.name, "fold": str(self.meta["fold"]), **trained.header})
        self.meta["finished"][stage] = {"sha256": sha256(path), **entry}
        self._write_meta()
        self._remove(f"{stage}.training.*")

    def _tidy_up(self) -> None:
        self._remove("latents.training.*")
        shutil.rmtree(self.folder / PREDICTED, ignore_errors=True)  # masks of patients have no place beside weights

    def _remove(self, pattern: str) -> None:
        for leftover in self.folder.glob(pattern):
            leftover.unlink()

    def _write_meta(self) -> None:
        write_json(self.folder / GENERATOR_META, self.meta)

    def _read_finished(self) -> None:
        """Which stages the first process has finished."""
        self.meta["finished"] = read_json(self.folder / GENERATOR_META)["finished"]


def continued(config: GeneratorConfig) -> GeneratorConfig:
    """The settings of stages that continue pretrained ones: fewer and smaller steps."""

    def fewer(train: TrainConfig) -> TrainConfig:
        steps = max(1, round(train.steps * config.pretrain.finetune_steps))
        return replace(train, steps=steps, learning_rate=train.learning_rate * config.pretrain.finetune_rate)

    return replace(
        config,
        vae=replace(config.vae, train=fewer(config.vae.train)),
        static=replace(config.static, train=fewer(config.static.train)),
        motion=replace(config.motion, train=fewer(config.motion.train)),
    )
