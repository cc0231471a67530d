"""Vendor and hospital: how they reach the tables, and whether the difference between the arms depends on them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import evaluation_page, group_simulations
from evaluation_study import Study

from evaluation.analysis.breakdown import breakdown
from evaluation.analysis.dependence import dependence, in_one_family
from evaluation.analysis.paired import pair_cases, patient_values
from evaluation.analysis.statistics import between_groups, holm, smallest_between_p
from evaluation.inputs.dataset import cases_in, find_dataset
from evaluation.report import wording
from evaluation.report.blocks import Table
from evaluation.report.tables import dependence as dependence_table
from evaluation.report.writing import as_json
from evaluation.scoring.table import COLUMNS, UNITS, read_table

ARMS = ("base", "aug")
STRUCTURES = ["RV", "MYO", "LV"]


def alarms(sizes: tuple[int, ...], spreads: tuple[float, ...], studies: int = 400, seed: int = 3) -> float:
    """Share of studies with p below 0.05 where all groups have the mean 0; values are skewed."""
    rng = np.random.default_rng(seed)
    drawn = ([s * (rng.gamma(2, 1, n) - 2) for n, s in zip(sizes, spreads, strict=True)] for _ in range(studies))
    return float(np.mean([between_groups(groups, n_resamples=199) < 0.05 for groups in drawn]))


def test_false_alarms_are_as_many_as_the_level_says() -> None:
    assert 0.025 < alarms((6, 12, 20), (1, 1, 1)) < 0.08  # exact: 0.05, and 0.011 is the standard error
    assert 0.02 < alarms((15, 45), (3, 1)) < 0.1  # a test without each group's own variance: 0.2


def test_a_large_difference_between_groups_is_found() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        assert between_groups([rng.normal(0, 1, 12), rng.normal(0, 1, 20), rng.normal(3, 1, 12)], n_resamples=999) < 0.002


def test_p_is_that_of_all_deals() -> None:
    """With two groups James's statistic is the square of Welch's t; here all 252 deals of ten patients are made."""
    x = np.random.default_rng(5).normal(0, 1, 10) + np.array([1.0] * 5 + [0.0] * 5)

    def t(first: tuple[int, ...]) -> float:
        one, other = x[list(first)], np.delete(x, first)
        return abs(one.mean() - other.mean()) / np.sqrt(one.var(ddof=1) / one.size + other.var(ddof=1) / other.size)

    exact = np.mean([t(deal) >= t((0, 1, 2, 3, 4)) - 1e-9 for deal in combinations(range(10), 5)])
    assert between_groups([x[:5], x[5:]]) == pytest.approx(exact, abs=0.02)
    assert between_groups([np.arange(5.0), np.arange(5.0) + 9]) == pytest.approx(smallest_between_p((5, 5)), abs=0.004)
    assert smallest_between_p((5, 5)) == 2 / 252
    assert smallest_between_p((5, 6)) == 1 / 462
    assert smallest_between_p((100, 120)) == 1 / 10_000


def test_order_does_not_matter_and_equal_patients_are_no_finding() -> None:
    rng = np.random.default_rng(6)
    a, b, c = (rng.normal(0, 1, n) for n in (6, 6, 9))
    p = between_groups([a, b, c])
    assert between_groups([c, b[::-1], rng.permutation(a)]) == p
    assert between_groups([100 * a, 100 * b, 100 * c]) == p
    assert between_groups([np.zeros(5), np.zeros(6)]) == 1.0
    assert between_groups([np.full(5, 0.1 + 0.2), np.full(5, 0.3)]) == 1.0


def scored(gains: dict[tuple[str, str], np.ndarray], seeds: int = 1) -> pd.DataFrame:
    """A long table of (vendor, centre) -> gains in Dice, a patient each; HD is 100 (1 - Dice), and seeds are alike."""
    records = []
    people = [(vendor, centre, gain) for (vendor, centre), of in gains.items() for gain in of]
    for i, (vendor, centre, gain) in enumerate(people):
        for model, dice in (("base", 0.7), ("aug", 0.7 + gain)):
            for structure in STRUCTURES:
                for seed in range(seeds):
                    row = {
                        "patient": f"p{i}",
                        "vendor": vendor,
                        "centre": centre,
                        "model": model,
                        "structure": structure,
                        "seed": str(seed),
                    }
                    both = {"Dice": dice, "HD": 100 * (1 - dice)}
                    records += [dict.fromkeys(COLUMNS, "") | row | {"metric": m, "value": v, "unit": UNITS[m]} for m, v in both.items()]
    return pd.DataFrame(records)


def corrected_tests(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The corrected tests of a table, and what is said of them."""
    pairs = pair_cases(table, ARMS)
    [found] = in_one_family([dependence(table, patient_values(pairs), STRUCTURES)])
    return found, wording.dependence(found, breakdown(table, pairs, STRUCTURES))


