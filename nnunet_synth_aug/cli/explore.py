"""The command that shows hearts to play with: a page on this machine, or one file."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnunet_synth_aug.cli.options import Device, Fold, GeneratorFolder, Seed, generator_at, say, torch_device
from nnunet_synth_aug.core.errors import UserError

if TYPE_CHECKING:
    from nnunet_synth_aug.model.generator import Generator


def explore(
    dataset: Annotated[
        str | None,
        typer.Option("-d", help="Dataset whose generator is shown. [default: the generator of phantoms that ships]"),
    ] = None,
    fold: Fold = "0",
    export: Annotated[Path | None, typer.Option("--export", help="Write one HTML file with a grid of hearts instead.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address of this machine at which others may see the page, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="If it is taken, the next free one.")] = 8123,
    generator: GeneratorFolder = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Play with hearts in a browser: ask for EF and volumes, see them beat, compare with what is measured."""
    if export is not None and export.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--export {export}: a page for browsers is called .html; name the file so")
    if export is not None and not export.parent.is_dir():
        raise UserError(f"--export {export}: there is no folder {export.parent}; make it first")
    cascade, people = _generator(dataset, fold, generator, device)
    from nnunet_synth_aug.explore.page import document, setup_of

    setup = setup_of(cascade, people)
    if people:
        print(f"note: {setup['generator']} was trained on {people} patients: what the page shows is patient data", file=sys.stderr)
    if export is None:
        _serve(cascade, document(setup), host, port)
        return
    from nnunet_synth_aug.core.files import write_text
    from nnunet_synth_aug.explore.export import grid_of_hearts

    try:
        hearts = grid_of_hearts(cascade, seed)
    except KeyboardInterrupt:
        say("ended; nothing was written")
        raise typer.Exit(130) from None
    if not hearts:
        raise UserError(f"{setup['generator']} made no heart; train it longer")
    write_text(export, document(setup, hearts))
    say(f"page: {export} ({len(hearts)} hearts, {export.stat().st_size / 1e6:.1f} MB)")


def _generator(dataset: str | None, fold: str, folder: Path | None, device: str) -> tuple[Generator, int]:
    """The generator that is asked for, and how many patients taught it."""
    if dataset is None and folder is None:
        from nnunet_synth_aug.model.pretrained import shipped_generator

        return shipped_generator(torch_device(device)), 0
    from nnunet_synth_aug.model.generator import load_generator
    from nnunet_synth_aug.reports.cards.facts import facts_of

    found = folder or generator_at(dataset or "", fold, None)
    cascade = load_generator(found, torch_device(device))
    return cascade, len(facts_of(found).people)


def _serve(cascade: Generator, page: str, host: str, port: int) -> None:
    """Show the page until Ctrl-C."""
    from nnunet_synth_aug.explore.jobs import Queue
    from nnunet_synth_aug.explore.server import LOCAL, listen

    queue = Queue(cascade)
    server = listen(page, queue, host, port)
    taken = server.server_address[1]
    if taken != port:
        say(f"port {port} is taken")
    if host != LOCAL:
        print(f"note: whoever reaches {host} sees the page and its hearts; there is no password", file=sys.stderr)
    say(f"open http://{LOCAL if host in (LOCAL, '0.0.0.0') else host}:{taken} in a browser; Ctrl-C ends it")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
    try:
        queue.work()
    except KeyboardInterrupt:
        say("ended")
    finally:
        queue.close()
        server.shutdown()
        server.server_close()
