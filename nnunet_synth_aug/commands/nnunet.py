"""Commands that meet nnU-Net: ``doctor``, ``bank`` and ``plans``."""

from __future__ import annotations

from typing import Annotated

import typer

from nnunet_synth_aug.commands.common import (
    Configuration,
    Dataset,
    Device,
    Fold,
    GeneratorFolder,
    Plans,
    Seed,
    fold_of,
    generator_at,
    say,
    torch_device,
)
from nnunet_synth_aug.errors import UserError


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


def bank(
    dataset: Dataset,
    fold: Fold = "0",
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of sequences.")] = 200,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames taken from each: ED, ES and others spread over the cycle.")] = 4,
    generator: GeneratorFolder = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Sample sequences for one fold and preprocess them like nnU-Net's own cases. The same command resumes after a kill."""
    from nnunet_synth_aug.generator import load_generator
    from nnunet_synth_aug.nnunet.bank import build_bank_cases
    from nnunet_synth_aug.nnunet.target import load_target
    from nnunet_synth_aug.paths import bank_folder
    from nnunet_synth_aug.priors import Priors
    from nnunet_synth_aug.synthesis.requests import requests
    from nnunet_synth_aug.synthesis.sampling import describe, sample_to_folder

    target = load_target(dataset, configuration, plans)  # before minutes of sampling
    cascade = load_generator(generator_at(dataset, fold, generator), torch_device(device))
    folder = bank_folder(target.dataset, fold_of(fold)) / "sequences"
    sample_to_folder(cascade, requests(cascade, n, seed, Priors(), None, False), folder, check=True, skip_impossible=True)
    for line in describe(folder, cascade):
        say(line)
    say(f"bank: {build_bank_cases(folder, dataset, fold_of(fold), configuration, plans, frames)}")


def plans(
    dataset: Dataset,
    name: Annotated[str, typer.Option("--name", help="Name of the plans copy, given to nnU-Net with -p.")],
    base: Annotated[str, typer.Option("--base", help="Plans to copy.")] = "nnUNetPlans",
    spacing: Annotated[float | None, typer.Option("--spacing", help="In-plane spacing of 2d [mm].")] = None,
    patch: Annotated[int | None, typer.Option("--patch", help="Side of the 2d patch [pixels].")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="2d batch size.")] = None,
    stages: Annotated[int | None, typer.Option("--stages", help="Resolution levels of the 2d U-Net.")] = None,
    features: Annotated[int | None, typer.Option("--features", help="Channels of its first level.")] = None,
    ratio: Annotated[float | None, typer.Option("--ratio", help="Synthetic share for nnUNetTrainerSynthAug without _mixNN.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Epochs, for every mix alike.")] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", help="Iterations per epoch.")] = None,
    val_iterations: Annotated[int | None, typer.Option("--val-iterations", help="Validation iterations per epoch.")] = None,
) -> None:
    """Write a copy of nnU-Net's plans with training settings, or a network small enough for a CPU."""
    from nnunet_synth_aug.nnunet.plans import write_small_plans

    asked = {"ratio": ratio, "epochs": epochs, "iterations_per_epoch": iterations, "val_iterations_per_epoch": val_iterations}
    settings = {k: v for k, v in asked.items() if v is not None}
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
