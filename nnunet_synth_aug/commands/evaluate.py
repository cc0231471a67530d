"""The command ``evaluate``: score one folder of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnunet_synth_aug.commands.common import say


def evaluate(
    predictions: Annotated[
        Path, typer.Option("--pred", help="Folder of predicted masks, an nnU-Net results or fold folder, or nnU-Net's summary.json.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")],
    gt: Annotated[Path | None, typer.Option("--gt", help="Folder of reference masks; found by itself for nnU-Net results.")] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="RV=1,MYO=2,LV=3 (EPI=2+3 is a region), acdc or mnms; default: each side's dataset.json."),
    ] = None,
    prediction_labels: Annotated[str | None, typer.Option("--pred-labels", help="Those of the predictions, where they differ.")] = None,
    reference_labels: Annotated[str | None, typer.Option("--gt-labels", help="Those of the reference masks, where they differ.")] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="nnUNet_raw/DatasetNNN_Name; found by itself for nnU-Net results.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the tables call the model; default: its folder.")] = "",
    engine: Annotated[str, typer.Option("--engine", help="native or medpy (same values, slower).")] = "native",
    empty: Annotated[
        str, typer.Option("--empty", help="What one empty mask scores: penalty (distance: image diagonal), nan or drop.")
    ] = "penalty",
    tolerance: Annotated[str | None, typer.Option("--tolerance", help="Of the surface Dice, mm: 2, or RV=3,MYO=2,LV=2.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score missing predictions as --empty says instead of refusing.")
    ] = False,
    processes: Annotated[int | None, typer.Option("-np", min=1, help="Processes; default: as many as are worth their start.")] = None,
) -> None:
    """Dice, IoU, HD, HD95, ASSD, surface Dice, volumes and EF of one folder; metrics.csv, and a summary.json that nnU-Net reads."""
    from evaluation.evaluate import evaluate_folder
    from evaluation.interop import parse_labels, parse_tolerance
    from evaluation.printing import printed

    both, own, wanted = (parse_labels(text) if text else None for text in (labels, prediction_labels, reference_labels))
    result = evaluate_folder(
        predictions,
        out,
        gt=gt,
        dataset=dataset,
        labels=both,
        prediction_labels=own,
        reference_labels=wanted,
        name=name,
        engine=engine,
        empty=empty,
        tolerance=parse_tolerance(tolerance),
        allow_missing=allow_missing,
        workers=processes,
    )
    say(printed(result))
