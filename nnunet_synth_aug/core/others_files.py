"""Files of other programs, which no result of ours replaces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError


def refuse_to_replace(folder: Path, names: Iterable[str], own: Iterable[str], command: str) -> None:
    """Raise UserError if files or folders are in the way that the command did not write.

    Args:
        folder: for the results; may be missing.
        names: what the command will write there.
        own: files that it always writes first; with one of them the folder is one of its earlier results, to be replaced.
        command: for the sentence.
    """
    if any((folder / name).is_file() for name in own):
        return
    if there := sorted(name for name in names if (folder / name).exists()):
        told = f"{folder} holds {there[0]}, which '{command}' did not write and would replace"
        raise UserError(f"{told}; choose another folder for the results")
