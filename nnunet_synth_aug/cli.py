"""The command line: ``synthaug``. Every command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnunet_synth_aug import __version__
from nnunet_synth_aug.errors import UserError

if TYPE_CHECKING:
    import torch

app = typer.Typer(
    name="synthaug",
    help="Labelled synthetic 4D cardiac MRI as an augmentation for nnU-Net. Folders: nnUNet_raw, nnUNet_preprocessed, nnUNet_results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
importers = typer.Typer(
    no_args_is_help=True, help="Turn a cine data set into an nnU-Net dataset with cines, priors and patient-grouped folds."
)
app.add_typer(importers, name="import")

Dataset = Annotated[str, typer.Option("-d", help="Dataset: number or name, as in nnU-Net.")]
Fold = Annotated[str, typer.Option("-f", help="Fold: number, or 'all'.")]
Configuration = Annotated[str, typer.Option("-c", help="nnU-Net configuration.")]
Plans = Annotated[str, typer.Option("-p", help="nnU-Net plans.")]
Device = Annotated[str, typer.Option("-device", "--device", help="cpu, cuda, cuda:1 or mps.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same hearts.")]
Folds = Annotated[int, typer.Option("--folds", help="Number of patient-grouped folds.")]


def say(text: str) -> None:
    print(text)


def fold_of(text: str) -> int | str:
    """'all' or a number."""
    if text == "all":
        return text
    if not text.isdigit():
        raise UserError(f"-f {text} is not a fold; give a number such as 0, or 'all'")
    return int(text)


def torch_device(name: str) -> torch.device:
    """A device that exists, or one sentence."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"-device {name} cannot be used here ({str(error).splitlines()[0]}); use -device cpu") from error
    return device


@app.command()
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


@app.command()
def phantom(
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "Phantom",
    n: Annotated[int, typer.Option("-n", min=2, max=10_000, help="Number of hearts.")] = 40,
    folds: Folds = 5,
    seed: Seed = 0,
) -> None:
    """Make a digital beating-heart cohort: exact masks, exact priors, three vendors or more, five diagnoses."""
    from nnunet_synth_aug.data.dataset import write_dataset
    from nnunet_synth_aug.data.phantom import phantom_cohort

    source = {"source": "phantom", "n": n, "seed": seed}
    say(f"dataset: {write_dataset(phantom_cohort(n, seed), dataset_id, name, folds=folds, total=n, source=source)}")


