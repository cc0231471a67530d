"""What would make a broken dataset, whichever importer a subject comes from."""

from __future__ import annotations

import re

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.geometry import MOST_MOVED, SAME_SIZE, Grid, right_angled
from nnunet_synth_aug.core.labels import N_CLASSES, PHASES
from nnunet_synth_aug.data.importers.subject import SourceSubject

#: A change of the axes that moves no voxel by more than this share of one is not worth a word.
_ROUNDING = 1e-3


def refuse_unusable(subject: SourceSubject) -> None:
    """Raise UserError for a subject whose name, arrays, frames, labels or priors cannot be those of a patient."""
    patient, shape = subject.patient, subject.image.shape
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", patient) or "__" in patient:
        raise UserError(f"{patient!r} cannot be a patient name in file names; use letters, digits, - and single _")
    if len(shape) != 4 or shape[0] < (1 if subject.is_still else 2):
        raise UserError(f"{patient}: the image has the shape {shape}; (T, X, Y, Z) with at least 2 frames is needed")
    if subject.image.dtype.kind == "f" and not np.isfinite(subject.image).all():
        raise UserError(f"{patient}: the image holds NaN or infinite voxels; repair or leave out this patient")
    if not (0 <= subject.ed < shape[0] and 0 <= subject.es < shape[0]) or (subject.ed == subject.es and not subject.is_still):
        raise UserError(f"{patient}: ED frame {subject.ed} and ES frame {subject.es} must be two of the {shape[0]} frames (from 0)")
    for phase, mask in subject.masks.items():
        if phase not in PHASES:
            raise UserError(f"{patient}: a mask is for {phase!r}; only {' and '.join(PHASES)} are known")
        if mask.shape != shape[1:]:
            raise UserError(
                f"{patient}: the {phase} mask has the shape {mask.shape} but the image has {shape[1:]}; export both from the same frame"
            )
        if foreign := sorted(set(np.unique(mask).tolist()) - set(range(N_CLASSES))):
            raise UserError(f"{patient}: the {phase} mask holds the unknown label {foreign[0]}; correct the mask")
    subject.priors.validated(f"patient {patient}")


def right_angled_affine(subject: SourceSubject) -> tuple[np.ndarray | None, list[str]]:
    """The subject's affine with axes at right angles, and what was done; None if it has none.

    ITK, which nnU-Net reads with, refuses files whose axes are not at right angles.

    Raises:
        UserError: the affine contradicts the spacing, or its axes are so far off a right angle that voxels would move.
    """
    if subject.affine is None:
        return None, []
    where = subject.files.get("image", subject.patient)
    lengths = np.linalg.norm(subject.affine[:3, :3], axis=0)
    if not (np.isfinite(subject.affine).all() and np.allclose(lengths, subject.spacing, rtol=2 * SAME_SIZE)):
        raise UserError(f"{where}: the affine contradicts the spacing {subject.spacing} mm; correct the one that is wrong")
    _, x, y, z = subject.image.shape
    affine, moved = right_angled(Grid((x, y, z), subject.affine, subject.spacing))
    if moved > MOST_MOVED:
        raise UserError(
            f"{where}: the axes are not at right angles, and putting them right would move a corner by {moved:.2g} voxels; resample the "
            "image and its masks to a grid with right angles"
        )
    said = f"axes that were not quite at right angles were put right (no corner moved by more than {moved:.2g} of a voxel)"
    return affine, [said] if moved > _ROUNDING else []
