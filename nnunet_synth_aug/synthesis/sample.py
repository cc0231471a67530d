"""From requests to a folder of sequences: each request is tried until the quality control accepts; streamed, resumable, counted.

A request tries the same seeds in the same order whatever its companions: an anatomy, up to three cycles on it if it is sound,
then the next anatomy. The companions only share the calls of the networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import IncompleteError, OtherSequencesError, UserError
from nnunet_synth_aug.core.files import hash_json, make_folder, read_object, write_json
from nnunet_synth_aug.core.others_files import refuse_to_replace
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.synthesis.cascade import anatomy_masks, sample_anatomies, stream_cycles
from nnunet_synth_aug.synthesis.figures import write_table
from nnunet_synth_aug.synthesis.folder import INDEX, sequence_exists, write_index, write_sequence
from nnunet_synth_aug.synthesis.hearts import Anatomy, Request
from nnunet_synth_aug.synthesis.quality.control import ALL_CHECKS, QualityControl
from nnunet_synth_aug.synthesis.quality.defects import CANNOT_FOLLOW

#: Anatomies per request, and cycles per accepted anatomy, before a request counts as impossible; and hearts of it that could not be shown.
MAX_ANATOMIES, MAX_CYCLES, MAX_UNSHOWN = 16, 3, 6


@dataclass(frozen=True)
class Outcome:
    """How a request ended."""

    request: Request
    sequence: SyntheticSequence | None  # None if the tries are used up
    rejected: list[list[str]]  # reasons of every rejection, in order


@dataclass
class _Attempt:
    """A request on its way."""

    request: Request
    anatomy_seeds: list[int]  # still to be tried
    motion_seeds: list[list[int]]  # of each anatomy still to be tried
    anatomy: Anatomy | None = None
    cycle_seeds: list[int] = field(default_factory=list)  # still to be tried on `anatomy`
    rejected: list[list[str]] = field(default_factory=list)
    unshown: int = 0

    @staticmethod
    def of(request: Request) -> _Attempt:
        seeds = np.random.default_rng(request.seed).integers(2**31, size=(MAX_ANATOMIES, 1 + MAX_CYCLES)).tolist()
        return _Attempt(request, [s[0] for s in seeds], [s[1:] for s in seeds])


class Show(Protocol):
    """Shows accepted hearts in other pixels, such as a donor's or a painter's."""

    @property
    def about(self) -> dict[str, Any]:
        """What the provenance says of it; with another one it makes other hearts."""

    @property
    def keeps_masks(self) -> bool:
        """Whether the contours stay the cascade's own, so that these are checked before anything is shown."""

    def __call__(self, heart: SyntheticSequence) -> SyntheticSequence | list[str]:
        """The heart, or reasons why it cannot be shown."""


def sample_accepted(generator: Generator, requests: list[Request], quality: QualityControl, show: Show | None = None) -> Iterator[Outcome]:
    """Sample the requests together until each is accepted or given up; yields them as they end, one sequence in memory.

    Anatomies are checked before any motion is made for them: decoding one frame costs a fraction of a cycle.

    Args:
        generator: a trained one.
        requests: what is asked for.
        quality: the quality control.
        show: in what pixels hearts are shown that passed it; None: as they were decoded.
    """
    attempts = [_Attempt.of(request) for request in requests]
    decoded = quality if show is None or show.keeps_masks else replace(quality, outlines_only=True)
    while attempts:
        _find_anatomies(generator, attempts, decoded)
        yield from (Outcome(a.request, None, a.rejected) for a in attempts if a.anatomy is None)
        attempts = [a for a in attempts if a.anatomy is not None]
        anatomies = [a.anatomy for a in attempts if a.anatomy is not None]
        unfinished = []
        cycles = stream_cycles(generator, anatomies, [a.cycle_seeds.pop(0) for a in attempts]) if attempts else iter(())
        for attempt, sequence in zip(attempts, cycles, strict=True):
            reasons = decoded.motion(sequence)
            trusted = quality.with_trust(sequence) if decoded is quality else sequence
            shown = trusted if reasons or show is None else show(trusted)
            if isinstance(shown, list):
                reasons = shown
                attempt.unshown += 1
                if attempt.unshown == MAX_UNSHOWN:  # others would be no nearer to the donors
                    attempt.anatomy_seeds, attempt.cycle_seeds = [], []
            elif not reasons:
                # Of the cascade's own masks the outlines were checked above; these contours are what nnU-Net is given.
                reasons = ([] if decoded is quality else quality.motion(shown)) or quality.witness(shown)
            if reasons or isinstance(shown, list):
                attempt.rejected.append(reasons)
                unfinished.append(attempt)
            else:
                yield Outcome(attempt.request, shown, attempt.rejected)
        attempts = unfinished


