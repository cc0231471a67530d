"""Hearts painted: bank hearts as patients look whom nobody has contoured, the generator's as its training patients look."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.model.painter.painter import Painter

#: Changes when the same painter gives another look.
VERSION = 1


@dataclass(frozen=True)
class Paint:
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
        return replace(sequence, image=image, context=None)


@dataclass(frozen=True)
class PaintedHearts:
    """Paints the generator's hearts around their own masks, as :data:`nnunet_synth_aug.synthesis.sample.Show` does."""

    painter: Painter
    patients: tuple[str, ...]  # sorted; in whose styles
    keeps_masks = True

    @property
    def about(self) -> dict[str, Any]:
        """What the provenance says: how hearts are shown, by which painter, and who taught it."""
        return {"render": "painter", "painter": self.painter.identity, "styles": sorted(self.painter.styles)}

    def __call__(self, heart: SyntheticSequence) -> SyntheticSequence:
        """All frames from the same noise, in one style that is drawn from the heart's seed."""
        seeds = [heart.seed, heart.motion_seed, 11, VERSION]
        style = self.painter.styles[self.patients[int(np.random.default_rng(seeds).integers(len(self.patients)))]]
        frames = zip(heart.image, heart.mask, strict=True)
        painted = [self.painter.paint(image, mask, heart.spacing, style, np.random.default_rng(seeds)) for image, mask in frames]
        return replace(heart, image=np.stack(painted), context=None)
