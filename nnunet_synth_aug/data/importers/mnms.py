"""Reading the M&Ms challenges (Campello et al., IEEE TMI 2021; Martin-Isla et al., IEEE JBHI 2023), short axis only.

M&Ms has one folder per patient, anywhere below the given one (the download sorts them into ``Training/Labeled``,
``Training/Unlabeled``, ``Validation`` and ``Testing``), and one table. Patients in ``Testing`` are a test set. Those in ``Validation``
are in the folds like those in ``Training/Labeled``: the challenge tuned with them, and so does who trains with folds::

    A0S9V9/A0S9V9_sa.nii.gz       the cine (X, Y, Z, T)
    A0S9V9/A0S9V9_sa_gt.nii.gz    masks of all its frames, empty but for ED and ES: 1 LV, 2 MYO, 3 RV
    *.csv                         External code, VendorName, Centre, ED, ES (frames from 0), and in the later edition of the table
                                  Pathology, Age, Sex, Height (cm), Weight (kg)

M&Ms-2 keeps the two frames apart and names no frame numbers; they are found by looking for the images in the cine. All patients lie in
one folder; those from 201 on are the challenge's test patients, and a test set here, too::

    001/001_SA_ED.nii.gz  001_SA_ED_gt.nii.gz  001_SA_ES.nii.gz  001_SA_ES_gt.nii.gz  001_SA_CINE.nii.gz (may be missing)
    dataset_information.csv       SUBJECT_CODE, DISEASE, VENDOR, FIELD (T), and Centre if it is there
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.geometry import read_grid, turn, turned
from nnunet_synth_aug.core.labels import DIAGNOSIS_MAPS, LABEL_MAPS, LV, PHASES, VENDORS
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.importers.folders import UNLABELLED, passed_over
from nnunet_synth_aug.data.importers.nifti import Volume, find_nifti, frame_seconds, load_cine, read_cine, read_frames, read_mask
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.importers.table import SourceTable, find_table, named_vendor

#: Folders of the download of M&Ms, in lower case.
_TEST, _VALIDATION = "testing", "validation"
#: In M&Ms-2 test patients have larger numbers: 160 for training and 40 for validation come first.
_LAST_FOR_TRAINING = 200
#: A frame is found in the cine if no other resembles it as much and it differs by less than this share of its own SD.
_SAME_FRAME = 0.01


def list_mnms(folder: Path) -> list[str]:
    """Codes of the M&Ms patients under ``folder``, sorted; reads no image."""
    return list(_patient_folders(folder, "_sa", "M&Ms"))


def list_mnms2(folder: Path) -> list[str]:
    """Numbers of the M&Ms-2 patients under ``folder``, sorted; reads no image."""
    return list(_patient_folders(folder, "_SA_ED", "M&Ms-2"))


def notes_mnms(folder: Path) -> list[str]:
    """Which folders of M&Ms were passed over."""
    return passed_over(folder, _patient_folders(folder, "_sa", "M&Ms").values())


def notes_mnms2(folder: Path) -> list[str]:
    """Which folders of M&Ms-2 were passed over."""
    return passed_over(folder, _patient_folders(folder, "_SA_ED", "M&Ms-2").values())


def read_mnms(folder: Path) -> Iterator[SourceSubject]:
    """Read M&Ms patients one after the other; those below a folder ``Unlabeled`` have a cine and no mask.

    Raises:
        UserError: naming the folder or table at once, or the file when the iterator reaches it.
    """
    folders = _patient_folders(folder, "_sa", "M&Ms")
    table = find_table(folder, ("External code", "VendorName", "ED", "ES"), "External code")
    table.require(folders)
    places = {name: {part.lower() for part in path.parent.relative_to(folder).parts} for name, path in folders.items()}
    if all(_TEST in parts for parts in places.values()):
        raise UserError(
            f"{folder} has patients in Testing/ alone, and nothing would be trained on; add Training/, or give the folder Testing itself"
        )
    remarks = ["in the challenge's Testing/, but trained on, since this folder was given"] if folder.resolve().name.lower() == _TEST else []
    return (_read_mnms_patient(path, table, places[name], remarks) for name, path in folders.items())


def read_mnms2(folder: Path) -> Iterator[SourceSubject]:
    """Read M&Ms-2 patients one after the other, with the cine where there is one.

    Raises:
        UserError: naming the folder or table at once, or the file when the iterator reaches it.
    """
    folders = _patient_folders(folder, "_SA_ED", "M&Ms-2")
    table = find_table(folder, ("SUBJECT_CODE", "DISEASE", "VENDOR", "FIELD"), "SUBJECT_CODE", digits=3)
    table.require(folders)
    later = {name for name in folders if name.isdecimal() and int(name) > _LAST_FOR_TRAINING}
    return (_read_mnms2_patient(path, table, later=name in later, alone=len(later) == len(folders)) for name, path in folders.items())


def _patient_folders(folder: Path, ending: str, title: str) -> dict[str, Path]:
    """Patient -> its folder, sorted; a patient's folder NAME is one that holds ``NAME<ending>.nii[.gz]``."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder that holds the patient folders of {title}")
    found: dict[str, Path] = {}
    for image in sorted(folder.rglob(f"*{ending}.nii*")):
        parent, patient = image.parent, image.parent.name
        if image.name.split(".")[0] != f"{patient}{ending}":
            continue
        if found.setdefault(patient, parent) != parent:
            raise UserError(f"{patient} is both in {found[patient].parent} and in {parent.parent}; remove one of the two")
    if not found:
        raise UserError(f"{folder} holds no {title} patient (no file NAME/NAME{ending}.nii.gz below it); give the folder of the download")
    return dict(sorted(found.items()))


