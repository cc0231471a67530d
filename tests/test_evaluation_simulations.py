"""The simulated studies are analysed as the report would, their ground truths are right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from benchmarks import evaluation_page, simulations

from evaluation.analysis.paired import BETTER, WORSE, pair_cases, paired_summary, patient_values, training_values
from evaluation.scoring.table import COLUMNS, UNITS


def long_table(arms: dict[str, np.ndarray]) -> pd.DataFrame:
    """The report's input from values (patients, trainings, columns of the simulation)."""
    records = []
    for model, values in arms.items():
        for (i, j, c), value in np.ndenumerate(values):
            structure, metric = simulations.COLUMNS[c].split()
            of = {"patient": f"p{i}", "seed": str(j), "model": model, "structure": structure, "metric": metric, "value": value}
            records.append(dict.fromkeys(COLUMNS, "") | of | {"unit": UNITS[metric], "mix_ratio": 0.0})
    return pd.DataFrame(records)


@pytest.mark.parametrize("trainings", [1, 3])
def test_a_study_is_analysed_as_the_report_does(trainings: int) -> None:
    scenario = simulations.Scenario("gain", trainings, gain=0.1)
    baseline, augmented, _ = simulations.arms_of_study(scenario, 15, np.random.default_rng(1))
    found = simulations.study(scenario, 15, (lambda s: np.zeros((len(s), 6)),) * 2, np.full(6, 0.01), np.random.default_rng(1))
    table = long_table({"a": baseline, "b": augmented})
    values = patient_values(pair_cases(table, ("a", "b")))
    summary = paired_summary(values, list(simulations.STRUCTURES), training_values(table, ("a", "b")), ("a", "b"))
    rows = summary.assign(name=summary["structure"] + " " + summary["metric"]).set_index("name").loc[list(simulations.COLUMNS)]
    np.testing.assert_allclose(found["p"], rows["p"])
    np.testing.assert_allclose(found["holm_runs"], rows["p_holm"])
    np.testing.assert_allclose(found["difference"], rows["difference"])
    assert ((found["holm_runs"] < 0.05) & found["agree"]).tolist() == rows["verdict"].isin([BETTER, WORSE]).tolist()
    assert found["covered BCa widened to t"].tolist() == ((rows["ci_low"] <= 0) & (rows["ci_high"] >= 0)).tolist()
    if trainings > 1:
        held = (rows["runs_low"] <= 0.01) & (rows["runs_high"] >= 0.01)
        assert found["methods covered by patients and trainings"].tolist() == held.tolist()


def test_the_true_difference_is_that_of_very_many_patients() -> None:
    scenario = simulations.Scenario("gain", gain=0.1)
    at = (simulations.expectation(scenario, 0.0), simulations.expectation(scenario, 0.1))
    rng = np.random.default_rng(2)
    hardness, shift = simulations.patients(40_000, rng), [np.array([[0.05, -0.02, 0.0]]), np.array([[-0.03, 0.04, 0.01]])]
    means = [simulations.arm(scenario, hardness, s, g, rng)[:, 0].mean(axis=0) for s, g in zip(shift, (0.0, 0.1), strict=True)]
    error = (means[1] - means[0]) - (at[1](shift[1]) - at[0](shift[0]))[0]
    assert (np.abs(error) < [*[0.0015] * 3, *[0.4] * 3]).all()


def test_shares() -> None:
    none, some = simulations.share(np.zeros(500, bool)), simulations.share(np.arange(500) < 25)
    assert (none["share"], none["low"]) == (0, 0)
    assert none["high"] == pytest.approx(1 - 0.025 ** (1 / 500))
    assert (some["low"], some["high"]) == pytest.approx((0.0326, 0.0729), abs=1e-3)


def study_of(seed: int, names: tuple[str, ...]) -> dict[str, object]:
    """What simulations.py writes, of four studies of ten patients each."""
    parts = [simulations.part(s, 10, 4, seed) for s in simulations.SCENARIOS if s.name in names]
    return {"date": "today", "version": "0", "machine": "1 CPU core", "seed": seed} | {
        "swapped_together": simulations.together(parts),
        "parts": parts,
    }


def test_parts_and_page() -> None:
    found = study_of(simulations.SEED, ("swapped", "reseeded, 3 trainings", "gain, 3 trainings"))
    makers = (evaluation_page.about, evaluation_page.swapped, evaluation_page.reseeded, evaluation_page.coverage, evaluation_page.power)
    about, swapped, reseeded, coverage, power = (make(found) for make in makers)
    assert about.startswith(f"4 studies per row, seed {simulations.SEED}")
    assert "| all 4 studies |" in swapped
    assert reseeded.count("| 3 trainings | 10 |") == 1
    assert coverage.count("| reseeded, 3 trainings | 10 |") == 1
    assert "| the true difference |" in power
    assert power.count("| 3 | 10 |") == 1


def test_a_confirmation_stands_beside_the_exploration() -> None:
    explored, confirmed = (study_of(seed, ("swapped", "reseeded, 3 trainings")) for seed in (1, 2))
    assert explored["parts"][0]["coverage"] != confirmed["parts"][0]["coverage"]  # the seed reaches the studies
    page = evaluation_page.confirmation(explored, confirmed)
    assert page.count("| reseeded, 3 trainings | 10 |") == 1
    assert "In the confirmation the widened interval holds the truth in" in page