def gains(*sizes: int, shift: float = 0.0) -> list[np.ndarray]:
    """Noise for each group; the last is shifted."""
    rng = np.random.default_rng(7)
    found = [rng.normal(0.02, 0.01, n) for n in sizes]
    return [*found[:-1], found[-1] + shift]


def test_a_gain_that_depends_on_the_vendor_is_said_in_a_sentence() -> None:
    a, b, c, few = gains(10, 10, 10, 3)
    table = scored({("Siemens", "1"): a, ("Siemens", "2"): b, ("Philips", "3"): c + 0.05, ("GE", "4"): few})
    found, said = corrected_tests(table)
    assert list(found["way"].value_counts().items()) == [("vendor", 6), ("centre", 6)]
    np.testing.assert_array_equal(found["p_holm"], holm(found["p"].to_numpy()))
    assert (set(found["family"]), set(found["n"])) == ({12}, {30})
    assert (found["p_holm"] < 0.01).all()
    dice = f"Philips: +{(c + 0.05).mean():.3f} (n = 10), Siemens: +{np.concatenate([a, b]).mean():.3f} (n = 20)."
    assert said[0].startswith("In these trained networks the difference in RV Dice depends on the vendor (Holm p 0.00")
    assert said[0].endswith(dice)
    assert sum("depends on the centre (" in s for s in said) == 6
    assert " mm (n = 10)" in said[1]
    assert "The tests by vendor leave out groups of fewer than 5 patients: GE." in said
    assert sum("do not say why" in s for s in said) == 2


def test_names_patients_and_trainings_of_groups_do_not_matter() -> None:
    a, b, c = gains(8, 9, 8, shift=0.01)
    before, _ = corrected_tests(scored({("A", "1"): a, ("A", "2"): b, ("B", "3"): c}))
    after, _ = corrected_tests(scored({("Z", "x"): c[::-1], ("C", "y"): b, ("C", ""): a[:0], ("C", "w"): a}, seeds=3))
    pd.testing.assert_frame_equal(before.drop(columns="groups"), after.drop(columns="groups"))
    assert before["p"].between(0.001, 0.99).all()


def test_no_finding_and_no_test_are_told_apart() -> None:
    a, b = gains(6, 6)
    found, said = corrected_tests(scored({("Siemens", "1"): a, ("GE", "2"): b}))
    assert found.loc[found["way"] == "centre", "same_as"].tolist() == ["vendor"] * 6  # tested once, corrected for six tests
    assert set(found["family"]) == {6}
    assert said[0].startswith("No evidence that a difference depends on the vendor in 6 of 6 tests (smallest Holm p ")
    assert said[1] == "Each centre has the patients of one vendor, so that the two cannot be told apart; the vendor was tested."
    parts = gains(3, 2, 2, 3)
    found, said = corrected_tests(scored(dict(zip([("A", "1"), ("A", "2"), ("B", "1"), ("B", "2")], parts, strict=True))))
    assert [s.endswith("; with groups of these sizes no Holm p can be below 0.095.") for s in said] == [True, True]
    found, said = corrected_tests(scored({("Siemens", ""): a, ("GE", ""): b[:4]}))
    assert said == ["Whether a difference depends on the vendor was not tested: that needs two groups of 5 patients or more."]
    assert found["p"].isna().all()
    assert corrected_tests(scored({("Siemens", "1"): a}))[1] == []


