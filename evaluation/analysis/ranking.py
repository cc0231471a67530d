"""Ranks of more than two arms, and how much they owe to the patients and trainings at hand.

The ideas are those of challengeR (Wiesenfarth et al., Sci. Rep. 2021): arms are ranked by their mean (aggregate,
then rank), the ranking is repeated on bootstrap samples, and pairwise tests show which neighbours in the ranking differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from evaluation.analysis.paired import MEAN, Runs
from evaluation.analysis.statistics import SEED, holm, mean_interval, over_runs, resampled_means, signed_rank
from evaluation.scoring.table import METRICS, PRIMARY

#: Shares of ranks need fewer resamples than the tails of an interval.
RESAMPLES = 2000
#: Means closer than this share a rank.
TIE = 1e-12


@dataclass(frozen=True)
class Ranks:
    """Of A arms: mean (A,), rank (A,) from 1, share of bootstrap samples by arm and rank (A, A), mean Kendall tau to the ranking."""

    means: np.ndarray
    ranks: np.ndarray
    shares: np.ndarray
    tau: float


def rank(arms: Sequence[np.ndarray], sign: int, *, paired: bool = False, n_resamples: int = RESAMPLES, seed: int = SEED) -> Ranks:
    """Rank arms by their mean, on all patients and on bootstrap samples of patients and trainings.

    Args:
        arms: (n, k) each, the same n patients by the arm's own k trainings.
        sign: +1 where larger values are better, else -1.
        paired: training j of all arms belongs together and is drawn together.
    """
    rng = np.random.default_rng([seed, 1])
    drawn = resampled_means(np.concatenate(arms, axis=1), n_resamples, seed)  # (resamples, trainings of all arms)
    ends = np.cumsum([x.shape[1] for x in arms])
    means, same = [], None
    for x, end in zip(arms, ends, strict=True):
        k = x.shape[1]
        runs = same if paired and same is not None else rng.integers(0, k, (n_resamples, k))
        same = runs
        means.append(np.take_along_axis(drawn[:, end - k : end], runs, axis=1).mean(axis=1))
    observed = sign * np.array([[x.mean() for x in arms]])
    full, samples = _order(observed)[0], _order(sign * np.stack(means, axis=1))
    first, second = np.triu_indices(len(arms), 1)
    agreement = np.sign(samples[:, second] - samples[:, first]) * np.sign(full[second] - full[first])
    shares = np.stack([(samples == r).mean(axis=0) for r in range(1, len(arms) + 1)], axis=1)
    return Ranks(sign * observed[0], full, shares, float(agreement.mean()))


def _order(scores: np.ndarray) -> np.ndarray:
    """Rank of each column within its row: one more than the number of better ones, so that equals share a rank."""
    ranks: np.ndarray = 1 + (scores[:, None, :] > scores[:, :, None] + TIE).sum(axis=2)
    return ranks


def rankings(runs: Runs, names: Sequence[str], structures: Sequence[str]) -> pd.DataFrame:
    """Ranks of all arms for every structure, their average, and primary metric.

    Returns:
        One row per structure, metric and arm: n patients, trainings, mean, rank, ``rank_1`` ... (share of bootstrap
        samples in which the arm has this rank), ``kendall_tau`` (the same for the arms of one ranking).
    """
    rows: list[dict[str, Any]] = []
    for structure, metric, arms in _each(runs, names, structures):
        found = rank(arms, METRICS[metric].sign, paired=runs.by_fold)
        for i, name in enumerate(names):
            row = {"structure": structure, "metric": metric, "arm": name, "n": len(arms[i]), "trainings": arms[i].shape[1]}
            row |= {"mean": found.means[i], "rank": int(found.ranks[i])}
            rows.append(row | {f"rank_{j + 1}": s for j, s in enumerate(found.shares[i])} | {"kendall_tau": found.tau})
    return pd.DataFrame(rows)


def significance_map(runs: Runs, names: Sequence[str], structures: Sequence[str]) -> pd.DataFrame:
    """Every pair of arms against each other; p-values corrected after Holm within one structure and metric.

    Returns:
        Columns structure, metric, first, second, difference (second - first), ci_low, ci_high, p_holm; as in the paired
        summary the larger of the p-values over patients and over trainings is corrected.
    """
    rows: list[dict[str, Any]] = []
    for structure, metric, arms in _each(runs, names, structures):
        pairs, p = [], []
        for i, j in combinations(range(len(arms)), 2):
            d = arms[j].mean(axis=1) - arms[i].mean(axis=1)
            low, high = mean_interval(d)
            p.append(np.fmax(signed_rank(d).p, over_runs(arms[i], arms[j], paired=runs.by_fold).p))
            row = {"structure": structure, "metric": metric, "first": names[i], "second": names[j]}
            pairs.append(row | {"difference": d.mean(), "ci_low": low, "ci_high": high})
        rows += [row | {"p_holm": q} for row, q in zip(pairs, holm(np.array(p)), strict=True)]
    return pd.DataFrame(rows)


def _each(runs: Runs, names: Sequence[str], structures: Sequence[str]) -> list[tuple[str, str, list[np.ndarray]]]:
    found = [(s, m, runs.matrices(tuple(names), s, m)) for s in [*structures, MEAN] for m in PRIMARY]
    return [(s, m, arms) for s, m, arms in found if all(len(x) for x in arms)]
