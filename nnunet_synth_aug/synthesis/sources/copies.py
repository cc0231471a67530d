"""Training patients deformed, with their own contours: what can be had without a network, and what every generator has to beat.

Copies are bent smoothly and remodelled as disease does it; bent ones keep the heart's proportions, which tells how much of a gain is the
remodelling's. They keep their own pixels: nothing is turned, scaled or shifted, because nnU-Net does that itself. ED and ES alone have
contours, so each copy has two frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.cases import Sequence, Subject, SyntheticSequence
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.remodel import Remodelling, radial_maps
from nnunet_synth_aug.data.warp import deformed, smooth_warp
from nnunet_synth_aug.model.config import LatentConfig
from nnunet_synth_aug.synthesis.cascade import DEFAULT_CYCLE_SECONDS
from nnunet_synth_aug.synthesis.sources.common import agree, fill, labelled_subjects
from nnunet_synth_aug.synthesis.sources.job import Job

#: ``--source`` -> how much its copies are remodelled, as ``latents.remodel``.
REMODEL = {"copies": 1.0, "bent": 0.0}
#: Standard deviation of the smooth deformation in mm: that of the copies which generators are taught with.
WARP = LatentConfig().warp


@dataclass(frozen=True)
class Original:
    """What is copied: frames of one patient that have contours."""

    name: str  # unique
    patient: str
    load: Callable[[], Sequence] = field(repr=False)  # read when needed; every frame is contoured
    annotated: frozenset[int] = frozenset({RV, MYO, LV})
    frame_seconds: float = 0.0  # 0 if unknown
    priors: Priors = Priors()


def cohort_originals(cohort: Cohort, patients: Iterable[str]) -> list[Original]:
    """ED and ES of those of the patients that have contours.

    Raises:
        UserError: none has.
    """
    return [_of(subject) for subject in labelled_subjects(cohort, patients, "copy")]


def _of(subject: Subject) -> Original:
    return Original(
        name=subject.patient,
        patient=subject.patient,
        load=lambda: _contoured_frames(load_sequence(subject)),
        annotated=subject.annotated,
        frame_seconds=subject.frame_seconds or DEFAULT_CYCLE_SECONDS / subject.n_frames,
        priors=subject.priors,
    )


def _contoured_frames(sequence: Sequence) -> Sequence:
    """ED and ES alone, or the one of them that has contours, which then stands for both."""
    frames = sorted(sequence.labelled)
    position = {frame: number for number, frame in enumerate(frames)}
    ed, es = (position.get(frame, 0) for frame in (sequence.ed, sequence.es))
    return replace(sequence, image=sequence.image[frames], mask=sequence.mask[frames], ed=ed, es=es, labelled=(*range(len(frames)),))


def copies_to_folder(originals: Seq[Original], dataset: str, folder: Path, n: int, seed: int = 0, source: str = "copies") -> list[str]:
    """Write ``n`` copies, of each original in turn; those that are there are kept.

    Args:
        originals: of a fold's training patients.
        dataset: that they belong to.
        folder: made if missing; must not hold sequences of another kind.
        n: how many; copy i is the same for any ``n``.
        seed: other seeds give other copies.
        source: ``copies`` or ``bent``; the same seed bends them alike.

    Returns:
        ids of the sequences.
    """
    order = np.random.default_rng(seed).permutation(len(originals))
    chosen = {f"copy_{index:05d}": originals[int(order[index % len(order)])] for index in range(n)}
    settings = {"warp": WARP, "remodel": REMODEL[source]}
    missing = agree(folder, f"{source} {__version__}", {i: [one.name, seed, settings] for i, one in chosen.items()})
    provenance = {
        "source": source,
        "dataset": dataset,
        "patients": sorted({one.patient for one in originals}),  # what the leak guard goes by
        "copies": settings,
        "version": __version__,
    }
    numbers = {i: number for number, i in enumerate(chosen)}
    made = (copied(chosen[i], i, np.random.default_rng([seed, numbers[i], 3]), settings["remodel"], seed) for i in missing)
    fill(folder, "copying patients", list(chosen), missing, made, provenance)
    return list(chosen)


def make(job: Job) -> list[str]:
    """Copies, or bent ones; see :func:`~nnunet_synth_aug.synthesis.sources.job.make`."""
    copies_to_folder(job.originals(), job.dataset, job.folder, job.n, job.seed, job.source)
    return []


def copied(original: Original, sequence_id: str, rng: np.random.Generator, remodel: float, seed: int = 0) -> SyntheticSequence:
    """One copy.

    Args:
        original: what to copy.
        sequence_id: of the copy.
        rng: decides the deformation.
        remodel: 0 to 1, as ``latents.remodel``.
        seed: to be written down.
    """
    own = original.load()
    warp = smooth_warp((own.image.shape[1], own.image.shape[2]), own.spacing[:2], WARP, rng)
    made = deformed(own, warp, radial_maps(own, Remodelling.drawn(rng, remodel)) if remodel else ())
    es = made.mask[made.es] if made.es != made.ed else None
    return SyntheticSequence(
        id=sequence_id,
        image=made.image,
        mask=made.mask,
        spacing=made.spacing,
        ed=made.ed,
        es=made.es,
        frame_seconds=original.frame_seconds,
        seed=seed,
        # A dilated heart says nothing certain about its patient's disease.
        requested=Priors(diagnosis=None if remodel else original.priors.diagnosis, vendor=original.priors.vendor),
        measured=measure(made.mask[made.ed], es, made.spacing, original.annotated),
    )
