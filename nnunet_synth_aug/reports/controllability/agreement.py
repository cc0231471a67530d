"""Agreement between requested and measured values. The unit is the patient whose priors were asked for.

Several hearts asked for with the same priors form one cluster: intervals resample clusters, and the null permutes the
requests among clusters. Everything here follows from eight sums per cluster, so that a resample costs one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
PERMUTATIONS = 4000
LEVEL = 0.95
#: A bootstrap of fewer clusters is too narrow to be shown.
MIN_CLUSTERS = 6
#: Variances below this share of the whole variance are those of a resample that drew a single value.
_FLAT = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % percentile bootstrap interval; NaN where the data cannot tell, as with fewer than 6 clusters."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """How well measured values follow the requested ones."""

    n: int  # hearts
    clusters: int  # patients whose priors were asked for
    r: Estimate  # Pearson's correlation
    ccc: Estimate  # Lin's concordance: 1 only on the identity line
    slope: Estimate  # of measured on requested, least squares; 1 at best
    intercept: Estimate  # unit of the variable; 0 at best
    bias: Estimate  # mean of measured - requested
    limit_low: Estimate  # Bland and Altman's 95 % limits of agreement, bias -+ 1.96 SD
    limit_high: Estimate
    mae: Estimate  # mean absolute error
    null_r: float  # 95th percentile of |r| when the requests are shuffled
    p: float  # of |r| under that null


def agreement(requested: np.ndarray, measured: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Agreement:
    """Agreement of two lists of numbers.

    Lin's coefficient is 2 cov / (var_x + var_y + (mean_x - mean_y)^2) with moments over n (Biometrics 1989); limits of
    agreement are those of Bland and Altman (Lancet 1986), with the SD of all differences.

    Args:
        requested: (n,) finite; the same value throughout a cluster.
        measured: (n,) finite.
        rng: of bootstrap and permutations.
        clusters: (n,) integer labels; default every row by itself.
    """
    x, y = np.asarray(requested, float), np.asarray(measured, float)
    labels, first, owner = np.unique(np.arange(len(x)) if clusters is None else clusters, return_index=True, return_inverse=True)
    if len(x) == 0 or not np.array_equal(x[first][owner], x):
        raise ValueError("agreement needs at least one row, and one requested value per cluster")
    origin = x.mean()  # sums of squares about a common origin keep their precision
    u, v = x - origin, y - origin
    columns = np.stack([np.ones_like(u), u, v, u * u, v * v, u * v, np.abs(v - u)], axis=1)
    sums = np.zeros((len(labels), columns.shape[1]))
    np.add.at(sums, owner, columns)
    flat = _FLAT * float(u.var() + v.var())
    values = _figures(sums.sum(0), origin, flat)
    draws = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=RESAMPLES)
    resampled = _figures(draws @ sums, origin, flat)
    estimates = {name: _estimate(float(value), resampled[name], len(labels)) for name, value in values.items()}
    null_r, p = _shuffled(u[first], sums, abs(estimates["r"].value), flat, rng)
    return Agreement(n=len(x), clusters=len(labels), null_r=null_r, p=p, **estimates)


def average(values: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Estimate:
    """Mean of (n,) values that may be NaN (left out), with an interval over clusters."""
    keep = np.isfinite(np.asarray(values, float))
    kept = np.asarray(values, float)[keep]
    if not len(kept):
        return Estimate(*[float("nan")] * 3)
    labels, owner = np.unique(np.arange(len(kept)) if clusters is None else np.asarray(clusters)[keep], return_inverse=True)
    sums = np.stack([np.bincount(owner), np.bincount(owner, kept)], axis=1)
    draws = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=RESAMPLES) @ sums
    return _estimate(float(kept.mean()), draws[:, 1] / draws[:, 0], len(labels))


def _estimate(value: float, resampled: np.ndarray, clusters: int) -> Estimate:
    finite = resampled[np.isfinite(resampled)]
    if clusters < MIN_CLUSTERS or not len(finite) or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def _figures(sums: np.ndarray, origin: float, flat: float) -> dict[str, np.ndarray]:
    """Every figure from the sums (..., 7) of n, x, y, x^2, y^2, xy and |y - x| about ``origin``; NaN where undefined."""
    n, x, y, xx, yy, xy, error = np.moveaxis(np.asarray(sums, float), -1, 0)
    mean_x, mean_y = x / n, y / n
    var_x, var_y, cov = xx / n - mean_x**2, yy / n - mean_y**2, xy / n - mean_x * mean_y
    var_x, var_y = (np.where(v > flat, v, np.nan) for v in (var_x, var_y))
    bias = mean_y - mean_x
    # Where all values of one side agree r is undefined, but the other figures are not.
    spread_x, spread_y = np.nan_to_num(var_x), np.nan_to_num(var_y)
    slope = cov / var_x
    with np.errstate(divide="ignore", invalid="ignore"):
        ccc = 2 * cov / (spread_x + spread_y + bias**2)
        sd = np.sqrt(np.clip(spread_x + spread_y - 2 * cov, 0, None) * n / (n - 1))
    return {
        "r": cov / np.sqrt(var_x * var_y),
        "ccc": ccc,
        "slope": slope,
        "intercept": origin + mean_y - slope * (origin + mean_x),
        "bias": bias,
        "limit_low": bias - 1.96 * sd,
        "limit_high": bias + 1.96 * sd,
        "mae": error / n,
    }


def _shuffled(requested: np.ndarray, sums: np.ndarray, r: float, flat: float, rng: np.random.Generator) -> tuple[float, float]:
    """95th percentile of |r| and p of ``r`` when the clusters' requests (about the origin) are shuffled among clusters."""
    if len(requested) < 3 or not np.isfinite(r):
        return float("nan"), float("nan")
    x = rng.permuted(np.tile(requested, (PERMUTATIONS, 1)), axis=1)
    total = np.tile(sums.sum(0), (PERMUTATIONS, 1))
    n, y = sums[:, 0], sums[:, 2]
    total[:, 1], total[:, 3], total[:, 5] = x @ n, x**2 @ n, x @ y
    null = np.abs(_figures(total, 0.0, flat)["r"])
    # The observed order counts as one of the permutations, so that p is never 0.
    p = (1 + np.count_nonzero(null >= r - 1e-12)) / (1 + PERMUTATIONS)
    return float(np.nanquantile(null, LEVEL)), float(p)
