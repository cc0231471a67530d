"""The files of a DICOM export: which of them are MR images of one slice at one time, and what their headers say.

SimpleITK reads them with GDCM, compressed or not. Names and dates stay here: they order images and give an age, and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError

#: Storage classes of MR: one image a file, and many in one file.
_MR, _ENHANCED = "1.2.840.10008.5.1.4.1.1.4", ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
#: Where a DICOM file says that it is one, and the storage class in its first bytes.
_MAGIC, _CLASS = slice(128, 132), re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)", re.DOTALL)
_MANY = "files of many frames, which have to be exported one frame a file"
_TAGS = {
    "class": "0008|0016",
    "uid": "0008|0018",
    "study": "0020|000d",
    "series": "0020|000e",
    "person": "0010|0020",
    "type": "0008|0008",
    "description": "0008|103e",
    "protocol": "0018|1030",
    "number": "0020|0011",
    "acquisition": "0020|0012",
    "instance": "0020|0013",
    "study_date": "0008|0020",
    "date": "0008|0022",
    "time": "0008|0032",
    "content_time": "0008|0033",
    "trigger": "0018|1060",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "pixel": "0028|0030",
    "rows": "0028|0010",
    "columns": "0028|0011",
    "samples": "0028|0002",
    "frames": "0028|0008",
    "thickness": "0018|0050",
    "sequence": "0018|0020",
    "echo": "0018|0081",
    "inversion": "0018|0082",
    "manufacturer": "0008|0070",
    "field": "0018|0087",
    "sex": "0010|0040",
    "age": "0010|1010",
    "birth": "0010|0030",
    "height": "0010|1020",
    "weight": "0010|1030",
}


@dataclass(frozen=True)
class Frame:
    """One MR image: a slice at one time."""

    path: Path
    tags: Mapping[str, str] = field(compare=False, repr=False)  # as the header has them, by the names of this module
    position: np.ndarray = field(compare=False)  # mm, of the first pixel's centre; DICOM's axes (left, back, up)
    axes: np.ndarray = field(compare=False)  # (2, 3): along a row, along a column
    pixel: tuple[float, float]  # mm along a row, along a column
    shape: tuple[int, int]  # pixels along a row, along a column

    @property
    def trigger(self) -> float | None:
        """Milliseconds since the R wave; None if the header does not say."""
        return number(self.tags["trigger"])

    @property
    def order(self) -> tuple[str, float, float, float, str]:
        """Later images have larger ones."""
        when = self.tags["date"] or self.tags["study_date"]
        numbers = [number(self.tags[tag]) or 0.0 for tag in ("number", "acquisition", "instance")]
        return f"{when} {self.tags['time'] or self.tags['content_time']}", numbers[0], numbers[1], numbers[2], self.tags["uid"]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector through the slice."""
        return np.cross(*self.axes)


def number(text: str) -> float | None:
    """The number in a tag; None if there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_headers(folder: Path) -> tuple[list[Frame], list[str]]:
    """All MR images below ``folder``, whatever the files are called; an image that is there twice counts once.

    Returns:
        frames in an order that does not depend on the names of the files, and notes on what was passed over.

    Raises:
        UserError: no such folder, no MR image, a damaged one, or two that claim to be the same.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder of the DICOM files")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))
    frames: dict[str, Frame] = {}
    left: Counter[str] = Counter()
    with progress("reading DICOM headers", len(paths)) as bar:
        for done, path in enumerate(paths, 1):
            found = _read(path)
            if isinstance(found, str):
                left[found] += 1
            elif (same := frames.setdefault(found.tags["uid"], found)) is not found:
                if same.path.read_bytes() != path.read_bytes():
                    raise UserError(f"{same.path} and {path} have one SOPInstanceUID and differ; remove the one that is wrong")
                left["copies of other files"] += 1
            bar.advance(done)
    if not frames:
        seen = "; ".join(f"{what}: {count}" for what, count in sorted(left.items())) or "it is empty"
        raise UserError(f"{folder} holds no MR image in DICOM ({seen}); unpack archives, and export images one frame a file")
    notes = [f"passed over: {what} ({count})" for what, count in sorted(left.items())]
    return sorted(frames.values(), key=lambda frame: frame.order), notes


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _read(path: Path) -> Frame | str:
    """An image, or what else a file is."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(2048)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); change its permissions") from error
    kind = found[1].decode() if begin[_MAGIC] == b"DICM" and (found := _CLASS.search(begin)) else ""
    if kind in _ENHANCED:
        return _MANY
    if kind and kind != _MR:
        return "DICOM files that are no MR images"
    tags = _tags(path)
    if tags is None:
        if kind:
            raise UserError(f"{path} is an MR image that cannot be read, so it is cut off or damaged; copy it again")
        return "files that are no DICOM images"
    if tags["class"] != _MR:
        return "DICOM files that are no MR images"
    if (number(tags["frames"]) or 1) > 1:
        return _MANY
    if (number(tags["samples"]) or 1) > 1:
        return "pictures in colour"
    wanted = {"position": 3, "orientation": 6, "pixel": 2, "rows": 1, "columns": 1}
    values = {name: _numbers(tags[name], count) for name, count in wanted.items()}
    if not (tags["uid"] and tags["study"] and tags["series"]) or any(value is None for value in values.values()):
        return "MR images that do not say where they lie"
    columns, rows = int(values["columns"][0]), int(values["rows"][0])
    down, along = values["pixel"]  # DICOM gives the distance of rows first
    axes = values["orientation"].reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if not np.allclose(lengths, 1, atol=0.01) or abs(float(axes[0] @ axes[1])) > 0.01 or min(down, along) <= 0:
        return "MR images that do not say where they lie"
    return Frame(path, tags, values["position"], axes / lengths, (float(along), float(down)), (columns, rows))


def _numbers(text: str, count: int) -> Any:
    """The numbers of a tag as an array; None if there are not so many."""
    values = [number(part) for part in text.split("\\")]
    return None if len(values) != count or None in values else np.array(values, float)


def _tags(path: Path) -> dict[str, str] | None:
    """The tags of :data:`_TAGS`, "" where the header lacks one; None for what GDCM cannot read."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    return {name: reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else "" for name, tag in _TAGS.items()}


def _reader(path: Path) -> Any:
    import SimpleITK as sitk  # noqa: N813  # here because importing it takes a while

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # odd files are told in our words
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def read_pixels(frame: Frame) -> np.ndarray:
    """Grey values (X, Y) of an image, X along a row.

    Raises:
        UserError: pixels in a compression that GDCM does not know, damaged ones, or colours.
    """
    import SimpleITK as sitk  # noqa: N813

    try:
        array = sitk.GetArrayFromImage(_reader(frame.path).Execute())
    except RuntimeError as error:
        raise UserError(
            f"the pixels of {frame.path} cannot be read: they are damaged, or compressed in a way that GDCM does not know; copy the file "
            "again, or export it uncompressed"
        ) from error
    if array.shape != (1, frame.shape[1], frame.shape[0]):
        raise UserError(f"{frame.path} holds colours or several images where one grey image is needed; export it again")
    return array[0].T