def _need(folder: Path, stem: str) -> Path:
    if (path := find_nifti(folder, stem)) is None:
        raise UserError(f"{folder / stem}.nii.gz does not exist; copy it again from the original data set or leave out this patient")
    return path


def _read_mnms_patient(folder: Path, table: SourceTable, places: set[str], remarks: list[str]) -> SourceSubject:
    """A patient; ``places``: the folders, in lower case, that the patient's own is in; ``remarks``: notes on all."""
    name, test = folder.name, _TEST in places
    image = read_cine(_need(folder, f"{name}_sa"))
    ed, es = (table.frame(name, phase, len(image.array)) for phase in PHASES)
    masks: dict[str, np.ndarray] = {}
    files = {"frames": table.path, "image": image.path}
    # Unlabelled ones have mask files, too, but empty ones.
    if folder.parent.name.lower() not in UNLABELLED and not (test and find_nifti(folder, f"{name}_sa_gt") is None):
        gt = _need(folder, f"{name}_sa_gt")
        mask = read_mask(gt, LABEL_MAPS["mnms"], image, every_frame=True)
        told, (ed, es) = (ed, es), _contoured_frames(gt, mask, ed, es)
        if told != (ed, es):
            frames = f"it says {told[0]} and {told[1]}, the contours {ed} and {es}, from 0"
            image.notes.append(f"contours are in other frames than the table says; ED and ES are those with contours ({frames})")
        masks = {"ED": mask[ed].copy(), "ES": mask[es].copy()}
        files |= {"ED": gt, "ES": gt}
    if ed == es:
        raise UserError(f"{table.path} gives frame {ed} as both ED and ES of {name}; correct it")
    image.notes.extend(remarks)
    if test:
        image.notes.append("kept for testing, as in Testing/: in imagesTs and labelsTs, and in no fold")
    elif _VALIDATION in places:
        image.notes.append("in the folds, as nnU-Net validates on these, though in Validation/; move this folder away to leave it out")
    values = {variable: table.text(name, variable.capitalize()) for variable in ("age", "height", "weight")}
    sex = table.text(name, "Sex").upper()
    values |= {"sex": sex if sex in ("F", "M") else ""}
    return SourceSubject(
        patient=name,
        image=image.array,
        is_cine=True,
        spacing=image.grid.spacing,
        ed=ed,
        es=es,
        masks=masks,
        priors=_priors(table, name, "mnms", "Pathology", "VendorName", values),
        frame_seconds=image.frame_seconds,
        affine=image.grid.affine,
        centre=table.text(name, "Centre").removesuffix(".0"),
        test=test,
        notes=tuple(image.notes),
        files=files,
    )


def _contoured_frames(path: Path, mask: np.ndarray, ed: int, es: int) -> tuple[int, int]:
    """ED and ES frame. Where the table names a frame that has no contours and two others have, the contours are right.

    Args:
        path: of the mask.
        mask: (T, X, Y, Z).
        ed, es: as the table says.
    """
    contoured = np.flatnonzero(mask.any(axis=(1, 2, 3))).tolist()
    if {ed, es} <= set(contoured):
        return ed, es
    if len(contoured) != 2:
        raise UserError(
            f"{path} has contours in the frames {contoured} (from 0) but the table says ED {ed} and ES {es}; correct the table or move "
            "this patient to a folder called Unlabeled"
        )
    small, large = sorted(contoured, key=lambda frame: int(np.count_nonzero(mask[frame] == LV)))
    return large, small


