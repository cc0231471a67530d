"""The statistics of the reports against closed forms, scipy, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnunet_synth_aug.reports.controllability.agreement import agreement, average


def rng(seed=0):
    return np.random.default_rng(seed)


def pair(n, seed=0, noise=10.0):
    x = rng(seed).normal(150, 30, n)
    return x, 0.8 * x + 20 + rng(seed + 1).normal(0, noise, n)


def test_figures_equal_scipy_and_their_definitions():
    x, y = pair(37)
    found = agreement(x, y, rng())
    line = stats.linregress(x, y)
    assert found.r.value == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert (found.slope.value, found.intercept.value) == pytest.approx((line.slope, line.intercept), rel=1e-9)
    d = y - x
    assert found.bias.value == pytest.approx(d.mean())
    assert found.limit_low.value == pytest.approx(d.mean() - 1.96 * d.std(ddof=1))
    assert found.limit_high.value == pytest.approx(d.mean() + 1.96 * d.std(ddof=1))
    assert found.mae.value == pytest.approx(np.abs(d).mean())
    concordance = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert found.ccc.value == pytest.approx(concordance, rel=1e-12)
    assert (found.n, found.clusters) == (37, 37)


@given(st.floats(-100, 100), st.integers(3, 30))
@settings(max_examples=20, deadline=None)
def test_concordance_of_a_shift_has_a_closed_form(shift, n):
    x = rng(n).normal(100, 20, n)
    found = agreement(x, x + shift, rng())
    assert found.ccc.value == pytest.approx(2 * x.var() / (2 * x.var() + shift**2), rel=1e-9)
    assert found.r.value == pytest.approx(1, abs=1e-9)
    assert found.bias.value == pytest.approx(shift, abs=1e-9)
    assert found.limit_high.value - found.limit_low.value == pytest.approx(0, abs=1e-4)


@given(st.floats(0.1, 10), st.floats(-1000, 1000))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(factor, offset):
    x, y = pair(12)
    one, other = agreement(x, y, rng()), agreement(factor * x + offset, factor * y + offset, rng())
    for name in ("r", "ccc", "slope"):
        for part in ("value", "low", "high"):
            assert getattr(getattr(other, name), part) == pytest.approx(getattr(getattr(one, name), part), rel=1e-6, abs=1e-8)
    assert other.mae.value == pytest.approx(factor * one.mae.value, rel=1e-6)
    assert other.p == one.p


def test_interval_is_the_percentile_bootstrap_of_scipy():
    x, y = pair(40)
    found = agreement(x, y, rng()).r
    other = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b)[0], paired=True, vectorized=False, method="percentile", n_resamples=1500, rng=rng(5)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.015)


def test_repeating_every_heart_of_a_patient_narrows_nothing():
    """Four identical hearts per patient are no more evidence than one; treated as independent they would be."""
    x, y = pair(25)
    once = agreement(x, y, rng())
    four = agreement(np.repeat(x, 4), np.repeat(y, 4), rng(), np.repeat(np.arange(25), 4))
    naive = agreement(np.repeat(x, 4), np.repeat(y, 4), rng(), np.arange(100))
    for name in ("r", "ccc", "slope", "bias", "mae"):
        a, b = getattr(once, name), getattr(four, name)
        assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high), rel=1e-9)
    assert naive.mae.high - naive.mae.low < 0.7 * (once.mae.high - once.mae.low)
    assert (four.n, four.clusters, four.null_r, four.p) == (100, 25, pytest.approx(once.null_r), once.p)


def test_shuffled_null_is_the_critical_value_of_r():
    n = 40
    x, y = pair(n)
    t = stats.t.ppf(0.975, n - 2)
    found = agreement(x, y, rng())
    assert found.null_r == pytest.approx(t / np.sqrt(n - 2 + t**2), abs=0.02)
    assert found.p == pytest.approx(1 / 4001)


def test_p_is_uniform_when_nothing_was_obeyed():
    p = [agreement(rng(i).normal(size=15), rng(1000 + i).normal(size=15), rng(i)).p for i in range(120)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) < 0.12


def test_intervals_cover():
    """Mean absolute error of a half-normal: its expectation is known."""
    hits = 0
    for i in range(100):
        x = rng(i).normal(size=40)
        found = agreement(x, x + rng(500 + i).normal(size=40), rng(i)).mae
        hits += found.low <= np.sqrt(2 / np.pi) <= found.high
    assert 87 <= hits <= 99


def test_a_generator_that_ignores_the_request_is_undefined_where_it_must_be():
    x = np.array([100.0, 150, 200, 250])
    found = agreement(x, np.full(4, 170.0), rng())
    assert np.isnan(found.r.value)
    assert np.isnan(found.p)
    assert found.ccc.value == pytest.approx(0, abs=1e-12)
    assert found.slope.value == pytest.approx(0, abs=1e-12)
    assert found.bias.value == pytest.approx(-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_patients_have_no_interval(n):
    found = agreement(np.arange(n) + 1.0, np.arange(n) + 2.0, rng())
    assert found.bias.value == 1
    assert np.isnan(found.bias.low)
    assert np.isnan(found.null_r) == (n < 3)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="one requested value per cluster"):
        agreement(np.array([1.0, 2]), np.array([1.0, 2]), rng(), np.array([0, 0]))
    with pytest.raises(ValueError, match="at least one row"):
        agreement(np.array([]), np.array([]), rng())


def test_average_leaves_out_the_unknown_and_resamples_clusters():
    values = np.array([1.0, 2, 3, 4, np.nan, 6, 3.5, 2.5, 8])
    found = average(values, rng())
    assert found.value == pytest.approx(30 / 8)
    other = stats.bootstrap((values[np.isfinite(values)],), np.mean, method="percentile", rng=rng(3)).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.25)
    together = average(np.repeat(values, 3), rng(), np.repeat(np.arange(9), 3))
    assert (together.low, together.high) == pytest.approx((found.low, found.high))
    assert np.isnan(average(np.array([np.nan]), rng()).value)
