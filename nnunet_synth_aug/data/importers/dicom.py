"""Reading cines as they come from the scanner: any folder of DICOM files, and contours of some frames as NIfTI.

A patient is whoever has one ``PatientID`` (where it is empty, one examination). Of all images, :mod:`dicom_stack` finds the short-axis
stack. Nothing that identifies goes on: patients are numbered, and no name, date or description is kept.

Masks lie in one folder, on the voxels of the cine that this importer writes::

    patient001_frame01.nii.gz       frames from 1, as nnU-Net predicts them; 1 RV, 2 MYO, 3 LV
    patient001_ED_frame01.nii.gz    the same, if you say yourself which frame is ED and which is ES
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.geometry import Grid, right_angled
from nnunet_synth_aug.core.labels import LABEL_MAPS, LV, PHASES
from nnunet_synth_aug.core.priors import VARIABLES, Priors
from nnunet_synth_aug.data.importers.dicom_files import Frame, number, read_headers, read_pixels
from nnunet_synth_aug.data.importers.dicom_stack import Cine, short_axis
from nnunet_synth_aug.data.importers.nifti import Volume, read_mask
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.importers.unlabelled import ES_SHARE
from nnunet_synth_aug.data.predicted_masks import impossible

_MASK = re.compile(r"(?P<patient>.+?)(_(?P<phase>ED|ES))?_frame(?P<frame>\d+)(_gt)?\.nii(\.gz)?")
#: Distance of slices in thicknesses from which on it is worth a word.
_WIDE = 2.0
#: What a maker's name begins with, in lower case.
_VENDORS = {"siemens": "Siemens", "philips": "Philips", "ge": "GE", "toshiba": "Canon", "canon": "Canon"}
#: Years by letter, and the age that stands for all above it: higher ones tell who somebody is.
_YEARS, _OLDEST = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}, 90.0


@dataclass(frozen=True)
class Patient:
    """One patient whose short-axis stack was found."""

    name: str
    slices: tuple[Cine, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What a folder holds."""

    patients: tuple[Patient, ...]
    notes: tuple[str, ...]


def find_dicom(folder: Path, keep_ids: bool = False) -> Found:
    """Read the headers of all files below ``folder`` and find each patient's short-axis stack.

    Args:
        folder: any folder of DICOM files; neither names nor places of the files matter.
        keep_ids: call patients by their ``PatientID``, which must be a study's own number then; otherwise they are numbered in its order.

    Raises:
        UserError: nothing to import, or a stack that is damaged or not complete.
    """
    frames, notes = read_headers(folder)
    people: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        people[frame.tags["person"] or frame.tags["study"]].append(frame)
    names = _names(people, keep_ids)
    patients = []
    for person, name in names.items():
        _refuse_several(people[person], name)
        slices, said = short_axis(people[person], name)
        if slices:
            patients.append(Patient(name, slices, tuple(said)))
        else:
            notes += [f"passed over: {name}, {note}" for note in said]
    if not patients:
        raise UserError(f"{folder} holds no short-axis stack of cines: {'; '.join(notes[:5])}; see the page 'Import from the scanner'")
    return Found(tuple(patients), tuple(notes))


def read_dicom(found: Found, masks: Path | None = None) -> Iterator[SourceSubject]:
    """Read the patients one after the other.

    Args:
        found: of :func:`find_dicom`.
        masks: folder with contours of some of them; None for none.

    Raises:
        UserError: naming the folder of the masks at once, or the file when the iterator reaches it.
    """
    files = _mask_files(masks, [patient.name for patient in found.patients]) if masks else {}
    return (_read_patient(patient, files.get(patient.name, {})) for patient in found.patients)


def _names(people: dict[str, list[Frame]], keep_ids: bool) -> dict[str, str]:
    """Person -> name of the patient in files."""
    if not keep_ids:
        return {person: f"patient{place:03d}" for place, person in enumerate(sorted(people), 1)}
    names = {}
    for person, frames in sorted(people.items()):
        names[person] = re.sub(r"[^A-Za-z0-9-]+", "_", frames[0].tags["person"]).strip("_-")
        if not names[person]:
            raise UserError(f"{frames[0].path} has no PatientID; leave out --keep-ids, so that patients are numbered")
    if len({name.casefold() for name in names.values()}) < len(names):
        raise UserError("two PatientIDs differ in capitals or marks alone; leave out --keep-ids, so that patients are numbered")
    return names


