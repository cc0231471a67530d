"""Distances between two sets of feature vectors, each with an interval and with the same distance between real and real.

Small samples decide what such figures mean: the Frechet distance of two samples of one population is positive and shrinks as the
samples grow. So the distance of interest and the real-versus-real floor are both taken at the same, smaller size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnunet_synth_aug.core.errors import UserError

LEVEL = 95.0
#: Fewer independent hearts have no two halves worth comparing.
MIN_GROUPS = 4
NEIGHBOURS = 5

BIAS = {
    "frechet": "biased upwards in small samples: compare 'matched' with 'floor', which have the same size, not 'value' with other studies",
    "kernel": "unbiased: 0 on average for equal populations, so that negative values are chance",
    "density": "1 on average for equal populations; can exceed 1",
    "coverage": "below 1 even for equal populations when the samples are small: compare 'matched' with 'floor'",
}


@dataclass(frozen=True)
class Distance:
    """One distance between real and generated hearts, with what it is between real and real."""

    metric: str  # a key of BIAS
    value: float  # all against all
    low: float  # bootstrap interval of `value`
    high: float
    matched: float  # mean over random subsets of `n_matched` real against as many generated units
    matched_low: float
    matched_high: float
    floor: float  # mean over random splits into two disjoint sets of `n_matched` real units
    floor_low: float
    floor_high: float
    n_matched: int
    bias: str


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """Covariance (d, d) of rows (n, d), shrunk towards a multiple of the identity (Ledoit and Wolf, J. Multivar. Anal. 2004)."""
    n, d = x.shape
    centred = x - x.mean(axis=0)
    sample = centred.T @ centred / n
    mean = np.trace(sample) / d
    spread = ((sample - mean * np.eye(d)) ** 2).sum()
    noise = ((centred**2).sum(axis=1) ** 2).sum() / n**2 - (sample**2).sum() / n
    share = min(noise / spread, 1.0) if spread > 0 else 0.0
    return (1 - share) * sample + share * mean * np.eye(d)


def frechet_distance(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson and Landau, J. Multivar. Anal. 1982).

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a^1/2 cov_b cov_a^1/2)^1/2); the symmetric form keeps the root real.
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


class Population:
    """Pooled rows of two samples, with every distance as a function of two weightings of the rows.

    A weighting (n,) counts how often a row is in a sample; bootstrap resamples, subsets and halves are all weightings. Pairs of one
    group (a patient, a request) never count as independent: they are left out of within-sample terms.
    """

    def __init__(self, rows: np.ndarray, groups: np.ndarray, shrink: bool = True) -> None:
        self.rows, self.shrink = rows, shrink
        product = rows @ rows.T
        self.kernel = (product / rows.shape[1] + 1) ** 3
        square = np.diag(product)
        self.distance = np.sqrt(np.clip(square[:, None] + square[None] - 2 * product, 0, None))
        self.apart = groups[:, None] != groups[None]
        outside = np.where(self.apart, self.distance, np.inf)
        self.order = outside.argsort(axis=1)
        self.sorted = np.take_along_axis(outside, self.order, axis=1)

    def frechet(self, a: np.ndarray, b: np.ndarray) -> float:
        """Frechet distance; with ``shrink`` of shrunk covariances, without of the plain ones."""
        moments = []
        for weight in (a, b):
            x = np.repeat(self.rows, weight, axis=0)
            moments += [x.mean(axis=0), shrunk_covariance(x) if self.shrink else np.atleast_2d(np.cov(x.T))]
        return frechet_distance(*moments)

    def mmd(self, a: np.ndarray, b: np.ndarray) -> float:
        """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al., arXiv 1801.01401)."""

        def within(w: np.ndarray) -> float:
            pairs = w @ self.apart @ w
            return float(w @ (self.kernel * self.apart) @ w / pairs) if pairs else math.nan

        return within(a) + within(b) - 2 * float(a @ self.kernel @ b) / float(a.sum() * b.sum())

    def density_coverage(self, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        """Density and coverage of sample b in the neighbourhoods of sample a (Naeem et al., arXiv 2002.09797).

        The neighbourhood of a real row reaches to its k-th nearest real row. Density: how many neighbourhoods a generated
        row lies in, over k. Coverage: the share of neighbourhoods with a generated row in them.
        """
        real, fake = np.flatnonzero(a), np.flatnonzero(b)
        k = min(NEIGHBOURS, max(1, len(real) - 1))
        counted = a[self.order[real]].cumsum(axis=1) >= k
        first = counted.argmax(axis=1)
        radius = np.where(counted.any(axis=1), self.sorted[real, first], np.inf)
        inside = self.distance[np.ix_(real, fake)] <= radius[:, None]
        density = float(a[real] @ inside @ b[fake]) / (k * float(b.sum()))
        coverage = float(a[real] @ inside.any(axis=1)) / float(a.sum())
        return density, coverage

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The metrics of BIAS in its order, between weightings a (real) and b."""
        return np.array([self.frechet(a, b), self.mmd(a, b), *self.density_coverage(a, b)])


