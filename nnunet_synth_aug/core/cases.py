"""The values that pass between the rooms of this package, with axes and units.

Arrays in memory are (T, X, Y, Z) or (X, Y, Z); files are NIfTI (X, Y, Z[, T]); network tensors are
(B, C, X, Y, Z). Z is always the through-plane axis. Frames are counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Subject:
    """One patient of a cohort, on disk."""

    patient: str  # the unit of every split
    spacing: Spacing  # mm
    priors: Priors
    cine: Path | None  # 4D NIfTI (X, Y, Z, T); None where only ED and ES volumes exist
    n_frames: int  # of the cine; 2 without one, 1 of a single volume, which stands for ED and ES
    ed: int  # index of the ED frame in the cine
    es: int
    images: dict[str, Path] = field(default_factory=dict)  # phase -> 3D image, keys "ED", "ES"
    masks: dict[str, Path] = field(default_factory=dict)  # phase -> 3D mask in this package's labels
    cases: dict[str, str] = field(default_factory=dict)  # phase -> nnU-Net case id
    annotated: frozenset[int] = frozenset({RV, MYO, LV})  # label values that were contoured
    frame_seconds: float = 0.0  # time between frames; 0 if unknown
    centre: str = ""  # hospital, as the source names it; "" if unknown
    test: bool = False  # kept for testing by the source: in no fold, and not among a cohort's subjects
    predicted: Path | None = None  # 4D masks that a network gave to frames without contours, see data.predicted_masks


@dataclass(frozen=True)
class Sequence:
    """One labelled 4D sequence in memory."""

    image: np.ndarray  # float32 (T, X, Y, Z)
    mask: np.ndarray  # uint8 (T, X, Y, Z); frames without a mask are all 0 and neither in `labelled` nor in `predicted`
    spacing: Spacing  # mm
    ed: int
    es: int
    labelled: tuple[int, ...] = ()  # frames that were contoured
    predicted: tuple[int, ...] = ()  # frames whose mask is a network's


@dataclass(frozen=True)
class SyntheticSequence:
    """What the generator makes: every frame labelled, with what was asked and what came out."""

    id: str  # e.g. synth_00007
    image: np.ndarray  # float32 (T, X, Y, Z), arbitrary positive grey values
    mask: np.ndarray  # uint8 (T, X, Y, Z)
    spacing: Spacing  # mm
    ed: int  # 0 by construction
    es: int  # frame of the smallest LV
    frame_seconds: float
    seed: int
    requested: Priors
    measured: Priors  # from the decoded masks
    #: mean and standard deviation that nnU-Net's z-score would see if the image had a real case's
    #: whole field of view, in the grey values of `image`; None when the fields of view agree.
    context: tuple[float, float] | None = None
    #: factor on the pixel size and gain on the motion of the closed loop; None for the open loop.
    calibration: tuple[float, float] | None = None
    motion_seed: int = 0  # of the motion LDM, given the anatomy that `seed` makes
    open_loop: Priors | None = None  # with calibration: what would have been measured without it
    donor: str | None = None  # training patient or case whose pixels show it; None: they were decoded, or nobody's
    painted_as: str | None = None  # training patient in whose style it was painted; None: it was not
    #: Frame -> first slice and last + 1 whose contours can be trusted, of masks that a network decoded; frames with torn slices in the
    #: middle are not in it. None where contours were drawn or moved with the image: all of them can be.
    sound: Mapping[int, tuple[int, int]] | None = None

    @property
    def looks_like(self) -> dict[str, str]:
        """The training patient whose pixels or style it has, under ``donor`` or ``painted_as``; empty where it has nobody's."""
        return {key: who for key, who in (("donor", self.donor), ("painted_as", self.painted_as)) if who is not None}

    @property
    def vendor(self) -> str | None:
        """Whose scanner it looks like: the vendor that was asked for, but None where it has a patient's pixels or style."""
        return None if self.looks_like else self.requested.vendor

    def trusted(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask (X, Y, Z) of one frame, of the slices whose contours can be trusted."""
        first, last = (self.sound or {}).get(frame, (0, self.mask.shape[-1]))
        return self.image[frame][..., first:last], self.mask[frame][..., first:last]
