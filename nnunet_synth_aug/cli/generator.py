"""Commands of the generator: ``fit``, ``sample`` and ``report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nnunet_synth_aug.cli.options import (
    CheckedBy,
    Dataset,
    Device,
    Fold,
    GeneratorFolder,
    MinAgreement,
    PriorTexts,
    Seed,
    fold_of,
    generator_at,
    quality_control,
    real_only_network,
    say,
    torch_device,
)

if TYPE_CHECKING:
    from nnunet_synth_aug.model.generator import Generator
    from nnunet_synth_aug.synthesis.painting import PaintedHearts


def fit(
    dataset: Dataset,
    fold: Fold = "0",
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="tiny (CPU minutes), small (CPU hours) or base (one GPU). [default: base on a GPU, else small]"),
    ] = None,
    generator: GeneratorFolder = None,
    device: Device = "cpu",
    seed: Seed = 0,
    pretrain: Annotated[str, typer.Option("--pretrain", help="phantom: go on from phantoms, with half of the steps; or none.")] = "none",
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="End with a short report: does it obey the priors of held-out patients?")
    ] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value of a setting, e.g. latents.motion=framewise (all: --dry-run)."),
    ] = None,
    reuse: Annotated[
        Path | None, typer.Option("--reuse", help="Generator with other settings: take the stages that would come out the same.")
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option("--segmenter", help="nnU-Net results folder of a real-only training of this fold: contours frames that have none."),
    ] = None,
    contoured_only: Annotated[bool, typer.Option("--contoured-only", help="Leave out the patients whom nobody has contoured.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings with their limits and stop.")] = False,
) -> None:
    """Train the generator on one fold's training patients. The same command resumes after a kill."""
    import dataclasses
    import json

    from nnunet_synth_aug.core.settings import describe
    from nnunet_synth_aug.model.config import overridden, pretrained_on
    from nnunet_synth_aug.model.config import preset as named
    from nnunet_synth_aug.model.cost import preset_for, told

    name = preset or preset_for(device)
    config = overridden(pretrained_on(dataclasses.replace(named(name), seed=seed), pretrain), settings or [])
    if dry_run:
        for one in describe(config):
            say(f"{one.key}={json.dumps(one.value)}  # {'; '.join(filter(None, (one.must_be, one.meaning)))}")
        return
    where = torch_device(device)
    first = os.environ.get("RANK", "0") == "0"  # under torchrun the first process alone speaks
    if first:
        say(told(name, preset is None))
        _say_what_is_cut(dataset, fold, config.grid.size[2])
    from nnunet_synth_aug.model.fit import fit_generator

    taught_by = None
    if segmenter is not None:
        from nnunet_synth_aug.data.predicted_masks import FrameSegmenter

        network = real_only_network(dataset, fold, segmenter, device)
        taught_by = FrameSegmenter(network.segment, network.provenance)
    folder = fit_generator(dataset, fold_of(fold), config, where, generator, reuse, taught_by, contoured_only)
    if not first:
        return
    if report:
        _report(dataset, folder, folder / "report", device, SHORT_REPORT, only=["controllability"])
    from nnunet_synth_aug.reports.cards.write import renew_card

    say(renew_card(folder))
    say(f"generator: {folder}")


def _say_what_is_cut(dataset: str, fold: str, depth: int) -> None:
    """Training patients with more slices than the grid holds lose the outer ones: on the screen, not in silence."""
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.data.splits import fold_patients

    cohort = Cohort.load(dataset)
    patients = fold_patients(cohort, fold_of(fold)).train
    deep = [s.patient for s in cohort.select(patients).subjects if (s.priors.n_slices or 0) > depth]
    if deep:
        say(
            f"{len(deep)} of {len(patients)} training patients (such as {deep[0]}) have more slices than this preset's grid, {depth}: "
            "their outer slices are left out; another --preset or --set grid.size=[X,Y,Z] has a deeper one"
        )


Render = Annotated[
    Literal["decoder", "painter"],
    typer.Option("--render", help="Hearts in decoded pixels, or painted around their contours; the first time trains the painter."),
]


