"""Reading the ACDC challenge data (Bernard et al., IEEE TMI 2018), as downloaded or as common copies have it.

One folder per patient, either directly in the given folder or in its ``training/`` and ``testing/`` folders::

    patient001/Info.cfg                        ED, ES (frames from 1), Group, Height (cm), Weight (kg), NbFrame
    patient001/patient001_4d.nii.gz            the cine (X, Y, Z, T); copies without it have only the two frames
    patient001/patient001_frame01.nii.gz       the ED (and ES) frame; needed only where there is no cine
    patient001/patient001_frame01_gt.nii.gz    its mask: 1 RV, 2 MYO, 3 LV

The patients in ``testing/`` are a test set. Those of the first edition have no masks.

Cines that nobody has contoured may lie beside them in a folder ``unlabelled/``, in the same layout without masks; their ``Info.cfg``
needs no Group and may have a Vendor. The generator learns from them, and nnU-Net never sees them. Plain volumes in that folder are read
by :mod:`nnunet_synth_aug.data.importers.unlabelled`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import nifti_header
from nnunet_synth_aug.core.geometry import read_grid, turn
from nnunet_synth_aug.core.labels import LABEL_MAPS, PHASES
from nnunet_synth_aug.data.importers.folders import UNLABELLED, passed_over, subfolders
from nnunet_synth_aug.data.importers.info import Info, read_info
from nnunet_synth_aug.data.importers.nifti import Volume, find_nifti, read_cine, read_frames, read_mask
from nnunet_synth_aug.data.importers.subject import SourceSubject

#: Where patients lie, relative to the folder a user may point at: in the official download, and those without contours.
_TEST = ("testing", "database/testing")
_SUBFOLDERS = (".", "training", "database/training", *_TEST, *UNLABELLED)
#: The challenge's test patients have larger numbers.
_LAST_FOR_TRAINING = 100


def list_acdc(folder: Path) -> list[str]:
    """Names of the patients under ``folder``, sorted; reads no image.

    Raises:
        UserError: the folder is missing, holds no patient, or holds one twice.
    """
    return list(_patient_folders(folder))


def read_acdc(folder: Path, patients: Sequence[str] | None = None) -> Iterator[SourceSubject]:
    """Read ACDC patients one after the other.

    Args:
        folder: the folder of the patient folders, or the one above ``training/`` and ``testing/``.
        patients: names such as ``patient001``; None for all.

    Returns:
        an iterator of subjects: image (T, X, Y, Z) in the file's number type, masks (X, Y, Z) in this package's labels,
        spacing in mm, frames from 0. Without a cine, ``T`` is 2: ED, then ES.

    Raises:
        UserError: naming the folder at once, or the file when the iterator reaches it.
    """
    folders = _patient_folders(folder)
    if missing := sorted(set(patients or ()) - set(folders)):
        raise UserError(f"{folder} has no patient {', '.join(missing)}; choose from the {len(folders)} folders {next(iter(folders))} ...")
    return (_read_patient(*folders[name]) for name in folders if patients is None or name in patients)


def notes_acdc(folder: Path) -> list[str]:
    """Which folders were passed over."""
    return passed_over(folder, [path for path, _ in _patient_folders(folder).values()])


def _patient_folders(folder: Path) -> dict[str, tuple[Path, str]]:
    """Patient name -> its folder, and which of :data:`_SUBFOLDERS` this is in; sorted by name."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder that holds ACDC's patient folders")
    found: dict[str, tuple[Path, str]] = {}
    for place in _SUBFOLDERS:
        for path in (folder / place).glob("patient*"):
            if not path.is_dir() or not re.fullmatch(r"patient\d+", path.name):
                continue
            if path.name in found:
                raise UserError(f"{path.name} is both in {found[path.name][0].parent} and in {path.parent}; remove one of the two")
            found[path.name] = (path, place)
    if not found:
        others = [path.name for path in subfolders(folder) if path.name.lower().startswith("pat")]
        remedy = (
            f"its folders are {shortened(others, 20)}: rename them to patient001 and so on, with the files in them"
            if others
            else "give ACDC's own folder"
        )
        raise UserError(f"{folder} holds no ACDC patient (no folder patientNNN in it, in training/ or in testing/); {remedy}")
    if all(place in _TEST for _, place in found.values()):
        raise UserError(
            f"{folder} has patients in testing/ alone, and nothing would be trained on; add training/, or give the folder testing itself"
        )
    return dict(sorted(found.items()))


