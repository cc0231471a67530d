"""Replaced cases of one training on disk: written by its generator process, read by its loader workers.

A case is one file, ``<case>.zip``, which holds nnU-Net's three (image, segmentation, properties) uncompressed. Replacing it
is one rename of a complete, synced file over the old one, which local and network file systems do atomically; reading it is
one open. So a reader has the old case or the new one, never parts of both and never none, without locks, pointers or rules for
deleting old versions: what a reader has open lives until it closes it. Nothing stays open or mapped after the read, so that
no worker depends on a file that is gone. Where no such file exists, the bank's own case holds: it is never touched.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import blosc2

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, write_text
from nnunet_synth_aug.nnunet.bank.files import load_properties
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES

#: Key in a case's properties: how often it was replaced; the bank's own cases, version 0, lack it.
VERSION = "synth_aug_version"
#: In the training's output folder: one line per heart, before its cases are published.
JOURNAL = "synth_aug_refresh.jsonl"
_REMEDY = "delete it, and the training uses the bank's own case"
#: Seconds between attempts where a file system refuses for a moment: a stale handle over NFS, a file that is open on Windows.
_PAUSES = (0.01, 0.05, 0.2, 1.0, 5.0)


def live_folder(bank: Path, output_folder: Path) -> Path:
    """Where the replaced cases of one training are: beside the bank, on the disk that nnU-Net trains from.

    Args:
        bank: folder of the fold's bank.
        output_folder: of the training and fold; two with equal names in different results folders do not share.
    """
    return bank / "live" / f"{output_folder.parent.name}_{hash_json(str(output_folder.resolve()))[:8]}"


def case_file(folder: Path, case: str) -> Path:
    """Where the replaced version of a case is."""
    return folder / f"{case}.zip"


def publish(workshop: Path, folder: Path, case: str) -> None:
    """Put the case whose three files lie in ``workshop`` in the place of its present version.

    Args:
        workshop: on the disk of ``folder``; its three files are removed.
        folder: of the replaced cases.
        case: id.
    """
    packed = case_file(workshop, case)
    with packed.open("wb") as stream:
        with zipfile.ZipFile(stream, "w") as archive:  # stored: blosc2 has compressed already
            for ending in CASE_FILES:
                archive.write(workshop / f"{case}{ending}", f"{case}{ending}")
        stream.flush()
        os.fsync(stream.fileno())  # else a power cut can leave the new name with no content
    for pause in _PAUSES:
        with contextlib.suppress(PermissionError):
            os.replace(packed, case_file(folder, case))
            break
        time.sleep(pause)
    else:
        os.replace(packed, case_file(folder, case))
    for ending in CASE_FILES:
        (workshop / f"{case}{ending}").unlink()


def read_case(folder: Path, case: str) -> tuple[Any, Any, None, dict[str, Any]] | None:
    """A replaced case as nnU-Net's datasets give it, or None if it was never replaced.

    Returns:
        image (C, Z, Y, X) and segmentation (1, Z, Y, X) as blosc2 arrays in memory, None (no cascade), properties.

    Raises:
        UserError: the file is damaged, or its properties hold more than nnU-Net's plain types.
    """
    path = case_file(folder, case)
    content = _content(path)
    if content is None:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            image, seg, properties = (archive.read(f"{case}{ending}") for ending in CASE_FILES)  # checks the sums
        # A copy, because older releases of blosc2 do not keep the buffer that their array points into.
        arrays = [blosc2.ndarray_from_cframe(frame, copy=True) for frame in (image, seg)]
    except (zipfile.BadZipFile, KeyError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); {_REMEDY}") from error
    return arrays[0], arrays[1], None, load_properties(properties, path, _REMEDY)


def _content(path: Path) -> bytes | None:
    for pause in _PAUSES:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(pause)
    return path.read_bytes()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a journal; an empty list without one. The line that a kill cut off is left out."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


def mend_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal, and cut off what :func:`read_journal` leaves out so that it can be continued."""
    entries = read_journal(path)
    whole = "".join(json.dumps(entry) + "\n" for entry in entries)
    if path.is_file() and path.read_text(encoding="utf-8") != whole:
        write_text(path, whole)
    return entries


def add_to_journal(path: Path, entry: dict[str, Any]) -> None:
    """Append one line, and wait until it is on the disk."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
