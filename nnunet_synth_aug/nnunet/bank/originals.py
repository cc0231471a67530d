"""Contoured frames of a fold's training patients, which copies bend and generated hearts are shown in.

A plain nnU-Net dataset serves as well as an imported one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.geometry import turned
from nnunet_synth_aug.core.labels import LV, MYO, N_CLASSES
from nnunet_synth_aug.core.paths import raw_folder
from nnunet_synth_aug.core.patients import remake
from nnunet_synth_aug.core.volumes import ENDINGS, read_volume, slice_axis, turn_onto
from nnunet_synth_aug.data.anatomy_check import refuse_exchanged
from nnunet_synth_aug.data.cohort import COHORT, Cohort
from nnunet_synth_aug.data.importers.nifti import refuse_impossible
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.nnunet.patients import case_patients, fold_cases, splits_file
from nnunet_synth_aug.nnunet.target import Target, label_lookup, training_files
from nnunet_synth_aug.synthesis.sources.copies import Original, cohort_originals

#: Images that tell the field of view, and the sides that one of a heart can have, mm.
LOOKED_AT, SIDES = 20, (50, 500)


def is_imported(dataset: str) -> bool:
    """Whether the dataset, by its whole name, says who its patients are."""
    return (raw_folder(dataset) / COHORT).is_file()


def training_cohort(dataset: str, fold: int | str) -> tuple[Cohort, tuple[str, ...]]:
    """An imported dataset, with no mask of those who are unlabelled in the fold, whatever lies in the folder; and the training patients."""
    split = fold_patients(cohort := Cohort.load(dataset), fold)
    return cohort.without_masks(split.unlabelled), split.train


def field_of_view(target: Target, fold: int | str) -> float | None:
    """Median of the shorter side in the plane of a fold's training images, in mm, to the nearest 10; None if it is not one of hearts.

    At most :data:`LOOKED_AT` images are read.

    Raises:
        UserError: one of them cannot be read.
    """
    if str(target.dataset_json["file_ending"]) not in ENDINGS:
        return None
    train, _ = fold_cases(target.dataset, fold, target.cases())
    files = training_files(raw_folder(target.dataset), target.dataset_json)
    known = [Path(files[case]["images"][0]) for case in sorted(train) if case in files]
    sides = []
    for path in known[:: max(-(-len(known) // LOOKED_AT), 1)]:
        grid = read_volume(path).grid
        across = slice_axis(grid.shape)
        sides.append(min(n * mm for axis, (n, mm) in enumerate(zip(grid.shape, grid.spacing, strict=True)) if axis != across))
    side = round(float(np.median(sides)), -1) if sides else 0.0
    return side if SIDES[0] <= side <= SIDES[1] else None


def training_originals(target: Target, fold: int | str) -> list[Original]:
    """Contoured frames of the training patients of a fold.

    Raises:
        UserError: as :func:`raw_originals`, or no training patient has contours.
    """
    return cohort_originals(*training_cohort(target.dataset, fold)) if is_imported(target.dataset) else raw_originals(target, fold)


def raw_originals(target: Target, fold: int | str) -> list[Original]:
    """Every training case of a fold, each an original of one frame.

    Args:
        target: the dataset as nnU-Net sees it.
        fold: index in the splits, or "all".

    Raises:
        UserError: a patient is in training and in validation, a training case is not in the raw dataset, or its files are no volumes.
    """
    if (ending := str(target.dataset_json["file_ending"])) not in ENDINGS:
        raise UserError(f"{target.dataset} has {ending} files, but copies are made of {', '.join(ENDINGS)} files; convert it")
    train, _ = fold_cases(target.dataset, fold, target.cases())
    patients = case_patients(target.dataset, train)
    folder = raw_folder(target.dataset)
    files = training_files(folder, target.dataset_json)
    if missing := sorted(set(train) - set(files)):
        split = splits_file(target.dataset)
        raise UserError(f"{folder} has no case {missing[0]}, which fold {fold} of {split} trains on; restore it, or {remake(split)}")
    values = label_lookup(target)
    paths = {case: (Path(files[case]["images"][0]), Path(files[case]["label"])) for case in train}
    if gone := [label for _, label in paths.values() if not label.is_file()]:
        raise UserError(f"{gone[0]} is not there, but fold {fold} of {splits_file(target.dataset)} trains on it; restore it")
    return [Original(case, patients[case], partial(_read, patients[case], values, *paths[case])) for case in train]


def _read(patient: str, values: np.ndarray, image: Path, label: Path) -> Sequence:
    """One case as a sequence of one frame, in this package's label values."""
    volume, contours = read_volume(image), read_volume(label)
    if (how := turn_onto(contours, volume)) is None:
        shapes = f"has the shape {contours.grid.shape} but its image has {volume.grid.shape}"
        lies = shapes if contours.grid.shape != volume.grid.shape else "does not lie where its image lies"
        raise UserError(f"{label} {lies}; correct the dataset")
    if (across := slice_axis(volume.grid.shape)) != 2:
        raise UserError(
            f"{image} has its {volume.grid.shape[across]} slices along axis {across} of 0, 1 and 2, where copies need the last; "
            "import the dataset with 'synthaug import', which turns it"
        )
    pixels, labels = volume.array, turned(contours.array, how)
    mask = np.full(labels.shape, N_CLASSES, np.uint8)
    mask[labels == 0] = 0
    for structure, value in enumerate(values):
        mask[labels == value] = structure
    if (mask == N_CLASSES).any():
        raise UserError(f"{label} holds other values than those of RV, MYO and LV, so it cannot be copied; contour it completely")
    refuse_impossible(image, volume.grid)
    if (mask == LV).any() and (mask == MYO).any():
        refuse_exchanged(mask, patient, str(label))
    return Sequence(pixels.astype(np.float32)[None], mask[None], volume.grid.spacing, ed=0, es=0, labelled=(0,))
