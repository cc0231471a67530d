"""Commands that meet nnU-Net: ``doctor``, ``install-trainers`` and ``plans``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nnunet_synth_aug.cli.options import Configuration, Dataset, Plans, fold_of, say
from nnunet_synth_aug.core.errors import UserError


def doctor(
    dataset: Annotated[str | None, typer.Option("-d", help="Dataset to check, too.")] = None,
    fold: Annotated[str | None, typer.Option("-f", help="Fold to check, too.")] = None,
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
) -> None:
    """Check the installation, the folders, and whether nnU-Net finds the trainer; each finding with its remedy."""
    from nnunet_synth_aug.nnunet.doctor import run_checks

    checks = run_checks(dataset, None if fold is None else fold_of(fold), configuration, plans)
    for check in checks:
        say(f"[{'ok' if check.ok else 'FAIL'}] {check.name}: {check.message}")
        if not check.ok and check.remedy:
            say(f"       remedy: {check.remedy}")
    if failed := [c.name for c in checks if not c.ok]:
        raise UserError(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}; see the remedies above")


def install_trainers(
    undo: Annotated[bool, typer.Option("--undo", help="Remove the file again.")] = False,
) -> None:
    """Fallback where the start-up file does not run: put our trainers' file into nnU-Net's own folder."""
    from nnunet_synth_aug._startup import VARIABLE, trainers_folder
    from nnunet_synth_aug.nnunet import install

    if undo:
        removed = install.uninstall_trainers()
        say(f"removed {removed}" if removed else f"nothing to remove: {install.nnunet_trainers_folder()} holds no file of ours")
        return
    say(f"wrote {install.install_trainers()}; 'synthaug install-trainers --undo' removes it: run that before uninstalling")
    say(f"without a file in nnU-Net's folder: export {VARIABLE}={trainers_folder()}")


def plans(
    dataset: Dataset,
    name: Annotated[str, typer.Option("--name", help="Name of the plans copy, given to nnU-Net with -p.")],
    base: Annotated[str, typer.Option("--base", help="Plans to copy.")] = "nnUNetPlans",
    spacing: Annotated[float | None, typer.Option("--spacing", help="In-plane spacing of 2d in mm.")] = None,
    patch: Annotated[int | None, typer.Option("--patch", help="Side of the 2d patch in pixels.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="2d batch size.")] = None,
    stages: Annotated[int | None, typer.Option("--stages", help="Resolution levels of the 2d U-Net.")] = None,
    features: Annotated[int | None, typer.Option("--features", help="Channels of its first level.")] = None,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Synthetic share for nnUNetTrainerSynthAug without _mixNN.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Epochs, for every mix alike.")] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", help="Iterations per epoch.")] = None,
    val_iterations: Annotated[int | None, typer.Option("--val-iterations", help="Validation iterations per epoch.")] = None,
    autocast: Annotated[
        str | None,
        typer.Option("--autocast", help="On a CPU: bf16 trains in bfloat16, auto where it has the instructions, off (default) in float32."),
    ] = None,
    ratio_to: Annotated[float | None, typer.Option("--ratio-to", help="Curriculum: the synthetic share goes to this one.")] = None,
    shape: Annotated[str | None, typer.Option("--shape", help="How it goes there: linear (default), cosine or step.")] = None,
    from_epoch: Annotated[int | None, typer.Option("--from-epoch", help="When it begins to change, from 0; of a step, when.")] = None,
    until_epoch: Annotated[int | None, typer.Option("--until-epoch", help="When it is there; default the last epoch.")] = None,
    diagnosis: Annotated[
        list[str] | None, typer.Option("--weigh-diagnosis", help="DCM=2 draws synthetic hearts of DCM twice as often; repeatable.")
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option("--weigh-structure", help="RV=2 centres synthetic patches on RV twice as often; repeatable.")
    ] = None,
    refresh_per_epoch: Annotated[
        int | None, typer.Option("--refresh-per-epoch", help="Bank cases that the generator replaces per epoch; default none.")
    ] = None,
    refresh_device: Annotated[
        str | None, typer.Option("--refresh-device", help="Of that generator: same (as the training, between epochs), cpu or cuda:1.")
    ] = None,
    refresh_generator: Annotated[
        Path | None, typer.Option("--refresh-generator", help="Its folder, if the bank was made with --generator.")
    ] = None,
) -> None:
    """Write a copy of nnU-Net's plans with training settings, or a network small enough for a CPU."""
    from nnunet_synth_aug.nnunet.plans import write_small_plans

    generator = None if refresh_generator is None else str(refresh_generator.resolve())
    live = {"per_epoch": refresh_per_epoch, "device": refresh_device, "generator": generator}
    lengths = {"epochs": epochs, "iterations_per_epoch": iterations, "val_iterations_per_epoch": val_iterations}
    asked = {"ratio": ratio, **lengths, "autocast": autocast}
    settings: dict[str, Any] = {k: v for k, v in asked.items() if v is not None}
    if refresh := {k: v for k, v in live.items() if v is not None}:
        settings["refresh"] = refresh
    curriculum = {"to": ratio_to, "shape": shape, "from_epoch": from_epoch, "until_epoch": until_epoch}
    if schedule := {k: v for k, v in curriculum.items() if v is not None}:
        settings["schedule"] = schedule
    if weights := {k: _weights(v) for k, v in {"diagnosis": diagnosis, "structure": structure}.items() if v}:
        settings["weights"] = weights
    written = write_small_plans(
        dataset,
        base,
        name,
        spacing_2d=spacing,
        patch_2d=None if patch is None else (patch, patch),
        batch_size=batch,
        n_stages=stages,
        features=features,
        synth_aug=settings or None,
    )
    say(f"plans: {written}")


def _weights(given: list[str]) -> dict[str, float]:
    weights = {}
    for text in given:
        name, _, weight = text.partition("=")
        try:
            weights[name] = float(weight)
        except ValueError:
            raise UserError(f"{text!r} is not a weight; write NAME=NUMBER, such as RV=2") from None
    return weights
