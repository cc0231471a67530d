"""``compare`` scores by the same options as ``evaluate``: policies, missing predictions, label maps, tolerances, processes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_study import AUG, BASE, FOLDERS, PATIENTS, SPACING, Study
from typer.testing import CliRunner

from evaluation.evaluate import evaluate_folder
from evaluation.inputs.scores import read_sources
from evaluation.scoring.metrics import image_diagonal
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_nifti


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    return Study(tmp_path)


def rows(table: pd.DataFrame, patient: str, phase: str, structure: str, metric: str) -> dict[str, float]:
    """Value of each model."""
    one = table[(table["patient"] == patient) & (table["phase"] == phase) & (table["structure"] == structure) & (table["metric"] == metric)]
    return dict(zip(one["model"], one["value"], strict=True))


@pytest.mark.parametrize(
    ("policy", "dice", "hd"), [("penalty", 0.0, image_diagonal((36, 32, 5), SPACING)), ("nan", 0.0, math.nan), ("drop", math.nan, math.nan)]
)
def test_policies_for_an_empty_prediction(study: Study, policy: str, dice: float, hd: float) -> None:
    mask = study.mask("p02_ES")
    study.write(AUG, "p02_ES", np.where(mask == 1, 0, mask))
    results = study.evaluate(empty=policy)
    assert results.rules is not None and results.rules.empty == policy
    for metric, expected in (("Dice", dice), ("HD", hd)):
        assert rows(results.table, "p02", "ES", "RV", metric)["augmented"] == pytest.approx(expected, nan_ok=True)
    summary = results.summary.set_index(["structure", "metric"])
    assert set(summary["n"]) == {PATIENTS}  # ED of the patient remains
    values = results.values.set_index(["structure", "metric", "patient"])
    for metric, kept in (("Dice", policy != "drop"), ("HD", policy == "penalty")):
        # Where ES is left out it is left out of both arms: the patient's value is that of ED alone.
        for side in ("baseline", "augmented"):
            phases = [rows(results.table, "p02", phase, "RV", metric)[side] for phase in ("ED", "ES")]
            assert values.at[("RV", metric, "p02"), side] == pytest.approx(np.mean(phases) if kept else phases[0])
    assert len(results.failures) == 1
    assert results.excluded == 0


def test_both_empty_in_both_arms_is_counted_under_every_policy(study: Study) -> None:
    for folder in (study.preprocessed / "gt_segmentations", study.raw / "labelsTr"):
        write_nifti(folder / "p04_ED.nii.gz", np.where(study.mask("p04_ED") == 1, 0, study.mask("p04_ED")), SPACING)
    for arm in (BASE, AUG):
        study.write(arm, "p04_ED", study.mask("p04_ED"))
    for policy in ("penalty", "nan", "drop"):
        assert study.evaluate(empty=policy).excluded == 1


@pytest.mark.parametrize(("policy", "n_hd"), [("penalty", 8), ("nan", 8), ("drop", 8)])
def test_missing_predictions_are_scored_when_asked_for(study: Study, policy: str, n_hd: int) -> None:
    study.file(AUG, "p04_ES").unlink()
    study.file(AUG, "p01_ES").unlink()
    study.file(BASE, "p01_ES").unlink()  # missing in both, known from the split
    with pytest.raises(UserError, match="--allow-missing"):
        study.evaluate()
    results = study.evaluate(allow_missing=True, empty=policy)
    missing = results.failures[results.failures["failure"] == "prediction missing"]
    assert set(missing[["model", "patient"]].itertuples(index=False, name=None)) == {
        ("augmented", "p04"),
        ("augmented", "p01"),
        ("baseline", "p01"),
    }
    assert set(missing["fold"]) == {"0", "1"}
    assert any("No prediction of augmented for 2 cases" in s and f"'{policy}'" in s for s in results.conclusion)
    dice = rows(results.table, "p04", "ES", "LV", "Dice")
    assert dice["augmented"] == 0 if policy == "penalty" else math.isnan(dice["augmented"])
    assert dice["baseline"] > 0
    assert set(results.summary["n"]) == {n_hd}
    agreement = results.agreement.set_index(["quantity", "model"])["n"]
    assert agreement["LV ESV", "augmented"] == PATIENTS - 2  # nothing was measured: no volume of 0 mL
    assert agreement["LV ESV", "baseline"] == PATIENTS - 1


def test_a_case_that_neither_of_two_plain_folders_has_is_missing(study: Study, tmp_path: Path) -> None:
    arms = [tmp_path / "a", tmp_path / "b"]
    for arm, target in zip((BASE, AUG), arms, strict=True):
        target.mkdir()
        for file in (study.results / arm).glob("fold_*/validation/*.nii.gz"):
            if not file.name.startswith("p05_ED"):
                shutil.copy(file, target)
    sources = {"a": arms[:1], "b": arms[1:]}
    with pytest.raises(UserError, match=r"no prediction for 1 of 16 cases: p05_ED"):
        read_sources(sources, gt=study.raw / "labelsTr")
    table = read_sources(sources, gt=study.raw / "labelsTr", allow_missing=True).table
    assert (table.loc[(table["patient"] == "p05") & (table["phase"] == "ED"), "failure"] == "prediction missing").all()


def test_label_maps_of_arms_and_ground_truth_may_differ(study: Study, tmp_path: Path) -> None:
    expected = study.evaluate().table
    swap = np.array([0, 3, 2, 1], np.uint8)  # M&Ms: LV 1, RV 3
    for i in range(PATIENTS):
        for phase in ("ED", "ES"):
            study.write(AUG, f"p{i:02d}_{phase}", swap[study.read("augmented", f"p{i:02d}_{phase}")])
    labels = {"background": 0, "LV": 1, "MYO": 2, "RV": 3}
    (study.results / AUG / "dataset.json").write_text(json.dumps({"labels": labels}))
    results = study.evaluate()
    pd.testing.assert_frame_equal(results.table, expected)
    assert any("labels were translated: RV 3 to 1" in s for s in results.conclusion)
    (study.results / AUG / "dataset.json").write_text((study.raw / "dataset.json").read_text())
    assert any("seem to use different label maps" in s for s in study.evaluate().conclusion)
    (study.results / AUG / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "aorta": 1}}))
    with pytest.raises(UserError, match="no structure in common"):
        study.evaluate()


def test_labels_by_hand_and_regions(study: Study) -> None:
    results = study.evaluate(labels={"EPI": (2, 3), "RV": (1,)})
    assert list(results.labels) == ["RV", "EPI"]
    assert {"EPI", "RV", "mean"} == set(results.summary["structure"])


def test_tolerance_changes_the_surface_dice_alone(study: Study) -> None:
    wide, narrow = (study.evaluate(tolerance=t) for t in (4.0, {"RV": 0.1, "MYO": 4.0, "LV": 4.0}))
    assert narrow.rules.tolerance == {"RV": 0.1, "MYO": 4.0, "LV": 4.0}
    means = [r.summary.set_index(["structure", "metric"])["baseline_mean"] for r in (wide, narrow)]
    changed = {key for key in means[0].index if means[0][key] != means[1][key]}
    assert changed == {("RV", "Surface Dice"), ("mean", "Surface Dice")}


def test_several_processes_give_the_same_table(study: Study) -> None:
    code = (
        "import sys; from pathlib import Path; from evaluation.inputs.scores import read_sources\n"
        "if __name__ == '__main__':\n"
        "    arms = {n: [Path(p)] for n, p in zip(('baseline', 'augmented'), sys.argv[1:3])}\n"
        "    read_sources(arms, workers=2).table.to_csv(sys.argv[3], index=False)\n"
    )
    script, out = study.out.parent / "score.py", study.out.parent / "table.csv"
    script.write_text(code)
    subprocess.run([sys.executable, script, study.results / BASE, study.results / AUG, out], check=True, capture_output=True)
    assert out.read_text() == study.evaluate().table.to_csv(index=False)


def test_tables_keep_word_of_their_rules(study: Study) -> None:
    """Scores from ``evaluate``: the policy is taken over, and two that differ are refused."""
    tables = {}
    for name, arm, policy in (("a", BASE, "nan"), ("b", AUG, "nan"), ("c", AUG, "penalty")):
        evaluate_folder(study.results / arm, study.out.parent / name, rules=ScoringRules(empty=policy), name=name)
        tables[name] = [study.out.parent / name / "metrics.csv"]
    scored = read_sources({"a": tables["a"], "b": tables["b"]})
    assert scored.rules.empty == "nan"
    assert scored.rules.tolerance == dict.fromkeys(("RV", "MYO", "LV"), 2.0)
    with pytest.raises(UserError, match=r"scored by 'nan' in .* and by 'penalty' in .*; score both with the same --empty"):
        read_sources({"a": tables["a"], "c": tables["c"]})
    with pytest.raises(UserError, match=r"scored by 'penalty' in the predictions and by 'nan'"):
        read_sources({"base": [study.results / BASE], "b": tables["b"]})
    (study.out.parent / "b" / "evaluation.json").unlink()
    assert read_sources({"b": tables["b"], "b2": tables["b"]}).rules is None


def test_options_reach_the_command_and_the_files(study: Study) -> None:
    study.file(AUG, "p04_ES").unlink()
    words = ["compare", "--baseline", study.results / BASE, "--augmented", study.results / AUG, "-o", study.out]
    refused = CliRunner().invoke(app, [*map(str, words)])
    assert isinstance(refused.exception, UserError)
    done = CliRunner().invoke(
        app, [*map(str, words), "--allow-missing", "--empty", "nan", "--tolerance", "RV=3", "-np", "1", "--no-images", "--labels", "acdc"]
    )
    assert done.exit_code == 0, done.output
    assert "HD: largest surface distance of both directions" in done.output
    numbers = json.loads((study.out / "comparison.json").read_text())
    assert numbers["empty_masks"]["policy"] == "nan"
    assert numbers["surface_dice_tolerance_mm"] == {"RV": 3.0, "MYO": 2.0, "LV": 2.0}
    assert "took no part in the analysis of distances" in numbers["statistics"]["methods"]
    assert "left out of both arms" in (study.out / "report.html").read_text()
    for bad, sentence in (
        (["--empty", "zero"], "no policy 'zero'"),
        (["--engine", "fast"], "no metric engine"),
        (["--labels", "LV"], "labels"),
    ):
        failed = CliRunner().invoke(app, [*map(str, words), *bad])
        assert isinstance(failed.exception, UserError)
        assert sentence in str(failed.exception)


def test_compare_starts_without_the_heavy_libraries(tmp_path: Path) -> None:
    """Until the first sentence about the folders."""
    code = (
        "import sys\n"
        "from nnunet_synth_aug.cli.app import main\n"
        f"sys.argv = ['synthaug', 'compare', '--baseline', 'absent', '--augmented', 'absent', '-o', {str(tmp_path / 'out')!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, [m for m in ('torch', 'nnunetv2', 'matplotlib', 'medpy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, heavy = done.stdout.split(maxsplit=1)
    assert (status, heavy.strip()) == ("2", "[]"), done.stderr
