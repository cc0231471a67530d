"""Writing subjects as an nnU-Net raw dataset, with the cines, the priors and a patient-grouped split beside it.

::

    nnUNet_raw/Dataset027_ACDC/
      dataset.json  imagesTr/<patient>_ED_0000.nii.gz  labelsTr/<patient>_ED.nii.gz     what nnU-Net reads
      imagesTs/  labelsTs/                                                              patients whom the source keeps for testing
      cine/<patient>_4d.nii.gz                                                          (X, Y, Z, T)
      cine/<patient>_ED_image.nii.gz  cine/<patient>_ED_mask.nii.gz                     what cannot be an nnU-Net case
      priors.csv  cohort.json                                                           see cohort.py
    nnUNet_preprocessed/Dataset027_ACDC/splits_final.json
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.cases import Subject
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_folder, write_json, write_nifti
from nnunet_synth_aug.core.labels import PHASES, STRUCTURES
from nnunet_synth_aug.core.lock import only_one
from nnunet_synth_aug.core.paths import nnunet_folder, preprocessed_folder, raw_folder
from nnunet_synth_aug.core.patients import SPLITS
from nnunet_synth_aug.core.priors import VARIABLES, Priors, measure
from nnunet_synth_aug.data.anatomy_check import checked_anatomy
from nnunet_synth_aug.data.cohort import write_cohort
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.splits import make_splits
from nnunet_synth_aug.data.subject_check import refuse_unusable, right_angled_affine


def write_dataset(
    subjects: Iterable[SourceSubject],
    dataset_id: int,
    name: str,
    *,
    folds: int = 5,
    seed: int = 12345,
    total: int | None = None,
    source: dict[str, Any] | None = None,
    source_notes: Sequence[str] = (),
) -> Path:
    """Write a dataset as a whole or not at all.

    A phase becomes an nnU-Net case when it has a mask in which every structure was contoured: nnU-Net would learn a structure
    that is there but not contoured as background. Other masks are kept under ``cine/`` and named in the notes of ``cohort.json``. Masks
    of hearts that cannot be are left out, see :mod:`nnunet_synth_aug.data.anatomy_check`. Subjects that the source keeps for testing are
    written to ``imagesTs`` and ``labelsTs``, without their cines, and are in no fold.

    Args:
        subjects: read one after the other; at most one is in memory.
        dataset_id: 1 to 999.
        name: without the ``DatasetNNN_`` prefix.
        folds: of the patient-grouped ``splits_final.json``.
        seed: of that split.
        total: number of subjects for the progress bar, if ``subjects`` cannot tell.
        source: what the data are; kept in ``dataset.json`` and ``cohort.json``.
        source_notes: sentences on the source as a whole, for the notes of ``cohort.json``.

    Returns:
        the new folder in ``nnUNet_raw``.

    Raises:
        UserError: the id is taken (before anything is read), a subject is not usable, too few patients, the disk is full.
    """
    title = full_name(dataset_id, name)
    if total is None and isinstance(subjects, Sized):
        total = len(subjects)
    raw, preprocessed = raw_folder(title), preprocessed_folder(title)
    split_written = False
    try:
        with free_number(dataset_id), atomic_folder(raw) as folder:
            written, notes = write_subjects(subjects, folder, title, total)
            cases = {subject.patient: tuple(subject.cases.values()) for subject in written if subject.cases and not subject.test}
            notes += [
                f"{one.patient}: no contours of {_lacking(one)}, so its masks are kept in cine/ and are not nnU-Net cases"
                for one in written
                if one.masks and not one.cases
            ]
            if not cases:
                raise UserError(
                    f"{title} would have no training case: no subject has an image and a mask with all of {', '.join(STRUCTURES)}"
                )
            splits = make_splits(cases, {subject.patient: subject.priors.diagnosis for subject in written}, folds, seed)
            write_dataset_json(folder, title, sum(map(len, cases.values())), source)
            write_cohort(folder, written, source, [*source_notes, *notes])
            with atomic_folder(preprocessed) as split_folder:
                write_json(split_folder / SPLITS, splits)
            split_written = True
    except BaseException:
        if split_written:  # the last step, renaming the raw folder, failed
            shutil.rmtree(preprocessed, ignore_errors=True)
        raise
    return raw


def full_name(dataset_id: int, name: str) -> str:
    """``DatasetNNN_Name``.

    Raises:
        UserError: a number or a name that nnU-Net does not take.
    """
    if not 1 <= dataset_id <= 999:
        raise UserError(f"the dataset id {dataset_id} is not between 1 and 999")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name.startswith("Dataset"):
        raise UserError(f"{name!r} cannot be a dataset name; use letters, digits, - and _, without the prefix DatasetNNN_")
    return f"Dataset{dataset_id:03d}_{name}"


@contextmanager
def free_number(dataset_id: int) -> Iterator[None]:
    """Keep a number while a dataset is written, so that no other process takes it.

    Raises:
        UserError: one of nnU-Net's folders holds a dataset with this number, or another process writes one.
    """
    refuse_taken(dataset_id)
    lock = nnunet_folder("nnUNet_raw") / f".Dataset{dataset_id:03d}.lock"
    with only_one(lock, f"writes a dataset with the id {dataset_id} now; wait for its end, or choose another id"):
        try:
            refuse_taken(dataset_id)  # it may have come since
            yield
        finally:
            with suppress(OSError):  # still held: whoever opens it now makes a new one
                lock.unlink()


def refuse_taken(dataset_id: int) -> None:
    """Raise UserError if one of nnU-Net's folders holds a dataset with this number."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        for path in sorted(nnunet_folder(variable).glob(f"Dataset{dataset_id:03d}_*")):
            raise UserError(f"the dataset id {dataset_id} is taken by {path}; choose another id or remove that folder")


