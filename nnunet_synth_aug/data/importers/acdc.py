"""Reading the ACDC challenge data (Bernard et al., IEEE TMI 2018), as downloaded or as common copies have it.

One folder per patient, either directly in the given folder or in its ``training/`` and ``testing/`` folders::

    patient001/Info.cfg                        ED, ES (frames from 1), Group, Height (cm), Weight (kg), NbFrame
    patient001/patient001_4d.nii.gz            the cine (X, Y, Z, T); copies without it have only the two frames
    patient001/patient001_frame01.nii.gz       the ED (and ES) frame; needed only where there is no cine
    patient001/patient001_frame01_gt.nii.gz    its mask: 1 RV, 2 MYO, 3 LV

Cines that nobody has contoured may lie beside them in a folder ``unlabelled/``, in the same layout without masks; their ``Info.cfg``
needs no Group and may have a Vendor. The generator learns from them, and nnU-Net never sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, LABEL_MAPS, PHASES
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.importers.nifti import find_nifti, read_cine, read_frames, read_mask
from nnunet_synth_aug.data.importers.subject import SourceSubject

#: Folders of cines that nobody has contoured.
_UNLABELLED = ("unlabelled", "unlabeled")
#: Where patients lie, relative to the folder a user may point at: in the official download, and those without contours.
_SUBFOLDERS = (".", "training", "testing", "database/training", "database/testing", *_UNLABELLED)


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
    return (_read_patient(folders[name]) for name in folders if patients is None or name in patients)


def _patient_folders(folder: Path) -> dict[str, Path]:
    """Patient name -> its folder, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist or is not a folder; give the folder that holds ACDC's patient folders")
    found: dict[str, Path] = {}
    for sub in _SUBFOLDERS:
        for path in (folder / sub).glob("patient*"):
            if not path.is_dir() or not re.fullmatch(r"patient\d+", path.name):
                continue
            if path.name in found:
                raise UserError(f"{path.name} is both in {found[path.name].parent} and in {path.parent}; remove one of the two")
            found[path.name] = path
    if not found:
        raise UserError(f"{folder} holds no ACDC patient (no folder patientNNN in it, in training/ or in testing/); give ACDC's own folder")
    return dict(sorted(found.items()))


def _read_patient(folder: Path) -> SourceSubject:
    name, contoured = folder.name, folder.parent.name not in _UNLABELLED
    info = _read_info(folder / "Info.cfg")
    ed, es = info.frame("ED"), info.frame("ES")
    if ed == es:
        raise UserError(f"{info.path} gives frame {ed} as both ED and ES; correct it")

    cine = find_nifti(folder, f"{name}_4d")
    if cine is not None:
        image, spacing, affine, frame_seconds = read_cine(cine)
        for phase, frame in zip(PHASES, (ed, es), strict=True):
            if frame > image.shape[0]:
                raise UserError(
                    f"{info.path} gives frame {frame} as {phase} but {cine.name} has {image.shape[0]} frames; correct one of them"
                )
    else:
        lacking = "image (there is no 4D file either)"
        image, spacing, affine = read_frames(
            (_need(folder, f"{name}_frame{ed:02d}", lacking), _need(folder, f"{name}_frame{es:02d}", lacking))
        )
        frame_seconds = 0.0

    masks = {
        phase: read_mask(_need(folder, f"{name}_frame{frame:02d}_gt", f"{phase} mask"), LABEL_MAPS["acdc"], image.shape[1:], spacing)
        for phase, frame in zip(PHASES, (ed, es), strict=True)
        if contoured
    }
    return SourceSubject(
        patient=name,
        image=image,
        is_cine=cine is not None,
        spacing=spacing,
        ed=ed - 1 if cine is not None else 0,
        es=es - 1 if cine is not None else 1,
        masks=masks,
        priors=info.priors(contoured),
        frame_seconds=frame_seconds,
        affine=affine,
    )


def _need(folder: Path, stem: str, what: str) -> Path:
    if (path := find_nifti(folder, stem)) is None:
        raise UserError(f"{folder / stem}.nii.gz, the {what} that Info.cfg names, does not exist; copy it again or correct Info.cfg")
    return path


class _Info:
    """The ``key: value`` lines of an Info.cfg."""

    def __init__(self, path: Path, values: dict[str, str]) -> None:
        self.path, self._values = path, values

    def text(self, key: str) -> str:
        if not self._values.get(key):
            raise UserError(f"{self.path} has no {key}; add the line '{key}: ...' from the original data set")
        return self._values[key]

    def frame(self, key: str) -> int:
        """A frame counted from 1."""
        text = self.text(key)
        if not text.isdecimal() or int(text) < 1:
            raise UserError(f"{self.path} gives {key} as {text!r}; it must be a frame number from 1")
        return int(text)

    def priors(self, with_group: bool = True) -> Priors:
        """Diagnosis (which must be there if ``with_group``), height and weight; volumes are not in the file.

        Every ACDC scanner is from Siemens; cines from elsewhere may say ``Vendor: GE``.
        """
        group = self.text("Group") if with_group else self._values.get("Group") or None
        if group is not None and group not in DIAGNOSES:
            raise UserError(f"{self.path} gives the unknown Group {group!r}; choose one of {', '.join(DIAGNOSES)}")
        values = {"diagnosis": group, "height": self._values.get("Height"), "weight": self._values.get("Weight")}
        values["vendor"] = self._values.get("Vendor") or "Siemens"
        return Priors.from_mapping(values, str(self.path))


def _read_info(path: Path) -> _Info:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; copy it from the original data set, it names the ED and ES frames") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable text ({error}); copy it again") from error
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return _Info(path, {key.strip(): value.strip() for key, value in pairs})
