"""The fallback for installations whose start-up file does not run: our shim inside nnU-Net's own folder of trainers.

That is so with ``python -S``, with ``pip install --target`` and a PYTHONPATH, and where a site forbids start-up files. The
copied file imports this package only when one of its trainers is asked for.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from nnunet_synth_aug._startup import SHIM, VARIABLE, trainers_folder
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_text


def nnunet_trainers_folder() -> Path:
    """``nnunetv2/training/nnUNetTrainer`` of the nnU-Net that this Python imports.

    Raises:
        UserError: nnU-Net is not installed.
    """
    found = importlib.util.find_spec("nnunetv2")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    folder = Path(places[0], "training", "nnUNetTrainer") if places else None
    if folder is None or not folder.is_dir():
        raise UserError("nnU-Net is not installed for this Python; run pip install 'nnunetv2>=2.8,<3'")
    return folder


def installed_shim() -> Path | None:
    """Our file in nnU-Net's folder, if it is there."""
    path = nnunet_trainers_folder() / SHIM
    return path if path.is_file() else None


def is_current(installed: Path) -> bool:
    """Whether the installed file is the one of this version."""
    return installed.read_bytes() == (Path(trainers_folder()) / SHIM).read_bytes()


def install_trainers() -> Path:
    """Copy the shim into nnU-Net's folder of trainers; a copy of another version is replaced.

    Returns:
        path of the copy.

    Raises:
        UserError: nnU-Net is not installed or its folder is not writable.
    """
    path = nnunet_trainers_folder() / SHIM
    try:
        write_text(path, (Path(trainers_folder()) / SHIM).read_text(encoding="utf-8"))
    except UserError as error:
        raise UserError(
            f"cannot write into nnU-Net's folder {path.parent} ({error.__cause__}); export {VARIABLE}={trainers_folder()} instead, "
            "in every shell that trains or predicts"
        ) from error
    return path


def uninstall_trainers() -> Path | None:
    """Remove the copy; returns where it was, or None if there was none."""
    path = installed_shim()
    if path is None:
        return None
    try:
        path.unlink()
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
    except OSError as error:
        raise UserError(f"cannot remove {path} ({error.strerror or error}); remove it by hand or as the owner of that folder") from error
    return path
