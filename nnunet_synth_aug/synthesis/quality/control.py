"""What a sampled heart must satisfy, asked as early as it can be answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.synthesis.hearts import Anatomy
from nnunet_synth_aug.synthesis.quality.contours import sound_ranges
from nnunet_synth_aug.synthesis.quality.defects import (
    ANATOMY,
    MIN_AGREEMENT,
    MOTION,
    disagreement,
    frame_defects,
    missed,
    missing,
    motion_defects,
)

#: Dice per structure between a sequence's masks and those of an independent segmenter on its images.
Agreement = Callable[[SyntheticSequence], dict[str, float]]


@dataclass(frozen=True)
class QualityControl:
    """What a sample must satisfy."""

    check: bool = True  # False accepts everything
    agreement: Agreement | None = None
    min_agreement: float = MIN_AGREEMENT  # mean Dice
    segmenter: Mapping[str, Any] | None = None  # which one agreement asks: part of the provenance
    outlines_only: bool = False  # masks tell outlines that others' contours are brought to: torn ones do, and volumes are closed later

    def anatomy(self, anatomy: Anatomy, ed: np.ndarray) -> list[str]:
        """Reasons to reject an anatomy by its ED mask (X, Y, Z), before any motion is made for it."""
        if self.outlines_only:
            return missing(ed)
        return [*frame_defects(ed), *missed(anatomy.request.priors, measure(ed, None, anatomy.spacing), ANATOMY)]

    def motion(self, sequence: SyntheticSequence) -> list[str]:
        """Reasons to reject a whole sequence by its masks."""
        if not self.check:
            return []
        if self.outlines_only:
            return [f"{lost}_in_cycle" for lost in dict.fromkeys(name for mask in sequence.mask for name in missing(mask))]
        return [*motion_defects(sequence.mask, sequence.es), *missed(sequence.requested, sequence.measured, ANATOMY | MOTION)]

    def witness(self, sequence: SyntheticSequence) -> list[str]:
        """Reasons to reject a sequence that the segmenter gives, which costs most and is asked last, of what is shown in the end."""
        return disagreement(self.agreement(sequence), self.min_agreement) if self.check and self.agreement is not None else []

    def with_trust(self, sequence: SyntheticSequence) -> SyntheticSequence:
        """An accepted sequence that says which of its slices can be trusted: all of them, if nothing is checked."""
        return replace(sequence, sound=sound_ranges(sequence.mask)) if self.check else sequence


ALL_CHECKS, UNCHECKED = QualityControl(), QualityControl(check=False)
