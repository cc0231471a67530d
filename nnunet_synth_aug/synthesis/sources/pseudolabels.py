"""Real cines with the masks that a real-only nnU-Net gives them: the control for "self-training does as well".

What a generator has over nnU-Net are frames, and sometimes patients, without contours. The plainest way to use them is to let nnU-Net
contour them itself.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.cases import Subject, SyntheticSequence
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.predicted_masks import Segment, annotate
from nnunet_synth_aug.synthesis.cascade import DEFAULT_CYCLE_SECONDS
from nnunet_synth_aug.synthesis.folder import sequence_exists
from nnunet_synth_aug.synthesis.sources.common import agree, fill
from nnunet_synth_aug.synthesis.sources.job import Job


def pseudolabels_to_folder(segment: Segment, segmenter: str, cohort: Cohort, patients: Collection[str], folder: Path, n: int) -> list[str]:
    """Write one sequence per patient with a cine, those without contours first, at most ``n``; those that are there are kept.

    Args:
        segment: gives a frame its mask. Frames with contours keep theirs.
        segmenter: what ``segment`` is; another one makes other sequences.
        cohort: that the patients belong to.
        patients: training patients of the fold.
        folder: made if missing; must not hold sequences of another kind.
        n: how many; a folder never holds more than there are patients with a cine.

    Returns:
        ids of the sequences; patients in whom the network finds no heart at all have none.

    Raises:
        UserError: no training patient has a cine, or the network finds no heart in any of them.
    """
    moving = [s for s in cohort.select(patients).subjects if s.cine is not None]
    chosen = sorted(moving, key=lambda s: bool(s.masks))[:n]
    if not chosen:
        raise UserError(f"no training patient of this fold of {cohort.name} has a cine, so there are no frames without contours")
    if len(chosen) < n:
        console.print(f"{len(chosen)} sequences, one per training patient with a cine, instead of {n}")
    wanted = {f"pseudolabelled_{number:05d}": subject for number, subject in enumerate(chosen)}
    missing = agree(folder, f"pseudolabels by {segmenter}", {i: [s.patient, sorted(s.masks)] for i, s in wanted.items()})
    provenance = {
        "source": "pseudolabels",
        "dataset": cohort.name,
        "patients": sorted(patients),  # what the leak guard goes by: those that are shown, and those that the segmenter learnt from
        "pseudolabelled": [s.patient for s in chosen],
        "segmenter": segmenter,
        "version": __version__,
    }
    made = (one for i in missing if (one := _pseudolabelled(segment, wanted[i], i)) is not None)
    fill(folder, "segmenting cines", list(wanted), missing, made, provenance)
    if not (found := [i for i in wanted if sequence_exists(folder, i)]):
        raise UserError(f"the segmenter finds no heart in any of {len(wanted)} cines; train it longer")
    return found


def make(job: Job) -> list[str]:
    """Pseudolabels; see :func:`~nnunet_synth_aug.synthesis.sources.job.make`."""
    network = job.segmenter()
    pseudolabels_to_folder(network.segment, str(network.provenance["checkpoint_sha256"]), *job.cohort(), job.folder, job.n)
    return []


def _pseudolabelled(segment: Segment, subject: Subject, sequence_id: str) -> SyntheticSequence | None:
    """None if no frame has contours and the network finds no heart in any."""
    sequence = load_sequence(subject)
    mask = annotate(sequence, segment)
    # Frames whose mask is impossible are left out: without one they would teach that there is no heart.
    kept = np.flatnonzero(mask.any(axis=(1, 2, 3)))
    if not len(kept):
        console.print(f"{subject.patient}: the segmenter finds no heart in any frame, so the patient is left out")
        return None
    ed, es = (int(np.abs(kept - t).argmin()) for t in (sequence.ed, sequence.es))
    image, mask = sequence.image[kept], mask[kept]
    return SyntheticSequence(
        id=sequence_id,
        image=image,
        mask=mask,
        spacing=sequence.spacing,
        ed=ed,
        es=es,
        frame_seconds=subject.frame_seconds or DEFAULT_CYCLE_SECONDS / len(sequence.image),
        seed=0,
        requested=Priors(diagnosis=subject.priors.diagnosis, vendor=subject.priors.vendor),
        measured=measure(mask[ed], mask[es], sequence.spacing),
    )
