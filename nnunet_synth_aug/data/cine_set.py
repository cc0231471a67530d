"""Writing cines that nobody has contoured as a dataset: every frame lies in ``imagesTs``, where nnU-Net predicts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.files import atomic_folder, read_nifti, write_nifti
from nnunet_synth_aug.core.paths import raw_folder
from nnunet_synth_aug.data.cohort import write_cohort
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import free_number, full_name, write_dataset_json, write_subjects

NOTE = "nobody has contours: nnU-Net can predict the frames in imagesTs, and nothing is trained on this dataset by itself"


def write_cines(
    subjects: Iterable[SourceSubject],
    dataset_id: int,
    name: str,
    *,
    total: int | None = None,
    source: dict[str, Any] | None = None,
    source_notes: Sequence[str] = (),
) -> Path:
    """Write cines without masks as a whole or not at all.

    Args:
        subjects: read one after the other.
        dataset_id: 1 to 999.
        name: without the ``DatasetNNN_`` prefix.
        total: number of subjects for the progress bar.
        source: what the data are; kept in ``dataset.json`` and ``cohort.json``.
        source_notes: sentences on the source as a whole, for the notes of ``cohort.json``.

    Returns:
        the new folder in ``nnUNet_raw``: ``cine/``, and ``imagesTs/<patient>_frameNN_0000.nii.gz`` with frames from 1.

    Raises:
        UserError: as :func:`nnunet_synth_aug.data.raw_dataset.write_dataset`.
    """
    title = full_name(dataset_id, name)
    raw = raw_folder(title)
    with free_number(dataset_id), atomic_folder(raw) as folder:
        written, notes = write_subjects(subjects, folder, title, total)
        write_dataset_json(folder, title, 0, source)
        write_cohort(folder, written, source, [NOTE, *source_notes, *notes])
        for cine in (subject.cine for subject in written):
            assert cine is not None
            voxels, spacing, affine = read_nifti(cine, ndim=4)
            for frame in range(voxels.shape[-1]):
                stem = f"{cine.name.removesuffix('_4d.nii.gz')}_frame{frame + 1:02d}"
                write_nifti(folder / "imagesTs" / f"{stem}_0000.nii.gz", voxels[..., frame], spacing, affine=affine)
    return raw
