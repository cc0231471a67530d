"""Which hearts to ask for when the user wants many: priors near those of the training patients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import VARIABLES, Priors
from nnunet_synth_aug.data.remodel import Remodelling
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.synthesis.hearts import Request

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
    pool = [t.priors for t in generator.templates if given.diagnosis in (None, t.priors.diagnosis)] or [
        t.priors for t in generator.templates
    ]
    base = pool[rng.integers(len(pool))]
    if spread := generator.config.latents.remodel:  # its LDMs have seen remodelled copies
        base = replace(Remodelling.drawn(rng, spread).applied(base), diagnosis=None)
    values: dict[str, Any] = {}
    size = float(np.exp(rng.normal(0, VOLUME_SPREAD)))
    for name in ("lv_edv", "rv_edv", "lv_mass"):
        if (value := getattr(base, name)) is not None:
            drawn_value = float(value) * size * float(np.exp(rng.normal(0, VOLUME_SPREAD / 2)))
            values[name] = round(min(drawn_value, VARIABLES[name].high), 1)
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


@dataclass(frozen=True)
class RequestPlan:
    """How the hearts of a set are asked for. Request i is the same for any number of hearts."""

    seed: int = 0
    priors: PriorRequest = PriorRequest()  # what every heart is asked for
    n_frames: int | None = None  # per cycle; None: as in the training cines
    free: bool = False  # leave what ``priors`` does not set open, instead of drawing it near a training patient
    calibrate: bool = True  # close the loop on EDV and EF
    grain: bool = True  # images as noisy as the training patients'

    def request(self, generator: Generator, index: int) -> Request:
        """Request number ``index``.

        Args:
            generator: whose training patients the open priors follow.
            index: from 0; the id is ``synth_`` and five digits.
        """
        rng = np.random.default_rng([self.seed, index])
        given = self.priors.draw(self.seed, index)
        priors = given if self.free else draw_priors(generator, rng, given)
        return Request(f"synth_{index:05d}", int(rng.integers(2**31)), priors, self.n_frames, self.calibrate, self.grain)

    def requests(self, generator: Generator, n: int) -> list[Request]:
        """The first ``n`` requests.

        Raises:
            UserError: more slices than the generator's grid holds.
        """
        refuse_too_many_slices(self.priors, generator)
        return [self.request(generator, index) for index in range(n)]
