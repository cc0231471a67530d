"""Statistics on made-up arrays whose answers are known, and the way from rows to one number per patient."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluation.analysis.paired import (
    BETTER,
    MEAN,
    MIXED,
    NO_EVIDENCE,
    WORSE,
    headline,
    pair_cases,
    paired_summary,
    patient_values,
    without_failures,
)
from evaluation.analysis.statistics import (
    SEED,
    bca_intervals,
    holm,
    mean_interval,
    mean_intervals,
    patients_needed,
    signed_rank,
    smallest_holm_p,
)
from evaluation.report.wording import conclusion
from evaluation.scoring.table import COLUMNS, UNITS


def test_holm_equals_hand_computation() -> None:
    # Sorted .005 .01 .03 .04 -> x4, x3, x2, x1 = .02 .03 .06 .04 -> running maximum .02 .03 .06 .06
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])
    with_gap = holm(np.array([0.01, np.nan, 0.02]))
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.02])
    assert np.isnan(with_gap[1])
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize("n", [1, 2, 5, 12, 40])
def test_signed_rank_equals_scipy_without_ties(n: int) -> None:
    d = np.random.default_rng(n).normal(0.3, 1, n)
    assert signed_rank(d).p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


@pytest.mark.parametrize("d", [[1, 1, -1, 2, 3, 0, 0, 0.5], [0, 0, 0, 1], [2, 2, 2, -2, 1, 0], [-1, -1, -2, 0, 0.25, 0.25, 3]])
def test_signed_rank_with_ties_and_zeros_equals_enumeration(d: list[float]) -> None:
    x = np.array(d, float)
    ranks = stats.rankdata(np.abs(x))[x != 0]
    observed, middle = ranks[x[x != 0] > 0].sum(), ranks.sum() / 2
    sums = [np.dot(signs, ranks) for signs in itertools.product([0, 1], repeat=len(ranks))]
    assert signed_rank(x).p == pytest.approx(np.mean([abs(s - middle) >= abs(observed - middle) - 1e-9 for s in sums]))
    assert signed_rank(x).rank_biserial == pytest.approx((2 * observed - ranks.sum()) / ranks.sum())


def test_signed_rank_of_many_patients_equals_scipys_approximation() -> None:
    d = np.round(np.random.default_rng(0).normal(0.05, 1, 400), 1)  # rounding makes ties and zeros
    assert signed_rank(d).p == pytest.approx(stats.wilcoxon(d, zero_method="pratt", method="asymptotic").pvalue)


def test_signed_rank_of_degenerate_input() -> None:
    assert signed_rank(np.zeros(5)) == signed_rank(np.full(5, 1e-14))
    assert signed_rank(np.zeros(5)).p == 1
    assert signed_rank(np.array([3.0])).p == 1
    assert np.isnan(signed_rank(np.array([])).p)
    assert signed_rank(np.array([1.0, 2.0, 3.0])).rank_biserial == 1
    assert signed_rank(-np.array([1.0, 2.0, 3.0])).rank_biserial == -1


def test_smallest_attainable_p() -> None:
    for n in (3, 5, 8):
        assert holm(np.full(6, signed_rank(np.arange(1.0, n + 1)).p))[0] == pytest.approx(smallest_holm_p(n, 6))
    assert patients_needed(1) == 6
    assert patients_needed(6) == 8
    assert smallest_holm_p(8, 6) < 0.05 <= smallest_holm_p(7, 6)


def test_bca_equals_scipy() -> None:
    x = np.random.default_rng(4).gamma(2, 1, (23, 2))
    for column, low, high in zip(x.T, *bca_intervals(x), strict=True):
        rng = np.random.default_rng(SEED)
        expected = stats.bootstrap((column,), np.mean, n_resamples=9999, method="BCa", random_state=rng).confidence_interval
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_large_bootstraps_are_drawn_in_parts() -> None:
    x = np.random.default_rng(4).gamma(2, 1, (700, 1))
    low, high = mean_intervals(x)
    reach = 1.96 * x.std() / np.sqrt(700)
    assert (low[0], high[0]) == pytest.approx((x.mean() - reach, x.mean() + reach), rel=0.02)


def test_the_interval_holds_both_bca_and_students() -> None:
    for x in np.random.default_rng(5).gamma(1, 1, (20, 12, 1)):
        low, high = mean_interval(x[:, 0])
        (bca_low,), (bca_high,) = bca_intervals(x)
        t_low, t_high = stats.ttest_1samp(x[:, 0], 0).confidence_interval()
        assert (low, high) == pytest.approx((min(bca_low, t_low), max(bca_high, t_high)))


def test_intervals_of_degenerate_input() -> None:
    assert all(np.isnan(mean_interval(np.array([0.3]))))
    assert all(np.isnan(mean_interval(np.array([]))))
    assert mean_interval(np.full(7, 0.25)) == (0.25, 0.25)
    (low,), (high,) = bca_intervals(np.array([[0.1], [0.3]]))
    assert 0.1 <= low <= high <= 0.3
    assert mean_interval(np.array([0.1, 0.3]))[0] < 0.1  # two patients tell next to nothing, and t says so


def test_the_interval_covers_the_mean_of_skewed_and_heavy_tailed_populations() -> None:
    rng = np.random.default_rng(11)
    skewed = rng.gamma(2, 0.5, (40, 300)) - 1
    failures = rng.normal(0, 1, (40, 300)) + np.where(rng.random((40, 300)) < 0.05, rng.choice([-30, 30], (40, 300)), 0)
    for x in (skewed, failures):
        low, high = mean_intervals(x)
        assert ((low <= 0) & (high >= 0)).mean() > 0.91  # 3 standard errors below 0.95


def rows(values: dict[tuple[str, str, str, str], float], failure: dict[tuple[str, str, str, str], str] | None = None) -> pd.DataFrame:
    """A long table from (model, patient, phase, fold) -> Dice of every structure; HD is 10 (1 - Dice)."""
    records: list[dict[str, Any]] = []
    for (model, patient, phase, fold), dice in values.items():
        for structure in ("RV", "MYO", "LV"):
            for metric in ("Dice", "IoU", "HD", "HD95", "ASSD"):
                value = dice if metric in ("Dice", "IoU") else 10 * (1 - dice)
                records.append(
                    dict.fromkeys(COLUMNS, "")
                    | {"patient": patient, "phase": phase, "fold": fold, "model": model, "structure": structure, "metric": metric}
                    | {
                        "value": value,
                        "unit": UNITS[metric],
                        "mix_ratio": 0.0,
                        "failure": (failure or {}).get((model, patient, phase, fold), ""),
                    }
                )
    return pd.DataFrame(records)


def cohort(gains: list[float], base: float = 0.8) -> pd.DataFrame:
    values = {}
    for i, gain in enumerate(gains):
        for phase in ("ED", "ES"):
            values["base", f"p{i}", phase, "0"] = base + 0.001 * i
            values["aug", f"p{i}", phase, "0"] = base + 0.001 * i + gain
    return rows(values)


def summarised(table: pd.DataFrame) -> pd.DataFrame:
    return paired_summary(patient_values(pair_cases(table, ("base", "aug"))), ["RV", "MYO", "LV"])


def test_phases_and_folds_are_averaged_before_testing() -> None:
    table = rows(
        {
            ("base", "p0", "ED", "0"): 0.8, ("base", "p0", "ES", "0"): 0.6, ("base", "p0", "ED", "1"): 0.9,
            ("aug", "p0", "ED", "0"): 0.9, ("aug", "p0", "ES", "0"): 0.5, ("aug", "p0", "ED", "1"): 1.0,
        }
    )  # fmt: skip
    values = patient_values(pair_cases(table, ("base", "aug")))
    row = values[(values["structure"] == "LV") & (values["metric"] == "Dice")]
    assert len(row) == 1
    # fold 0: mean of ED and ES 0.7; fold 1: 0.9; then over folds. A mean over the three rows would be 0.767.
    assert row["baseline"].item() == pytest.approx(0.8)
    assert row["augmented"].item() == pytest.approx(0.85)


def test_n_counts_patients_not_cases() -> None:
    summary = summarised(cohort([0.01, 0.02, 0.03, 0.04]))
    assert set(summary["n"]) == {4}
    dice = summary[(summary["structure"] == "RV") & (summary["metric"] == "Dice")].iloc[0]
    assert dice["difference"] == pytest.approx(0.025)
    assert dice["p"] == pytest.approx(2 / 2**4)
    assert dice["p_holm"] == pytest.approx(6 * 2 / 2**4)


def test_only_the_primary_family_is_tested() -> None:
    summary = summarised(cohort([0.01 * i for i in range(1, 11)]))
    tested = summary[summary["p_holm"].notna()]
    assert set(zip(tested["structure"], tested["metric"], strict=True)) == {(s, m) for s in ("RV", "MYO", "LV") for m in ("Dice", "HD")}
    assert (tested["verdict"] == BETTER).all()
    assert (tested["effect"] == 1).all()  # for HD too: positive favours augmentation though the difference is negative
    assert (summary[summary["metric"] == "HD"]["difference"] < 0).all()
    assert (summary["better"] == 10).all()


def test_verdicts() -> None:
    assert set(summarised(cohort([-0.01 * i for i in range(1, 11)]))["verdict"]) == {WORSE, ""}
    assert set(summarised(cohort([0.0] * 10))["verdict"]) == {NO_EVIDENCE, ""}
    # Eleven patients gain a little, one loses everything: ranks and mean disagree.
    assert set(summarised(cohort([0.001 * i for i in range(1, 16)] + [-0.5]))["verdict"]) == {MIXED, ""}


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_patients_do_not_crash_and_are_told_apart(n: int) -> None:
    summary = summarised(cohort([0.01 * (i + 1) for i in range(n)]))
    text = " ".join(conclusion(summary, ("base", "aug"), []))
    assert "no single comparison can be significant" in text
    assert "at least 8 patients" in text
    assert headline(summary)["Dice"]["difference"].to_dict()["LV"] == pytest.approx(0.01 * (n + 1) / 2)


def test_enough_patients_get_no_such_caution() -> None:
    text = " ".join(conclusion(summarised(cohort([0.01 * i for i in range(1, 13)])), ("base", "aug"), []))
    assert "Aug was better than base in 6 of 6 primary comparisons" in text
    assert "no single comparison" not in text
    assert "LV Dice +0.065 [+0.04" in text


def test_both_empty_is_excluded_and_a_false_positive_is_not_hidden() -> None:
    keys = {(m, p, "ED", "0"): 0.9 for m in ("base", "aug") for p in ("p0", "p1", "p2")}
    nan = float("nan")
    keys |= {("base", "p1", "ED", "0"): nan, ("aug", "p1", "ED", "0"): nan, ("base", "p2", "ED", "0"): nan, ("aug", "p2", "ED", "0"): 0.0}
    empty = {("base", "p1", "ED", "0"): "both empty", ("aug", "p1", "ED", "0"): "both empty"}
    empty |= {("base", "p2", "ED", "0"): "both empty", ("aug", "p2", "ED", "0"): "reference empty"}
    pairs = pair_cases(rows(keys, empty), ("base", "aug"))
    values = patient_values(pairs)
    dice = values[(values["structure"] == "LV") & (values["metric"] == "Dice")].set_index("patient")
    assert set(dice.index) == {"p0", "p2"}
    assert dice.loc["p2", "baseline"] == 1.0
    assert dice.loc["p2", "augmented"] == 0.0
    hd = values[(values["structure"] == "LV") & (values["metric"] == "HD")].set_index("patient")
    assert hd.loc["p2", "baseline"] == 0.0
    assert set(without_failures(pairs)["patient"]) == {"p0"}


def test_the_mean_needs_every_structure() -> None:
    table = cohort([0.01, 0.02])
    table = table[~((table["patient"] == "p0") & (table["structure"] == "RV"))]
    values = patient_values(pair_cases(table, ("base", "aug")))
    assert set(values[values["structure"] == MEAN]["patient"]) == {"p1"}
