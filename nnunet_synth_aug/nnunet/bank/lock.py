"""One process at a time fills the bank of a fold."""

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
from nnunet_synth_aug.core.paths import bank_folder


@contextmanager
def bank_lock(dataset: str, fold: int | str) -> Iterator[None]:
    """Hold the bank of a fold. The lock ends with the process, however that ends; a process may take it again within itself.

    Raises:
        UserError: another process holds it, or the bank's folder cannot be written.
    """
    folder = bank_folder(dataset, fold)
    make_folder(folder)
    lock, holder = FileLock(folder / "bank.lock", timeout=0, is_singleton=True), folder / "bank.lock.json"
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{_named(holder)} fills the bank of fold {fold} of {dataset} now; wait for its end, or end it and run this command again"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); choose another nnUNet_preprocessed") from error
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
