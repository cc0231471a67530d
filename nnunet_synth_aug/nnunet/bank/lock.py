"""One process at a time fills the bank of a fold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nnunet_synth_aug.core.lock import only_one
from nnunet_synth_aug.core.paths import bank_folder


@contextmanager
def bank_lock(dataset: str, fold: int | str) -> Iterator[None]:
    """Hold the bank of a fold, see :func:`~nnunet_synth_aug.core.lock.only_one`.

    Raises:
        UserError: another process holds it, or the bank's folder cannot be written.
    """
    does = f"fills the bank of fold {fold} of {dataset} now; wait for its end, or end it and run this command again"
    with only_one(bank_folder(dataset, fold) / "bank.lock", does):
        yield
