"""Writing subjects as a dataset to test on: nnU-Net's ``imagesTs`` and ``labelsTs``, with the cohort beside them.

For data sets in which not every structure was contoured. nnU-Net cannot train on them, but what was contoured can be
scored: ``synthaug compare`` leaves out structures that no reference holds. Of cines that nobody has contoured every frame is there, for
nnU-Net to predict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import Subject
from nnunet_synth_aug.core.files import atomic_folder, read_nifti, write_nifti
from nnunet_synth_aug.core.paths import raw_folder
from nnunet_synth_aug.data.cohort import load_sequence, write_cohort
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import free_number, full_name, write_dataset_json, write_subjects

NOTE = "a test set: what was contoured can be scored, and nothing is trained on it by nnU-Net"
BARE_NOTE = "nobody has contours: nnU-Net can predict the frames in imagesTs, and nothing is trained on this dataset by itself"


def write_test_set(
    subjects: Iterable[SourceSubject],
    dataset_id: int,
    name: str,
    *,
    total: int | None = None,
    source: dict[str, Any] | None = None,
    source_notes: Sequence[str] = (),
    contoured: bool = True,
) -> Path:
    """Write a test set as a whole or not at all.

    Args:
        subjects: read one after the other.
        dataset_id: 1 to 999.
        name: without the ``DatasetNNN_`` prefix.
        total: number of subjects for the progress bar.
        source: what the data are; kept in ``dataset.json`` and ``cohort.json``.
        source_notes: sentences on the source as a whole, for the notes of ``cohort.json``.
        contoured: whether there are masks; else every frame is a case, ``<patient>_frameNN`` with frames from 1.

    Returns:
        the new folder in ``nnUNet_raw``.

    Raises:
        UserError: as :func:`nnunet_synth_aug.data.raw_dataset.write_dataset`.
    """
    title = full_name(dataset_id, name)
    raw = raw_folder(title)
    with free_number(dataset_id), atomic_folder(raw) as folder:
        written, notes = write_subjects(subjects, folder, title, total)
        write_dataset_json(folder, title, 0, source)
        placed = [_as_test_cases(subject, folder) if contoured else _as_frames(subject, folder) for subject in written]
        write_cohort(folder, placed, source, [NOTE if contoured else BARE_NOTE, *source_notes, *notes])
    return raw


def _as_test_cases(subject: Subject, folder: Path) -> Subject:
    """Write the frames that have a mask to ``imagesTs`` and move their masks to ``labelsTs``."""
    image = load_sequence(subject).image
    cases, images, masks = {}, dict(subject.images), {}
    for phase, path in subject.masks.items():
        cases[phase] = f"{subject.patient}_{phase}"
        images[phase] = folder / "imagesTs" / f"{cases[phase]}_0000.nii.gz"
        masks[phase] = folder / "labelsTs" / f"{cases[phase]}.nii.gz"
        _, spacing, affine = read_nifti(path, ndim=3)
        write_nifti(images[phase], np.ascontiguousarray(image[subject.ed if phase == "ED" else subject.es]), spacing, affine=affine)
        masks[phase].parent.mkdir(exist_ok=True)
        path.rename(masks[phase])
    return replace(subject, cases=cases, images=images, masks=masks)


def _as_frames(subject: Subject, folder: Path) -> Subject:
    """Write every frame of the cine to ``imagesTs``."""
    assert subject.cine is not None
    voxels, spacing, affine = read_nifti(subject.cine, ndim=4)
    for frame in range(voxels.shape[-1]):
        stem = f"{subject.cine.name.removesuffix('_4d.nii.gz')}_frame{frame + 1:02d}"
        write_nifti(folder / "imagesTs" / f"{stem}_0000.nii.gz", voxels[..., frame], spacing, affine=affine)
    return subject
