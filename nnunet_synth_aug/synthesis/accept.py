"""A few requests at a time, each tried until the quality control accepts.

A request tries the same seeds in the same order whatever its companions: an anatomy, up to three cycles on it if it is sound,
then the next anatomy. The companions only share the calls of the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.synthesis.cascade import anatomy_masks, sample_anatomies, stream_cycles
from nnunet_synth_aug.synthesis.hearts import Anatomy, Request
from nnunet_synth_aug.synthesis.quality.contours import sound_ranges
from nnunet_synth_aug.synthesis.quality.defects import ANATOMY, MIN_AGREEMENT, MOTION, disagreement, frame_defects, missed, motion_defects

#: Anatomies per request, and cycles per accepted anatomy, before a request counts as impossible.
MAX_ANATOMIES, MAX_CYCLES = 16, 3

#: Dice per structure between a sequence's masks and those of an independent segmenter on its images.
Agreement = Callable[[SyntheticSequence], dict[str, float]]


@dataclass(frozen=True)
class QualityControl:
    """What a sample must satisfy."""

    check: bool = True  # False accepts everything
    agreement: Agreement | None = None
    min_agreement: float = MIN_AGREEMENT  # mean Dice
    segmenter: Mapping[str, Any] | None = None  # which one agreement asks: part of the provenance

    def anatomy(self, anatomy: Anatomy, ed: np.ndarray) -> list[str]:
        """Reasons to reject an anatomy by its ED mask (X, Y, Z), before any motion is made for it."""
        return [*frame_defects(ed), *missed(anatomy.request.priors, measure(ed, None, anatomy.spacing), ANATOMY)]

    def cycle(self, sequence: SyntheticSequence) -> list[str]:
        """Reasons to reject a whole sequence; the segmenter, which costs most, is asked last."""
        if not self.check:
            return []
        reasons = [*motion_defects(sequence.mask, sequence.es), *missed(sequence.requested, sequence.measured, ANATOMY | MOTION)]
        if not reasons and self.agreement is not None:
            reasons = disagreement(self.agreement(sequence), self.min_agreement)
        return reasons

    def with_trust(self, sequence: SyntheticSequence) -> SyntheticSequence:
        """An accepted sequence that says which of its slices can be trusted: all of them, if nothing is checked."""
        return replace(sequence, sound=sound_ranges(sequence.mask)) if self.check else sequence


ALL_CHECKS, UNCHECKED = QualityControl(), QualityControl(check=False)


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

    @staticmethod
    def of(request: Request) -> _Attempt:
        seeds = np.random.default_rng(request.seed).integers(2**31, size=(MAX_ANATOMIES, 1 + MAX_CYCLES)).tolist()
        return _Attempt(request, [s[0] for s in seeds], [s[1:] for s in seeds])


def sample_accepted(generator: Generator, requests: list[Request], quality: QualityControl) -> Iterator[Outcome]:
    """Sample the requests together until each is accepted or given up; yields them as they end, one sequence in memory.

    Anatomies are checked before any motion is made for them: decoding one frame costs a fraction of a cycle.
    """
    attempts = [_Attempt.of(request) for request in requests]
    while attempts:
        _find_anatomies(generator, attempts, quality)
        yield from (Outcome(a.request, None, a.rejected) for a in attempts if a.anatomy is None)
        attempts = [a for a in attempts if a.anatomy is not None]
        anatomies = [a.anatomy for a in attempts if a.anatomy is not None]
        unfinished = []
        cycles = stream_cycles(generator, anatomies, [a.cycle_seeds.pop(0) for a in attempts]) if attempts else iter(())
        for attempt, sequence in zip(attempts, cycles, strict=True):
            if reasons := quality.cycle(sequence):
                attempt.rejected.append(reasons)
                unfinished.append(attempt)
            else:
                yield Outcome(attempt.request, quality.with_trust(sequence), attempt.rejected)
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
