"""The painter's network: residual blocks on the codes of a slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from nnunet_synth_aug.core.labels import N_CLASSES
from nnunet_synth_aug.model.painter.codes import SIDE
from nnunet_synth_aug.model.unet import group_norm, time_features

#: Components of the image's patches that are drawn, and of those of what lies around the heart that are given.
CODES, COARSE = 32, 3
#: Numbers that tell a style: grey values of RV, MYO and LV, and quantiles of what lies around.
STYLE = 8


@dataclass(frozen=True)
class Told:
    """What the network is told of N slices."""

    around: torch.Tensor  # (N, COARSE, x, y) code of the grey values around the heart
    contours: torch.Tensor  # (N, (N_CLASSES - 1) * SIDE^2, x, y), see :func:`folded`; zeros where they are not told
    style: torch.Tensor  # (N, STYLE)

    def untold(self) -> Told:
        """Without the contours."""
        return Told(self.around, torch.zeros_like(self.contours), self.style)


def folded(mask: torch.Tensor) -> torch.Tensor:
    """Mask (N, X, Y) of labels -> (N, (N_CLASSES - 1) * SIDE^2, x, y): every pixel under a position, one structure after the other."""
    return F.pixel_unshuffle(F.one_hot(mask.long(), N_CLASSES).movedim(-1, 1)[:, 1:].float(), SIDE)


class Block(nn.Module):
    """Residual block of slices, whose second norm an embedding scales and shifts."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = group_norm(width), nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(N, width, x, y) and (N, embedding) to (N, width, x, y)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        return x + self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))


class PainterNetwork(nn.Module):
    """F(u, t) of the codes (N, CODES, x, y) of slices; see ``model.diffusion`` for F."""

    def __init__(self, width: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.time = nn.Sequential(nn.Linear(embedding + STYLE, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = nn.Conv2d(CODES + COARSE, width, 3, padding=1)
        self.contours = nn.Conv2d((N_CLASSES - 1) * SIDE**2, width, 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, embedding) for _ in range(blocks))
        self.leave = nn.Conv2d(width, CODES, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, u: torch.Tensor, t: torch.Tensor, told: Told) -> torch.Tensor:
        """(N, CODES, x, y) and times (N,) to F."""
        embedding = self.time(torch.cat([time_features(t, self.embedding), told.style], 1))
        x = self.enter(torch.cat([u, told.around], 1)) + self.contours(told.contours)
        for block in self.blocks:
            x = block(x, embedding)
        return self.leave(F.silu(x))
