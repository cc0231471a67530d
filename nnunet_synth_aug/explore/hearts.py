"""From what somebody wishes for on the page to one heart, in a few seconds and always the same one.

``synthaug sample`` tries a request until the quality control accepts a heart, which may take minutes. Here somebody waits: a few anatomies
are tried, the best is moved once, and the page says if the quality control would have rejected it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import VARIABLES, Priors, measure
from nnunet_synth_aug.model.generator import Generator, templates_of
from nnunet_synth_aug.synthesis.cascade import anatomy_masks, sample_anatomies, stream_cycles
from nnunet_synth_aug.synthesis.hearts import Anatomy, Request
from nnunet_synth_aug.synthesis.quality.control import ALL_CHECKS
from nnunet_synth_aug.synthesis.requests import beyond_training, near

#: What the page asks for, in its words. The rest is drawn near a training patient whose heart is like the one that is wished for.
WORDS = {"lv_ef": "EF", "lv_edv": "EDV", "lv_mass": "mass", "rv_edv": "RV EDV", "rv_ef": "RV EF", "diagnosis": "diagnosis"}
FRAMES, SEEDS = (8, 30), (0, 99_999)
#: Anatomies that share a call of the network, and calls before the nearest one is taken.
AT_ONCE, CALLS = 2, 3
#: Steps of both samplers. `synthaug sample` makes 12; with 6, EDV of the same anatomies differs by a few mL, in half the time.
STEPS = 6
#: Training patients from whom one is drawn, the nearest to the wish.
NEAREST = 5
#: How far apart two hearts are for one unit of distance: volumes and mass by 25 %, EF by 8 points.
_FAR = {"lv_ef": 8.0, "rv_ef": 8.0}

#: Tells what is being done, and the share of it that is done; may raise to stop.
Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Wish:
    """One heart as the page asks for it."""

    asked: Priors  # what was set; the rest is the generator's
    seed: int = 0
    frames: int = 20

    @staticmethod
    def of(values: Mapping[str, Any]) -> Wish:
        """Read it from the page's values.

        Args:
            values: ``seed``, ``frames`` and any of :data:`WORDS`; None or "" leaves a prior to the generator.

        Raises:
            UserError: an unknown name, or a value that no heart has.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"a wish is a mapping of names to values, such as {{'lv_ef': 30}}, not {values!r}")
        for name in values.keys() - {"seed", "frames", *WORDS}:
            raise UserError(f"there is no {name!r}; choose from {', '.join([*WORDS, 'seed', 'frames'])}")
        frames, seed = _whole("frames", values.get("frames", 20), *FRAMES), _whole("seed", values.get("seed", 0), *SEEDS)
        given = {name: value for name in WORDS if (value := values.get(name)) not in (None, "")}
        for name, value in given.items():
            _check(name, value)
        return Wish(PriorRequest.from_json(given, "the wish").fixed, seed, frames)


@dataclass(frozen=True)
class Heart:
    """What came of a wish."""

    wish: Wish
    sequence: SyntheticSequence
    reasons: tuple[str, ...]  # why the quality control would reject it; none if it would not
    tried: int  # anatomies


def _check(name: str, value: Any) -> None:
    """Refuse what no heart has, in the page's words."""
    variable = VARIABLES[name]
    if variable.choices:
        if value not in variable.choices:
            raise UserError(f"diagnosis {value!r} is unknown; choose one of {', '.join(variable.choices)}")
        return
    if not np.isfinite(number := _number(value)):
        raise UserError(f"{WORDS[name]} is {value!r}, which is not a number")
    if not variable.low <= number <= variable.high:
        limits = f"{variable.low:g} to {variable.high:g} {variable.unit}"
        raise UserError(f"{WORDS[name]} {number:g} {variable.unit} is outside what hearts have; choose {limits}")


def _number(value: Any) -> float:
    """NaN for what is no number, or too large to be one."""
    try:
        return float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _whole(name: str, value: Any, low: int, high: int) -> int:
    number = _number(value)
    if not (number.is_integer() and low <= number <= high):
        raise UserError(f"{name}: {value!r} is not a whole number from {low} to {high}")
    return int(number)


def make_heart(generator: Generator, wish: Wish, tell: Tell = lambda doing, share: None) -> Heart:
    """The heart of a wish; the same generator and wish give the same heart.

    Args:
        generator: a trained one, with templates.
        wish: what is asked for.
        tell: is told of progress, several times a second.

    Raises:
        UserError: no try had all parts of a heart.
    """
    quick = _quick(generator)
    with _counted(quick, wish.frames, tell):
        anatomy, reasons, tried = _best_anatomy(quick, wish)
        sequence = next(stream_cycles(quick, [anatomy], [anatomy.request.seed + 1]))
        tell("checking", 0.96)
    sequence = replace(sequence, id=name_of(wish), seed=wish.seed)
    found = dict.fromkeys([*reasons, *ALL_CHECKS.motion(sequence)])
    return Heart(wish, sequence, tuple(found), tried)