def _read_mnms2_patient(folder: Path, table: SourceTable, *, later: bool, alone: bool) -> SourceSubject:
    """A patient; ``later``: with the number of a test patient, ``alone``: beside none of another number."""
    name = folder.name
    # Spacing and affine are those of the frames: the masks were drawn on these, and headers of some cines differ.
    paths = {phase: _need(folder, f"{name}_SA_{phase}") for phase in PHASES}
    image = read_frames((paths["ED"], paths["ES"]))
    files = {phase: _need(folder, f"{name}_SA_{phase}_gt") for phase in PHASES}
    masks = {phase: read_mask(path, LABEL_MAPS["mnms"], image) for phase, path in files.items()}
    ed, es, voxels, seconds = 0, 1, image.array, 0.0
    cine = find_nifti(folder, f"{name}_SA_CINE")
    if cine is not None:
        voxels, (ed, es), seconds = _find_frames(cine, image)
    if later and not alone:
        first = _LAST_FOR_TRAINING + 1
        image.notes.append(f"kept for testing, as in the challenge (from {first} on): in imagesTs and labelsTs, and in no fold")
    elif later:
        image.notes.append("has the number of a test patient of the challenge, but is trained on, since all here have")
    return SourceSubject(
        patient=name,
        image=voxels,
        is_cine=cine is not None,
        spacing=image.grid.spacing,
        ed=ed,
        es=es,
        masks=masks,
        priors=_priors(table, name, "mnms2", "DISEASE", "VENDOR", {"field_strength": table.text(name, "FIELD")}),
        frame_seconds=seconds,
        affine=image.grid.affine,
        centre=table.text(name, "Centre").removesuffix(".0"),
        test=later and not alone,
        notes=tuple(image.notes),
        files={**files, "frames": folder, "image": image.path},
    )


def _find_frames(path: Path, image: Volume) -> tuple[np.ndarray, tuple[int, int], float]:
    """A cine (T, X, Y, Z) on the voxels of its two frames ``image``, which of its frames these are, and the seconds between frames.

    Whatever its header says, a cine that holds the voxels of the two frames is theirs; else it is turned as its header says.
    """
    array, header = load_cine(path)
    seconds, notes = frame_seconds(header)
    image.notes.extend(notes)
    ways = [turn(image.stored, image.grid)]
    with suppress(UserError):
        ways.append(turn(read_grid(path, header), image.grid))
    reason: UserError | None = None
    for how in dict.fromkeys(way for way in ways if way is not None):
        cine = np.moveaxis(turned(array, how), -1, 0)
        try:
            return cine, (_find_frame(path, cine, image.array[0], "ED"), _find_frame(path, cine, image.array[1], "ES")), seconds
        except UserError as error:
            reason = reason or error
    assert reason is not None
    raise reason


def _find_frame(path: Path, cine: np.ndarray, frame: np.ndarray, phase: str) -> int:
    """Index of the frame (X, Y, Z) in the cine (T, X, Y, Z)."""
    remedy = "remove that file to import the ED and ES frames of this patient alone"
    if cine.shape[1:] != frame.shape:
        raise UserError(f"{path} has frames of the shape {cine.shape[1:]} but the {phase} image has {frame.shape}; {remedy}")
    wanted = frame.astype(np.float32)
    differences = [float(np.abs(one.astype(np.float32) - wanted).mean()) for one in cine]
    best = int(np.argmin(differences))
    if differences[best] > _SAME_FRAME * float(wanted.std()):
        raise UserError(f"{path} has no frame that is the {phase} image; {remedy}")
    return best


def _priors(table: SourceTable, name: str, source: str, diagnosis: str, vendor: str, values: dict[str, str]) -> Priors:
    """Priors from a row: ``values`` and the columns ``diagnosis`` and ``vendor``, translated."""
    where = f"{table.path} ({name})"
    maker = table.text(name, vendor)
    known = named_vendor(maker)
    if maker and known is None:
        raise UserError(f"{where}: the vendor {maker!r} is unknown; use one of {', '.join(sorted(VENDORS))}")
    group = DIAGNOSIS_MAPS[source].get(table.text(name, diagnosis).upper())
    return Priors.from_mapping({**values, "vendor": known, "diagnosis": group}, where)
