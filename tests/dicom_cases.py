"""Folders from the scanner as people have them; ``test_import_dicom.py`` tries them, and the page of inputs shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dicom_series import FRAMES, LONG, PERSON, scan, shuffled
from input_cases import Case


def cut(path: Path, size: int) -> None:
    """Leave the first bytes of a file; with a negative size, all but so many."""
    path.write_bytes(path.read_bytes()[:size])


def other_file_of_one_image(folder: Path) -> None:
    path = scan(folder)[11]
    content = path.read_bytes()
    (folder / "twin").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def without(*numbers: int) -> Callable[[Path], None]:
    """A stack without some files."""

    def change(folder: Path) -> None:
        paths = scan(folder)
        for number in numbers:
            paths[number].unlink()

    return change


def two_people(folder: Path) -> None:
    scan(folder / "one")
    scan(folder / "two", person=PERSON | {"0010|0040": "M"}, study="second")


def copied(folder: Path) -> None:
    scan(folder / "one")
    shuffled(folder / "one", folder / "two", 1)


def text(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_text("no image")


DICOM = [
    Case("From the scanner", "other names, endings and subfolders, a series a slice or all in one", lambda f: scan(f, slice_is_series=True),
         "no contours: ED is taken to be the first frame"),
    Case("From the scanner", "files that are there twice", copied, "passed over: copies of other files (36)"),
    Case("From the scanner", "a slice that was scanned again", lambda f: [scan(f), scan(f, [2], series=9, time="103000")],
         "slices that were scanned again: the later acquisition was taken (slice 3, from series 9)"),
    Case("From the scanner", "a slice at the end with another number of frames",
         lambda f: scan(f, frames=lambda place: FRAMES + (place == 0), slice_is_series=True),
         "slices at an end with another number of frames than the others were left out (series 5)"),
    Case("From the scanner", "headers without trigger times", lambda f: scan(f, step=None),
         "the headers do not say when frames were taken: their numbers order them, and the time between is unknown"),
    Case("From the scanner", "a missing slice", without(*range(2 * FRAMES, 3 * FRAMES)),
         "there are 16 mm where others are 8 mm apart, so slice 3 is missing",
         "refused"),
    Case("From the scanner", "slices that are not equally far apart", lambda f: scan(f, [0, 1, 2.1, 3]),
         "mm apart where others are 8 mm; an image needs equal distances", "refused"),
    Case("From the scanner", "a missing frame", without(FRAMES + 4), "a frame is missing between", "refused"),
    Case("From the scanner", "a slice in the middle with another number of frames", without(3 * FRAMES - 1),
         "has 8 frames where most slices of its stack have 9", "refused"),
    Case("From the scanner", "gaps as wide as the slices are thick, or wider", lambda f: scan(f, tags={"0018|0050": "4"}),
         "wide gaps between slices (8 mm apart, 4 mm thick): is every second slice missing?"),
    Case("From the scanner", "a file that is cut off", lambda f: cut(scan(f)[11], -100),
         "is an MR image that cannot be read, so it is cut off or damaged; copy it again", "refused"),
    Case("From the scanner", "two images of one number", other_file_of_one_image, "have one SOPInstanceUID and differ", "refused"),
    Case("From the scanner", "no short axis", lambda f: scan(f, [0], description="cine_4ch", axes=LONG),
         "holds no short-axis stack of cines: passed over: patient001, no short-axis stack of cines (series 5: 1 slice)", "refused"),
    Case("From the scanner", "one `PatientID` for two people", two_people, "have one PatientID and different sexes", "refused"),
    Case("From the scanner", "no DICOM", text, "holds no MR image in DICOM (files that are no DICOM images: 1)", "refused"),
    Case("From the scanner", "an empty folder", lambda f: f.mkdir(), "holds no MR image in DICOM (it is empty)", "refused"),
]  # fmt: skip