def _find_anatomies(generator: Generator, attempts: list[_Attempt], quality: QualityControl) -> None:
    """Give every attempt an anatomy with a cycle left to try, or none if its seeds are used up."""
    for attempt in attempts:
        if not attempt.cycle_seeds:
            attempt.anatomy = None
    while lacking := [a for a in attempts if a.anatomy is None and a.anatomy_seeds]:
        anatomies = sample_anatomies(generator, [replace(a.request, seed=a.anatomy_seeds.pop(0)) for a in lacking])
        masks = anatomy_masks(generator, anatomies) if quality.check else [None] * len(lacking)
        for attempt, anatomy, mask in zip(lacking, anatomies, masks, strict=True):
            cycle_seeds = attempt.motion_seeds.pop(0)
            if mask is not None and (reasons := quality.anatomy(anatomy, mask)):
                attempt.rejected.append(reasons)
            else:
                attempt.anatomy, attempt.cycle_seeds = anatomy, cycle_seeds


#: Of the quality control: a folder holds hearts that went through the same ones. 2: torn slices.
RULES = 2


def sample_to_folder(
    generator: Generator,
    requests: list[Request],
    folder: Path,
    quality: QualityControl = ALL_CHECKS,
    skip_impossible: bool = False,
    batch: int = 8,
    about: dict[str, Any] | None = None,
    show: Show | None = None,
) -> list[str]:
    """Write every requested sequence that is not there yet, then the index and ``priors.csv``.

    Requests go through in groups of ``batch``. A sequence is written as soon as it is accepted and then forgotten. A
    killed run begins its unfinished group again, so that it ends with the same sequences as one that was not killed.

    Args:
        generator: a trained one.
        requests: ids must be unique.
        folder: made if missing; must not hold sequences of another generator or other requests.
        quality: the quality control; ``UNCHECKED`` accepts everything.
        skip_impossible: leave out a request that the generator cannot meet (counted) instead of stopping.
        batch: hearts per call of the networks; results depend on it in the last bits of floating point only.
        about: what the provenance is to say besides the generator's own.
        show: see :func:`sample_accepted`.

    Returns:
        ids of the sequences in the folder.
    """
    make_folder(folder)
    refuse_to_replace(folder, (INDEX, "priors.csv", "figures.json", "rejections.json"), ["plan.json"], "synthaug sample")
    _agree(folder / "plan.json", generator, requests, quality, show)
    log = folder / "rejections.json"
    rejections: dict[str, list[list[str]]] = read_object(log) if log.is_file() else {}

    def done(request: Request) -> bool:
        # An id in the log without a sequence was given up; the unfinished group of a killed run is not in the log.
        return request.id in rejections and (skip_impossible or sequence_exists(folder, request.id))

    lost: list[Request] = []
    with progress("sampling", len(requests), finished := sum(done(r) for r in requests)) as bar:
        for first in range(0, len(requests), batch):
            group = [r for r in requests[first : first + batch] if not done(r)]
            ended: dict[str, list[list[str]]] = {}
            for outcome in sample_accepted(generator, group, quality, show):
                if outcome.sequence is not None:
                    write_sequence(folder, outcome.sequence)
                ended[outcome.request.id] = outcome.rejected
                bar.advance(finished + len(ended), outcome.request.id)
            finished += len(ended)
            if group:
                rejections |= {r.id: ended[r.id] for r in group}
                write_json(log, rejections)
            if lost := [] if skip_impossible else [r for r in group if not sequence_exists(folder, r.id)]:
                break
    ids = [r.id for r in requests if sequence_exists(folder, r.id)]
    if lost and not ids:
        raise UserError(impossible(lost[0], rejections[lost[0].id]))
    if not ids:
        raise UserError(f"no request passed the quality control; train the generator longer, or see {log} for the reasons")
    told = (about or {}) | (show.about if show else {})
    write_index(folder, ids, generator.provenance | {"quality": _quality(requests, ids, rejections, quality)} | told)
    write_table(folder)
    if lost:
        raise IncompleteError(f"{impossible(lost[0], rejections[lost[0].id])}; the {len(ids)} that passed are in {folder}")
    return ids