def write_subjects(subjects: Iterable[SourceSubject], folder: Path, title: str, total: int | None) -> tuple[list[Subject], list[str]]:
    """Write images, masks and cines of all subjects under ``folder``; return them as they will be loaded, and notes."""
    written: list[Subject] = []
    notes: list[str] = []
    seen: set[str] = set()
    images: dict[str, str] = {}  # sum of the voxels -> whose
    n_masks = n_left_out = 0
    with progress(f"writing {title}", total or 0) as bar:
        for number, subject in enumerate(subjects, start=1):
            refuse_unusable(subject)
            # Two names that differ in case alone are one file on macOS and Windows.
            if subject.patient.casefold() in seen:
                raise UserError(f"patient {subject.patient} comes twice in the source; remove one of the two")
            seen.add(subject.patient.casefold())
            owner = images.setdefault(hashlib.sha256(subject.image.tobytes()).hexdigest(), subject.patient)
            if owner != subject.patient:
                notes.append(f"{subject.patient} has the same images as {owner}: one heart may train and validate; remove one of the two")
            sound, findings = checked_anatomy(subject)
            n_masks, n_left_out = n_masks + len(subject.masks), n_left_out + len(findings)
            done, subject_notes = _write_subject(sound, folder)
            written.append(done)
            notes += [f"{subject.patient}: {note}" for note in (*subject.notes, *findings, *subject_notes)]
            bar.advance(number, subject.patient)
    if n_left_out:
        notes.append(f"{n_left_out} of {n_masks} masks are left out: no case is made of them, and nothing is trained on them")
    return written, notes


