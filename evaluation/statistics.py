"""Statistics on paired arrays: BCa bootstrap interval, signed-rank test, Holm, effect size.

Every function takes one number per patient; rows that are not independent (ED and ES of one heart, seeds,
folds) must be averaged before (see ``evaluation.pairing``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

RESAMPLES = 9999
SEED = 20260101
LEVEL = 0.95
ALPHA = 0.05
#: Up to here the null distribution of the signed-rank statistic is enumerated exactly.
EXACT_UP_TO = 300
#: Differences are rounded to this many decimals so that the order of a sum cannot break a tie.
_DECIMALS = 10


def bca_interval(values: np.ndarray, *, n_resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of the mean (Efron, J. Am. Stat. Assoc. 1987).

    Args:
        values: (n,) finite, one per patient.

    Returns:
        low, high; NaN for fewer than two values, the value itself when all are equal.
    """
    x = np.asarray(values, float)
    if x.size < 2:
        return float("nan"), float("nan")
    if np.ptp(x) <= 1e-12 * max(1.0, float(np.abs(x).max())):  # equal up to rounding
        return float(x[0]), float(x[0])
    mean = x.mean()
    rng = np.random.default_rng(seed)
    means = x[rng.integers(0, x.size, (n_resamples, x.size))].mean(axis=1)
    # Ties with the observed mean count half, so that discrete data (small n) is not called biased.
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / (2 * n_resamples)
    z0 = ndtri(below)
    jackknife = (x.sum() - x) / (x.size - 1)
    centred = jackknife.mean() - jackknife
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    z = z0 + ndtri(tails)
    low, high = np.quantile(means, ndtr(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)


@dataclass(frozen=True)
class SignedRank:
    """Two-sided Wilcoxon signed-rank test, and the matched-pairs rank-biserial correlation in [-1, 1]."""

    p: float
    rank_biserial: float


def signed_rank(differences: np.ndarray) -> SignedRank:
    """Wilcoxon signed-rank test with Pratt's treatment of zeros.

    Zeros are ranked with the rest and then left out (Pratt, J. Am. Stat. Assoc. 1959). The p-value is exact:
    the distribution over all sign flips of the ranks that occurred, ties and zeros included, for up to 300
    patients; beyond, its normal approximation without continuity correction. The rank-biserial correlation
    is (sum of positive ranks - sum of negative ranks) / sum of both (Kerby, Compr. Psychol. 2014); positive
    means that the differences tend to be positive.

    Args:
        differences: (n,) finite.

    Returns:
        p = 1 and effect 0 when no difference is left; p NaN for an empty array.
    """
    d = np.round(np.asarray(differences, float), _DECIMALS)
    if d.size == 0:
        return SignedRank(float("nan"), float("nan"))
    _, inverse, counts = np.unique(np.abs(d), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[inverse][d != 0]  # twice the average rank: an integer
    positive = int(doubled[d[d != 0] > 0].sum())
    total = int(doubled.sum())
    if total == 0:
        return SignedRank(1.0, 0.0)
    if d.size > EXACT_UP_TO:
        # Under random signs the positive rank sum has mean total / 2 and variance sum(rank^2) / 4; ties are in the ranks.
        p = 2 * float(ndtr(-abs(positive - total / 2) / math.sqrt(float((doubled.astype(float) ** 2).sum()) / 4)))
    else:
        p = _two_sided(doubled, positive, total)
    return SignedRank(p, (2 * positive - total) / total)


def _two_sided(ranks: np.ndarray, positive: int, total: int) -> float:
    """Chance, over all equally likely signs, of a positive rank sum at least as far from its middle."""
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for rank in ranks:
        flipped = chance.copy()
        flipped[rank:] += chance[: total + 1 - rank]
        chance = flipped / 2
    smaller = min(positive, total - positive)
    return min(1.0, 2 * float(chance[: smaller + 1].sum()))


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values of one family (Holm, Scand. J. Stat. 1979); NaN entries stay out of the family."""
    p = np.asarray(p, float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * (order.size - np.arange(order.size))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if order.size else steps
    return adjusted


def smallest_holm_p(n: int, family: int) -> float:
    """The smallest Holm-adjusted p-value a signed-rank test of ``n`` patients can give to one of ``family`` hypotheses."""
    return float("nan") if n < 1 else min(1.0, family * 2.0 ** (1 - n))


def patients_needed(family: int, alpha: float = ALPHA) -> int:
    """Fewest patients with which one of ``family`` Holm-adjusted signed-rank tests can fall below ``alpha``."""
    return math.floor(1 + math.log2(family / alpha)) + 1