def _refuse_several(frames: list[Frame], name: str) -> None:
    """Raise UserError if one PatientID stands for several people."""
    for tag, what in (("sex", "sexes"), ("birth", "dates of birth")):
        first: dict[str, Frame] = {}
        for frame in frames:
            if frame.tags[tag]:
                first.setdefault(frame.tags[tag], frame)
        if len(first) > 1:
            one, other = list(first.values())[:2]
            raise UserError(
                f"{one.path} and {other.path} have one PatientID and different {what}, so {name} would be two people; give each an own "
                "PatientID"
            )


def _read_patient(patient: Patient, files: dict[int, tuple[str | None, Path]]) -> SourceSubject:
    image = _volume(patient)
    notes = image.notes
    n_frames = len(image.array)
    masks: dict[str, np.ndarray] = {}
    ed, es = 0, round(ES_SHARE * n_frames)
    if files:
        ed, es, masks = _contours(patient.name, files, image)
    else:
        where = f"ES the one at {ES_SHARE * 100:.0f} % of the cycle"
        notes.append(f"no contours: ED is taken to be the first frame, as scanners begin at the R wave, and {where}")
    priors, said = _priors(patient.slices[0].first)
    paths = {phase: files[frame][1] for phase, frame in zip(PHASES, (ed, es), strict=True) if phase in masks}
    return SourceSubject(
        patient=patient.name,
        image=image.array,
        is_cine=True,
        spacing=image.grid.spacing,
        ed=ed,
        es=es,
        masks=masks,
        priors=priors,
        frame_seconds=image.frame_seconds,
        affine=image.grid.affine,
        notes=(*notes, *said),
        files={**paths, "image": image.path} | ({"frames": paths["ED"].parent} if masks else {}),
    )


def _volume(patient: Patient) -> Volume:
    """Pixels and place of a stack."""
    slices = patient.slices
    array = np.stack([np.stack([read_pixels(frame) for frame in cine.frames]) for cine in slices], axis=-1)
    first, last = slices[0].first, slices[-1].first
    between = (last.position - first.position) / (len(slices) - 1)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([first.axes[0] * first.pixel[0], first.axes[1] * first.pixel[1], between])
    affine[:3, 3] = first.position
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's x points to the left and y to the back, NIfTI's the other way
    spacing = (round(first.pixel[0], 6), round(first.pixel[1], 6), round(float(np.linalg.norm(between)), 4))
    shape = (array.shape[1], array.shape[2], array.shape[3])
    affine, _ = right_angled(Grid(shape, affine, spacing))
    grid = Grid(shape, affine, spacing)
    steps = [cine.step for cine in slices if cine.step]
    notes = list(patient.notes)
    thickness = number(first.tags["thickness"])
    if thickness and spacing[2] >= _WIDE * thickness:
        notes.append(f"wide gaps between slices ({spacing[2]:.3g} mm apart, {thickness:.3g} mm thick): is every second slice missing?")
    if not steps:
        notes.append("the headers do not say when frames were taken: their numbers order them, and the time between is unknown")
    return Volume(first.path, array, grid, grid, round(float(np.median(steps)) / 1000, 6) if steps else 0.0, notes)


