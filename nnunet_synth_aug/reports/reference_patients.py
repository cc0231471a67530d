"""The hearts that the reports ask a generator for: with the priors of patients that it never saw."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.splits import fold_patients
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.model.grid import to_grid
from nnunet_synth_aug.model.training_set import grid_priors
from nnunet_synth_aug.synthesis.hearts import Request


@dataclass(frozen=True)
class ReferencePatients:
    """The patients with whose priors a generator is asked for hearts in the reports."""

    patients: tuple[str, ...]  # diagnoses in turn, so that the first few are of every group
    held_out: bool  # False for fold "all", which holds nobody out

    @property
    def words(self) -> str:
        """What texts call them."""
        return "held-out patients" if self.held_out else "TRAINING patients (fold all holds nobody out)"


def reference_patients(generator: Generator, cohort: Cohort) -> ReferencePatients:
    """Validation patients of the generator's fold, or its training patients for fold "all".

    Raises:
        UserError: the generator belongs to another dataset, or saw a validation patient.
    """
    fold, seen = generator.provenance["fold"], set(generator.provenance["patients"])
    if generator.provenance["dataset"] != cohort.name:
        raise UserError(f"the generator was trained on {generator.provenance['dataset']}, not on {cohort.name}; choose its dataset with -d")
    split = fold_patients(cohort, fold)
    if leaked := sorted(seen & set(split.val)):
        raise UserError(
            f"the generator of fold {fold} was trained on {', '.join(leaked[:5])}, who are validation patients now: the split was changed; "
            f"train it again with 'synthaug fit -d {cohort.name} -f {fold}'"
        )
    patients = split.val or tuple(sorted(seen))
    groups: dict[str, list[str]] = {}
    turn: dict[str, tuple[int, str]] = {}
    for patient in patients:
        group = cohort.subject(patient).priors.diagnosis or ""
        turn[patient] = (len(groups.setdefault(group, [])), group)
        groups[group].append(patient)
    return ReferencePatients(tuple(sorted(patients, key=lambda p: turn[p])), bool(split.val))


def _possible(priors: Priors) -> Priors:
    """Without values that no request may have, such as the mass of a heart that the grid cuts off."""
    kept: dict[str, Any] = {}
    for name, value in priors.specified().items():
        with suppress(UserError):
            kept |= Priors(**{name: value}).validated().specified()
    return Priors(**kept)


def reference_requests(generator: Generator, cohort: Cohort, n: int, seed: int, calibrate: bool = False) -> list[Request]:
    """``n`` requests with the reference patients' priors, in turn; request i is the same for any n.

    Priors are those of what the generator's grid shows of a patient. What identifies a patient is left out, as everywhere.

    Args:
        generator: whose grid and fold.
        cohort: its dataset.
        n: number of hearts.
        seed: of the whole set.
        calibrate: close the loop on EDV and EF; the reports are on the open loop.
    """
    chosen = reference_patients(generator, cohort).patients[:n]
    priors: list[Priors] = []
    with progress("reading priors", len(chosen)) as bar:
        for done, patient in enumerate(chosen, 1):
            subject = cohort.subject(patient)
            gridded = to_grid(load_sequence(subject), generator.grid, generator.config.grid, frames=sorted({subject.ed, subject.es}))
            shown = replace(grid_priors(subject, gridded), age=None, height=None, weight=None, sex=None)
            priors.append(_possible(shown))
            bar.advance(done, patient)
    requests = []
    for index in range(n):
        own = int(np.random.default_rng([seed, index]).integers(2**31))
        requests.append(Request(f"synth_{index:05d}", own, priors[index % len(priors)], None, calibrate))
    return requests