def _write_subject(subject: SourceSubject, folder: Path) -> tuple[Subject, list[str]]:
    """Write one subject's files under ``folder``; return it as it will be loaded, and what is worth a note."""
    patient, spacing = subject.patient, subject.spacing
    affine, notes = right_angled_affine(subject)
    voxels = _compact(subject.image)
    cine = None
    if subject.is_cine and not subject.test:
        cine = folder / "cine" / f"{patient}_4d.nii.gz"
        write_nifti(cine, np.moveaxis(voxels, 0, -1), spacing, subject.frame_seconds, affine)

    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    cases: dict[str, str] = {}
    lacking = bool(_lacking(subject))
    side = "Ts" if subject.test else "Tr"
    for phase, frame in zip(PHASES[: len(voxels)], (subject.ed, subject.es), strict=False):
        mask = subject.masks.get(phase)
        stem = f"{patient}_{phase}"
        is_case = subject.test or (mask is not None and not lacking)
        if is_case:
            cases[phase] = stem
        if is_case or cine is None:  # otherwise the frame is in the cine
            images[phase] = folder / (f"images{side}" if is_case else "cine") / f"{stem}_{'0000' if is_case else 'image'}.nii.gz"
            write_nifti(images[phase], voxels[frame], spacing, affine=affine)
        if mask is not None:
            masks[phase] = folder / f"labels{side}" / f"{stem}.nii.gz" if is_case else folder / "cine" / f"{stem}_mask.nii.gz"
            write_nifti(masks[phase], mask.astype(np.uint8), spacing, affine=affine)

    priors, measured_notes = _complete_priors(subject)
    notes += measured_notes
    done = Subject(
        patient=patient,
        spacing=spacing,
        priors=priors,
        cine=cine,
        n_frames=voxels.shape[0] if cine else len(images),
        ed=subject.ed if cine else 0,
        es=subject.es if cine else len(images) - 1,
        images=images,
        masks=masks,
        cases=cases,
        annotated=subject.annotated,
        frame_seconds=subject.frame_seconds if cine else 0.0,
        centre=subject.centre,
        test=subject.test,
    )
    return done, notes


def _lacking(subject: SourceSubject | Subject) -> str:
    """The structures that were not contoured."""
    return " and ".join(name for name, label in STRUCTURES.items() if label not in subject.annotated)


def _complete_priors(subject: SourceSubject) -> tuple[Priors, list[str]]:
    """What the source states, completed by what the masks show; a stated value wins."""
    ed = subject.masks.get("ED")
    if ed is None:
        measured = Priors(slice_thickness=subject.spacing[2], n_slices=subject.image.shape[3])
    else:
        measured = measure(ed, subject.masks.get("ES"), subject.spacing, subject.annotated)
    notes = []
    for name in measured.specified().keys() - subject.priors.specified().keys():
        value, variable = measured.specified()[name], VARIABLES[name]
        if not variable.low <= value <= variable.high:  # an odd mask is no reason to refuse the patient, but no generator learns from it
            unit = f" {variable.unit}" if variable.unit else ""
            measured = replace(measured, **{name: None})
            limits = f"{variable.low:g} to {variable.high:g}{unit}"
            notes.append(f"{name} as the masks show it is outside {limits} and left unspecified ({value:.3g}{unit})")
    return measured.updated(subject.priors), sorted(notes)


def _compact(image: np.ndarray) -> np.ndarray:
    """int16 where the source counts in integers that fit, else float32."""
    limits = np.iinfo(np.int16)
    if image.dtype.kind in "iu" and image.min() >= limits.min and image.max() <= limits.max:
        return image.astype(np.int16)
    return image.astype(np.float32)


def write_dataset_json(folder: Path, full_name: str, n_cases: int, source: dict[str, Any] | None) -> None:
    """Write nnU-Net's ``dataset.json``."""
    write_json(
        folder / "dataset.json",
        {
            "name": full_name,
            # Any name nnU-Net does not know (such as CT) gets z-score normalisation.
            "channel_names": {"0": "cineMRI"},
            "labels": {"background": 0, **STRUCTURES},
            "numTraining": n_cases,
            "file_ending": ".nii.gz",
            "synth_aug": {"version": __version__, "source": source or {}},
        },
    )
