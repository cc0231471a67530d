"""Masks that a trained nnU-Net gives to frames without contours, for a VAE to learn from besides the contours.

A cine has contours at ED and ES, and some patients have none: most of what a generator sees is not labelled. A network made for
segmentation tells more about it than the VAE's own teacher can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import Sequence, Spacing, Subject
from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.files import hash_json, nifti_shape, read_object, write_json, write_nifti
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.data.cohort import Cohort, load_sequence

#: Grey values (X, Y, Z) and spacing in mm -> mask uint8 (X, Y, Z) in this package's labels.
Segment = Callable[[np.ndarray, Spacing], np.ndarray]

RECIPE = "predictor.json"

#: Volumes that a frame may have, as multiples of the patient's own median over the cycle. Muscle keeps its volume: contours of ED and ES
#: of 40 ACDC patients differ by -9 to +53 %, because the base moves through the plane. A cavity is larger at ED than in the median frame,
#: but not twice.
MYO_RANGE, MAX_CAVITY = (0.6, 1.6), 2.2


@dataclass(frozen=True)
class FrameSegmenter:
    """A network that contours frames, and what it is."""

    segment: Segment
    provenance: dict[str, Any]  # JSON; another one gives other masks


def annotate(sequence: Sequence, segment: Segment) -> np.ndarray:
    """A mask of every frame, uint8 (T, X, Y, Z): its contours, or else what the network finds, without islands.

    Frames where that cannot be the patient's heart are left empty, see :func:`impossible`.
    """
    frames = range(len(sequence.image))
    mask = np.stack(
        [sequence.mask[t] if t in sequence.labelled else without_islands(segment(sequence.image[t], sequence.spacing)) for t in frames]
    )
    mask[[t for t in np.flatnonzero(impossible(mask)) if t not in sequence.labelled]] = 0
    return mask


def impossible(mask: np.ndarray) -> np.ndarray:
    """Which frames of a mask (T, X, Y, Z) show what the heart of the other frames cannot look like: bool (T,).

    A network of few patients loses the heart for part of a cycle, at ES above all: muscle vanishes, or one cavity swallows the other.
    """
    volumes = {label: np.count_nonzero(mask == label, axis=(1, 2, 3)) for label in (RV, MYO, LV)}
    usual = {label: float(np.median(volume)) for label, volume in volumes.items()}
    muscle = (volumes[MYO] < MYO_RANGE[0] * usual[MYO]) | (volumes[MYO] > MYO_RANGE[1] * usual[MYO])
    cavity = [(volumes[label] > MAX_CAVITY * usual[label]) | ((volumes[label] == 0) & (usual[label] > 0)) for label in (RV, LV)]
    return muscle | cavity[0] | cavity[1] | ~mask.any(axis=(1, 2, 3))


def with_predicted_masks(cohort: Cohort, patients: tuple[str, ...], segmenter: FrameSegmenter, folder: Path, write: bool = True) -> Cohort:
    """The cohort in which every frame of these patients has a mask, but for those whose mask is impossible.

    Args:
        cohort: as it is.
        patients: whose frames are contoured.
        segmenter: contours them.
        folder: gets one NIfTI (X, Y, Z, T) per patient that has frames without contours; those that are there are kept.
        write: false for a process that only looks at what another one wrote.

    Raises:
        UserError: a cine cannot be read, or the folder cannot be written.
    """
    maker = hash_json(segmenter.provenance)
    wanted = {s.patient: folder / f"{s.patient}.nii.gz" for s in cohort.select(patients).subjects if len(s.masks) < s.n_frames}
    if write:
        _predict(cohort, wanted, segmenter, hash_json({"maker": maker, "cohort": cohort.hash()}), folder)
    subjects = tuple(replace(s, predicted=wanted.get(s.patient)) for s in cohort.subjects)
    return replace(cohort, subjects=subjects, segmenter=maker)


def _predict(cohort: Cohort, wanted: dict[str, Path], segmenter: FrameSegmenter, recipe: str, folder: Path) -> None:
    if not (folder / RECIPE).is_file() or read_object(folder / RECIPE, "recipe")["recipe"] != recipe:
        for path in wanted.values():  # of other contours or another network
            path.unlink(missing_ok=True)
        write_json(folder / RECIPE, {"recipe": recipe, "predictor": segmenter.provenance})
    with progress("contouring cines", len(wanted)) as bar:
        for number, (patient, path) in enumerate(wanted.items(), 1):
            if not _complete(path, subject := cohort.subject(patient)):
                mask = annotate(load_sequence(subject), segmenter.segment)
                write_nifti(path, np.ascontiguousarray(np.moveaxis(mask, 0, -1)), subject.spacing, subject.frame_seconds)
            bar.advance(number, patient)


def _complete(path: Path, subject: Subject) -> bool:
    return path.is_file() and nifti_shape(path)[-1] == subject.n_frames
