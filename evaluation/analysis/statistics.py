"""Statistics on paired arrays: BCa bootstrap interval, signed-rank test, test between groups, Holm, effect size.

A row is a patient; what is not independent (ED and ES of one heart, seeds, folds) must be averaged before
(see ``evaluation.analysis.paired``). Only :func:`over_runs` looks at single trainings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

RESAMPLES = 9999
SEED = 20260101
LEVEL = 0.95
ALPHA = 0.05
#: Up to here the null distribution of the signed-rank statistic is enumerated exactly.
EXACT_UP_TO = 300
#: Differences are rounded to this many decimals so that the order of a sum cannot break a tie.
_DECIMALS = 10
#: Up to here (resamples x patients) the draws are kept for the next call; beyond, they are made in parts of this size.
_KEPT = 2_000_000


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of :func:`mean_intervals` for one column (n,)."""
    low, high = mean_intervals(np.asarray(values, float)[:, None])
    return float(low[0]), float(high[0])


def mean_intervals(values: np.ndarray, *, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of means that the report shows: BCa bootstrap, and Student's t on the side where that reaches farther.

    Of few patients BCa is too narrow, and it takes a single failed prediction for skewness of the population and moves
    away from zero: in docs/results/evaluation.md it holds the truth in 80 % of studies for HD. Student's t misses skewness instead.

    Args:
        values: (n, m) finite, a row per patient.

    Returns:
        low (m,), high (m,); NaN for fewer than two rows, the value itself where all are equal.
    """
    x = np.asarray(values, float)
    low, high = bca_intervals(x, level=level)
    if len(x) < 2:
        return low, high
    reach = stdtrit(len(x) - 1, (1 + level) / 2) * x.std(axis=0, ddof=1) / math.sqrt(len(x))
    return np.minimum(low, x.mean(axis=0) - reach), np.maximum(high, x.mean(axis=0) + reach)


def bca_intervals(
    values: np.ndarray, *, n_resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated bootstrap intervals of means (Efron, J. Am. Stat. Assoc. 1987).

    Args:
        values: (n, m) finite, a row per patient; the columns share their resamples.

    Returns:
        low (m,), high (m,); NaN for fewer than two rows, the value itself where all are equal.
    """
    x = np.asarray(values, float)
    n, m = x.shape
    if n < 2 or m == 0:
        return np.full(m, np.nan), np.full(m, np.nan)
    centre = x.mean(axis=0)
    centred = x - centre
    scale = 1e-12 * np.maximum(1.0, np.abs(x).max(axis=0))
    means = np.sort(resampled_means(centred, n_resamples, seed), axis=0)
    # Ties with the observed mean count half, so that discrete data (small n) is not called biased.
    below = ((means < -scale).sum(axis=0) + (means <= scale).sum(axis=0)) / (2 * n_resamples)
    cubes, squares = (centred**3).sum(axis=0), (centred**2).sum(axis=0)
    constant = np.ptp(x, axis=0) <= scale  # equal up to rounding
    acceleration = cubes / np.where(constant, 1, 6 * squares**1.5)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    z0 = ndtri(below)
    z = z0 + ndtri(tails)[:, None]
    place = ndtr(z0 + z / np.maximum(1 - acceleration * z, 1e-6)) * (n_resamples - 1)
    lower = np.clip(np.floor(place).astype(int), 0, n_resamples - 2)
    part, columns = place - lower, np.arange(m)
    bounds = means[lower, columns] * (1 - part) + means[lower + 1, columns] * part
    low, high = np.where(constant, x[0], centre + bounds)
    return low, high


def resampled_means(values: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Means of the columns of ``values`` (n, m) over rows drawn with replacement: (n_resamples, m)."""
    n = len(values)
    if n * n_resamples <= _KEPT:
        means: np.ndarray = _draws(n, n_resamples, seed) @ (values / n)
        return means
    rng, rows = np.random.default_rng(seed), max(1, _KEPT // n)
    return np.concatenate([_counts(n, min(rows, n_resamples - start), rng) @ (values / n) for start in range(0, n_resamples, rows)])


@lru_cache(maxsize=4)
def _draws(n: int, n_resamples: int, seed: int) -> np.ndarray:
    return _counts(n, n_resamples, np.random.default_rng(seed)).astype(float)


def _counts(n: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``n`` rows is drawn (n_resamples, n): the means of samples are then one product of matrices."""
    drawn = rng.integers(0, n, (n_resamples, n))
    return np.bincount((drawn + n * np.arange(n_resamples)[:, None]).ravel(), minlength=drawn.size).reshape(drawn.shape)


@dataclass(frozen=True)
class OverRuns:
    """Interval and two-sided p-value of a mean difference that holds for new patients and new trainings."""

    low: float
    high: float
    p: float


def over_runs(baseline: np.ndarray, augmented: np.ndarray, *, paired: bool, level: float = LEVEL) -> OverRuns:
    """Interval of the mean difference over patients and trainings, both taken as samples.

    The variance of the mean is that of the patients' differences over n, plus that of the trainings' means over their
    number; degrees of freedom after Satterthwaite (Biometrics Bull. 1946). A few trainings may lie close together by
    chance, and then the test would be too sure: the arm whose trainings spread more stands for both. The noise of
    patients between trainings is in both parts, which errs on the side of caution as well.

    Args:
        baseline: (n, k) patients by trainings; augmented: (n, l), the same patients.
        paired: training j of both arms belongs together (the same fold), so that k = l.

    Returns:
        NaN for fewer than two patients, or two trainings in either arm.
    """
    n = len(baseline)
    if n < 2 or min(baseline.shape[1], augmented.shape[1]) < 2:
        return OverRuns(float("nan"), float("nan"), float("nan"))
    difference = augmented.mean(axis=1) - baseline.mean(axis=1)
    sources = [augmented - baseline] if paired else [baseline, augmented]
    spread = max(float(runs.mean(axis=0).var(ddof=1)) for runs in sources)
    counts = [runs.shape[1] for runs in sources]
    parts = [(float(difference.var(ddof=1)) / n, n - 1), (spread * sum(1 / k for k in counts), sum(k - 1 for k in counts))]
    variance = sum(v for v, _ in parts)
    centre = float(difference.mean())
    if variance < 1e-24:  # every patient and training differs by the same amount
        return OverRuns(centre, centre, 1.0 if abs(centre) < 1e-12 else 0.0)
    freedom = variance**2 / sum(v**2 / df for v, df in parts)
    reach = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)
    return OverRuns(centre - reach, centre + reach, 2 * float(stdtr(freedom, -abs(centre) / math.sqrt(variance))))


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
    smaller = min(positive, total - positive)
    chance = np.zeros(smaller + 1)  # larger sums are not needed
    chance[0] = 1.0
    for rank in ranks:
        flipped = chance.copy()
        flipped[rank:] += chance[: max(0, smaller + 1 - rank)]
        chance = flipped / 2
    return min(1.0, 2 * float(chance.sum()))


def between_groups(groups: Sequence[np.ndarray], *, n_resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """P-value of a permutation test of equal means in groups of patients.

    The patients are dealt to the groups at random, over and over, and each time James's statistic (Biometrika 1951;38:324) is
    computed: the spread of the groups' means, each weighed by its size over its variance. The p-value is the share of deals, the
    observed one among them, whose statistic is at least the observed one (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 2010).

    Assumes that patients are independent. The level is exact where all groups have one distribution, however skewed. Since
    every group has its own variance, it also holds, for large groups, where the means are equal and the spreads are not (Chung and
    Romano, Ann. Stat. 2013;41:484). The order of patients and groups does not matter.

    Args:
        groups: at least two, (n,) finite each, at least two patients each.
    """
    ordered = sorted((sorted(np.round(one, _DECIMALS).tolist()) for one in groups), key=lambda one: (len(one), one))
    x = np.concatenate(ordered)
    x = x - x.mean()
    sizes = np.array([len(one) for one in ordered])
    starts = np.cumsum(sizes) - sizes
    least = 1e-9 * float(x.var())  # of a group whose patients are all alike
    if least < 1e-25:
        return 1.0

    def statistic(dealt: np.ndarray) -> np.ndarray:
        sums = np.add.reduceat(dealt, starts, axis=1)
        means = sums / sizes
        variances = (np.add.reduceat(dealt**2, starts, axis=1) - sums * means) / (sizes - 1)
        weights = sizes / np.maximum(variances, least)
        middle = (weights * means).sum(axis=1) / weights.sum(axis=1)
        spread: np.ndarray = (weights * (means - middle[:, None]) ** 2).sum(axis=1)
        return spread

    observed = float(statistic(x[None])[0]) * (1 - 1e-9)
    rng, rows = np.random.default_rng(seed), max(1, _KEPT // x.size)
    parts = [min(rows, n_resamples - start) for start in range(0, n_resamples, rows)]
    reached = sum(int((statistic(rng.permuted(np.tile(x, (n, 1)), axis=1)) >= observed).sum()) for n in parts)
    return (1 + reached) / (1 + n_resamples)


def smallest_between_p(sizes: Sequence[int]) -> float:
    """About the smallest p-value that :func:`between_groups` can give to groups of these sizes."""
    deals = math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes))
    alike = math.prod(math.factorial(count) for count in Counter(sizes).values())  # groups of one size may change places
    return max(1 / (1 + RESAMPLES), alike / deals)


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
