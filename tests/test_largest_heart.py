"""Scores without islands: the same parts as nnU-Net's postprocessing keeps, in every arm, said wherever scores are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_study import AUG, BASE, FOLDERS, Study
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation
from scipy import ndimage
from typer.testing import CliRunner

from evaluation.evaluate import evaluate_folder
from evaluation.inputs.scores import read_sources
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.errors import UserError


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    return Study(tmp_path)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.02, 0.3))
def test_islands_fall_as_in_nnunets_postprocessing(seed, share):
    rng = np.random.default_rng(seed)
    mask = (rng.integers(1, 4, (12, 11, 5)) * (rng.random((12, 11, 5)) < share)).astype(np.int16)
    clean = without_islands(mask)
    theirs = remove_all_but_largest_component_from_segmentation(mask.copy(), [1, 2, 3])
    sizes = np.sort(np.bincount(ndimage.label(mask > 0, np.ones((3, 3, 3)))[0].ravel())[1:])
    if len(sizes) > 1 and sizes[-1] == sizes[-2]:  # nnU-Net keeps all of several largest ones
        assert np.count_nonzero(clean) == sizes[-1]
    else:
        np.testing.assert_array_equal(clean, theirs)
    np.testing.assert_array_equal(clean[clean > 0], mask[clean > 0])
    np.testing.assert_array_equal(without_islands(clean), clean)


def test_a_prediction_without_islands_keeps_its_scores_and_an_island_loses_its_weight(study: Study) -> None:
    mask = study.mask("p02_ES")
    spoilt = mask.copy()
    assert not mask[:2, :2, 0].any()
    spoilt[:2, :2, 0] = 3
    study.write(AUG, "p02_ES", spoilt)
    kept = study.evaluate(largest_heart=True).table.set_index(["model", "patient", "phase", "structure", "metric"])["value"]
    whole = study.evaluate().table.set_index(["model", "patient", "phase", "structure", "metric"])["value"]
    island = ("augmented", "p02", "ES", "LV", "HD")
    assert kept[island] < whole[island] / 2
    rest = [key for key in kept.index if key[:3] != island[:3]]
    np.testing.assert_array_equal(kept[rest], whole[rest])


@pytest.mark.slow
def test_it_is_said_wherever_scores_are_and_tables_of_both_kinds_do_not_mix(study: Study) -> None:
    words = ["compare", "--baseline", study.results / BASE, "--augmented", study.results / AUG, "-o", study.out, "--largest-heart"]
    done = CliRunner().invoke(app, [*map(str, words), "--no-images", "-np", "1"])
    assert done.exit_code == 0, done.output
    assert "largest connected heart of every prediction alone" in done.output
    numbers = json.loads((study.out / "comparison.json").read_text())
    assert numbers["largest_heart"] is True
    assert "the largest connected heart alone was scored" in numbers["statistics"]["methods"]
    assert "Islands are an error that this hides" in (study.out / "report.html").read_text()
    tables = {}
    for name, arm, largest in (("a", BASE, True), ("b", AUG, False)):
        evaluate_folder(study.results / arm, study.out.parent / name, rules=ScoringRules(largest_heart=largest), name=name)
        tables[name] = [study.out.parent / name / "metrics.csv"]
    with pytest.raises(UserError, match="differ in whether islands were scored"):
        read_sources(tables)
    for folder, options, said in (("c", ["--largest-heart"], True), ("d", [], False)):
        words = ["evaluate", "--pred", study.results / BASE, "-o", study.out.parent / folder]
        shown = CliRunner().invoke(app, [*map(str, words), *options])
        assert ("Largest connected heart of every prediction alone" in shown.output) is said
