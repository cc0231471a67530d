"""The command ``evaluate``: score one folder of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnunet_synth_aug.cli import scoring as how
from nnunet_synth_aug.cli.options import say


def evaluate(
    predictions: Annotated[
        Path, typer.Option("--pred", help="Folder of predicted masks, an nnU-Net results or fold folder, or nnU-Net's summary.json.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")],
    gt: how.GroundTruth = None,
    labels: how.Labels = None,
    prediction_labels: how.PredictionLabels = None,
    reference_labels: how.ReferenceLabels = None,
    dataset: how.DatasetFolder = None,
    name: Annotated[str, typer.Option("--name", help="What the tables call the model; default: its folder.")] = "",
    engine: how.Engine = "native",
    empty: how.Empty = "penalty",
    tolerance: how.Tolerance = None,
    largest_heart: how.LargestHeart = False,
    allow_missing: how.AllowMissing = False,
    processes: how.Processes = None,
) -> None:
    """Dice, IoU, HD, HD95, ASSD, surface Dice, volumes and EF of one folder; metrics.csv, and a summary.json that nnU-Net reads."""
    from evaluation.evaluate import evaluate_folder
    from evaluation.printing import printed

    sides = (labels, prediction_labels, reference_labels)
    rules, where = how.scoring(gt, dataset, *sides, engine, empty, tolerance, largest_heart, allow_missing, processes)
    say(printed(evaluate_folder(predictions, out, name=name, rules=rules, **where)))
