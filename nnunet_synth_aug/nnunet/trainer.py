"""nnU-Net trainers that mix synthetic cases into the training batches.

``nnUNetTrainerSynthAug_mixNN[toMM][_Eepochs][_TRAINER]`` exists for every NN and MM from 00 to 100 and for every trainer that nnU-Net
finds: the classes are made on demand by this module's ``__getattr__``, so that they have their own results folders and can be pickled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.patients import ungrouped
from nnunet_synth_aug.nnunet.bank.manifest import Manifest, open_bank
from nnunet_synth_aug.nnunet.mixing.dataset import BankDataset, LiveDataset, MixedDataset
from nnunet_synth_aug.nnunet.mixing.exposure import FILE, Exposure
from nnunet_synth_aug.nnunet.mixing.loader import is_mixed, mixed_loaders
from nnunet_synth_aug.nnunet.mixing.mixture import BASE_NAME, Mix, parse_trainer_name
from nnunet_synth_aug.nnunet.mixing.settings import PLANS_KEY, refuse_changes, resolve_settings
from nnunet_synth_aug.nnunet.mixing.weighting import WeightedPatches, draw_probabilities
from nnunet_synth_aug.nnunet.patients import ABOUT_ALL, case_patients
from nnunet_synth_aug.nnunet.precision import Float32Loss, cpu_bf16, network_in
from nnunet_synth_aug.nnunet.refresh.cases import JOURNAL, live_folder, read_journal
from nnunet_synth_aug.nnunet.refresh.trainer_side import Refresher
from nnunet_synth_aug.nnunet.target import Target, label_lookup, refuse_unsupported

_CUDA = torch.device("cuda")


@contextlib.contextmanager
def _clean_exit(trainer: str) -> Iterator[None]:
    """nnU-Net's commands print tracebacks; what the user can mend ends with one sentence and exit code 1."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"\nError ({trainer}): {error}") from None