def _quick(generator: Generator) -> Generator:
    """The same with fewer steps, and its VAE in the memory layout in which CPUs convolve faster."""
    ldms = {name: replace(getattr(generator.config, name), sampler_steps=STEPS) for name in ("static", "motion")}
    generator.vae.to(memory_format=torch.channels_last)
    return replace(generator, config=replace(generator.config, **ldms))


def name_of(wish: Wish) -> str:
    """A name for its files, such as ``heart_lv_ef25_lv_edv150_seed3``."""
    told = [f"{k}{v:g}" if isinstance(v, float) else f"{k}{v}" for k, v in sorted(wish.asked.specified().items())]
    return "_".join(["heart", *told, f"seed{wish.seed}"])


def notes_of(generator: Generator, wish: Wish) -> list[str]:
    """Sentences on what no training patient has."""
    notes = []
    for line in beyond_training(PriorRequest(wish.asked), generator):
        for name, word in WORDS.items():
            line = line.replace(name, word)
        notes.append(line.removeprefix("note: ").replace("training patient", _taught_by(generator)))
    return notes


def _taught_by(generator: Generator) -> str:
    """What its training hearts are called."""
    return "training phantom" if all(p.startswith("phantom") for p in generator.provenance["patients"]) else "training patient"


def priors_for(generator: Generator, wish: Wish) -> Priors:
    """All that the networks are told: the wish, and the rest near a training patient whose heart is like it."""
    rng = np.random.default_rng([wish.seed, 11])
    pool = [t.priors for t in templates_of(generator)]
    pool = [one for one in pool if wish.asked.diagnosis in (None, one.diagnosis)] or pool

    def far(one: Priors) -> float:
        total = 0.0
        for name, value in wish.asked.specified().items():
            own = getattr(one, name)
            if VARIABLES[name].choices:
                continue
            if own is None:
                total += 4
            elif name in _FAR:
                total += ((value - own) / _FAR[name]) ** 2
            else:
                total += (float(np.log(value / own)) / 0.25) ** 2
        return total

    close = sorted(pool, key=far)[:NEAREST] if set(wish.asked.specified()) - {"diagnosis"} else pool
    return near(close[int(rng.integers(len(close)))], rng, wish.asked)


def _best_anatomy(generator: Generator, wish: Wish) -> tuple[Anatomy, list[str], int]:
    """The first anatomy that the quality control accepts, else the one it objects to least; its objections; how many were tried."""
    priors = priors_for(generator, wish)
    seeds = np.random.default_rng([wish.seed, 12]).integers(2**31, size=(CALLS, AT_ONCE)).tolist()
    tries: list[tuple[int, float, int, Anatomy, list[str]]] = []
    for call in seeds:
        requests = [Request("heart", seed, priors, wish.frames, calibrate=True, asked=wish.asked) for seed in call]
        anatomies = sample_anatomies(generator, requests)
        for anatomy, mask in zip(anatomies, anatomy_masks(generator, anatomies), strict=True):
            reasons = ALL_CHECKS.anatomy(anatomy, mask)
            if any(reason.startswith("missing") for reason in reasons):
                tries.append((99, 0.0, len(tries), anatomy, reasons))
                continue
            edv = measure(mask, None, anatomy.spacing).lv_edv or 1.0
            tries.append((len(reasons), abs(np.log(edv / (priors.lv_edv or edv))), len(tries), anatomy, reasons))
        tries.sort(key=lambda one: one[:3])
        if not tries[0][4]:
            break
    best = tries[0]
    if best[0] == 99:
        asked = ", ".join(f"{WORDS[k]} {v:g}" if isinstance(v, float) else str(v) for k, v in wish.asked.specified().items())
        raise UserError(f"none of {len(tries)} tries{f' for {asked}' if asked else ''} had all parts of a heart; ask for another one")
    return best[3], best[4], len(tries)


class _Count:
    """Turns calls of the networks into a share of the work."""

    def __init__(self, frames: int, tell: Tell) -> None:
        self.tell = tell
        # Costs in ms on two cores: what one call of each takes decides how the bar moves, not how long anything lasts.
        self.cost = {"anatomy": 60.0, "motion": 32.0, "frames": 65.0}
        self.total = (2 * STEPS - 1) * (self.cost["anatomy"] + self.cost["motion"]) + self.cost["frames"] * (1.5 * frames + 9)
        self.done = 0.0

    def __call__(self, what: str, amount: int = 1) -> None:
        self.done += self.cost[what] * amount
        doing = {"anatomy": "drawing the anatomy", "motion": "finding its motion", "frames": "drawing the frames"}[what]
        self.tell(doing, min(0.95, self.done / self.total))


@contextmanager
def _counted(generator: Generator, frames: int, tell: Tell) -> Iterator[None]:
    """Report every call of the networks while the block runs. One heart at a time: the hooks sit on the networks."""
    count = _Count(frames, tell)
    hooks = [
        generator.static.register_forward_pre_hook(lambda *_: count("anatomy")),
        generator.motion.register_forward_pre_hook(lambda *_: count("motion")),
        generator.vae.decoder.register_forward_pre_hook(
            lambda _, inputs: count("frames", max(1, len(inputs[0]) // generator.grid.size[2]))
        ),
    ]
    try:
        with torch.inference_mode():
            yield
    finally:
        for hook in hooks:
            hook.remove()
