"""Several trainings per arm, margins, slice levels and more than two arms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluation.analysis.paired import (
    BETTER,
    BEYOND,
    MEAN,
    NO_EVIDENCE,
    NOT_WORSE,
    ONLY_THESE,
    UNDECIDED,
    Margins,
    pair_cases,
    paired_summary,
    patient_values,
    training_values,
)
from evaluation.analysis.ranking import rank, rankings, significance_map
from evaluation.analysis.statistics import over_runs
from evaluation.compare import compare, compare_arms, evaluate
from evaluation.inputs.scores import read_sources
from evaluation.scoring.levels import LEVEL_METRICS, base_first, level_scores, slice_levels
from evaluation.scoring.table import COLUMNS, UNITS
from nnunet_synth_aug.cli.study import limits, named_arms
from nnunet_synth_aug.core.errors import UserError

STRUCTURES = ("RV", "MYO", "LV")


def scores(arms: dict[str, np.ndarray], *, folds: bool = False) -> pd.DataFrame:
    """A long table of Dice (and HD = 100 (1 - Dice)) from model -> (patients, trainings); trainings are seeds, or folds."""
    records = []
    for model, values in arms.items():
        for (i, j), value in np.ndenumerate(values):
            for structure in STRUCTURES:
                common = {"dataset": "D", "patient": f"p{i:02d}", "phase": "ED", "model": model, "structure": structure, "mix_ratio": 0.0}
                common |= {"fold": str(j) if folds else "", "seed": "" if folds else str(j), "vendor": "ABC"[i % 3]}
                both = {"Dice": value, "HD": 100 * (1 - value), "Reference volume": 1.0}
                records += [dict.fromkeys(COLUMNS, "") | common | {"metric": m, "value": v, "unit": UNITS[m]} for m, v in both.items()]
    return pd.DataFrame(records)[list(COLUMNS)]


def summarised(table: pd.DataFrame, margins: Margins | None = None) -> pd.DataFrame:
    models = ("base", "aug")
    values = patient_values(pair_cases(table, models))
    return paired_summary(values, list(STRUCTURES), training_values(table, models), models, margins)


def row(summary: pd.DataFrame, structure: str = "LV", metric: str = "Dice") -> dict[str, object]:
    return summary[(summary["structure"] == structure) & (summary["metric"] == metric)].to_dict("records")[0]


def trained(n: int, shifts: list[float], rng: np.random.Generator, noise: float = 0.002) -> np.ndarray:
    """(n, trainings) of Dice: a training's shift, equal patients, a little noise."""
    return 0.8 + 0.001 * np.arange(n)[:, None] + np.array(shifts) + noise * rng.normal(size=(n, len(shifts)))


def test_seeds_are_averaged_and_never_more_patients() -> None:
    rng = np.random.default_rng(0)
    arms = {"base": trained(12, [0.0, 0.01, 0.02], rng), "aug": trained(12, [0.03, 0.01], rng)}
    found = row(summarised(scores(arms)))
    assert found["n"] == 12
    assert found["difference"] == pytest.approx((arms["aug"].mean(1) - arms["base"].mean(1)).mean())
    assert found["p"] == pytest.approx(stats.wilcoxon(arms["aug"].mean(1) - arms["base"].mean(1), method="exact").pvalue)
    assert (found["baseline_runs"], found["augmented_runs"]) == (3, 2)
    assert found["baseline_run_sd"] == pytest.approx(arms["base"].mean(0).std(ddof=1))


def test_a_difference_within_the_noise_of_trainings_is_not_one_between_methods() -> None:
    rng = np.random.default_rng(1)
    noisy = {"base": trained(30, [0.0, 0.02, 0.01], rng), "aug": trained(30, [0.005, 0.025, 0.01], rng)}
    found = row(summarised(scores(noisy)))
    assert found["p"] < 0.001
    assert found["verdict"] == ONLY_THESE
    assert found["runs_low"] < 0 < found["runs_high"]
    one_each = {name: values[:, :1] for name, values in noisy.items()}
    assert row(summarised(scores(one_each)))["verdict"] == BETTER  # all that one training can tell
    steady = {"base": trained(30, [0.0, 0.001, 0.0], rng), "aug": trained(30, [0.02, 0.021, 0.02], rng)}
    assert row(summarised(scores(steady)))["verdict"] == BETTER


def test_folds_that_predicted_every_patient_are_paired_trainings() -> None:
    rng = np.random.default_rng(2)
    of_fold = [0.0, 0.05, 0.1, -0.05]  # other training patients: far more than the method changes
    arms = {"base": trained(20, of_fold, rng), "aug": trained(20, [s + 0.01 for s in of_fold], rng)}
    assert row(summarised(scores(arms, folds=True)))["verdict"] == BETTER
    assert row(summarised(scores(arms)))["verdict"] == ONLY_THESE  # seeds do not belong together


