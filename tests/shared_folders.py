"""Folders that are built once per run of the tests, and nnU-Net's three."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


class Shared:
    """Builds a folder for whichever test process needs it first; the others wait, and find it built.

    ``SYNTHAUG_TEST_SHARED`` names a place that several runs of the same version share, as the two tiers do in CI.
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        base = factory.getbasetemp()
        own = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
        self.root = Path(os.environ.get("SYNTHAUG_TEST_SHARED", own))
        self.root.mkdir(parents=True, exist_ok=True)

    def folder(self, name: str, build: Callable[[Path], None]) -> Path:
        """The folder ``name``, to be read only; ``build`` fills it."""
        folder = self.root / name
        with FileLock(self.root / f"{name}.lock"):
            if not (self.root / f"{name}.built").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a build that failed
                folder.mkdir()
                build(folder)
                (self.root / f"{name}.built").touch()
        return folder


def set_folders(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Point nnU-Net's three variables to folders under ``root``, which are made."""
    for name in FOLDERS:
        (root / name).mkdir(exist_ok=True)
        patch.setenv(name, str(root / name))