class nnUNetTrainerSynthAug(nnUNetTrainer):
    """Trains with a set share of synthetic samples; validation is nnU-Net's own.

    The share comes from the class (``_mixNN``), else from the plans' ``synth_aug.ratio``, else it is 0.5. With share 0
    the training is that of ``nnUNetTrainer``. The bank of synthetic cases is checked before the first step.
    """

    synth_ratio: float | None = None
    synth_epochs: int | None = None
    synth_until: float | None = None

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = _CUDA):
        # nnU-Net reads the parameter names of this signature: they must be exactly its own.
        with _clean_exit(type(self).__name__):
            settings = resolve_settings(plans, self.synth_ratio, self.synth_epochs, self.synth_until)
        super().__init__(plans, configuration, fold, dataset_json, device)
        if settings.epochs is not None:
            self.num_epochs: int = settings.epochs
            # nnU-Net saves every 50 epochs, so a short training that is killed would have nothing for --c.
            self.save_every: int = max(1, min(self.save_every, settings.epochs // 10))
        if settings.iterations_per_epoch is not None:
            self.num_iterations_per_epoch: int = settings.iterations_per_epoch
        if settings.val_iterations_per_epoch is not None:
            self.num_val_iterations_per_epoch: int = settings.val_iterations_per_epoch
        self.ratio, self._autocast = settings.ratio, settings.autocast
        self._bf16 = cpu_bf16(settings.autocast or "off", self.device)
        self._manifest: Manifest | None = None
        self._exposure: Exposure | None = None
        self._schedule, self._weights, self._refresh = settings.schedule, settings.weights, settings.refresh
        self._refresher: Refresher | None = None  # of the first process

    # ------------------------------------------------------------------ before the first step

    def on_train_start(self) -> None:
        """Open and check the bank, record the settings, start live refresh; then as nnU-Net."""
        if self.fold == "all":
            self.print_to_log_file(ABOUT_ALL)
        with _clean_exit(type(self).__name__):
            self._open_bank()
            # The plans go into plans.json and every checkpoint, and these settings with them.
            recorded = self.plans_manager.plans[PLANS_KEY] = self._recorded()
            stored = self.my_init_kwargs["plans"]
            if stored is not self.plans_manager.plans:  # nnU-Net has loaded a checkpoint to continue from
                refuse_changes(stored.get(PLANS_KEY, {}), recorded)
            self._exposure = self._open_exposure()
            self._start_refresh()
        if self._bf16:
            self.print_to_log_file("the network computes in bfloat16 (autocast of the plans)")
        super().on_train_start()

    def _recorded(self) -> dict[str, Any]:
        return {
            "ratio": self.ratio,
            "epochs": self.num_epochs,
            "iterations_per_epoch": self.num_iterations_per_epoch,
            "val_iterations_per_epoch": self.num_val_iterations_per_epoch,
            "autocast": self._autocast,
            "schedule": self._schedule and self._schedule.recorded(),
            "weights": self._weights and self._weights.recorded(),
            "manifest_hash": self._manifest and self._manifest.hash,
            "generator_hash": self._manifest and self._manifest.generator_hash,
            # The rate alone: on which device the generator runs may change between two attempts.
            "refresh": self._refresh and {"per_epoch": self._refresh.per_epoch},
        }

    def ratios(self) -> tuple[float, ...]:
        """Synthetic share of every epoch."""
        return (self.ratio,) * self.num_epochs if self._schedule is None else self._schedule.ratios(self.ratio, self.num_epochs)

    def _open_bank(self) -> None:
        if self._manifest is not None or self.ratio == 0:
            return
        refuse_unsupported(target := self._target())
        train_cases, val_cases = self.do_split()
        self._manifest = open_bank(target, self.fold, train_cases, val_cases)
        if self.fold != "all" and (note := ungrouped(case_patients(target.dataset, [*train_cases, *val_cases]))):
            self.print_to_log_file(note)
        ratios = self.ratios()
        share = f"{self.ratio:.0%}" if self._schedule is None else f"{ratios[0]:.0%} to {ratios[-1]:.0%} ({self._schedule.shape})"
        self.print_to_log_file(
            f"{share} of the training samples are synthetic, from {len(self._manifest.ids)} cases in {self._manifest.folder}"
        )

    def _target(self) -> Target:
        manager = self.plans_manager
        return Target(
            manager.dataset_name, manager.plans_name, self.configuration_name, manager, self.configuration_manager, self.dataset_json
        )

    def _open_exposure(self) -> Exposure:
        manifest = self._manifest
        header = {
            "format": 1,
            "version": __version__,
            "trainer": type(self).__name__,
            **{key: value for key, value in self._recorded().items() if key in ("ratio", "schedule", "weights")},
            "manifest_hash": manifest.hash if manifest else None,
            "manifest": manifest.provenance if manifest else None,
        }
        journal = Path(self.output_folder) / JOURNAL
        cases = manifest.content["cases"] if manifest else ()
        exposure = Exposure(Path(self.output_folder) / FILE, header, cases, lambda: read_journal(journal))
        if not exposure.resume(self.current_epoch):
            self.print_to_log_file(f"{FILE} does not cover all epochs before {self.current_epoch}; its totals leave the others out")
        return exposure

    def _start_refresh(self) -> None:
        """Before nnU-Net starts its loader processes, which must not see what an earlier training replaced."""
        if self._refresh is None:
            return
        if self.local_rank == 0:
            assert self._manifest is not None
            self._refresher = Refresher(self._refresh, self._manifest, Path(self.output_folder), str(self.device))
            self._refresher.start(fresh=self.current_epoch == 0)
            self.print_to_log_file(f"live refresh: {self._refresher}, log in {self._refresher.log}")
        if self.is_ddp:
            dist.barrier()

    # ------------------------------------------------------------------ data

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """nnU-Net's datasets, the one for training with the bank's cases."""
        real, val = super().get_tr_and_val_datasets()
        if self.ratio == 0:
            return real, val
        with _clean_exit(type(self).__name__):
            self._open_bank()
            assert self._manifest is not None
            if self._refresh is None:
                bank: Any = BankDataset(str(self._manifest.folder), self._manifest.ids)
            else:
                live = live_folder(self._manifest.folder.parent, Path(self.output_folder))
                bank = LiveDataset(self._manifest.folder, self._manifest.ids, live)
            if self._weights is not None and self._weights.structure:
                bank = WeightedPatches(bank, self._weights.structure, label_lookup(self._target()))
            return MixedDataset(real, bank), val

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's loaders, the one for training with the exact share of synthetic samples."""
        if self.ratio == 0:
            return super().get_dataloaders()
        with _clean_exit(type(self).__name__):
            self._open_bank()
            mix = self._mix()
        with mixed_loaders(mix):
            train, val = super().get_dataloaders()
        if [is_mixed(train), is_mixed(val)] != [True, False]:
            raise SystemExit(
                f"\nError ({type(self).__name__}): this release of nnU-Net builds its loaders in an unknown way; install nnunetv2>=2.8,<3"
            )
        return train, val

    def _mix(self) -> Mix:
        assert self._manifest is not None
        diagnosis = self._weights.diagnosis if self._weights is not None else {}
        return Mix(
            self.ratios(),
            self.num_iterations_per_epoch,
            # nnU-Net throws the first batch away: it only fills the workers' queue.
            first=self.current_epoch * self.num_iterations_per_epoch - 1,
            batch_sizes=tuple(self._of_all_processes(self.batch_size)) if self.is_ddp else (),
            rank=dist.get_rank() if self.is_ddp else 0,
            probabilities=draw_probabilities(self._manifest.content["cases"], diagnosis),
        )

    @staticmethod
    def _of_all_processes(value: Any) -> list[Any]:
        """The value that each process of a DDP training gives, by rank."""
        values: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(values, value)
        return values

    def _build_loss(self) -> Any:
        loss = super()._build_loss()
        return Float32Loss(loss) if self._bf16 else loss

    # ------------------------------------------------------------------ counting what was trained on

    def on_train_epoch_start(self) -> None:
        """As nnU-Net; begins to count."""
        super().on_train_epoch_start()
        if self._exposure is not None:
            self._exposure.start_epoch()

    def train_step(self, batch: dict) -> dict:
        """As nnU-Net, on a CPU in bfloat16 if the plans say so; counts the batch."""
        with network_in(self._bf16):
            result = super().train_step(batch)
        if self._exposure is not None:
            self._exposure.add(batch["keys"], batch.get("versions"))
        return result

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """As nnU-Net; adds up the counts of all processes."""
        super().on_train_epoch_end(train_outputs)
        if self._exposure is not None and self.is_ddp:
            self._exposure.gather(self._of_all_processes(self._exposure.epoch_counts))

    def on_epoch_end(self) -> None:
        """As nnU-Net; writes the counts before the checkpoint, and lets live refresh go on."""
        if self._exposure is not None:
            if self._refresher is not None:
                self._exposure.refresh = self._refresher.counts
            line = self._exposure.end_epoch(self.current_epoch)
            if self.ratio > 0:
                self.print_to_log_file(f"{line}; asked for {self.ratios()[self.current_epoch]:.4f}")
            self._write_exposure()  # before the checkpoint: never fewer epochs than it has
        super().on_epoch_end()
        if self._refresher is not None:
            if self.current_epoch < self.num_epochs:
                self._refresher.turn()
            for warning in self._refresher.warnings():
                self.print_to_log_file(warning)

    def on_train_end(self) -> None:
        """As nnU-Net; ends live refresh."""
        super().on_train_end()
        self._write_exposure()
        if self._refresher is not None:
            self._refresher.stop()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """As nnU-Net; says so if it is no validation."""
        super().perform_actual_validation(save_probabilities)
        if self.fold == "all":
            self.print_to_log_file(ABOUT_ALL)

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, whole or not at all: a kill while it is written leaves the one before, and --c goes on from that."""
        partial = Path(filename).with_name("checkpoint.partial")
        super().save_checkpoint(str(partial))
        if partial.is_file():  # rank 0, and checkpointing not disabled
            partial.replace(filename)

    def _write_exposure(self) -> None:
        if self._exposure is not None and self.local_rank == 0:
            with _clean_exit(type(self).__name__):
                self._exposure.write()


def trainer_class(name: str) -> type[nnUNetTrainerSynthAug]:
    """The trainer of that name, made at the first call.

    Raises:
        UserError: the name is not one of this package's, or nnU-Net has no such trainer to lie underneath.
    """
    if name == BASE_NAME:
        return nnUNetTrainerSynthAug
    variant = parse_trainer_name(name)
    if name not in globals():
        content = {
            "__module__": __name__,
            "__qualname__": name,
            "__doc__": f"{variant.ratio:.0%}{'' if variant.until is None else f' to {variant.until:.0%}'} synthetic samples"
            + (f", {variant.epochs} epochs" if variant.epochs else "")
            + (f", on top of {variant.base}." if variant.base else "."),
            "synth_ratio": variant.ratio,
            "synth_until": variant.until,
            "synth_epochs": variant.epochs,
        }
        # What this package adds comes first, and its super() is the trainer underneath.
        parents = (nnUNetTrainerSynthAug, *((_trainer_underneath(variant.base),) if variant.base else ()))
        # Kept under its name in this module: that is what pickle looks for.
        globals()[name] = type(name, parents, content)
    made: type[nnUNetTrainerSynthAug] = globals()[name]
    return made


def _trainer_underneath(name: str) -> type[nnUNetTrainer]:
    """The trainer that the end of a name means: ``DA5`` is nnUNetTrainerDA5."""
    from nnunetv2.run.run_training import recursive_find_trainer_class_by_name  # which imports every trainer there is

    tried = [f"{prefix}{name}" for prefix in ("nnUNetTrainer", "nnUNetTrainer_", "")]
    for full in tried:
        if not full.startswith(BASE_NAME):
            with contextlib.suppress(RuntimeError):
                found: type[nnUNetTrainer] = recursive_find_trainer_class_by_name(full)
                return found
    raise UserError(f"nnU-Net has no trainer {' or '.join(tried[:2])}; correct what stands behind the share, or leave it out")


def asked_for(name: str) -> type[nnUNetTrainerSynthAug]:
    """The trainer that a command of nnU-Net asks for; a name that cannot be meant otherwise ends the command with one sentence.

    Raises:
        AttributeError: another name, which may be somebody's own trainer.
    """
    if not name.startswith(f"{BASE_NAME}_mix"):
        return __getattr__(name)
    with _clean_exit(name):
        return trainer_class(name)


def __getattr__(name: str) -> Any:
    try:
        return trainer_class(name)
    except UserError as error:
        raise AttributeError(str(error)) from None


# The common ratios, spelt out so that a search for their names finds them.


class nnUNetTrainerSynthAug_mix00(nnUNetTrainerSynthAug):
    """The real-only baseline: trains like nnUNetTrainer, with the epochs that the plans' synth_aug key sets."""

    synth_ratio = 0.0


class nnUNetTrainerSynthAug_mix10(nnUNetTrainerSynthAug):
    """10% synthetic samples."""

    synth_ratio = 0.1


class nnUNetTrainerSynthAug_mix25(nnUNetTrainerSynthAug):
    """25% synthetic samples."""

    synth_ratio = 0.25


class nnUNetTrainerSynthAug_mix50(nnUNetTrainerSynthAug):
    """50% synthetic samples."""

    synth_ratio = 0.5


class nnUNetTrainerSynthAug_mix75(nnUNetTrainerSynthAug):
    """75% synthetic samples."""

    synth_ratio = 0.75


class nnUNetTrainerSynthAug_mix50to00(nnUNetTrainerSynthAug):
    """50% synthetic samples at first, fewer with every epoch, and none in the last one."""

    synth_ratio, synth_until = 0.5, 0.0