def test_over_runs_is_students_test_where_only_patients_vary_and_holds_its_level_where_trainings_do() -> None:
    rng = np.random.default_rng(3)
    patients = rng.normal(size=(15, 1))
    same = over_runs(np.repeat(0 * patients, 4, axis=1), np.repeat(patients, 4, axis=1), paired=False)
    assert same.p == pytest.approx(stats.ttest_1samp(patients[:, 0], 0).pvalue)
    assert np.isnan(over_runs(patients, patients, paired=False).p)
    wrong = 0
    for _ in range(400):
        base, aug = (patients + 0.5 * rng.normal(size=(1, 3)) + 0.5 * rng.normal(size=(15, 3)) for _ in range(2))
        wrong += over_runs(base, aug, paired=False).p < 0.05
    assert wrong / 400 < 0.085  # 3 standard errors above 0.05


def test_margins() -> None:
    gains = np.linspace(-0.004, 0.006, 20)
    arms = {"base": np.full((20, 1), 0.8), "aug": 0.8 + gains[:, None]}
    found = row(summarised(scores(arms), Margins(ties={"Dice": 0.0025}, noninferiority={"Dice": 0.01, "HD": 0.1})))
    assert (found["better"], found["ties"], found["worse"]) == tuple(
        int(x) for x in ((gains > 0.0025).sum(), (abs(gains) <= 0.0025).sum(), (gains < -0.0025).sum())
    )
    assert found["noninferiority"] == NOT_WORSE
    assert found["verdict"] == NO_EVIDENCE
    summary = summarised(scores(arms), Margins(noninferiority={"Dice": 0.0002, "HD": 0.02}))
    assert {row(summary)["noninferiority"], row(summary, metric="HD")["noninferiority"]} == {UNDECIDED}
    worse = {"base": arms["base"], "aug": arms["aug"] - 0.02}
    summary = summarised(scores(worse), Margins(noninferiority={"HD": 1.0}))
    assert row(summary, metric="HD")["noninferiority"] == BEYOND
    assert row(summary)["noninferiority"] == ""


def test_levels_of_a_stack() -> None:
    def levels(labelled: list[int], base: bool = True) -> list[int]:
        return slice_levels(np.array(labelled, bool), base).tolist()

    assert levels([0, 1, 1, 1, 1, 1, 1, 0]) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert levels([0, 1, 1, 1, 1, 1, 1, 0], base=False) == [2, 2, 2, 1, 1, 0, 0, 0]
    assert levels([1, 0, 1, 1, 1]) == [0, 0, 1, 2, 2]
    assert levels([0, 1, 1, 0]) == [0, 0, 2, 2]
    assert levels([0, 0, 1, 0]) == [1, 1, 1, 1]
    assert base_first(np.array([0, 9, 8, 5, 2, 0]))
    assert not base_first(np.array([0, 2, 5, 8, 9, 0]))


