"""The figure of the hearts that the optimiser saw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.report.seen import densities, histograms


@given(st.lists(st.floats(5, 600), min_size=11, max_size=11), st.lists(st.integers(0, 1000), min_size=10, max_size=10))
def test_bars_have_an_area_of_one_and_lose_no_sample(edges, samples):
    limits, heights = densities(np.sort(edges), np.array(samples, float))
    assert (np.diff(limits) > 0).all()
    assert np.sum(heights * np.diff(limits)) == pytest.approx(1.0 if sum(samples) else 0.0)


def test_equal_draws_make_a_tall_bar_where_hearts_are_dense():
    edges = np.array([20, 30, 31, 32, 33, 34, 35, 36, 37, 38, 60.0])
    _, heights = densities(edges, np.full(10, 7.0))
    assert heights[0] == pytest.approx(0.1 / 10)
    assert heights[1] == pytest.approx(0.1)


def test_every_prior_that_was_counted_is_drawn():
    tenths = list(range(20, 31))
    counted = {
        "deciles": {"requested": {"lv_ef": tenths}, "measured": {"lv_ef": tenths, "lv_edv": [150.0] * 11}},
        "samples": {"requested": {"lv_ef": [3] * 10}, "measured": {"lv_ef": [3] * 10, "lv_edv": [0] * 9 + [30]}},
    }
    figure = histograms(counted, "mix50")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["LV EDV", "LV EF"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["mL", "%"]
    assert [len(axes.patches) for axes in figure.axes] == [1, 2]
