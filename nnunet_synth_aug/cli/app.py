"""The command line: ``synthaug``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from nnunet_synth_aug import __version__
from nnunet_synth_aug.cli.bank import bank
from nnunet_synth_aug.cli.data import importers, phantom
from nnunet_synth_aug.cli.evaluate import evaluate
from nnunet_synth_aug.cli.generator import fit, report, sample
from nnunet_synth_aug.cli.nnunet import doctor, install_trainers, plans
from nnunet_synth_aug.cli.options import say
from nnunet_synth_aug.cli.study import benchmark, compare, demo
from nnunet_synth_aug.core.errors import UserError

app = typer.Typer(
    name="synthaug",
    help="Labelled synthetic 4D cardiac MRI as an augmentation for nnU-Net. Folders: nnUNet_raw, nnUNet_preprocessed, nnUNet_results.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # units in brackets are no markup
    pretty_exceptions_enable=False,
)
for command in (doctor, install_trainers, phantom, fit, sample, report, bank, plans, evaluate, compare, benchmark, demo):
    app.command()(command)
app.add_typer(importers, name="import")


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
