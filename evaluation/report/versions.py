"""Versions of what the numbers rest on, for every report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Python and the packages that numbers or figures come from, those that are installed."""
    found = {"Python": platform.python_version()}
    for package in ("nnunet-synth-aug", "numpy", "scipy", "pandas", "matplotlib", "nibabel", "medpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
