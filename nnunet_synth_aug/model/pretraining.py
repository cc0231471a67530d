"""The phantom cohort from which a generator may start: outside nnU-Net's folders of data sets, because nobody trains nnU-Net on it."""

from __future__ import annotations

import os
from pathlib import Path

from nnunet_synth_aug.core.files import atomic_folder
from nnunet_synth_aug.data.cohort import write_cohort
from nnunet_synth_aug.data.phantom import phantom_cohort
from nnunet_synth_aug.data.raw_dataset import write_subjects


def write_phantoms(folder: Path, n: int, seed: int) -> None:
    """Write ``n`` phantom patients with all files under ``folder``, as a whole or not at all."""
    with atomic_folder(folder) as temporary:
        subjects, notes = write_subjects(phantom_cohort(n, seed, os.cpu_count() or 1), temporary, "phantoms", n)
        write_cohort(temporary, subjects, {"source": "phantom", "n": n, "seed": seed}, notes)
