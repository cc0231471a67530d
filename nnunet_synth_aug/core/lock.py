"""One process at a time does what two would spoil."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import make_folder, read_json, write_json


@contextmanager
def only_one(path: Path, does: str) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends; a process may take it again within itself.

    Args:
        path: of the lock's file; ``<path>.json`` beside it says who holds it.
        does: what the holder does and what others may do then, for the sentence "process 12 (since 9:00) <does>".

    Raises:
        UserError: another process holds it, or its folder cannot be written.
    """
    make_folder(path.parent)
    lock, holder = FileLock(path, timeout=0, is_singleton=True), path.with_name(f"{path.name}.json")
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{_named(holder)} {does}") from None
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written ({error.strerror or error}); choose another folder") from error
    try:
        if lock.lock_counter == 1:
            write_json(holder, {"pid": os.getpid(), "host": platform.node(), "since": f"{datetime.now():%Y-%m-%d %H:%M}"})
        yield
    finally:
        if lock.lock_counter == 1:
            holder.unlink(missing_ok=True)
        lock.release()


def _named(holder: Path) -> str:
    """Who holds the lock, as far as it has said so."""
    try:
        said: Any = read_json(holder)
        where = "" if said["host"] == platform.node() else f" on {said['host']}"
        return f"process {said['pid']}{where} (since {said['since']})"
    except (UserError, KeyError, TypeError):
        return "another process"
