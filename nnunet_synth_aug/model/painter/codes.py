"""Patches of slices, and their principal components as a code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

#: Pixels a side.
SIDE = 8


def patches(image: torch.Tensor) -> torch.Tensor:
    """(N, X, Y) -> (N, SIDE^2, x, y)."""
    return F.pixel_unshuffle(image[:, None], SIDE)


@dataclass(frozen=True)
class Basis:
    """Principal components of patches, and the spread along each."""

    directions: torch.Tensor  # (n, SIDE^2)
    spread: torch.Tensor  # (n,)

    @staticmethod
    def of(image: torch.Tensor, valid: torch.Tensor, n: int) -> Basis:
        """The first ``n`` of the patches of (N, X, Y) that lie wholly inside ``valid`` (N, X, Y)."""
        inside = patches(valid).amin(1) > 0
        flat = patches(image).movedim(1, -1)[inside].double()
        variance, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
        return Basis(directions.flip(1)[:, :n].T.float(), variance.flip(0)[:n].clamp_min(1e-12).sqrt().float())

    def code(self, image: torch.Tensor) -> torch.Tensor:
        """(N, X, Y) -> (N, n, x, y) of unit variance."""
        return torch.einsum("nk,bkxy->bnxy", self.directions / self.spread[:, None], patches(image))

    def image(self, code: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`code`."""
        return F.pixel_shuffle(torch.einsum("nk,bnxy->bkxy", self.directions * self.spread[:, None], code), SIDE)[:, 0]
