"""Options that several commands share, with nnU-Net's own letters, and what turns them into values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import VARIABLES

if TYPE_CHECKING:
    import torch

    from nnunet_synth_aug.model.generator import Generator
    from nnunet_synth_aug.nnunet.segmenter import Segmenter
    from nnunet_synth_aug.synthesis.quality.control import QualityControl

Dataset = Annotated[str, typer.Option("-d", help="Dataset: number or name, as in nnU-Net.")]
Fold = Annotated[str, typer.Option("-f", help="Fold: number, or 'all'.")]
Configuration = Annotated[str, typer.Option("-c", help="nnU-Net configuration.")]
Plans = Annotated[str, typer.Option("-p", help="nnU-Net plans.")]
Device = Annotated[str, typer.Option("-device", "--device", help="cpu, cuda, cuda:1 or mps.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same hearts.")]
GeneratorFolder = Annotated[
    Path | None, typer.Option("--generator", help="Folder of the generator; default the fold's own in nnUNet_results.")
]
CheckedBy = Annotated[
    Path | None,
    typer.Option("--segmenter", help="nnU-Net results folder of a real-only training of this fold: reject hearts whose mask it disputes."),
]
MinAgreement = Annotated[
    float | None, typer.Option("--min-agreement", min=0, max=1, help="Mean Dice at ED and ES below which it disputes one. [default: 0.6]")
]
PriorTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--prior",
        metavar="NAME=VALUE",
        help="What the hearts are asked for: lv_ef=30, lv_edv=150..250 (each heart its own) or diagnosis=DCM; repeatable. Names: "
        + ", ".join(f"{name} [{v.unit}]" if v.unit else name for name, v in VARIABLES.items())
        + ".",
    ),
]
Folds = Annotated[int, typer.Option("--folds", min=2, help="Number of patient-grouped folds.")]


def say(text: str) -> None:
    """Print one line of a result."""
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
    from nnunet_synth_aug.model.training.device import usable_device

    return usable_device(name, f"-device {name}", "-device cpu")


def generator_at(dataset: str, fold: str, folder: Path | None) -> Path:
    """Where the generator is: ``folder``, or the fold's own place."""
    from nnunet_synth_aug.core.paths import dataset_name, generator_folder

    return folder or generator_folder(dataset_name(dataset), fold_of(fold))


def real_only_network(dataset: str, fold: str, folder: Path, device: str) -> Segmenter:
    """The network in the results folder, if it was trained on this fold's real cases alone."""
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.data.splits import fold_patients
    from nnunet_synth_aug.nnunet.segmenter import fold_segmenter

    cohort = Cohort.load(dataset)
    return fold_segmenter(folder, cohort.name, fold_of(fold), fold_patients(cohort, fold_of(fold)).train, torch_device(device))


def quality_control(cascade: Generator, segmenter: Path | None, min_agreement: float | None, check: bool = True) -> QualityControl:
    """The quality control that the options ask for."""
    from nnunet_synth_aug.synthesis.quality.control import QualityControl
    from nnunet_synth_aug.synthesis.quality.defects import MIN_AGREEMENT

    if segmenter is None:
        if min_agreement is not None:
            raise UserError("--min-agreement is of no use without --segmenter; name a real-only nnU-Net training of the fold")
        return QualityControl(check)
    if not check:
        raise UserError("--segmenter is part of the quality control, which --no-check switches off; give one of the two")
    from nnunet_synth_aug.nnunet.segmenter import load_segmenter

    network = load_segmenter(segmenter, cascade, cascade.device)
    return QualityControl(True, network.agreement, MIN_AGREEMENT if min_agreement is None else min_agreement, network.provenance)
