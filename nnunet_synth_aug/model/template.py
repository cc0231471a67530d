"""What a training patient tells samples besides priors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cycle import closure_ratio
from nnunet_synth_aug.model.motion_basis import ES_SHARE
from nnunet_synth_aug.model.noise import Grain, noise_level
from nnunet_synth_aug.model.training_set import TrainingCase


@dataclass(frozen=True)
class Template:
    """A training patient that lends stack geometry, timing and grey values to a generated heart."""

    priors: Priors
    grey: tuple[float, float]  # grey values that became -1 and 1
    context: tuple[float, float] | None  # mean and SD of the whole image in [-1, 1] units; None if the grid shows it all
    n_frames: int  # of the cine; 0 without one
    frame_seconds: float
    closure: float | None  # last-to-first step over mean step of the real cine; None without one
    es_fraction: float  # share of the cycle at which ES happens
    noise: float = 1.0  # of the images, as a multiple of the generator's grain

    @staticmethod
    def of(case: TrainingCase, grain: Grain) -> Template:
        """The template of a training patient; ``grain`` is that of the whole training set."""
        still = case.cycle is None
        return Template(
            priors=case.priors,
            grey=case.gridded.grey,
            context=case.gridded.context,
            n_frames=0 if still else case.subject.n_frames,
            frame_seconds=case.subject.frame_seconds,
            closure=None if still else closure_ratio(case.gridded.image.float().numpy()),
            es_fraction=ES_SHARE if case.cycle is None else ((case.subject.es - case.subject.ed) / case.cycle) % 1.0,
            noise=1.0 if still else round(noise_level(case.gridded, grain), 3),
        )

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return asdict(self) | {"priors": self.priors.specified()}

    @staticmethod
    def from_json(values: dict[str, Any], name: str) -> Template:
        """The inverse of :meth:`to_json`; ``name`` of the file, for errors."""
        grey, context = values["grey"], values["context"]
        return Template(
            priors=Priors.from_mapping(values["priors"], name),
            grey=(grey[0], grey[1]),
            context=None if context is None else (context[0], context[1]),
            n_frames=values["n_frames"],
            frame_seconds=values["frame_seconds"],
            closure=values["closure"],
            es_fraction=values["es_fraction"],
            noise=values.get("noise", 1.0),  # earlier versions did not measure it
        )
