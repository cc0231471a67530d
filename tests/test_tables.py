"""Tables that spreadsheet programs open: no text in them is a formula, and each is read back as it was."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation.scoring.table import COLUMNS
from evaluation.scoring.table import read_table as read_scores
from nnunet_synth_aug.core.cases import Subject
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.core.tables import quoted, quoted_table, read_table, unquoted
from nnunet_synth_aug.data.cohort import write_cohort


@given(st.text(max_size=8))
@example("=1+1")
@example("'=1+1")
@example("-5")
@example("@SUM(A1)")
@example("\t=1")
@example("'")
def test_a_text_is_no_formula_and_comes_back(text: str) -> None:
    assert quoted(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert unquoted(quoted(text)) == text


def test_numbers_and_gaps_are_left_alone() -> None:
    for value in (-1.5, -3, None, True):
        assert quoted(value) is value
    table = pd.DataFrame({"name": ["=a", "b", None], "value": [-1.5, 2.0, float("nan")], "n": [-1, 2, 3]})
    assert quoted_table(table).to_csv(index=False) == "name,value,n\n'=a,-1.5,-1\nb,2.0,2\n,,3\n"


def test_patients_called_like_formulas_are_written_and_read(tmp_path: Path) -> None:
    """The import refuses such names; a cohort that somebody else made may have them."""
    subjects = [Subject(name, (1.5, 1.5, 8.0), Priors(lv_ef=50.0), None, 2, 0, 1) for name in ("=p1", "+p2", "p3")]
    write_cohort(tmp_path, subjects)
    with (tmp_path / "priors.csv").open(newline="") as stream:
        assert [row["patient"] for row in csv.DictReader(stream)] == ["'=p1", "'+p2", "p3"]
    rows = read_table(tmp_path / "priors.csv")[1].values()
    assert [(row["patient"], row["lv_ef"]) for row in rows] == [("=p1", "50.0"), ("+p2", "50.0"), ("p3", "50.0")]


SCORED = dict.fromkeys(COLUMNS, "x") | {"value": 0.9, "unit": "", "failure": "", "mix_ratio": 0.5, "metric": "Dice", "structure": "LV"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": 92.35}, r"Dice of LV, patient x x \(92\.35 \) is above 1, which no overlap is"),
        ({"value": -0.3}, "is below 0"),
        ({"metric": "HD95", "unit": "mm", "value": -3}, "is below 0"),
        ({"metric": "HD95", "unit": "cm", "value": 3}, "is not in the unit of this metric"),
        ({"value": ""}, "has no value and no failure"),
        ({"value": "NaN"}, "is not a readable metrics table|has no value"),
        ({"value": "high"}, "is not a readable metrics table"),
    ],
)
def test_values_that_no_metric_has_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "metrics.csv"
    pd.DataFrame([SCORED | change]).to_csv(path, index=False)
    with pytest.raises(UserError, match=message):
        read_scores(path)


def test_scores_of_such_patients_are_read_back(tmp_path: Path) -> None:
    table = pd.DataFrame([SCORED | {"patient": "=p1"}])
    path = tmp_path / "metrics.csv"
    path.write_text(quoted_table(table).to_csv(index=False))
    assert "'=p1" in path.read_text()
    assert read_scores(path)["patient"].tolist() == ["=p1"]


@pytest.mark.parametrize(
    ("change", "coding"),
    [
        (lambda content: content, "utf-8-sig"),
        (lambda content: content.replace(",", "\t"), "utf-16"),
        (lambda content: "sep=;\n" + content.replace(",", ";").replace("0.9", "0,9"), "cp1252"),
    ],
    ids=["mark", "tabs", "semicolons and decimal commas"],
)
def test_scores_may_be_saved_by_any_program(tmp_path: Path, change: Callable[[str], str], coding: str) -> None:
    path = tmp_path / "metrics.csv"
    content = pd.DataFrame([SCORED | {"value": 0.9, "patient": "001"}]).to_csv(index=False)
    path.write_text(content)
    plain = read_scores(path)
    path.write_bytes(change(content).encode(coding))
    pd.testing.assert_frame_equal(read_scores(path), plain)
    assert (plain["value"].item(), plain["patient"].item()) == (0.9, "001")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",".join(SCORED) + "\n", "has no rows; write it again"),
        ("", "is not a readable metrics table"),
        (",".join(SCORED) + "\n" + "x," * 20 + "\n", "is not a readable metrics table"),
        ("a\0b", "is not text that can be read"),
    ],
)
def test_tables_of_scores_without_scores_are_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_scores(tmp_path / "metrics.csv")
    assert "\n" not in str(caught.value)
