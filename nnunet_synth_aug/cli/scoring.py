"""Options of ``evaluate`` and ``compare`` that say how masks are found and scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evaluation.inputs.scores import Where
    from evaluation.scoring.rules import ScoringRules

GroundTruth = Annotated[Path | None, typer.Option("--gt", help="Folder of reference masks; found by itself for nnU-Net results.")]
DatasetFolder = Annotated[Path | None, typer.Option("--dataset", help="nnUNet_raw/DatasetNNN_Name; found by itself for nnU-Net results.")]
Labels = Annotated[
    str | None,
    typer.Option("--labels", help="RV=1,MYO=2,LV=3 (EPI=2+3 is a region), acdc or mnms; default: each side's dataset.json."),
]
PredictionLabels = Annotated[str | None, typer.Option("--pred-labels", help="Those of the predictions, where they differ.")]
ReferenceLabels = Annotated[str | None, typer.Option("--gt-labels", help="Those of the reference masks, where they differ.")]
Engine = Annotated[str, typer.Option("--engine", help="native or medpy (same values, slower).")]
Empty = Annotated[str, typer.Option("--empty", help="What one empty mask scores: penalty (distance: image diagonal), nan or drop.")]
Tolerance = Annotated[str | None, typer.Option("--tolerance", help="Of the surface Dice, mm: 2, or RV=3,MYO=2,LV=2.")]
LargestHeart = Annotated[
    bool,
    typer.Option("--largest-heart", help="Score the largest connected heart of each prediction, as nnU-Net's postprocessing does."),
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Score missing predictions as --empty says instead of refusing.")]
Processes = Annotated[int | None, typer.Option("-np", min=1, help="Processes; default: as many as are worth their start.")]


def scoring(
    gt: Path | None,
    dataset: Path | None,
    labels: str | None,
    prediction_labels: str | None,
    reference_labels: str | None,
    engine: str,
    empty: str,
    tolerance: str | None,
    largest_heart: bool,
    allow_missing: bool,
    processes: int | None,
) -> tuple[ScoringRules, Where]:
    """By which rules masks are scored, and where they are.

    Raises:
        UserError: an option that is not understood.
    """
    from evaluation.inputs.interop import parse_labels, parse_tolerance
    from evaluation.scoring.rules import ScoringRules

    both, own, wanted = (parse_labels(text) if text else None for text in (labels, prediction_labels, reference_labels))
    where: Where = {
        "gt": gt,
        "dataset": dataset,
        "labels": both,
        "prediction_labels": own,
        "reference_labels": wanted,
        "allow_missing": allow_missing,
        "workers": processes,
    }
    return ScoringRules(engine, empty, parse_tolerance(tolerance), largest_heart), where