def people(folder: Path) -> dict[str, str]:
    """The masks of eight patients, as files without content, and the centre of each patient."""
    (folder / "labelsTr").mkdir(parents=True)
    centre = {f"p{i}": ("Dijon", "Lausanne")[i // 4] for i in range(8)}
    for patient in centre:
        (folder / "labelsTr" / f"{patient}_ED.nii.gz").touch()
    return centre


@pytest.mark.parametrize("where", ["cohort.json", "patients.csv", "cases in patients.csv", "beside the masks"])
def test_vendor_and_centre_are_found(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "Dataset031_MnMs"
    centre = people(folder)
    by_patient = "\n".join(["patient,Vendor,Centre", *(f"{patient},,{name}" for patient, name in centre.items())]) + "\n"
    if where == "beside the masks":  # as data sets come that nobody imported
        (folder / "patients.csv").write_text(by_patient.replace(",,", ",GE,"))
    else:
        subjects = [{"patient": patient, "cases": {"ED": f"{patient}_ED"}} for patient in centre]
        (folder / "priors.csv").write_text("patient,vendor\n" + "".join(f"{patient},GE\n" for patient in centre))
        if where == "cohort.json":
            subjects = [subject | {"centre": centre[str(subject["patient"])]} for subject in subjects]
        elif where == "patients.csv":
            (folder / "patients.csv").write_text(by_patient)  # an empty cell takes no vendor away
        else:
            lines = "".join(f"{patient}_ED.nii.gz,{patient},{name}\n" for patient, name in centre.items())
            (folder / "patients.csv").write_text(f"case,patient,centre\n{lines}")
        (folder / "cohort.json").write_text(json.dumps({"subjects": subjects}))
    given = {"gt": folder / "labelsTr"} if where == "beside the masks" else {"dataset": folder}
    found = find_dataset(frozenset(cases_in(folder / "labelsTr")), [tmp_path], **given)
    assert {info.patient: (info.vendor, info.centre, info.phase) for info in found.cases.values()} == {
        patient: ("GE", name, "ED") for patient, name in centre.items()
    }


def test_centres_reach_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    study = Study(tmp_path)
    (study.raw / "patients.csv").write_text("patient,centre\n" + "".join(f"p{i:02d},{'AB'[i // 4]}\n" for i in range(8)))
    results = study.evaluate()
    assert results.table.groupby("patient")["centre"].first().tolist() == [*"AAAABBBB"]
    assert list(results.breakdown["centre"]["group"].unique()) == ["A", "B"]
    assert "Whether a difference depends on the centre was not tested: that needs two groups of 5 patients or more." in results.conclusion
    assert [row["way"] for row in as_json(results)["dependence"]] == ["vendor"] * 6 + ["centre"] * 6
    table = dependence_table(results, "centre")[0]
    assert isinstance(table, Table)
    assert table.rows == [[structure, *["\N{EN DASH}", "0", "\N{EN DASH}", "\N{EN DASH}"] * 2] for structure in STRUCTURES]


def test_a_table_of_before_has_no_centre(tmp_path: Path) -> None:
    table = scored({("Siemens", "1"): gains(2)[0]}).assign(dataset="D", mix_ratio=0.0)
    table.drop(columns="centre").to_csv(tmp_path / "metrics.csv", index=False)
    found = read_table(tmp_path / "metrics.csv")
    assert tuple(found.columns) == COLUMNS
    assert set(found["centre"]) == {""}


def test_simulated_studies_of_groups() -> None:
    parts = [group_simulations.part(one, (20, 20), 12, 99) for one in group_simulations.SCENARIOS if one.alike or one.depends]
    equal, harder, depends = (part["Dice"]["share"] for part in parts)
    assert max(equal, harder) < 0.3 < depends
    page = evaluation_page.between({"parts": parts, "seed": 1, "cpu_seconds": 2, "date": "today", "version": "0", "machine": "1 CPU core"})
    assert page.count("| 20 + 20 |") == 3
