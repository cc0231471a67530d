"""Hearts painted: bank hearts as patients look whom nobody has contoured, the generator's as its training patients look."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.model.painter.painter import Painter

#: Changes when the same painter gives another look.
VERSION = 2


@dataclass(frozen=True)
class PaintedLooks:
    """A painter, and whose styles it paints in."""

    painter: Painter
    patients: tuple[str, ...]  # sorted

    @property
    def about(self) -> dict[str, Any]:
        """What a bank says of it, JSON: with another one it shows other looks."""
        return {"styles": [{"patient": name} for name in self.patients], "painter": self.painter.identity}

    def patient(self, heart: str, look: int) -> str:
        """Whose style look number ``look`` of a heart is in, always the same; its looks are of different patients if there are enough."""
        order = np.random.default_rng([zlib.crc32(heart.encode()), VERSION]).permutation(len(self.patients))
        return self.patients[int(order[(look - 1) % len(self.patients)])]

    def shown(self, sequence: SyntheticSequence, heart: str, look: int, frames: Iterable[int]) -> SyntheticSequence:
        """The sequence with these frames painted; contours are as they were.

        Args:
            sequence: image in any grey values.
            heart: its name in the bank.
            look: from 1.
            frames: which.
        """
        image, style = sequence.image.copy(), self.painter.styles[self.patient(heart, look)]
        for frame in frames:
            rng = np.random.default_rng([zlib.crc32(heart.encode()), look, frame, VERSION])
            image[frame] = self.painter.paint(sequence.image[frame], sequence.mask[frame], sequence.spacing, style, rng)
        return replace(sequence, image=image, context=self.painter.context(image[0], sequence.spacing, style))


@dataclass(frozen=True)
class PaintedHearts:
    """Paints the generator's hearts around their own masks, as :data:`nnunet_synth_aug.synthesis.sample.Show` does."""

    identity: str  # of the painter
    taught: tuple[str, ...]  # patients from whom it learnt
    shown_as: tuple[str, ...]  # those of them in whose styles hearts are painted
    load: Callable[[], Painter]  # gives the painter; trains it if need be
    keeps_masks = True

    @property
    def about(self) -> dict[str, Any]:
        """What the provenance says: how hearts are shown, by which painter, who taught it, and in whose styles."""
        who = {"styles": sorted(self.taught), "shown_as": sorted(self.shown_as)}
        return {"render": "painter", "painter": self.identity, "painting": VERSION, **who}

    @cached_property
    def painter(self) -> Painter:
        """Loaded, or trained, when the first heart is shown."""
        return self.load()

    @cached_property
    def _patients(self) -> list[str]:
        found = sorted(set(self.shown_as) & set(self.painter.styles))
        if not found:
            raise UserError("no training patient has contours of all of RV, MYO and LV, so none shows how to paint; use --render decoder")
        return found

    def __call__(self, heart: SyntheticSequence) -> SyntheticSequence:
        """All frames from the same noise, in one style that is drawn from the heart's seed."""
        seeds = [heart.seed, heart.motion_seed, 11, VERSION]
        patient = self._patients[int(np.random.default_rng(seeds).integers(len(self._patients)))]
        style, frames = self.painter.styles[patient], zip(heart.image, heart.mask, strict=True)
        painted = [self.painter.paint(image, mask, heart.spacing, style, np.random.default_rng(seeds)) for image, mask in frames]
        context = self.painter.context(painted[0], heart.spacing, style)
        return replace(heart, image=np.stack(painted), context=context, painted_as=patient)