def impossible(request: Request, rejected: list[list[str]], unchecked: str = "--no-check") -> str:
    """A sentence on a request that was given up, with the commonest reasons.

    Args:
        request: the one.
        rejected: reasons of every rejection.
        unchecked: how to have hearts that nothing checks.
    """
    asked = (request.priors if request.asked is None else request.asked).specified()
    # A heart is drawn near a training patient where nothing is asked for: those values the user does not know of.
    unknown = {f"missed_{name}" for name in request.priors.specified().keys() - asked.keys()}
    told = ({"unlike its patient" if r in unknown else r for r in reasons} for reasons in rejected)
    common = Counter(reason for reasons in told for reason in sorted(reasons)).most_common(3)
    if common and common[0][0] == CANNOT_FOLLOW:
        wish = asked or "it"
        return f"{request.id}: no training patient can be brought to {wish}; ask for values nearer to theirs, or use --render decoder"
    return (
        f"{request.id}: none of {len(rejected)} samples{f' for {asked}' if asked else ''} passed the quality control "
        f"({', '.join(f'{r} {n}x' for r, n in common)}); {'ask for values nearer to those of training patients, ' if asked else ''}"
        f"train longer, or pass {unchecked}"
    )


def _quality(requests: list[Request], ids: list[str], rejections: dict[str, list[list[str]]], quality: QualityControl) -> dict[str, Any]:
    """What the quality control did: part of the provenance, because rejecting selects."""

    def counts(some: list[Request]) -> dict[str, Any]:
        accepted = sum(r.id in ids for r in some)
        tries = accepted + sum(len(rejections.get(r.id, [])) for r in some)
        # A few requests that the generator cannot meet use up most of the tries; how many hearts come out sound is told by the first ones.
        first = sum(r.id in ids and not rejections.get(r.id) for r in some)
        rate = accepted / tries if tries else None
        return {"requests": len(some), "first_try": first, "tries": tries, "accepted": accepted, "acceptance_rate": rate}

    asked = quality.check and quality.agreement is not None
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.priors.diagnosis or "unspecified", []).append(request)
    return {
        "checked": quality.check,
        "image_mask_checked": asked,
        "segmenter": dict(quality.segmenter or {}) if asked else None,
        "min_agreement": quality.min_agreement if asked else None,
        **counts(requests),
        "by_diagnosis": {name: counts(groups[name]) for name in sorted(groups)},
        "reasons": dict(Counter(reason for r in requests for one in rejections.get(r.id, []) for reason in one)),
        "given_up": [r.id for r in requests if r.id not in ids],
    }


def _agree(path: Path, generator: Generator, requests: list[Request], quality: QualityControl, show: Show | None) -> None:
    """Refuse a folder of another generator or other requests; a folder may grow or be used in part."""
    least = None if quality.agreement is None else quality.min_agreement
    same = {"generator_hash": generator.provenance["generator_hash"], "check": quality.check, "min_agreement": least, "rules": RULES}
    same |= {"shown": hash_json(show.about)} if show else {}
    if quality.segmenter is not None:
        same["segmenter"] = hash_json(dict(quality.segmenter))
    asked = {r.id: hash_json(_asked(r)) for r in requests}
    known = read_object(path, "requests") if path.is_file() else same | {"requests": {}}
    if not isinstance(known["requests"], dict):
        raise UserError(f"{path} is damaged; delete the sequences in this folder and make them again")
    conflict = [i for i, h in asked.items() if known["requests"].get(i, h) != h]
    if conflict or any(known.get(k) != same.get(k) for k in (same.keys() | known.keys()) - {"requests"}):
        raise OtherSequencesError(
            f"{path.parent} holds sequences of another generator, request, quality control or way of showing them; choose another folder, "
            "or add --replace to 'synthaug bank', which deletes them first"
        )
    write_json(path, same | {"requests": known["requests"] | asked})


def _asked(request: Request) -> list[Any]:
    """What decides how a request turns out, for a given generator."""
    own = [request.seed, request.priors.specified(), request.n_frames, request.calibrate]
    return own if request.origin is None else [*own, request.origin.name, request.origin.strength]
