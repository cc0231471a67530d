"""Files of a bank's cases: read so that nothing in them runs, and told from any other file by their sums.

The manifest holds the sum of every case's ``.pkl``, and that holds the sums of the case's arrays.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import sha256
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES

#: Key in a case's properties: the sums of its arrays by the ending of their files.
SUMS = "synth_aug_files"
_ARRAYS = CASE_FILES[:-1]

_NUMPY = (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
_PLAIN = {("collections", "OrderedDict"), ("numpy", "dtype"), ("numpy", "ndarray")}
_PLAIN |= {(f"numpy.{core}.{module}", name) for core in ("core", "_core") for module, name in _NUMPY}  # before and since numpy 2


class DamagedError(UserError):
    """A file of a case is cut off, or is none."""


class _Foreign(pickle.UnpicklingError):
    pass


class _Plain(pickle.Unpickler):
    """Knows what nnU-Net's properties are made of: numpy's arrays and numbers in dictionaries, lists and tuples."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise _Foreign(f"{module}.{name}")
        return super().find_class(module, name)


def load_properties(content: bytes, where: Path, remedy: str) -> dict[str, Any]:
    """The properties of a case, from the content of its ``.pkl``.

    Args:
        content: as nnU-Net pickles them.
        where: the file, for messages.
        remedy: what to do about a bad one.

    Raises:
        DamagedError: it is cut off, or no properties.
        UserError: it holds something else than nnU-Net's plain types, which might run a program.
    """
    try:
        properties = _Plain(io.BytesIO(content)).load()
    except _Foreign as error:
        raise UserError(f"{where} holds {error}, which no case needs and which may run a program; {remedy}") from None
    except Exception as error:  # damaged pickles raise anything
        raise DamagedError(f"{where} is damaged ({type(error).__name__}); {remedy}") from error
    if not isinstance(properties, dict):
        raise DamagedError(f"{where} is damaged (no properties); {remedy}")
    return properties


def read_properties(path: Path, remedy: str = "delete it and run 'synthaug bank' again") -> dict[str, Any]:
    """As :func:`load_properties`, from a file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    return load_properties(content, path, remedy)


def write_sums(folder: Path, case: str, properties: Mapping[str, Any]) -> None:
    """Write the ``.pkl`` of a case whose arrays are there: its properties and the sums of the arrays."""
    sums = {ending: sha256(folder / f"{case}{ending}") for ending in _ARRAYS}
    (folder / f"{case}.pkl").write_bytes(pickle.dumps({**properties, SUMS: sums}))


def whole(folder: Path, case: str, properties: Mapping[str, Any]) -> bool:
    """Whether the arrays of a case are those that its properties were written for."""
    sums = properties.get(SUMS)
    try:
        return isinstance(sums, dict) and all(sha256(folder / f"{case}{ending}") == sums.get(ending) for ending in _ARRAYS)
    except OSError:
        return False


def refuse_other_files(folder: Path, sums: Mapping[str, str], command: str) -> None:
    """Raise UserError for the first case whose files are not those that the bank was made with.

    Args:
        folder: of the cases.
        sums: case id -> sum of its ``.pkl``.
        command: that makes the bank.
    """

    def same(case: str) -> bool:
        path = folder / f"{case}.pkl"
        try:
            content = path.read_bytes()
        except OSError:
            return False
        return hashlib.sha256(content).hexdigest() == sums[case] and whole(
            folder, case, load_properties(content, path, f"run '{command}' again")
        )

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # the sums are made without the interpreter's lock
        found: Iterable[bool] = pool.map(same, sums)
        others = [case for case, good in zip(sums, found, strict=True) if not good]
    if others:
        raise UserError(
            f"{folder}: files of {len(others)} of {len(sums)} cases, such as {others[0]}, are not those that the bank was made with "
            f"(cut off, changed, or of another bank); run '{command}' again, which makes them anew"
        )
