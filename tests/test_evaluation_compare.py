"""compare() on small results folders in nnU-Net's own layout, and everything a user can get wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_study import AUG, BASE, FOLDERS, PATIENTS, SPACING, Study

from evaluation.analysis.paired import headline
from evaluation.compare import Comparison, compare, evaluate
from evaluation.inputs.arms import fairness_notes, read_arm
from evaluation.inputs.dataset import find_dataset, structure_labels
from evaluation.inputs.scores import read_sources
from evaluation.report.writing import as_json
from evaluation.scoring.metrics import image_diagonal
from evaluation.scoring.table import COLUMNS, METRICS, UNITS, read_table, validated
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti, write_nifti

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)  # the folders beside nnUNet_results must be found without it
    return Study(tmp_path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Comparison]:
    """One undisturbed comparison, for the tests that only read."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in FOLDERS:
            patch.delenv(variable, raising=False)
        study = Study(tmp_path_factory.mktemp("compared"))
        return study, study.compare(names=("real only", "real + synthetic"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def cell(table: pd.DataFrame, structure: str, metric: str, column: str) -> float:
    return float(table[metric][column].to_dict()[structure])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_compare_writes_numbers_that_follow_from_the_masks(compared: tuple[Study, Comparison]) -> None:
    study, result = compared
    assert sorted(p.name for p in study.out.iterdir()) == [
        "comparison.json",
        "figures",
        "metrics.csv",
        *(["metrics.parquet"] if find_spec("pyarrow") else []),
        "report.html",
        "report.md",
        "summary.csv",
    ]
    assert list(result.headline.index) == ["RV", "MYO", "LV", "mean"]
    # One value per patient: the mean of ED and ES, then over patients.
    expected = [
        np.mean([dice(np.roll(m, s, 0) == 3, m == 3) for m, s in ((study.mask(f"p{i:02d}_ED"), 2), (study.mask(f"p{i:02d}_ES"), 1))])
        for i in range(PATIENTS)
    ]
    assert cell(result.headline, "LV", "Dice", "baseline") == pytest.approx(np.mean(expected))
    difference = cell(result.headline, "LV", "Dice", "augmented") - cell(result.headline, "LV", "Dice", "baseline")
    assert cell(result.headline, "LV", "Dice", "difference") == pytest.approx(difference)
    numbers = json.loads((study.out / "comparison.json").read_text())
    found = next(r for r in numbers["headline"] if r["structure"] == "LV" and r["metric"] == "Dice")
    assert found["difference"] == pytest.approx(difference)
    assert found["n"] == numbers["patients"] == PATIENTS
    assert numbers["arms"]["augmented"]["mix_ratio"] == 0.5
    assert numbers["arms"]["baseline"]["mix_ratio"] == 0
    assert numbers["conclusion"] == result.conclusion
    page = result.report.read_text()
    assert "real + synthetic" in page
    assert "fedcba987654" in page  # the generator's hash
    assert "By vendor" in page


def test_metrics_csv_is_the_contract(compared: tuple[Study, Comparison]) -> None:
    study, _ = compared
    table = read_table(study.out / "metrics.csv")
    assert tuple(table.columns) == COLUMNS
    assert set(table["metric"]) == set(UNITS)
    assert len(table) == 2 * 2 * PATIENTS * 3 * len(UNITS)  # arms x phases x patients x structures x metrics
    assert set(table["vendor"]) == {"Siemens", "GE"}
    assert set(table["phase"]) == {"ED", "ES"}
    assert set(table["fold"]) == {"0", "1"}
    assert table["value"].notna().all()
    one = table[
        (table["patient"] == "p03") & (table["phase"] == "ED") & (table["model"] == "real + synthetic") & (table["structure"] == "RV")
    ].set_index("metric")["value"]
    assert {name: one[name] for name in METRICS} == {name: metric.perfect for name, metric in METRICS.items()}
    assert [one[f"Dice {level}"] for level in ("base", "mid", "apex")] == [1, 1, 1]
    summary = pd.read_csv(study.out / "summary.csv")
    assert len(summary) == 4 * len(METRICS)
    with pytest.raises(UserError, match="twice for"):
        validated(pd.concat([table, table.head(1)]))


def test_a_changed_prediction_changes_the_numbers(study: Study) -> None:
    before = headline(study.evaluate().summary)
    mask = study.mask("p03_ED")
    mask[np.nonzero(mask == 3)[0][:40], 16, 2] = 0
    study.write(AUG, "p03_ED", mask)
    after = headline(study.evaluate().summary)
    assert cell(after, "LV", "Dice", "augmented") < cell(before, "LV", "Dice", "augmented")
    assert cell(after, "LV", "Dice", "baseline") == cell(before, "LV", "Dice", "baseline")
    assert cell(after, "RV", "Dice", "augmented") == cell(before, "RV", "Dice", "augmented")


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(compared: tuple[Study, Comparison], monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = compared
    first = contents(study.out)
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    study.compare(names=("real only", "real + synthetic"))
    assert contents(study.out) == first


def test_engines_agree(study: Study) -> None:
    native, other = study.evaluate().table, study.evaluate(engine="medpy").table
    np.testing.assert_allclose(native["value"], other["value"], rtol=1e-13, atol=1e-13)


@pytest.mark.slow
def test_a_missing_structure_is_a_failure_with_the_worst_case(study: Study) -> None:
    mask = study.mask("p02_ES")
    study.write(AUG, "p02_ES", np.where(mask == 1, 0, mask))
    result = study.compare()
    assert result.failures[["model", "patient", "phase", "structure", "failure"]].to_numpy().tolist() == [
        ["augmented", "p02", "ES", "RV", "prediction empty"]
    ]
    table = read_table(study.out / "metrics.csv")
    failed = table[table["failure"] != ""].set_index("metric")["value"]
    assert failed["Dice"] == 0
    assert failed["HD"] == pytest.approx(image_diagonal((36, 32, 5), SPACING))
    numbers = json.loads((study.out / "comparison.json").read_text())
    kept = next(r for r in numbers["without_failures"] if r["structure"] == "RV" and r["metric"] == "HD")
    assert kept["augmented_mean"] < cell(result.headline, "RV", "HD", "augmented")
    assert "The same without failures" in result.report.read_text()


@pytest.mark.parametrize("layout", ["fold", "validation", "crossval", "plain"])
def test_layouts(study: Study, layout: str, tmp_path: Path) -> None:
    arms = [study.results / BASE, study.results / AUG]
    gt = None
    if layout == "fold":
        arms = [a / "fold_1" for a in arms]
    elif layout == "validation":
        arms = [a / "fold_1" / "validation" for a in arms]
    else:
        for i, arm in enumerate(arms):
            target = arm / "crossval_results_folds_0_1" if layout == "crossval" else tmp_path / f"predictions_{i}"
            target.mkdir()
            for file in arm.glob("fold_*/validation/*.nii.gz"):
                (target / file.name).write_bytes(file.read_bytes())
            arms[i] = target
        if layout == "plain":
            gt = study.raw / "labelsTr"
    [results] = evaluate(read_sources({"baseline": arms[:1], "augmented": arms[1:]}, gt=gt))
    assert results.table["patient"].nunique() == (PATIENTS // 2 if layout in ("fold", "validation") else PATIENTS)
    assert set(results.table["fold"]) == {"fold": {"1"}, "validation": {"1"}, "crossval": {"0", "1"}, "plain": {""}}[layout]
    assert set(results.arms[1][0].records) == {"fold": {"1"}, "validation": {"1"}, "crossval": {"0", "1"}, "plain": set()}[layout]
    assert np.isfinite(cell(headline(results.summary), "LV", "Dice", "difference"))


def test_several_folders_of_an_arm_are_its_trainings(study: Study) -> None:
    again = study.results / "nnUNetTrainerAgain__nnUNetPlans__2d"
    shutil.copytree(study.results / BASE, again)
    for i in range(PATIENTS):  # the second training is perfect
        target = again / f"fold_{i % 2}" / "validation" / f"p{i:02d}_ED.nii.gz"
        write_nifti(target, study.mask(f"p{i:02d}_ED"), SPACING)
    sources = {"baseline": [study.results / BASE, again], "augmented": [study.results / AUG]}
    [results] = evaluate(read_sources(sources))
    assert set(results.table.loc[results.table["model"] == "baseline", "seed"]) == {"1", "2"}
    alone = study.evaluate()
    mean = [cell(headline(r.summary), "LV", "Dice", "baseline") for r in (alone, results)]
    ed = alone.table.query("model == 'baseline' and phase == 'ED' and structure == 'LV' and metric == 'Dice'")["value"].mean()
    assert mean[1] == pytest.approx(mean[0] + (1 - ed) / 4)  # half of the phases of half of the trainings
    assert set(results.summary["n"]) == {PATIENTS}
    assert any("not both arms were trained several times" in s for s in results.conclusion)


def test_a_copy_of_the_plans_that_changes_the_mix_alone_is_no_other_plan(study: Study) -> None:
    """As of a share that changes: its plans have another name, for a results folder of their own."""
    plans = {"plans_name": "nnUNetPlans", "configurations": {"2d": {"batch_size": 8}}, "synth_aug": {"ratio": 0.0, "epochs": 100}}
    copy = {**plans, "plans_name": "fallingPlans", "synth_aug": {"ratio": 0.5, "epochs": 100, "schedule": {"to": 0.0}}}
    falling = study.results / AUG.replace("nnUNetPlans", "fallingPlans")
    (study.results / AUG).rename(falling)
    for other, notes in (
        (copy, []),
        (copy | {"configurations": {"2d": {"batch_size": 12}}}, ["plans is nnUNetPlans"]),
        (None, ["plans is"]),
    ):
        (study.results / BASE / "plans.json").write_text(json.dumps(plans))
        if other is None:
            (falling / "plans.json").unlink()
        else:
            (falling / "plans.json").write_text(json.dumps(other))
        arms = read_arm(study.results / BASE, "a"), read_arm(falling, "b")
        found = fairness_notes(*arms, find_dataset(arms[0].cases, [arms[0].folder], dataset=study.raw))
        assert [any(note in one for one in found) for note in notes] == [True] * len(notes)
        assert len(found) == len(notes)


def test_leaked_patients_come_first_in_the_conclusion(study: Study) -> None:
    assert "Not valid" not in study.evaluate().conclusion[0]
    study.record(0, ["p00", "p01"])  # p00 is evaluated in fold 0
    results = study.evaluate()
    assert results.conclusion[0] == "Not valid: the generator was trained on evaluated patients (p00)."
    assert as_json(results)["arms"]["augmented"]["leaked_patients"] == ["p00"]


def test_a_structure_that_is_never_annotated_is_not_scored(study: Study) -> None:
    for i in range(PATIENTS):
        for phase in ("ED", "ES"):
            mask = study.mask(f"p{i:02d}_{phase}")
            write_nifti(study.preprocessed / "gt_segmentations" / f"p{i:02d}_{phase}.nii.gz", np.where(mask == 1, 0, mask), SPACING)
    results = study.evaluate()
    assert list(headline(results.summary).index) == ["MYO", "LV", "mean"]
    assert "Not scored, because no ground truth holds it: RV." in results.conclusion


@pytest.mark.slow
def test_without_cohort_images_or_splits(study: Study) -> None:
    for file in (study.raw / "cohort.json", study.raw / "priors.csv", study.preprocessed / "splits_final.json"):
        file.unlink()
    for image in (study.raw / "imagesTr").iterdir():
        image.unlink()
    result = study.compare()
    table = read_table(study.out / "metrics.csv")
    assert table["patient"].nunique() == PATIENTS  # from the case ids
    page = result.report.read_text()
    assert "contours are drawn on black" in page
    assert "By vendor" not in page
    assert not list((study.out / "figures").glob("*vendor*"))


def test_two_patients_are_enough_to_run(study: Study) -> None:
    for arm in (BASE, AUG):
        for file in (study.results / arm).glob("fold_*/validation/*.nii.gz"):
            if file.name[:3] not in ("p00", "p01"):
                file.unlink()
    (study.preprocessed / "splits_final.json").unlink()
    results = study.evaluate()
    assert any("no single comparison can be significant" in s for s in results.conclusion)


def test_labels_of_a_dataset_json() -> None:
    labels, ignore = structure_labels({"labels": {"background": 0, "lv": 1, "myo": 2, "rv": 3, "ignore": 4}})
    assert list(labels.items()) == [("RV", (3,)), ("MYO", (2,)), ("LV", (1,))]
    assert ignore == 4
    assert structure_labels({"labels": {"background": 0, "heart": [1, 2], "LV": 2}})[0] == {"LV": (2,), "heart": (1, 2)}


def _remove_case(s: Study) -> None:
    s.file(AUG, "p04_ES").unlink()


def _remove_case_in_both(s: Study) -> None:
    s.file(AUG, "p04_ES").unlink()
    s.file(BASE, "p04_ES").unlink()


def _other_fold(s: Study) -> None:
    source = s.file(AUG, "p04_ES")
    source.rename(s.results / AUG / "fold_1" / "validation" / source.name)


def _nan(s: Study) -> None:
    write_nifti(s.file(BASE, "p01_ED"), np.full((36, 32, 5), np.nan, np.float32), SPACING)


def _probabilities(s: Study) -> None:
    write_nifti(s.file(BASE, "p01_ED"), np.full((36, 32, 5), 0.4, np.float32), SPACING)


def _foreign(s: Study) -> None:
    s.write(AUG, "p01_ED", np.full((36, 32, 5), 7, np.uint8))


def _truncated(s: Study) -> None:
    file = s.file(AUG, "p05_ED")
    file.write_bytes(file.read_bytes()[:200])


def _missing_truth(s: Study) -> None:
    (s.preprocessed / "gt_segmentations" / "p00_ED.nii.gz").unlink()
    (s.raw / "labelsTr" / "p00_ED.nii.gz").unlink()


def _no_predictions(s: Study) -> None:
    for file in (s.results / AUG).glob("fold_*/validation/*"):
        file.unlink()


BAD: dict[str, tuple[Callable[[Study], object], str]] = {
    "case missing in one arm": (_remove_case, r"lacks 1 of the cases that baseline predicts: p04_ES"),
    "case missing in both arms": (_remove_case_in_both, r"has no prediction for 1 of 16 cases: p04_ES; .*--allow-missing"),
    "case in another fold": (_other_fold, r"predict p04_ES in different folds"),
    "shape": (lambda s: s.write(AUG, "p01_ED", np.ones((36, 31, 5), np.uint8)), r"p01_ED.nii.gz has the shape \(36, 31, 5\)"),
    "spacing": (lambda s: s.write(AUG, "p01_ED", s.mask("p01_ED"), (1.5, 1.5, 10.0)), r"p01_ED.nii.gz has the spacing"),
    "NaN": (_nan, r"p01_ED.nii.gz holds \d+ NaN"),
    "probabilities": (_probabilities, r"p01_ED.nii.gz holds values that are no labels"),
    "foreign label": (_foreign, r"p01_ED.nii.gz holds the label 7, which the dataset does not define"),
    "truncated": (_truncated, r"p05_ED.nii.gz is not a complete NIfTI file"),
    "no ground truth": (_missing_truth, r"has no ground truth for p00_ED"),
    "no predictions": (_no_predictions, r"holds no predictions"),
    "broken record": (lambda s: (s.results / AUG / "fold_0" / "synth_aug.json").write_text("{"), r"synth_aug.json is not readable JSON"),
    "broken cohort": (lambda s: (s.raw / "cohort.json").write_text("{}"), r"cohort\.json is damaged"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gives_one_sentence_and_writes_nothing(study: Study, what: str) -> None:
    spoil, message = BAD[what]
    spoil(study)
    with pytest.raises(UserError, match=message) as caught:
        study.compare()
    assert "\n" not in str(caught.value)
    assert not study.out.exists()
    assert not [p for p in study.out.parent.iterdir() if p.name.startswith(".partial")]


def test_bad_arguments(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        compare(tmp_path / "nowhere", study.results / AUG, study.out)
    with pytest.raises(UserError, match="no metric engine 'fast'"):
        study.compare(engine="fast")
    with pytest.raises(UserError, match="both arms are called"):
        study.compare(names=("x", "x"))
    with pytest.raises(UserError, match=r"the ground truth folder .* does not exist"):
        study.compare(gt=tmp_path / "nowhere")
    study.out.write_text("a file")
    with pytest.raises(UserError, match="is a file"):
        study.compare()


@pytest.mark.slow
def test_a_failed_run_leaves_an_old_report_as_it_was(study: Study) -> None:
    study.compare()
    before = contents(study.out)
    _truncated(study)
    with pytest.raises(UserError):
        study.compare()
    assert contents(study.out) == before


def test_evaluation_needs_no_torch_and_starts_without_matplotlib() -> None:
    heavy = ("torch", "nnunetv2", "matplotlib", "medpy", "scipy.stats")
    code = f"import sys, evaluation.compare; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_real_hearts(tmp_path: Path) -> None:
    folder = DATA / "acdc_edes"
    if not folder.is_dir():
        pytest.skip(f"real patient data not found in {folder}")
    truth, arms = tmp_path / "gt", [tmp_path / "a", tmp_path / "b"]
    for patient in sorted(folder.iterdir())[:3]:
        for file in sorted(patient.glob("*_gt.nii.gz")):
            mask, spacing, affine = read_nifti(file, ndim=3)
            name = file.name.replace("_gt", "")
            for target, moved in ((truth, mask), (arms[0], np.roll(mask, 3, axis=0)), (arms[1], np.roll(mask, 1, axis=0))):
                write_nifti(target / name, moved, spacing, affine=affine)
    result = compare(arms[0], arms[1], tmp_path / "out", gt=truth)
    assert (result.headline["Dice"]["difference"] > 0).all()
    assert (result.headline["HD"]["difference"] < 0).all()
    assert read_table(tmp_path / "out" / "metrics.csv")["patient"].nunique() == 3
