"""No command replaces files that something else wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from evaluation_study import AUG, BASE, Study

from evaluation.compare import compare, compare_arms
from evaluation.evaluate import evaluate_folder
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.synthesis.sample import sample_to_folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def evaluated(study: Study, out: Path) -> None:
    evaluate_folder(study.results / BASE / "fold_0" / "validation", out, gt=study.raw / "labelsTr", allow_missing=True)


def test_nnunets_summary_is_kept(study: Study, tmp_path: Path) -> None:
    out = study.results / BASE / "fold_0" / "validation"
    (out / "summary.json").write_text('{"metric_per_case": []}')
    before = sorted(out.iterdir())
    with pytest.raises(
        UserError, match=r"validation holds summary\.json, which 'synthaug evaluate' did not write and would replace; choose"
    ):
        evaluated(study, out)
    assert sorted(out.iterdir()) == before
    assert (out / "summary.json").read_text() == '{"metric_per_case": []}'
    (out / "summary.json").unlink()


def test_own_results_are_replaced_but_not_what_came_between(study: Study, tmp_path: Path) -> None:
    evaluated(study, tmp_path)
    evaluated(study, tmp_path)
    assert "synthaug" in json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds summary\.json"):
        evaluated(study, tmp_path)
    assert (tmp_path / "summary.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["metrics.csv", "report.html", "figures"])
def test_a_comparison_replaces_no_file_of_others(study: Study, tmp_path: Path, name: str) -> None:
    if name == "figures":
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.png").touch()
    else:
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"holds {name}, which 'synthaug compare' did not write"):
        compare(study.results / BASE, study.results / AUG, tmp_path)
    assert (tmp_path / "figures" / "mine.png").is_file() if name == "figures" else (tmp_path / name).read_text() == "mine"


def test_an_arms_own_predictions_are_not_taken_for_its_report(study: Study, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "p00_ED.nii.gz").touch()
    arms = {"a": [study.results / BASE], "b": [study.results / AUG], "c": [study.results / AUG]}
    with pytest.raises(UserError, match="holds b, which 'synthaug compare' did not write"):
        compare_arms(arms, tmp_path)
    assert (tmp_path / "b" / "p00_ED.nii.gz").is_file()


def test_sampling_into_a_data_set_keeps_its_priors(tmp_path: Path) -> None:
    (tmp_path / "priors.csv").write_text("patient\n")
    with pytest.raises(UserError, match=r"holds priors\.csv, which 'synthaug sample' did not write"):
        sample_to_folder(cast(Any, None), [], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["priors.csv"]