def _mask_files(folder: Path, patients: list[str]) -> dict[str, dict[int, tuple[str | None, Path]]]:
    """Patient -> frame from 0 -> the phase in the file's name, if there is one, and the file."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder of the masks")
    found: dict[str, dict[int, tuple[str | None, Path]]] = defaultdict(dict)
    for path in sorted(path for path in folder.glob("*.nii*") if path.name[0] != "."):
        if (match := _MASK.fullmatch(path.name)) is None:
            raise UserError(f"{path} does not say whose frame it shows; call it {patients[0]}_frame01.nii.gz, frames counted from 1")
        frame = int(match["frame"]) - 1
        if match["patient"] not in patients:
            raise UserError(f"{path} is of no patient in the DICOM folder; the patients are {shortened(patients)}")
        if frame in found[match["patient"]]:
            raise UserError(f"{found[match['patient']][frame][1]} and {path.name} are masks of one frame; remove the one that is wrong")
        found[match["patient"]][frame] = (match["phase"], path)
    if not found:
        raise UserError(f"{folder} holds no mask (no file such as {patients[0]}_frame01.nii.gz); leave out --masks to import cines alone")
    return found


def _contours(name: str, files: dict[int, tuple[str | None, Path]], image: Volume) -> tuple[int, int, dict[str, np.ndarray]]:
    """ED, ES and their masks: as the files are called, or else the frames with the largest and the smallest LV."""
    n_frames = len(image.array)
    if outside := [path for frame, (_, path) in files.items() if not 0 <= frame < n_frames]:
        raise UserError(f"{outside[0]} is not one of the frames 1 to {n_frames} of {name}; rename or remove it")
    named = {phase: frame for frame, (phase, _) in files.items() if phase}
    if named and (set(named) != set(PHASES) or len(named) != sum(phase is not None for phase, _ in files.values())):
        raise UserError(f"{next(iter(files.values()))[1]}: {name} needs one mask that is called ED and one that is called ES; rename them")
    wanted = sorted(named.values()) if named else sorted(files)
    masks = {frame: read_mask(files[frame][1], LABEL_MAPS["acdc"], image) for frame in wanted}
    if len(masks) < 2:
        raise UserError(f"{files[wanted[0]][1]} is the only mask of {name}; those of ED and ES are needed: add the other one")
    if named:
        return named["ED"], named["ES"], {phase: masks[frame] for phase, frame in named.items()}
    if len(masks) > 2:
        masks = _possible(masks, name, image, files[wanted[0]][1].parent)
    sizes = {frame: int(np.count_nonzero(mask == LV)) for frame, mask in masks.items()}
    large, small = max(sizes, key=lambda frame: sizes[frame]), min(sizes, key=lambda frame: sizes[frame])
    if large == small:
        raise UserError(f"{files[large][1]}: all masks of {name} have equally large LVs, so ED and ES cannot be told apart; correct them")
    return large, small, {"ED": masks[large], "ES": masks[small]}


def _possible(masks: dict[int, np.ndarray], name: str, image: Volume, folder: Path) -> dict[int, np.ndarray]:
    """The masks of frames that can show one heart; networks lose it in some."""
    odd = impossible(np.stack(list(masks.values())))
    kept = {frame: mask for (frame, mask), wrong in zip(masks.items(), odd, strict=True) if not wrong}
    if len(kept) < 2:
        raise UserError(f"{folder}: the masks of {name} show another heart in nearly every frame; correct them, or contour ED and ES alone")
    image.notes.append("ED and ES are the frames with the largest and the smallest LV; contours of other frames are not used")
    if len(kept) < len(masks):
        image.notes.append(f"masks that cannot be of the same heart as the others were left out ({len(masks) - len(kept)} of {len(masks)})")
    return kept


def _priors(frame: Frame) -> tuple[Priors, list[str]]:
    """What the header tells of scanner and patient, and what was not believed."""
    tags = frame.tags
    maker = tags["manufacturer"].lower()
    field = number(tags["field"])
    if field is not None and field > 100:
        field /= 10_000  # in gauss
    height = number(tags["height"])
    if height is not None and height < 3:
        height *= 100  # DICOM has metres, but some write centimetres
    values: dict[str, float | None] = {
        "field_strength": field and round(field, 1 if field > 1 else 2),
        "age": _age(tags),
        "height": height and round(height, 1),
        "weight": number(tags["weight"]),
    }
    notes = []
    for name, value in values.items():
        variable = VARIABLES[name]
        if value and not variable.low <= value <= variable.high:
            values[name] = None
            notes.append(f"{name} in the header is outside {variable.low:g} to {variable.high:g} {variable.unit} and left unspecified")
    vendor = next((known for begin, known in _VENDORS.items() if re.match(rf"{begin}\b|{begin}_", maker)), None)
    if maker and vendor is None:
        notes.append(f"the scanner's maker is none of {', '.join(VARIABLES['vendor'].choices)} and left unspecified")
    given = {name: value for name, value in values.items() if value or (name == "age" and value is not None)}
    sex = tags["sex"].upper()
    return Priors.from_mapping({**given, "vendor": vendor, "sex": sex if sex in VARIABLES["sex"].choices else None}), notes


def _age(tags: Mapping[str, str]) -> float | None:
    """Age in years, by the header or by its dates."""
    if match := re.fullmatch(r"(\d{1,3})([YMWD])", tags["age"].strip().upper()):
        age = float(int(match[1]) * _YEARS[match[2]])
    else:
        born, seen = (tags[tag].replace(".", "") for tag in ("birth", "study_date"))
        if not (re.fullmatch(r"(19|20)\d{6}", born) and re.fullmatch(r"(19|20)\d{6}", seen)):
            return None
        age = float(int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:]))
    return min(round(age, 1), _OLDEST) if 0 <= age <= VARIABLES["age"].high else None