@importers.command("acdc")
def import_acdc(
    folder: Annotated[Path, typer.Argument(help="Folder of patientNNN folders (the challenge's own layout).")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "ACDC",
    folds: Folds = 5,
) -> None:
    """Import ACDC: https://www.creatis.insa-lyon.fr/Challenge/acdc/."""
    from nnunet_synth_aug.data.acdc import list_acdc, read_acdc
    from nnunet_synth_aug.data.dataset import write_dataset

    total = len(list_acdc(folder))
    written = write_dataset(read_acdc(folder), dataset_id, name, folds=folds, total=total, source={"source": "ACDC"})
    say(f"dataset: {written}")


@importers.command("mnms")
def import_mnms(
    folder: Annotated[Path, typer.Argument(help="OpenDataset, the folder of the download.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "MNMs",
    folds: Folds = 5,
) -> None:
    """Import M&Ms: https://www.ub.edu/mnms/."""
    from nnunet_synth_aug.data.dataset import write_dataset
    from nnunet_synth_aug.data.mnms import list_mnms, read_mnms

    total = len(list_mnms(folder))
    say(f"dataset: {write_dataset(read_mnms(folder), dataset_id, name, folds=folds, total=total, source={'source': 'M&Ms'})}")


@importers.command("mnms2")
def import_mnms2(
    folder: Annotated[Path, typer.Argument(help="MnM2, the folder of the download.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "MNMs2",
    folds: Folds = 5,
) -> None:
    """Import the short axis of M&Ms-2: https://www.ub.edu/mnms-2/."""
    from nnunet_synth_aug.data.dataset import write_dataset
    from nnunet_synth_aug.data.mnms import list_mnms2, read_mnms2

    total = len(list_mnms2(folder))
    say(f"dataset: {write_dataset(read_mnms2(folder), dataset_id, name, folds=folds, total=total, source={'source': 'M&Ms-2'})}")


@importers.command("sunnybrook")
def import_sunnybrook(
    folder: Annotated[Path, typer.Argument(help="Folder of SCDnnnnnnn_4d.nii.gz and SCDnnnnnnn_frameNN_gt.nii.gz.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "Sunnybrook",
) -> None:
    """Import Sunnybrook (as NIfTI) as a test set of the LV: its other structures were not contoured at both ED and ES."""
    from nnunet_synth_aug.data.sunnybrook import list_sunnybrook, read_sunnybrook
    from nnunet_synth_aug.data.test_set import write_test_set

    total = len(list_sunnybrook(folder))
    say(f"dataset: {write_test_set(read_sunnybrook(folder), dataset_id, name, total=total, source={'source': 'Sunnybrook'})}")


@app.command()
def fit(
    dataset: Dataset,
    fold: Fold = "0",
    preset: Annotated[str, typer.Option("--preset", help="tiny (CPU minutes) or small (CPU hours).")] = "tiny",
    device: Device = "cpu",
    seed: Seed = 0,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="End with a short report: does it obey the priors of held-out patients?")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings and stop.")] = False,
) -> None:
    """Train the generator on one fold's training patients. The same command resumes after a kill."""
    import dataclasses
    import json

    from nnunet_synth_aug.config import preset as named

    config = dataclasses.replace(named(preset), seed=seed)
    if dry_run:
        say(json.dumps(config.to_json(), indent=2))
        return
    from nnunet_synth_aug.fit import fit_generator

    folder = fit_generator(dataset, fold_of(fold), config, torch_device(device))
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process alone reports
    if report:
        _report(dataset, folder, folder / "report", device, SHORT_REPORT, only=["controllability"])
    say(f"generator: {folder}")


@app.command()
def sample(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for NIfTI, CSV and GIF.")],
    fold: Fold = "0",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of hearts.")] = 4,
    edv: Annotated[float | None, typer.Option("--edv", help="LV end-diastolic volume [mL].")] = None,
    ef: Annotated[float | None, typer.Option("--ef", help="LV ejection fraction [%].")] = None,
    rv_edv: Annotated[float | None, typer.Option("--rv-edv", help="RV end-diastolic volume [mL].")] = None,
    rv_ef: Annotated[float | None, typer.Option("--rv-ef", help="RV ejection fraction [%].")] = None,
    mass: Annotated[float | None, typer.Option("--mass", help="LV myocardial mass [g].")] = None,
    diagnosis: Annotated[str | None, typer.Option("--diagnosis", help="NOR, MINF, DCM, HCM or RV.")] = None,
    slices: Annotated[int | None, typer.Option("--slices", help="Number of short-axis slices.")] = None,
    thickness: Annotated[float | None, typer.Option("--thickness", help="Distance between slices [mm].")] = None,
    vendor: Annotated[str | None, typer.Option("--vendor", help="Siemens, Philips, GE or Canon.")] = None,
    field_strength: Annotated[float | None, typer.Option("--field", help="Field strength [T].")] = None,
    sex: Annotated[str | None, typer.Option("--sex", help="F or M.")] = None,
    age: Annotated[float | None, typer.Option("--age", help="Age [years].")] = None,
    height: Annotated[float | None, typer.Option("--height", help="Body height [cm].")] = None,
    weight: Annotated[float | None, typer.Option("--weight", help="Body weight [kg].")] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=2, max=200, help="Frames per cycle; default as in the training cines.")
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="Leave what is not set unspecified, instead of drawing it near a training patient.")
    ] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Quality control with resampling.")] = True,
    open_loop: Annotated[bool, typer.Option("--open-loop", help="Without calibration of EDV and EF on the sample.")] = False,
    gif: Annotated[bool, typer.Option("--gif/--no-gif", help="One beating-heart GIF per sequence.")] = True,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Write 4D image and mask NIfTI, a CSV of requested and measured priors, and GIFs. Set any subset of the priors."""
    from nnunet_synth_aug.priors import Priors

    given = Priors(
        diagnosis=diagnosis,
        lv_edv=edv,
        lv_ef=ef,
        rv_edv=rv_edv,
        rv_ef=rv_ef,
        lv_mass=mass,
        n_slices=slices,
        slice_thickness=thickness,
        vendor=vendor,
        field_strength=field_strength,
        sex=sex,
        age=age,
        height=height,
        weight=weight,
    ).validated("request")
    from nnunet_synth_aug.generator import load_generator
    from nnunet_synth_aug.paths import dataset_name, generator_folder
    from nnunet_synth_aug.synthesis.requests import requests
    from nnunet_synth_aug.synthesis.sampling import describe, sample_to_folder, write_gifs

    generator = load_generator(generator_folder(dataset_name(dataset), fold_of(fold)), torch_device(device))
    ids = sample_to_folder(generator, requests(generator, n, seed, given, frames, free, not open_loop), out, check)
    if gif:
        write_gifs(out, ids)
    for line in describe(out, generator):
        say(line)
    say(f"sequences: {out}")


@app.command()
def report(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, figures and the sampled hearts; the same command resumes.")],
    fold: Fold = "0",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Hearts to sample for the priors of held-out patients.")] = 64,
    segmenter: Annotated[
        Path | None,
        typer.Option("--segmenter", help="nnU-Net results folder of a real-only training: an independent judge."),
    ] = None,
    fvd_weights: Annotated[Path | None, typer.Option("--fvd-weights", help="TorchScript file of I3D, for the FVD.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="controllability, reconstruction, realism or memorisation; may be repeated.")
    ] = None,
    closed_loop: Annotated[bool, typer.Option("--closed-loop", help="Judge calibrated samples, too, apart from the open loop.")] = False,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Judge a generator: does it obey its priors, how much does it lose, is it realistic, has it memorised its patients?"""
    from nnunet_synth_aug.paths import dataset_name, generator_folder

    folder = generator_folder(dataset_name(dataset), fold_of(fold))
    options = {"only": only or (), "fvd_weights": fvd_weights, "closed_loop": closed_loop, "seed": seed}
    _report(dataset, folder, out, device, n, segmenter=segmenter, **options)


#: Hearts of the report that ends a fit.
SHORT_REPORT = 16


def _report(dataset: str, folder: Path, out: Path, device: str, n: int, *, segmenter: Path | None = None, **options: Any) -> None:
    """Judge the generator in ``folder`` into ``out``."""
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.generator import load_generator
    from nnunet_synth_aug.reports.markdown import headline
    from nnunet_synth_aug.reports.run import run_reports
    from nnunet_synth_aug.reports.segmenter import load_segmenter

    generator = load_generator(folder, torch_device(device))
    judge = None if segmenter is None else load_segmenter(segmenter, generator, generator.device)
    for line in headline(run_reports(generator, Cohort.load(dataset), out, n, segmenter=judge, **options)):
        say(line)
    say(f"report: {out / 'report.md'}")


@app.command()
def bank(
    dataset: Dataset,
    fold: Fold = "0",
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of sequences.")] = 200,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames taken from each: ED, ES and others spread over the cycle.")] = 4,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Sample sequences for one fold and preprocess them like nnU-Net's own cases. The same command resumes after a kill."""
    from nnunet_synth_aug.generator import load_generator
    from nnunet_synth_aug.nnunet.bank import build_bank_cases
    from nnunet_synth_aug.nnunet.target import load_target
    from nnunet_synth_aug.paths import bank_folder, generator_folder
    from nnunet_synth_aug.priors import Priors
    from nnunet_synth_aug.synthesis.requests import requests
    from nnunet_synth_aug.synthesis.sampling import describe, sample_to_folder

    target = load_target(dataset, configuration, plans)  # before minutes of sampling
    generator = load_generator(generator_folder(target.dataset, fold_of(fold)), torch_device(device))
    folder = bank_folder(target.dataset, fold_of(fold)) / "sequences"
    sample_to_folder(generator, requests(generator, n, seed, Priors(), None, False), folder, check=True, skip_impossible=True)
    for line in describe(folder, generator):
        say(line)
    say(f"bank: {build_bank_cases(folder, dataset, fold_of(fold), configuration, plans, frames)}")


@app.command()
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


@app.command()
def compare(
    baseline: Annotated[Path, typer.Option("--baseline", help="nnU-Net results folder (or folder of predictions) of the real-only arm.")],
    augmented: Annotated[Path, typer.Option("--augmented", help="The same of the augmented arm.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report and tables.")],
    gt: Annotated[Path | None, typer.Option("--gt", help="Folder of reference masks; found by itself for nnU-Net results.")] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="nnUNet_raw/DatasetNNN_Name; found by itself for nnU-Net results.")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="native or medpy (same values, slower).")] = "native",
) -> None:
    """Dice, HD, HD95 and ASSD per structure and patient, paired statistics, one self-contained HTML report."""
    from evaluation.compare import compare as run
    from evaluation.compare import headline_long

    result = run(baseline, augmented, out, gt=gt, dataset=dataset, engine=engine)
    say(headline_long(result.summary).drop(columns="verdict").round(3).to_string(index=False))
    for sentence in result.conclusion:
        say(sentence)
    say(f"report: {result.report}")


@app.command()
def demo(
    source: Annotated[Path | None, typer.Option("--source", help="An ACDC folder; default the phantom cohort.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Everything goes here; the same command resumes.")] = Path("synthaug_demo"),
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """The whole loop, small: cohort, generator, nnU-Net trained on real only and on a mix, report. Minutes on 2 CPU cores."""
    from nnunet_synth_aug.demo import run_demo

    run_demo(source, out, device, seed)


def _version(value: bool) -> None:
    if value:
        say(f"nnunet-synth-aug {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def main() -> Any:
    """Entry point: a UserError becomes one line on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"synthaug: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("synthaug: interrupted; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # e.g. piped into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