def sample(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for NIfTI, CSV and GIF.")],
    fold: Fold = "0",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of hearts.")] = 4,
    prior: PriorTexts = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=2, max=200, help="Frames per cycle; default as in the training cines.")
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="Leave what is not set unspecified, instead of drawing it near a training patient.")
    ] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Quality control with resampling.")] = True,
    segmenter: CheckedBy = None,
    min_agreement: MinAgreement = None,
    open_loop: Annotated[bool, typer.Option("--open-loop", help="Without calibration of EDV and EF on the sample.")] = False,
    grain: Annotated[bool, typer.Option("--grain/--no-grain", help="With the noise of real images, or without any.")] = True,
    render: Render = "decoder",
    gif: Annotated[bool, typer.Option("--gif/--no-gif", help="One beating-heart GIF per sequence.")] = True,
    generator: GeneratorFolder = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Write 4D image and mask NIfTI, a CSV of requested and measured priors, and GIFs."""
    from nnunet_synth_aug.core.prior_request import parse_priors

    asked = parse_priors(prior or [])
    from nnunet_synth_aug.core.paths import dataset_name
    from nnunet_synth_aug.model.generator import load_generator
    from nnunet_synth_aug.synthesis.figures import describe
    from nnunet_synth_aug.synthesis.pictures import write_gifs
    from nnunet_synth_aug.synthesis.requests import RequestPlan, beyond_training
    from nnunet_synth_aug.synthesis.sample import sample_to_folder

    cascade = load_generator(generator_at(dataset, fold, generator), torch_device(device))
    of, seen = (dataset_name(dataset), fold), (cascade.provenance["dataset"], str(cascade.provenance["fold"]))
    if generator is not None and of != seen:
        say(f"note: the generator in {generator} was trained on fold {seen[1]} of {seen[0]}, not on fold {of[1]} of {of[0]}")
    quality = quality_control(cascade, segmenter, min_agreement, check)
    for line in beyond_training(asked, cascade):
        say(line)
    plan = RequestPlan(seed, asked, frames, free, not open_loop, grain)
    show = _painted(cascade) if render == "painter" else None
    ids = sample_to_folder(cascade, plan.requests(cascade, n), out, quality=quality, show=show)
    if gif:
        write_gifs(out, ids)
    for line in describe(out, cascade):
        say(line)
    say(f"sequences: {out}")


def _painted(generator: Generator) -> PaintedHearts:
    """By the painter of the generator's own fold, which saw no patient whom the generator did not see."""
    from nnunet_synth_aug.nnunet.painting import fold_hearts

    seen = generator.provenance
    return fold_hearts(seen["dataset"], seen["fold"], None, generator.device)


#: Hearts of the report that ends a fit.
SHORT_REPORT = 16


def report(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, figures and the sampled hearts; the same command resumes.")],
    fold: Fold = "0",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Hearts to sample for the priors of held-out patients.")] = 64,
    segmenter: Annotated[
        Path | None,
        typer.Option("--segmenter", help="nnU-Net results folder of a real-only training, to measure images independently of their masks."),
    ] = None,
    fvd_weights: Annotated[Path | None, typer.Option("--fvd-weights", help="TorchScript file of I3D, for the FVD.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="controllability, reconstruction, realism, two_sample or memorisation; may be repeated."),
    ] = None,
    closed_loop: Annotated[bool, typer.Option("--closed-loop", help="Judge calibrated samples, too, apart from the open loop.")] = False,
    render: Render = "decoder",
    generator: GeneratorFolder = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Judge a generator: does it obey its priors, how much does it lose, is it realistic, has it memorised its patients?"""
    folder = generator_at(dataset, fold, generator)
    options = {"only": only or (), "fvd_weights": fvd_weights, "closed_loop": closed_loop, "seed": seed}
    _report(dataset, folder, out, device, n, segmenter=segmenter, painted=render == "painter", **options)


def _report(
    dataset: str, folder: Path, out: Path, device: str, n: int, *, segmenter: Path | None = None, painted: bool = False, **options: Any
) -> None:
    """Write the reports on the generator in ``folder`` into ``out``."""
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.model.generator import load_generator
    from nnunet_synth_aug.nnunet.segmenter import load_segmenter
    from nnunet_synth_aug.reports.cards.write import take_report
    from nnunet_synth_aug.reports.markdown import headline
    from nnunet_synth_aug.reports.run import run_reports

    cascade = load_generator(folder, torch_device(device))
    network = None if segmenter is None else load_segmenter(segmenter, cascade, cascade.device)
    show = _painted(cascade) if painted else None
    for line in headline(run_reports(cascade, Cohort.load(dataset), out, n, segmenter=network, show=show, **options)):
        say(line)
    if line := take_report(folder, out):
        say(line)
    say(f"report: {out / 'report.md'}")
