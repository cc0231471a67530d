"""Commands that meet nnU-Net: ``doctor``, ``install-trainers``, ``bank`` and ``plans``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nnunet_synth_aug.commands.common import (
    CheckedBy,
    Configuration,
    Dataset,
    Device,
    Fold,
    GeneratorFolder,
    MinAgreement,
    Plans,
    Seed,
    fold_of,
    generator_at,
    quality_control,
    real_only_network,
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


def bank(
    dataset: Dataset,
    fold: Fold = "0",
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of sequences.")] = 200,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames taken from each: ED, ES and others spread over the cycle.")] = 4,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            help="generator; variations (of training patients, see --strength); or what needs no diffusion model: copies (training "
            "patients, bent and remodelled), bent (the same, not remodelled), reconstructions (training patients through the VAE), "
            "phantom, or pseudolabels (real cines as --segmenter contours them).",
        ),
    ] = "generator",
    strength: Annotated[
        float | None,
        typer.Option("--strength", min=0.05, max=1, help="How much variations vary: 1 makes new hearts in old chests. [default: 0.5]"),
    ] = None,
    segmenter: CheckedBy = None,
    min_agreement: MinAgreement = None,
    generator: GeneratorFolder = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Sample sequences for one fold and preprocess them like nnU-Net's own cases. The same command resumes after a kill."""
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.data.splits import fold_patients
    from nnunet_synth_aug.generator import load_generator
    from nnunet_synth_aug.nnunet.bank import build_bank_cases
    from nnunet_synth_aug.nnunet.manifest import check_leak
    from nnunet_synth_aug.nnunet.patients import ABOUT_ALL, fold_cases
    from nnunet_synth_aug.nnunet.target import label_lookup, load_target
    from nnunet_synth_aug.paths import bank_folder
    from nnunet_synth_aug.priors import Priors
    from nnunet_synth_aug.synthesis.requests import requests
    from nnunet_synth_aug.synthesis.sampling import describe, sample_to_folder
    from nnunet_synth_aug.synthesis.variations import STRENGTH, variations

    target = load_target(dataset, configuration, plans)  # this and the other checks before minutes of sampling
    label_lookup(target)
    train, val = fold_cases(target.dataset, fold_of(fold), target.cases())
    if fold == "all":
        say(ABOUT_ALL)
    folder = bank_folder(target.dataset, fold_of(fold)) / "sequences"
    if strength is not None and source != "variations":
        raise UserError(f"--strength is of --source variations, and this bank is of {source}; leave one of them out")
    if source not in ("generator", "variations"):
        if segmenter is not None and source != "pseudolabels":
            raise UserError(f"--segmenter checks sampled hearts, and {source} are not sampled; leave it out")
        _write_controls(source, target.dataset, fold, n, folder, generator, segmenter, device, seed)
        say(f"bank: {build_bank_cases(folder, dataset, fold_of(fold), configuration, plans, frames)}")
        return
    cascade = load_generator(generator_at(dataset, fold, generator), torch_device(device))
    if fold != "all":
        check_leak(cascade.provenance, target, fold, train, val)
    judge = quality_control(cascade, segmenter, min_agreement)
    about: dict[str, Any] = {}
    if source == "variations":
        cohort = Cohort.load(target.dataset)
        cohort = cohort.without_masks(fold_patients(cohort, fold_of(fold)).unlabelled)
        asked = variations(cascade, cohort, n, seed, strength or STRENGTH)
        about = {"source": source, "strength": strength or STRENGTH}
    else:
        asked = requests(cascade, n, seed, Priors(), None, False)
    sample_to_folder(cascade, asked, folder, skip_impossible=True, judge=judge, about=about)
    for line in describe(folder, cascade):
        say(line)
    say(f"bank: {build_bank_cases(folder, dataset, fold_of(fold), configuration, plans, frames)}")


def _write_controls(
    source: str, dataset: str, fold: str, n: int, folder: Path, generator: Path | None, segmenter: Path | None, device: str, seed: int
) -> None:
    """Sequences that no diffusion model makes."""
    from nnunet_synth_aug.data.cohort import COHORT, Cohort
    from nnunet_synth_aug.data.splits import fold_patients
    from nnunet_synth_aug.paths import raw_folder

    controls = ("copies", "bent", "reconstructions", "phantom", "pseudolabels")
    if source not in controls:
        raise UserError(f"there is no --source {source!r}; choose generator, variations, {', '.join(controls[:-1])} or {controls[-1]}")
    if generator is not None and source != "reconstructions":
        raise UserError(f"--source {source} needs no generator; leave out --generator")
    if source == "phantom":
        from nnunet_synth_aug.synthesis.phantoms import phantoms_to_folder

        vendors: set[str] = set()
        if (raw_folder(dataset) / COHORT).is_file():  # other vendors than the training patients' would teach what none of them shows
            cohort = Cohort.load(dataset)
            train = cohort.select(fold_patients(cohort, fold_of(fold)).train)
            vendors = {v for s in train.subjects if (v := s.priors.vendor) is not None}
        phantoms_to_folder(folder, n, seed, vendors, min(n, os.cpu_count() or 1))
        return
    if source == "pseudolabels":
        from nnunet_synth_aug.synthesis.pseudolabels import pseudolabels_to_folder

        if segmenter is None:
            raise UserError("--source pseudolabels needs --segmenter, the results folder of an nnU-Net trained on this fold's real cases")
        split = fold_patients(cohort := Cohort.load(dataset), fold_of(fold))
        judge = real_only_network(dataset, fold, segmenter, device)
        maker = str(judge.provenance["checkpoint_sha256"])
        pseudolabels_to_folder(judge.segment, maker, cohort.without_masks(split.unlabelled), split.train, folder, n)
        return
    split = fold_patients(cohort := Cohort.load(dataset), fold_of(fold))
    cohort = cohort.without_masks(split.unlabelled)  # nobody has contoured them, whatever lies in the folder
    if source == "reconstructions":
        from nnunet_synth_aug.generator import load_generator
        from nnunet_synth_aug.synthesis.reconstructions import reconstructions_to_folder

        cascade = load_generator(generator_at(dataset, fold, generator), torch_device(device))
        reconstructions_to_folder(cascade, cohort, split.train, folder, n)
        return
    from nnunet_synth_aug.synthesis.copies import copies_to_folder

    copies_to_folder(cohort, split.train, folder, n, seed, source)


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
    asked = {"ratio": ratio, "epochs": epochs, "iterations_per_epoch": iterations, "val_iterations_per_epoch": val_iterations}
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
