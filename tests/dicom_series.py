"""Made-up DICOM series: no patient, all tags as scanners write them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

#: Towards the apex, and the axes of its images, in DICOM's directions (left, back, up).
NORMAL = np.array([0.64, -0.6, -0.48])
NORMAL /= np.linalg.norm(NORMAL)
ROW = np.cross(NORMAL, [0.0, 0.0, 1.0])
ROW /= np.linalg.norm(ROW)
SHORT = np.stack([ROW, np.cross(NORMAL, ROW)])
LONG = np.stack([SHORT[0], NORMAL])
PIXEL, DISTANCE, SHAPE, SLICES, FRAMES = (1.5, 1.25), 8.0, (24, 20), 4, 9
ORIGIN = np.array([-60.0, 40.0, 30.0])
PERSON = {
    "0010|0010": "Doe^Jane", "0010|0020": "HOSP-4711", "0010|0030": "19600714", "0010|0040": "F", "0010|1010": "058Y",
    "0010|1020": "1.71", "0010|1030": "68.5", "0008|0020": "20190203", "0008|0080": "St. Elsewhere", "0008|0090": "Welby^Marcus",
    "0008|0070": "SIEMENS", "0018|0087": "1.5",
}  # fmt: skip


def pixels(place: float, frame: int, seed: int = 0) -> np.ndarray:
    """Grey values (X, Y) that no other slice, frame or seed has."""
    return np.random.default_rng([round(place * 10), frame, seed]).integers(0, 900, SHAPE).astype(np.uint16)


def uid(*parts: object) -> str:
    return f"1.2.826.0.1.3680043.2.1125.{random.Random(repr(parts)).randrange(10**15)}"


def write_image(path: Path, array: np.ndarray, tags: Mapping[str, str], position: np.ndarray, axes: np.ndarray, compress: str = "") -> Path:
    """One MR image of the grey values (X, Y)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T[None]))
    image.SetSpacing((*PIXEL, float(tags.get("0018|0050", 6))))
    image.SetOrigin(position.tolist())
    image.SetDirection(np.column_stack([*axes, np.cross(*axes)]).ravel().tolist())
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetImageIO("GDCMImageIO")
    if compress:
        writer.SetUseCompression(True)
        writer.SetCompressor(compress)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.SetFileName(str(path) + ".dcm")
    writer.Execute(image)
    path.with_name(path.name + ".dcm").rename(path)
    return path


def scan(
    folder: Path,
    places: Sequence[float] = range(SLICES),
    frames: int | Callable[[float], int] = FRAMES,
    *,
    series: int = 5,
    description: str = "cine_sax",
    time: str = "101500",
    step: float | None = 40.0,
    axes: np.ndarray = SHORT,
    person: Mapping[str, str] = PERSON,
    study: str = "study",
    seed: int = 0,
    slice_is_series: bool = False,
    tags: Mapping[str, str] | None = None,
    compress: str = "",
) -> list[Path]:
    """Write slices at multiples of :data:`DISTANCE`, one file a frame; returns the files, slice by slice."""
    written = []
    whose = (person.get("0010|0020"), study, description, time, seed)
    for index, place in enumerate(places):
        number = series + index if slice_is_series else series
        for frame in range(frames(place) if callable(frames) else frames):
            own = {
                **person,
                "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
                "0008|0018": uid(*whose, number, place, frame),
                "0008|0060": "MR",
                "0008|0008": "ORIGINAL\\PRIMARY\\M\\ND",
                "0008|0022": "20190203",
                "0008|0032": time,
                "0008|103e": description,
                "0018|0050": "6",
                "0018|0020": "GR",
                "0018|0081": "1.4",
                "0020|000d": uid(*whose[:2]),
                "0020|000e": uid(*whose, number),
                "0020|0011": str(number),
                "0020|0012": "1",
                "0020|0013": str((0 if slice_is_series else index * 100) + frame + 1),
                **({} if step is None else {"0018|1060": str(frame * step)}),
                **(tags or {}),
            }
            position = ORIGIN + place * DISTANCE * (NORMAL if abs(np.cross(*axes) @ NORMAL) > 0.9 else np.cross(*axes))
            path = folder / f"IM_{number:02d}_{index:02d}_{frame:02d}"
            written.append(write_image(path, pixels(place, frame, seed), own, position, axes, compress))
    return written


def shuffled(folder: Path, onto: Path, seed: int) -> Path:
    """The files of a folder under other names and endings, in other subfolders."""
    chance = random.Random(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    chance.shuffle(paths)
    for number, path in enumerate(paths):
        place = onto / chance.choice([".", "a", "b/c"])
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"{number}{chance.choice(['', '.dcm', '.IMA', '.1.2'])}")
    return onto