def _weights(groups: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Weight (n,) of every row when the groups ``chosen`` (repeats allowed) make up the sample."""
    return (groups[:, None] == chosen[None]).sum(axis=1)


def _labels(real_groups: list[str], synthetic_groups: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group number of every row, real rows first; the groups of the real rows, and of the generated ones."""
    labels = np.unique([*(f"r{g}" for g in real_groups), *(f"s{g}" for g in synthetic_groups)], return_inverse=True)[1]
    return labels, np.unique(labels[: len(real_groups)]), np.unique(labels[len(real_groups) :])


def two_sample_p(
    real: np.ndarray,
    real_groups: list[str],
    synthetic: np.ndarray,
    synthetic_groups: list[str],
    *,
    standardise: bool = True,
    permutations: int = 499,
    seed: int = 0,
) -> float:
    """The p value of the kernel distance when patients and requests exchange their roles at random (Gretton et al., JMLR 2012).

    Features are standardised over both samples together, so that under the null hypothesis nothing depends on the roles.

    Args:
        real: (n, d).
        real_groups: (n,) patient of each row.
        synthetic: (m, d).
        synthetic_groups: (m,) request of each row.
        standardise: divide features by their standard deviation.
        permutations: of the groups.
        seed: of the permutations.
    """
    rows = np.concatenate([real, synthetic]).astype(np.float64)
    if standardise:
        spread = rows.std(axis=0)
        rows = (rows - rows.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    labels, ours, theirs = _labels(real_groups, synthetic_groups)
    population, rng = Population(rows, labels), np.random.default_rng(seed)
    observed = population.mmd(_weights(labels, ours), _weights(labels, theirs))
    as_large = 1  # the observed roles count as one of the permutations
    for _ in range(permutations):
        order = rng.permutation([*ours, *theirs])
        found = population.mmd(_weights(labels, order[: len(ours)]), _weights(labels, order[len(ours) :]))
        as_large += found >= observed - 1e-12
    return as_large / (1 + permutations)


def compare(
    real: np.ndarray,
    real_groups: list[str],
    synthetic: np.ndarray,
    synthetic_groups: list[str],
    *,
    shrink: bool = True,
    resamples: int = 300,
    seed: int = 0,
) -> list[Distance]:
    """Distances between real and generated rows, their bootstrap intervals, and the floor between halves of the real ones.

    Features are divided by their standard deviation over the real rows when ``shrink`` is on (they have units then), else taken as
    they are. Intervals are percentiles of a bootstrap over groups, shifted by the bootstrap's own mean bias: a resample holds
    fewer distinct hearts than the sample and would look further away.

    Args:
        real: (n, d).
        real_groups: (n,) patient of each row.
        synthetic: (m, d).
        synthetic_groups: (m,) request of each row.
        shrink: shrunk covariances and standardised features.
        resamples: of the bootstrap, and random splits for floor and matched values.
        seed: of the resampling.
    """
    names = [len(set(real_groups)), len(set(synthetic_groups))]
    if min(names) < MIN_GROUPS:
        raise UserError(
            f"{names[0]} real patients and {names[1]} different requests are too few for a distance between populations; "
            f"it needs {MIN_GROUPS} of each, and dozens to mean something"
        )
    if shrink:
        centre, spread = real.mean(axis=0), real.std(axis=0)
        # A descriptor that no real heart varies in must not blow up: then it is taken as it is.
        real, synthetic = ((x - centre) / np.where(spread > 1e-9, spread, 1.0) for x in (real, synthetic))
    labels, ours, theirs = _labels(real_groups, synthetic_groups)
    population = Population(np.concatenate([real, synthetic]).astype(np.float64), labels, shrink)
    rng = np.random.default_rng(seed)
    m = min(len(ours) // 2, len(theirs))

    def repeated(draw: Callable[[], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:  # -> (resamples, metrics)
        return np.array([population(*(_weights(labels, chosen) for chosen in draw())) for _ in range(resamples)])

    def halves() -> tuple[np.ndarray, np.ndarray]:
        shuffled = rng.permutation(ours)
        return shuffled[:m], shuffled[m : 2 * m]

    value = population(_weights(labels, ours), _weights(labels, theirs))
    boot = repeated(lambda: (rng.choice(ours, len(ours)), rng.choice(theirs, len(theirs))))
    matched = repeated(lambda: (rng.permutation(ours)[:m], rng.permutation(theirs)[:m]))
    floor = repeated(halves)
    tails = ((100 - LEVEL) / 2, (100 + LEVEL) / 2)
    # nan: a resample may hold a single patient only, which has no pairs.
    low, high = np.nanpercentile(boot - np.nanmean(boot, axis=0) + value, tails, axis=0)
    matched_low, matched_high = np.nanpercentile(matched, tails, axis=0)
    floor_low, floor_high = np.nanpercentile(floor, tails, axis=0)
    return [
        Distance(
            metric=metric,
            value=float(value[i]),
            low=float(low[i] if metric == "kernel" else max(low[i], 0.0)),
            high=float(min(high[i], 1.0) if metric == "coverage" else high[i]),
            matched=float(np.nanmean(matched[:, i])),
            matched_low=float(matched_low[i]),
            matched_high=float(matched_high[i]),
            floor=float(np.nanmean(floor[:, i])),
            floor_low=float(floor_low[i]),
            floor_high=float(floor_high[i]),
            n_matched=m,
            bias=bias,
        )
        for i, (metric, bias) in enumerate(BIAS.items())
    ]