def _read_patient(folder: Path, place: str) -> SourceSubject:
    name, test = folder.name, place in _TEST
    info = read_info(folder / "Info.cfg")
    ed, es = info.frame("ED"), info.frame("ES")
    if ed == es:
        raise UserError(f"{info.path} gives frame {ed} as both ED and ES; correct it")

    cine = find_nifti(folder, f"{name}_4d")
    if cine is not None:
        image = _placed_as_frames(read_cine(cine), folder, (ed, es))
        for phase, frame in zip(PHASES, (ed, es), strict=True):
            if frame > len(image.array):
                raise UserError(
                    f"{info.path} gives frame {frame} as {phase} but {cine.name} has {len(image.array)} frames; correct one of them"
                )
        _compare_frames(info, cine, image, folder, (ed, es))
    else:
        lacking = "image (there is no 4D file either)"
        image = read_frames((_need(folder, f"{name}_frame{ed:02d}", lacking), _need(folder, f"{name}_frame{es:02d}", lacking)))

    stems = {phase: f"{name}_frame{frame:02d}_gt" for phase, frame in zip(PHASES, (ed, es), strict=True)}
    contoured = folder.parent.name not in UNLABELLED and not (test and all(find_nifti(folder, stem) is None for stem in stems.values()))
    files = {phase: _need(folder, stem, f"{phase} mask") for phase, stem in stems.items() if contoured}
    masks = {phase: read_mask(path, LABEL_MAPS["acdc"], image) for phase, path in files.items()}
    if test:
        image.notes.append("kept for testing, as in testing/: in imagesTs and labelsTs, and in no fold")
    elif masks and int(name.removeprefix("patient")) > _LAST_FOR_TRAINING:
        image.notes.append("has the number of a test patient of the challenge, but is trained on, since it is not in testing/")
    return SourceSubject(
        patient=name,
        image=image.array,
        is_cine=cine is not None,
        spacing=image.grid.spacing,
        ed=ed - 1 if cine is not None else 0,
        es=es - 1 if cine is not None else 1,
        masks=masks,
        priors=info.priors(with_group=contoured),
        frame_seconds=image.frame_seconds,
        affine=image.grid.affine,
        test=test,
        notes=tuple(image.notes),
        files={**files, "frames": info.path, "image": image.path},
    )


def _placed_as_frames(image: Volume, folder: Path, frames: tuple[int, int]) -> Volume:
    """The cine, placed as its ED and ES files where its header says otherwise; masks were drawn on these, which hold its very voxels."""
    paths = [find_nifti(folder, f"{folder.name}_frame{frame:02d}") for frame in frames]
    first, second = paths
    if first is None or second is None or max(frames) > len(image.array):
        return image
    if all(turn(read_grid(path, nifti_header(path)), image.grid) for path in (first, second)):
        return image
    alone = read_frames((first, second))
    if not _are_in(image, frames, alone):
        return image
    note = "the header of the cine puts it elsewhere than its ED and ES frames, which have the same voxels; theirs was taken"
    return replace(image, grid=alone.grid, stored=alone.stored, notes=[*alone.notes, note])


def _are_in(image: Volume, frames: tuple[int, int], alone: Volume) -> bool:
    """Whether the cine has the voxels of the ED and ES files in these frames, from 1."""
    return all(np.array_equal(image.array[frame - 1], own) for frame, own in zip(frames, alone.array, strict=True))


def _compare_frames(info: Info, cine: Path, image: Volume, folder: Path, frames: tuple[int, int]) -> None:
    """Refuse a cine that has another number of frames than Info.cfg says, unless it has the very voxels of the ED and ES files."""
    if not info.has("NbFrame") or (told := info.frame("NbFrame")) == len(image.array):
        return
    first, second = (find_nifti(folder, f"{folder.name}_frame{frame:02d}") for frame in frames)
    if first is None or second is None or not _are_in(image, frames, read_frames((first, second))):
        raise UserError(
            f"{info.path} says NbFrame {told}, but {cine.name} has {len(image.array)} frames, so it may be another cine; "
            "copy the right one, or correct Info.cfg"
        )
    image.notes.append("the cine has another number of frames than Info.cfg says; its ED and ES are those of the files beside it")


def _need(folder: Path, stem: str, what: str) -> Path:
    if (path := find_nifti(folder, stem)) is None:
        raise UserError(f"{folder / stem}.nii.gz, the {what} that Info.cfg names, does not exist; copy it again or correct Info.cfg")
    return path
