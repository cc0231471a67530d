"""Which folders of a download were read, and which were passed over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

#: What a folder of patients without contours is called, in lower case.
UNLABELLED = ("unlabelled", "unlabeled")


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones and what macOS adds to archives are left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "." and path.name != "__MACOSX")


def passed_over(folder: Path, read: Iterable[Path]) -> list[str]:
    """A note that names the folders below ``folder`` from which nothing was read; none where there are none.

    Args:
        folder: that the user gave.
        read: the folders of the patients that were found in it.
    """
    taken = {path.resolve() for path in read}
    above = {parent for path in taken for parent in path.parents}
    left: list[str] = []
    if folder.resolve() not in taken:
        _collect(folder, folder, taken, above, left)
    return [f"passed over, as no patient was found there: {', '.join(left)}"] if left else []


def _collect(root: Path, folder: Path, taken: set[Path], above: set[Path], left: list[str]) -> None:
    for path in subfolders(folder):
        if (place := path.resolve()) in above:
            _collect(root, path, taken, above, left)
        elif place not in taken and path.name.casefold() not in UNLABELLED:  # its plain files are read, see importers.unlabelled
            left.append(str(path.relative_to(root)))
