"""Commands that compare: ``compare`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnunet_synth_aug.commands.common import Device, Seed, say


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


def demo(
    source: Annotated[Path | None, typer.Option("--source", help="An ACDC folder; default the phantom cohort.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Everything goes here; the same command resumes.")] = Path("synthaug_demo"),
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """The whole loop, small: cohort, generator, nnU-Net trained on real only and on a mix, report. Minutes on 2 CPU cores."""
    from nnunet_synth_aug.demo import run_demo

    run_demo(source, out, device, seed)
