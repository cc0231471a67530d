"""What every importer yields: one subject in memory, translated to this package's labels and units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.cases import Spacing
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors


@dataclass(frozen=True)
class SourceSubject:
    """One patient read from a source data set."""

    patient: str
    image: np.ndarray  # (T, X, Y, Z), the source's number type; T = 2 (ED, ES) where there is no cine, 1 of a still
    is_cine: bool  # whether `image` is the whole cine
    spacing: Spacing  # mm
    ed: int  # frame of `image`, from 0
    es: int
    masks: dict[str, np.ndarray]  # "ED", "ES" -> uint8 (X, Y, Z), this package's labels; either may be missing
    priors: Priors = field(default_factory=Priors)  # what the source's own table says; volumes are measured later where missing
    annotated: frozenset[int] = frozenset({RV, MYO, LV})
    frame_seconds: float = 0.0
    affine: np.ndarray | None = field(default=None, compare=False)
    centre: str = ""  # hospital, as the source names it; "" if unknown
    test: bool = False  # whether the source keeps this patient for testing: never trained on
    notes: tuple[str, ...] = ()  # what the importer had to decide, as sentences
    files: Mapping[str, Path] = field(default_factory=dict)  # "ED" and "ES": the masks; "frames": what says which frames these are

    @property
    def is_still(self) -> bool:
        """Whether it is one volume that nobody has contoured; it stands for ED and ES."""
        return len(self.image) == 1 and not self.is_cine and not self.masks
