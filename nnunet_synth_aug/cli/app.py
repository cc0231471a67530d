"""The command line: ``synthaug``."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nnunet_synth_aug import __version__
from nnunet_synth_aug.cli.bank import bank
from nnunet_synth_aug.cli.card import card
from nnunet_synth_aug.cli.data import importers, phantom, split
from nnunet_synth_aug.cli.evaluate import evaluate
from nnunet_synth_aug.cli.explore import explore
from nnunet_synth_aug.cli.generator import fit, report, sample
from nnunet_synth_aug.cli.nnunet import doctor, install_trainers, plans
from nnunet_synth_aug.cli.options import say
from nnunet_synth_aug.cli.study import benchmark, compare, demo
from nnunet_synth_aug.cli.trial import try_
from nnunet_synth_aug.core.errors import UserError


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; typer itself ends without a word on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("\nsynthaug: interrupted; the same command goes on from here", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="synthaug",
    cls=_Commands,
    help="Labelled synthetic 4D cardiac MRI as an augmentation for nnU-Net. Folders: nnUNet_raw, nnUNet_preprocessed, nnUNet_results.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command
    rich_markup_mode=None,  # units in brackets are no markup
    pretty_exceptions_enable=False,
)
_GENERATORS = (fit, sample, explore, report)
for command in (doctor, install_trainers, phantom, split, *_GENERATORS, bank, card, plans, evaluate, compare, benchmark, demo):
    app.command()(command)
app.command("try")(try_)
app.add_typer(importers, name="import")


def _version(value: bool) -> None:
    if value:
        say(f"nnunet-synth-aug {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def main() -> Any:
    """Entry point: a UserError becomes one line on stderr and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that know ASCII alone
    try:
        app()
    except UserError as error:
        print(f"synthaug: {error}", file=sys.stderr)
        raise SystemExit(error.code) from None
    except PermissionError as error:
        print(f"synthaug: {error.filename or 'a file'} cannot be read or written; change its permissions", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # e.g. piped into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
