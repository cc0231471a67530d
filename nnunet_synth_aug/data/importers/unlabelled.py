"""Patients whom nobody has contoured, as plain files: two volumes, one, or a cine.

They lie in a folder ``unlabelled/`` (or ``Unlabeled/``) of the data set, or in any folder that the user names::

    A0S9V9_ED.nii.gz  A0S9V9_ES.nii.gz      both volumes; nnU-Net's ``_0000`` at the end is understood
    B2B2B2.nii.gz                           one volume of any moment, or a whole cine (X, Y, Z, T)
    C3C3C3/C3C3C3_sa.nii.gz                 a cine as M&Ms has it, in a folder that the user names
    patients.csv                            patient, vendor and centre, as far as they are known; here or in the folder above

The generator learns from them, and a bank's hearts may be shown as theirs look. nnU-Net never sees them. Files that end in ``_gt`` are
masks, and are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import PHASES
from nnunet_synth_aug.core.patients import PATIENTS, read_name
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.importers.folders import UNLABELLED, subfolders
from nnunet_synth_aug.data.importers.nifti import find_nifti, read_frames, read_image
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.importers.table import SourceTable, named_vendor, read_rows

#: Without contours ES is taken to be here: most hearts are smallest at 35 to 40 % of their cycle.
ES_SHARE = 0.4
_NIFTI = re.compile(r"(?P<stem>.+?)(_0000)?\.nii(\.gz)?")


def volume_folders(folder: Path, deep: int = 2) -> list[Path]:
    """Folders called ``unlabelled`` below ``folder`` that hold plain files; patients in folders of their own are the importers'."""
    if not folder.is_dir():
        return []
    found = [folder] if folder.name.casefold() in UNLABELLED and _files(folder) else []
    return found + ([one for below in subfolders(folder) for one in volume_folders(below, deep - 1)] if deep else [])


def list_unlabelled(folder: Path, nested: bool = False) -> dict[str, dict[str, Path]]:
    """Patient -> moment -> file, sorted: the moments are ED and ES, or one "".

    Args:
        folder: of the files.
        nested: whether to look into folders of patients, too, which importers read themselves in what they are given.

    Raises:
        UserError: no such folder, no NIfTI file in it, or files of one patient that cannot be told apart.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder of the volumes without contours")
    found: dict[str, dict[str, Path]] = {}
    for stem, path in (_files(folder) | (_nested(folder) if nested else {})).items():
        name = read_name(stem)
        if (other := found.setdefault(name.patient, {}).setdefault(name.phase, path)) != path:
            raise UserError(f"{other} and {path.name} are two images of one moment of {name.patient}; remove one of the two")
    if not found:
        raise UserError(f"{folder} holds no NIfTI file; put volumes such as NAME_ED.nii.gz and NAME_ES.nii.gz there")
    for patient, files in found.items():
        if len(files) > 1 and set(files) != set(PHASES):
            names = ", ".join(path.name for path in files.values())
            raise UserError(f"{folder} has {names} of {patient}; name two volumes {patient}_ED and {patient}_ES, or leave only one")
    return {patient: files if len(files) > 1 else {"": next(iter(files.values()))} for patient, files in sorted(found.items())}


def read_unlabelled(folder: Path, nested: bool = False) -> Iterator[SourceSubject]:
    """Read them one after the other; arguments as of :func:`list_unlabelled`.

    Raises:
        UserError: as :func:`list_unlabelled` at once, or naming the file when the iterator reaches it.
    """
    found, table = list_unlabelled(folder, nested), _table(folder)
    return (_read(patient, files, table) for patient, files in found.items())


def _files(folder: Path) -> dict[str, Path]:
    """Stem -> file."""
    names = ((path, _NIFTI.fullmatch(path.name)) for path in sorted(folder.iterdir()) if path.name[0] != ".")
    return {match["stem"]: path for path, match in names if match is not None and not match["stem"].endswith("_gt")}


def _nested(folder: Path) -> dict[str, Path]:
    """Patient -> cine, of folders in the layout of M&Ms."""
    cines = ((patient.name, find_nifti(patient, f"{patient.name}_sa")) for patient in subfolders(folder))
    return {name: path for name, path in cines if path is not None}


def _table(folder: Path) -> SourceTable | None:
    path = next((one for one in (folder / PATIENTS, folder.parent / PATIENTS) if one.is_file()), None)
    return None if path is None else read_rows(path, "patient")


def _read(patient: str, files: dict[str, Path], table: SourceTable | None) -> SourceSubject:
    image = read_image(files[""]) if "" in files else read_frames((files["ED"], files["ES"]))
    n_frames = len(image.array)
    is_cine = "" in files and n_frames > 1
    es = max(round(ES_SHARE * n_frames), 1) if is_cine else n_frames - 1
    priors, centre = Priors(), ""
    if table is not None and patient in table.rows:
        vendor, centre = table.text(patient, "vendor"), table.text(patient, "centre").removesuffix(".0")
        if vendor and named_vendor(vendor) is None:
            raise UserError(f"{table.path} ({patient}): the vendor {vendor!r} is unknown; leave the cell empty, or give the maker's name")
        priors = Priors(vendor=named_vendor(vendor))
    elif table is not None:
        image.notes.append(f"not in {PATIENTS}, so the vendor is not known")
    if is_cine:
        image.notes.append(f"nobody says which frames are ED and ES: the first is taken as ED, and ES at {ES_SHARE:.0%} of the cine")
    return SourceSubject(
        patient=patient,
        image=image.array,
        is_cine=is_cine,
        spacing=image.grid.spacing,
        ed=0,
        es=es,
        masks={},
        priors=priors,
        frame_seconds=image.frame_seconds,
        affine=image.grid.affine,
        centre=centre,
        notes=(*image.notes, "without contours: the generator learns from it, and nnU-Net does not"),
        files={"image": image.path},
    )
