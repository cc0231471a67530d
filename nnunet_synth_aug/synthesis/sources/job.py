"""What a source is told when it is to fill a folder with sequences."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nnunet_synth_aug.core.bank_sources import REGISTRY
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.predicted_masks import Segment

if TYPE_CHECKING:
    from nnunet_synth_aug.model.generator import Generator
    from nnunet_synth_aug.synthesis.quality.control import QualityControl
    from nnunet_synth_aug.synthesis.sample import Show
    from nnunet_synth_aug.synthesis.sources.copies import Original


class RealOnlyNetwork(Protocol):
    """An nnU-Net that was trained on the fold's real cases alone."""

    @property
    def segment(self) -> Segment:
        """Gives a frame its mask."""

    @property
    def provenance(self) -> dict[str, Any]:
        """Which network it is."""


@dataclass(frozen=True)
class Job:
    """One source's share of a bank. What takes time to load is a function, called by the sources that need it."""

    source: str  # its name
    folder: Path  # made if missing; must not hold sequences that were made otherwise
    n: int  # sequences wanted
    seed: int
    dataset: str  # DatasetNNN_Name
    cohort: Callable[[], tuple[Cohort, tuple[str, ...]]] = field(repr=False)  # with the fold's training patients
    originals: Callable[[], list[Original]] = field(repr=False)  # contoured frames of the training patients
    generator: Callable[[], Generator] = field(repr=False)  # of the fold
    segmenter: Callable[[], RealOnlyNetwork] = field(repr=False)  # of the fold
    vendors: Callable[[], tuple[str, ...]] = field(repr=False)  # whose scanners phantoms imitate; none for all
    field_of_view: Callable[[], float | None] = field(repr=False)  # side of the training images, mm, which phantoms show; None: unknown
    quality_control: Callable[[Generator], QualityControl] = field(repr=False)
    show: Callable[[], Show | None] = field(repr=False)  # in what pixels the generator's hearts are shown; None: as they are decoded
    priors: PriorRequest = PriorRequest()  # what sampled hearts are asked for
    strength: float | None = None  # of variations; None: the usual one
    like: str = "patients"  # whom the generator's hearts are like, see synthesis.requests


def make(job: Job) -> list[str]:
    """Fill the job's folder with sequences of its source. The same job resumes after a kill.

    Returns:
        lines for the screen.

    Raises:
        UserError: what the source needs is not there, or the folder holds other sequences.
    """
    module = importlib.import_module(f"nnunet_synth_aug.synthesis.sources.{REGISTRY[job.source].module}")
    lines: list[str] = module.make(job)
    return lines