@pytest.mark.parametrize("flip", [False, True])
def test_level_scores_are_those_of_the_slices(flip: bool) -> None:
    rng = np.random.default_rng(4)
    reference = np.zeros((20, 20, 9), np.int16)
    for z in range(1, 8):
        reference[: 18 - 2 * z, :10, z], reference[: 18 - 2 * z, 10:, z] = 3, 1
    prediction = np.where(rng.random(reference.shape) < 0.3, 0, reference)
    prediction[:, :, 0] = 3  # above the base
    if flip:
        reference, prediction = reference[..., ::-1], prediction[..., ::-1]
    found = level_scores(prediction, reference, {"RV": (1,), "LV": (3,), "heart": (1, 3), "MYO": (2,)})
    slices = {"base": slice(0, 3), "mid": slice(3, 6), "apex": slice(6, 9)}  # of 7 labelled slices: 2, 3 and 2
    for level, part in slices.items():
        if flip:
            part = slice(9 - part.stop, 9 - part.start)
        for structure, values in (("LV", (3,)), ("heart", (1, 3))):
            a, b = np.isin(prediction[..., part], values), np.isin(reference[..., part], values)
            assert found[structure][f"Dice {level}"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert all(np.isnan(found["MYO"][m]) for m in LEVEL_METRICS)
    assert found["LV"]["Dice base"] < found["LV"]["Dice mid"]


def test_ranks() -> None:
    rng = np.random.default_rng(5)
    easy = rng.normal(size=(30, 1))
    clear = rank([easy + 5, easy, easy + 5], 1)
    assert clear.ranks.tolist() == [1, 3, 1]
    assert clear.shares.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert rank([easy + 5, easy], -1).ranks.tolist() == [2, 1]
    assert rank([easy + 5, easy], 1).tau == 1
    chance = rank([easy, easy + 0.5 * rng.normal(size=(30, 1)), easy + 0.5 * rng.normal(size=(30, 1))], 1)
    np.testing.assert_allclose(chance.shares.sum(axis=1), 1)
    assert chance.tau < 0.9
    # Trainings that differ more than the arms make the ranking unsure, however alike the patients are.
    assert rank([easy + np.array([-1.0, 1.0]), easy + np.array([-0.9, 1.1])], 1).shares[1, 0] < 0.9


def test_rankings_and_significance_of_three_arms() -> None:
    rng = np.random.default_rng(6)
    arms = {"base": trained(15, [0.0], rng), "little": trained(15, [0.0005], rng), "much": trained(15, [0.05], rng)}
    runs, names = training_values(scores(arms), tuple(arms)), list(arms)
    table = rankings(runs, names, STRUCTURES)
    assert len(table) == 4 * 2 * 3
    best = table[table["rank"] == 1]
    assert set(best["arm"]) == {"much"}
    assert (best["rank_1"] == 1).all()
    pairs = significance_map(runs, names, STRUCTURES).set_index(["structure", "metric", "first", "second"])
    assert pairs.loc[("LV", "Dice", "base", "much"), "p_holm"] < 0.001
    assert pairs.loc[("LV", "Dice", "base", "much"), "difference"] == pytest.approx((arms["much"] - arms["base"]).mean())
    assert pairs.loc[(MEAN, "HD", "base", "little"), "p_holm"] > 0.05


@pytest.mark.slow
def test_arms_from_one_table_share_one_family(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    arms = {"real": trained(12, [0.0, 0.001], rng), "mix50": trained(12, [0.02, 0.021], rng), "mix 75 %": trained(12, [0.0, 0.001], rng)}
    scores(arms).to_csv(tmp_path / "metrics.csv", index=False)
    sources = {name: [tmp_path / "metrics.csv"] for name in arms}
    overview = compare_arms(sources, tmp_path / "out")
    written = ["figures", "metrics.csv", "mix50", "mix_75", "overview.json", "ranking.csv", "report.html", "report.md", "significance.csv"]
    assert [p.name for p in sorted((tmp_path / "out").iterdir()) if p.suffix != ".parquet"] == written
    assert {p.name for p in (tmp_path / "out" / "figures").glob("*.svg")} == {"forest_Dice_of_all_arms.svg", "forest_HD_of_all_arms.svg"}
    assert "](mix_75/report.md)" in (tmp_path / "out" / "report.md").read_text()
    assert list(overview.comparisons) == ["mix50", "mix 75 %"]
    alone = compare(sources["real"], sources["mix50"], tmp_path / "alone", names=("real", "mix50"))
    p = [row(c.summary)["p_holm"] for c in (alone, overview.comparisons["mix50"])]
    assert p[1] >= p[0]  # six hypotheses, and twelve
    assert any("12 hypotheses" in s for s in overview.comparisons["mix50"].conclusion)
    page = overview.report.read_text()
    assert 'href="mix_75/report.html"' in page
    assert (tmp_path / "out" / "mix_75" / "report.html").is_file()
    assert "Trainings" in alone.report.read_text()
    # The same two seeds of each arm in tables of their own are the same trainings.
    for name in ("real", "mix50"):
        for j in range(2):
            scores({"x": arms[name][:, j : j + 1]}).to_csv(tmp_path / f"{name}_{j}.csv", index=False)
    apart = {name: [tmp_path / f"{name}_{j}.csv" for j in range(2)] for name in ("real", "mix50")}
    [results] = evaluate(read_sources(apart))
    pd.testing.assert_frame_equal(results.summary, alone.summary)


def test_tables_that_do_not_match_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    table = scores({"real": trained(5, [0.0], rng), "mix50": trained(5, [0.0], rng)})
    table[(table["model"] == "real") | (table["patient"] != "p03")].to_csv(tmp_path / "metrics.csv", index=False)
    path = [tmp_path / "metrics.csv"]
    with pytest.raises(UserError, match=r"real and mix50 do not have scores of the same .*p03 ED"):
        read_sources({"real": path, "mix50": path})
    with pytest.raises(UserError, match=r"metrics.csv holds no model 'mix25' but mix50, real"):
        read_sources({"real": path, "mix25": path})
    with pytest.raises(UserError, match=r"no metric 'dice' to give a margin for; choose from Dice"):
        compare(path, path, tmp_path / "out", margins=Margins(noninferiority={"dice": 0.01}))
    with pytest.raises(UserError, match=r"the tie of Dice is -1; it must be a positive number"):
        compare(path, path, tmp_path / "out", margins=Margins(ties={"Dice": -1}))


def test_options_of_the_command() -> None:
    assert limits("--margin", "Dice=0.01, HD=2") == {"Dice": 0.01, "HD": 2}
    assert limits("--margin", "") == {}
    with pytest.raises(UserError, match="--margin Dice:1 is not of the form"):
        limits("--margin", "Dice:1")
    a, b = Path("a"), Path("b")
    assert named_arms([], [a, b], [b]) == {"baseline": [a, b], "augmented": [b]}
    assert named_arms(["x=a", "y=b", "x=b"], [], []) == {"x": [a, b], "y": [b]}
    for named, baseline, message in (
        (["x=a", "y=b"], [a], "either"),
        ([], [a], "give --baseline and --augmented"),
        (["x=a"], [], "names only x"),
        (["x"], [], "--arm x is not"),
    ):
        with pytest.raises(UserError, match=message):
            named_arms(named, baseline, [])
