"""Which hearts to ask for when the user wants many: like the training patients, like those of a clinic, or like another cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, VENDORS
from nnunet_synth_aug.core.paths import dataset_name
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import FROM_MASKS, VARIABLES, Priors
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.phantom import physiology
from nnunet_synth_aug.data.remodel import Remodelling
from nnunet_synth_aug.model.generator import Generator, templates_of
from nnunet_synth_aug.synthesis.hearts import Request

#: Whom requests are like: the generator's training patients, or a clinic of all diagnoses.
PATIENTS, CLINIC = "patients", "clinic"
#: Multiplicative (volumes, mass) and additive (EF, percentage points) spread around a training patient.
VOLUME_SPREAD, EF_SPREAD = 0.12, 5.0


def near_ef(ef: float, rng: np.random.Generator) -> float:
    """An EF [%] near this one, within what hearts have."""
    return round(float(np.clip(ef + rng.normal(0, EF_SPREAD), 5, 85)), 1)


def draw_priors(generator: Generator, rng: np.random.Generator, given: Priors = Priors()) -> Priors:
    """Priors of a random training patient, jittered, with everything that ``given`` sets put in.

    A patient's variables are kept together because they depend on each other; if ``given`` sets a diagnosis
    the patient is one of that group. A generator that was taught with remodelled copies is asked for remodelled hearts, whose
    diagnosis is then open. Patient data that identify (age, height, weight) are not passed on.
    """
    base = _one_of([t.priors for t in templates_of(generator)], rng, given)
    if spread := generator.config.latents.remodel:  # its LDMs have seen remodelled copies
        base = replace(Remodelling.drawn(rng, spread).applied(base), diagnosis=None)
    return near(base, rng, given)


def clinic_priors(rng: np.random.Generator, index: int, given: Priors = Priors()) -> Priors:
    """Priors of a heart as a clinic sees them: all diagnoses in turn, with the distributions that phantoms are drawn from.

    Args:
        rng: where the draw is from.
        index: of the heart, which decides its diagnosis.
        given: is kept.
    """
    diagnosis = given.diagnosis or DIAGNOSES[index % len(DIAGNOSES)]
    drawn = physiology.draw_priors(rng, diagnosis, given.vendor or VENDORS[0], Priors())
    known: dict[str, Any] = {name: round(float(getattr(drawn, name)), 1) for name in FROM_MASKS}
    return Priors(diagnosis=diagnosis, **known).updated(given)


def _one_of(pool: Sequence[Priors], rng: np.random.Generator, given: Priors) -> Priors:
    """One of them; of the diagnosis that is given, if any has it."""
    pool = [one for one in pool if given.diagnosis in (None, one.diagnosis)] or pool
    return pool[int(rng.integers(len(pool)))]


def near(base: Priors, rng: np.random.Generator, given: Priors = Priors()) -> Priors:
    """Priors of a heart near this one, without what identifies a patient, and with everything that ``given`` sets put in."""
    values: dict[str, Any] = {}
    size = float(np.exp(rng.normal(0, VOLUME_SPREAD)))
    for name in ("lv_edv", "rv_edv", "lv_mass"):
        if (value := getattr(base, name)) is not None:
            drawn_value = float(value) * size * float(np.exp(rng.normal(0, VOLUME_SPREAD / 2)))
            values[name] = round(min(max(drawn_value, VARIABLES[name].low), VARIABLES[name].high), 1)
    for name in ("lv_ef", "rv_ef"):
        if (value := getattr(base, name)) is not None:
            values[name] = near_ef(float(value), rng)
    drawn = replace(base, age=None, height=None, weight=None, sex=None, **values)
    return drawn.updated(given)


def refuse_too_many_slices(priors: PriorRequest, generator: Generator) -> None:
    """Raise UserError for a stack that the grid cannot hold: it is not cut in silence."""
    depth = generator.config.grid.size[2]
    asked = priors.fixed.n_slices or round(priors.ranges.get("n_slices", (0, 0))[1])
    if asked > depth:
        raise UserError(
            f"n_slices {asked} is more than the {depth} slices that this generator (preset {generator.config.preset}) can make; ask for at "
            f"most {depth}, or train one with a deeper grid, such as 'synthaug fit --preset base' (12) or '--set grid.size=[96,96,16]'"
        )


def beyond_training(priors: PriorRequest, generator: Generator) -> list[str]:
    """Sentences about values that no training patient has, nor lies beside: what the generator makes for them is a guess."""
    known: dict[str, list[Any]] = {}
    for template in generator.templates:
        for name, value in template.priors.specified().items():
            known.setdefault(name, []).append(value)
    lines = []
    for name, asked in priors.to_json().items():
        values = known.get(name)
        if not values:
            lines.append(f"note: nothing is known of {name} in the training patients, so {_shown(asked)} may change nothing")
        elif VARIABLES[name].choices:
            if asked not in values:
                lines.append(f"note: no training patient has {name} {asked} ({', '.join(sorted(set(values)))})")
        elif min(np.atleast_1d(asked)) < min(values) or max(np.atleast_1d(asked)) > max(values):
            lines.append(
                f"note: the training patients' {name} goes from {min(values):g} to {max(values):g}, and {_shown(asked)} lies beyond"
            )
    return lines


def _shown(asked: Any) -> str:
    return "..".join(f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in np.atleast_1d(np.asarray(asked, object)))


def priors_like(like: str, own: str) -> tuple[Priors, ...]:
    """Priors of the patients of a dataset that is named as an example; none for PATIENTS and CLINIC.

    Args:
        like: PATIENTS, CLINIC, or id or name of the dataset.
        own: name of the dataset that the hearts are for.

    Raises:
        UserError: there is no such dataset, it is the own one, or it says nothing of any patient's volumes.
    """
    if like in (PATIENTS, CLINIC):
        return ()
    if dataset_name(like) == own:
        raise UserError(f"--like {like}: {own} holds the patients that are validated on, too; say --like patients for those of training")
    cohort = Cohort.load(like)
    known = tuple(one.priors for one in cohort.subjects if one.priors.lv_edv is not None)
    if not known:
        raise UserError(f"{cohort.name} says nothing of any patient's volumes, so hearts cannot be like them; name another dataset")
    return known


@dataclass(frozen=True)
class RequestPlan:
    """How the hearts of a set are asked for. Request i is the same for any number of hearts."""

    seed: int = 0
    priors: PriorRequest = PriorRequest()  # what every heart is asked for
    n_frames: int | None = None  # per cycle; None: as in the training cines
    free: bool = False  # leave what ``priors`` does not set open, instead of drawing it near a training patient
    calibrate: bool = True  # close the loop on EDV and EF
    grain: bool = True  # images as noisy as the training patients'
    like: str = PATIENTS  # whom the hearts are like in what ``priors`` leaves open: PATIENTS, CLINIC, or the name of another cohort
    others: tuple[Priors, ...] = ()  # of that cohort

    def request(self, generator: Generator, index: int) -> Request:
        """Request number ``index``.

        Args:
            generator: whose training patients the open priors follow.
            index: from 0; the id is ``synth_`` and five digits.
        """
        rng = np.random.default_rng([self.seed, index])
        given = self.priors.draw(self.seed, index)
        if self.free:
            priors = given
        elif self.like == CLINIC:
            priors = clinic_priors(rng, index, given)
        else:
            priors = near(_one_of(self.others, rng, given), rng, given) if self.others else draw_priors(generator, rng, given)
        return Request(f"synth_{index:05d}", int(rng.integers(2**31)), priors, self.n_frames, self.calibrate, self.grain, asked=given)

    def requests(self, generator: Generator, n: int) -> list[Request]:
        """The first ``n`` requests.

        Raises:
            UserError: more slices than the generator's grid holds, or a generator that is only there to be continued.
        """
        refuse_too_many_slices(self.priors, generator)
        return [self.request(generator, index) for index in range(n)]
