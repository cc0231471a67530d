"""Priors as network input: standardised numbers, categories, and a learnt null for whatever is not specified."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from nnunet_synth_aug.core.priors import CATEGORICAL, NUMERIC, VARIABLES, Priors

#: Volumes act multiplicatively and EF is a share: their natural scales are log and logit.
_LOG = frozenset({"lv_edv", "rv_edv", "lv_mass"})
_LOGIT = frozenset({"lv_ef", "rv_ef"})


def _natural(name: str, value: float) -> float:
    if name in _LOG:
        return math.log(max(value, 1e-3))
    if name in _LOGIT:
        share = min(max(value / 100, 0.005), 0.995)
        return math.log(share / (1 - share))
    return value


@dataclass(frozen=True)
class Conditions:
    """A batch of priors.

    numbers (B, len(NUMERIC)): standardised, 0 where absent; categories (B, len(CATEGORICAL)): index, 0 where absent;
    present (B, len(NUMERIC) + len(CATEGORICAL)): 1 where specified.
    """

    numbers: torch.Tensor
    categories: torch.Tensor
    present: torch.Tensor

    def to(self, device: torch.device) -> Conditions:
        """The same on another device."""
        return Conditions(self.numbers.to(device), self.categories.to(device), self.present.to(device))

    def __getitem__(self, index: torch.Tensor) -> Conditions:
        return Conditions(self.numbers[index], self.categories[index], self.present[index])

    def dropped(self, keep: torch.Tensor) -> Conditions:
        """With only the variables for which ``keep`` (B, variables) is 1."""
        return Conditions(self.numbers, self.categories, self.present * keep)

    def null(self) -> Conditions:
        """Nothing specified: the unconditional branch of classifier-free guidance."""
        return self.dropped(torch.zeros_like(self.present))


@dataclass(frozen=True)
class PriorScaler:
    """Mean and standard deviation of every numeric prior over the training patients, in its natural scale."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def fit(priors: list[Priors]) -> PriorScaler:
        """Mean and SD of every numeric prior over the patients that have it."""
        mean, std = [], []
        for name in NUMERIC:
            values = [_natural(name, float(v)) for p in priors if (v := getattr(p, name)) is not None]
            centre = sum(values) / len(values) if values else 0.0
            spread = math.sqrt(sum((v - centre) ** 2 for v in values) / len(values)) if values else 0.0
            mean.append(centre)
            std.append(spread if spread > 1e-6 else 1.0)
        return PriorScaler(tuple(mean), tuple(std))

    def encode(self, priors: list[Priors]) -> Conditions:
        """Priors -> tensors. Standardised values are limited to +-4: beyond is extrapolation that no embedding learnt."""
        numbers = torch.zeros(len(priors), len(NUMERIC))
        categories = torch.zeros(len(priors), len(CATEGORICAL), dtype=torch.long)
        present = torch.zeros(len(priors), len(NUMERIC) + len(CATEGORICAL))
        for row, prior in enumerate(priors):
            for i, name in enumerate(NUMERIC):
                if (value := getattr(prior, name)) is not None:
                    numbers[row, i] = min(max((_natural(name, float(value)) - self.mean[i]) / self.std[i], -4.0), 4.0)
                    present[row, i] = 1
            for i, name in enumerate(CATEGORICAL):
                if (value := getattr(prior, name)) is not None:
                    categories[row, i] = VARIABLES[name].choices.index(value)
                    present[row, len(NUMERIC) + i] = 1
        return Conditions(numbers, categories, present)


class PriorEmbedding(nn.Module):
    """Sum over variables of an embedding of the value, or of the variable's learnt null, then an MLP -> (B, width)."""

    frequencies = (0.25, 0.5, 1.0)  # cycles per standard deviation / 2: smooth over the range, distinct within it

    def __init__(self, width: int) -> None:
        super().__init__()
        features = 1 + 2 * len(self.frequencies)
        self.numbers = nn.Parameter(torch.randn(len(NUMERIC), features, width) / math.sqrt(features))
        self.categories = nn.ModuleList(nn.Embedding(len(VARIABLES[n].choices), width) for n in CATEGORICAL)
        self.null = nn.Parameter(torch.zeros(len(NUMERIC) + len(CATEGORICAL), width))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, conditions: Conditions) -> torch.Tensor:
        """Embeddings (B, E) of the priors."""
        value = conditions.numbers[..., None]  # (B, N, 1)
        waves = [f(math.pi * k * value) for k in self.frequencies for f in (torch.sin, torch.cos)]
        embedded = torch.einsum("bnf,nfw->bnw", torch.cat([value, *waves], dim=-1), self.numbers)
        categories = torch.stack([e(conditions.categories[:, i]) for i, e in enumerate(self.categories)], dim=1)
        each = torch.cat([embedded, categories], dim=1)  # (B, variables, W)
        present = conditions.present[..., None]
        return self.mlp((present * each + (1 - present) * self.null).sum(1) / math.sqrt(each.shape[1]))
