"""Reading the Sunnybrook Cardiac Data (Radau et al., MIDAS Journal 2009), converted to NIfTI.

All files may lie in one folder, or in one folder per patient below it::

    SCD0000101_4d.nii.gz             the cine (X, Y, Z, T)
    SCD0000101_frame08_gt.nii.gz     masks of two frames (numbered from 1): 3 LV, and at ED 2 MYO
    SCD0000101_frame19_gt.nii.gz

The frame with the larger LV is ED. A subject states once which structures were contoured, not once per phase, so only
the LV, contoured at ED and at ES, counts as annotated. The MYO of the ED mask gives the LV mass and is then left out
of the mask: kept, its absence at ES would be learnt and scored as an empty structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LABEL_MAPS, LV, MYO
from nnunet_synth_aug.core.priors import VARIABLES, Priors, measure
from nnunet_synth_aug.data.anatomy_check import refuse_exchanged
from nnunet_synth_aug.data.importers.folders import passed_over
from nnunet_synth_aug.data.importers.nifti import find_nifti, read_cine, read_mask
from nnunet_synth_aug.data.importers.subject import SourceSubject

_CINE = re.compile(r"(?P<patient>SCD\d+)_4d\.nii(\.gz)?")


def list_sunnybrook(folder: Path) -> list[str]:
    """Names of the patients under ``folder``, sorted; reads no image."""
    return list(_cines(folder))


def notes_sunnybrook(folder: Path) -> list[str]:
    """Which folders were passed over."""
    return passed_over(folder, [place for place, _ in _cines(folder).values()])


def read_sunnybrook(folder: Path) -> Iterator[SourceSubject]:
    """Read Sunnybrook patients one after the other.

    Raises:
        UserError: naming the folder at once, or the file when the iterator reaches it.
    """
    return (_read_patient(patient, *paths) for patient, paths in _cines(folder).items())


def _cines(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Patient -> folder and cine, sorted."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder that holds the Sunnybrook NIfTI files")
    found: dict[str, tuple[Path, Path]] = {}
    for path in sorted(folder.rglob("SCD*_4d.nii*")):
        if (match := _CINE.fullmatch(path.name)) is None or ".nii" in path.parent.name:  # a file in a folder of the same name
            continue
        cine = find_nifti(path.parent, f"{match['patient']}_4d")
        if cine is not None and found.setdefault(match["patient"], (path.parent, cine))[1] != cine:
            raise UserError(f"{match['patient']} is both in {found[match['patient']][1]} and in {cine}; remove one of the two")
    if not found:
        raise UserError(
            f"{folder} holds no Sunnybrook patient (no file SCDnnnnnnn_4d.nii.gz); convert the original DICOM files and contours first"
        )
    return dict(sorted(found.items()))


def _read_patient(patient: str, folder: Path, cine: Path) -> SourceSubject:
    image = read_cine(cine)
    masks: dict[int, np.ndarray] = {}
    files: dict[int, Path] = {}
    for path in sorted(folder.glob(f"{patient}_frame*_gt.nii*")):
        match = re.fullmatch(rf"{patient}_frame(\d+)_gt\.nii(\.gz)?", path.name)
        if match is None or not 1 <= int(match[1]) <= len(image.array):
            raise UserError(f"{path} is not named after one of the frames 1 to {len(image.array)} of {cine.name}; rename or remove it")
        frame, file = int(match[1]) - 1, find_nifti(folder, path.name.split(".")[0])
        assert file is not None
        if files.get(frame, file) != file:
            raise UserError(f"{files[frame]} and {file.name} are masks of one frame; remove the one that is wrong")
        files[frame], masks[frame] = file, read_mask(file, LABEL_MAPS["sunnybrook"], image)
        _refuse_exchanged(patient, file, masks[frame])
    if len(masks) != 2:
        raise UserError(f"{cine} has masks of {len(masks)} frames ({patient}_frameNN_gt.nii.gz); those of ED and ES are needed")
    es, ed = sorted(masks, key=lambda frame: int(np.count_nonzero(masks[frame] == LV)))
    mass = measure(masks[ed], None, image.grid.spacing, frozenset({LV, MYO})).lv_mass
    possible = VARIABLES["lv_mass"]
    if mass is not None and not possible.low <= mass <= possible.high:
        mass = None  # an odd contour is no reason to refuse the patient
    return SourceSubject(
        patient=patient,
        image=image.array,
        is_cine=True,
        spacing=image.grid.spacing,
        ed=ed,
        es=es,
        masks={phase: np.where(masks[frame] == LV, masks[frame], 0) for phase, frame in (("ED", ed), ("ES", es))},
        priors=Priors(vendor="GE", field_strength=1.5, lv_mass=mass),  # one scanner, a GE Signa of 1.5 T
        annotated=frozenset({LV}),
        frame_seconds=image.frame_seconds,
        affine=image.grid.affine,
        notes=tuple(image.notes),
        files={"ED": files[ed], "ES": files[es], "image": cine},
    )


def _refuse_exchanged(patient: str, path: Path, mask: np.ndarray) -> None:
    """Look at a mask (X, Y, Z) while it has its MYO."""
    if not (mask == MYO).any():
        return
    if not (mask == LV).any():
        raise UserError(f"{path} has MYO (2) but no LV (3), so the labels may be exchanged; correct the labels in the file")
    refuse_exchanged(mask, patient, str(path))
