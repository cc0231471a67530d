"""Phantom hearts as the sequences of a bank: the control for "any labelled hearts help"."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import OtherSequencesError
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.phantom import phantom_name, phantom_subject
from nnunet_synth_aug.synthesis.folder import INDEX, read_index
from nnunet_synth_aug.synthesis.sources.common import agree, fill
from nnunet_synth_aug.synthesis.sources.job import Job

#: Seeds of the cohorts that banks are made of start here, away from those of phantom data sets and of pretraining.
FIRST_SEED = 5000
#: Number, seed of the cohort, vendor and field of view.
_Wanted = tuple[int, int, str | None, float | None]


def phantoms_to_folder(
    folder: Path, n: int, seed: int = 0, vendors: Iterable[str] = (), processes: int = 1, field: float | None = None
) -> list[str]:
    """Write ``n`` phantom hearts as sequences, with provenance that names them; those that are there are kept.

    Args:
        folder: made if missing; must not hold sequences of another kind.
        n: how many; heart i is the same for any ``n``.
        seed: other seeds give other hearts.
        vendors: scanners to imitate, in turn; all of the phantom's if empty.
        processes: that share the work.
        field: side of the field of view, mm; default the heart and what is beside it.

    Returns:
        ids of the sequences.
    """
    cohort, cycle = FIRST_SEED + seed, sorted(vendors)
    wanted = {f"phantom_{i:05d}": (i, cohort, cycle[i % len(cycle)] if cycle else None, field) for i in range(n)}
    try:
        missing = agree(folder, f"phantom {__version__}", wanted)
    except OtherSequencesError as error:
        shown = read_index(folder)[1].get("field_mm", field) if (folder / INDEX).is_file() else field
        if shown == field:
            raise
        raise OtherSequencesError(
            f"{folder} holds phantoms that show {_side(shown)}, but the fold's training images ask for {_side(field)} now; add --replace, "
            "which deletes them first"
        ) from error
    provenance = {
        "source": "phantom",  # what the leak guard goes by: nobody's heart was learnt from
        "dataset": "phantom",
        "patients": [],
        "phantoms": [phantom_name(index, cohort) for index, *_ in wanted.values()],
        "vendors": cycle,
        "field_mm": field,
        "version": __version__,
    }
    made = _made([wanted[i] for i in missing], min(processes, max(len(missing), 1)))
    fill(folder, "phantoms", list(wanted), missing, made, provenance)
    return list(wanted)


def _side(field: float | None) -> str:
    return "the heart alone" if field is None else f"a field of {field:.0f} mm"


def make(job: Job) -> list[str]:
    """Phantoms; see :func:`~nnunet_synth_aug.synthesis.sources.job.make`."""
    phantoms_to_folder(job.folder, job.n, job.seed, job.vendors(), min(job.n, os.cpu_count() or 1), job.field_of_view())
    return []


def _made(wanted: list[_Wanted], processes: int) -> Iterator[SyntheticSequence]:
    if processes == 1:
        yield from map(_phantom, wanted)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for first in range(0, len(wanted), 2 * processes):  # a few per process in memory
            yield from pool.map(_phantom, wanted[first : first + 2 * processes])


def _phantom(wanted: _Wanted) -> SyntheticSequence:
    index, seed, vendor, field = wanted
    subject = phantom_subject(index, seed, vendor=vendor, field=field)
    source = subject.source
    return SyntheticSequence(
        id=f"phantom_{index:05d}",
        image=source.image.astype(np.float32),
        mask=subject.mask,
        spacing=source.spacing,
        ed=source.ed,
        es=source.es,
        frame_seconds=source.frame_seconds,
        seed=seed,
        requested=Priors(diagnosis=source.priors.diagnosis, vendor=source.priors.vendor),
        measured=measure(subject.mask[source.ed], subject.mask[source.es], source.spacing),
    )
