"""The command that writes the card of a bank or a generator again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnunet_synth_aug.cli.options import say


def card(
    folder: Annotated[Path, typer.Argument(help="Of a bank (nnUNet_preprocessed/DATASET/synth_aug/fold_K) or a generator.")],
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder of 'synthaug report', whose memorisation audit the card is to tell.")
    ] = None,
) -> None:
    """Write the card of a bank or generator again: README.md for people, croissant.json for programs. What you wrote into it stays."""
    from nnunet_synth_aug.reports.cards.write import write_card

    say(f"card: {write_card(folder, report)}")
