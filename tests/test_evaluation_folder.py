"""Scoring one folder: policies, missing predictions, layouts, formats, several processes, and what a user can get wrong."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation_study import with_rules
from typer.testing import CliRunner

from evaluation.evaluate import Evaluation, evaluate_folder
from evaluation.inputs.interop import parse_labels, parse_tolerance
from evaluation.printing import printed
from evaluation.scoring.metrics import image_diagonal, workers_for
from evaluation.scoring.table import COLUMNS, METRICS, read_table
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti, write_nifti

SHAPE, SPACING = (24, 20, 5), (1.5, 1.5, 8.0)
CASES = [f"p{i}_{phase}" for i in range(2) for phase in ("ED", "ES")]


def heart(size: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:8, 5:15, 1:4] = 1
    mask[8 : 12 + size, 4:16, 1:4] = 2
    mask[9 : 11 + size, 5:15, 1:4] = 3
    return mask


class Folders:
    """Ground truth and predictions of two patients; one voxel column of every prediction is off."""

    def __init__(self, root: Path) -> None:
        self.root, self.gt, self.pred = root, root / "gt", root / "pred"
        for case in CASES:
            truth = heart(6 if case.endswith("ED") else 3 + int(case[1]))
            write_nifti(self.gt / f"{case}.nii.gz", truth, SPACING)
            self.write(case, np.roll(truth, 1, axis=1))

    def write(self, case: str, mask: np.ndarray) -> None:
        write_nifti(self.pred / f"{case}.nii.gz", mask, SPACING)

    def truth(self, case: str) -> np.ndarray:
        return read_nifti(self.gt / f"{case}.nii.gz")[0]

    def evaluate(self, **options: Any) -> Evaluation:
        return evaluate_folder(self.pred, self.root / "out", **with_rules({"gt": self.gt, **options}))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def value(result: Evaluation, case: str, structure: str, metric: str) -> float:
    patient, phase = case.split("_")
    table = result.table
    chosen = (table["patient"] == patient) & (table["phase"] == phase) & (table["structure"] == structure) & (table["metric"] == metric)
    return float(table.loc[chosen, "value"].item())


def mean(result: Evaluation, structure: str, metric: str) -> float:
    rows = result.structures.set_index(["phase", "structure", "metric"])
    return float(rows.at[("all", structure, metric), "mean"])


def test_what_is_written(folders: Folders) -> None:
    result = folders.evaluate()
    table = read_table(folders.root / "out" / "metrics.csv")
    assert tuple(table.columns) == COLUMNS
    pd.testing.assert_frame_equal(table[["structure", "metric", "value"]], result.table[["structure", "metric", "value"]])
    assert set(METRICS) | {"Volume", "Reference volume", "HD95 max of directed"} <= set(table["metric"])
    assert set(table["model"]) == {"pred"}
    assert set(table["phase"]) == {"ED", "ES"}
    about = json.loads((folders.root / "out" / "evaluation.json").read_text())
    assert about["empty_masks"]["policy"] == "penalty"
    assert about["surface_dice_tolerance_mm"] == {"RV": 2.0, "MYO": 2.0, "LV": 2.0}
    assert set(METRICS) <= set(about["definitions"])
    assert mean(result, "LV", "HD") == 1.5
    rows = result.structures
    assert set(rows["phase"]) == {"all", "ED", "ES"}
    assert len(rows) == 3 * 3 * len(METRICS)
    text = printed(result)
    assert "medpy" in text
    assert "Policy 'penalty'" in text
    assert "LV EF [%]" in text
    # Prediction and truth have the same volumes here.
    clinical = pd.read_csv(folders.root / "out" / "clinical.csv")
    assert len(clinical) == 2 * 7
    assert (clinical["predicted"] == clinical["reference"]).all()
    ml = float(np.prod(SPACING)) / 1000
    edv = clinical[(clinical["quantity"] == "LV EDV") & (clinical["patient"] == "p0")]["reference"].item()
    assert edv == pytest.approx(8 * 10 * 3 * ml)


@pytest.mark.parametrize(
    ("policy", "dice", "hd"), [("penalty", 0.0, image_diagonal(SHAPE, SPACING)), ("nan", 0.0, math.nan), ("drop", math.nan, math.nan)]
)
def test_policies_for_one_empty_mask(folders: Folders, policy: str, dice: float, hd: float) -> None:
    folders.write("p1_ES", np.where(folders.truth("p1_ES") == 1, 0, folders.truth("p1_ES")))
    result = folders.evaluate(empty=policy)
    assert value(result, "p1_ES", "RV", "Dice") == pytest.approx(dice, nan_ok=True)
    assert value(result, "p1_ES", "RV", "Surface Dice") == pytest.approx(dice, nan_ok=True)
    for metric in ("HD", "HD95", "ASSD", "HD95 max of directed"):
        assert value(result, "p1_ES", "RV", metric) == pytest.approx(hd, nan_ok=True)
    assert value(result, "p1_ES", "RV", "Volume") == 0
    assert result.failures["failure"].tolist() == ["prediction empty"]
    assert mean(result, "RV", "HD") == pytest.approx(np.nanmean([1.5, 1.5, 1.5, hd]))
    assert policy in printed(result)
    row = result.structures.set_index(["phase", "structure", "metric"]).loc[("all", "RV", "HD")]
    assert row["n"] == (4 if policy == "penalty" else 3)
    assert row["failures"] == 1


@pytest.mark.parametrize(("policy", "n"), [("penalty", 4), ("nan", 3), ("drop", 3)])
def test_a_missing_prediction_is_an_error_unless_asked_for(folders: Folders, policy: str, n: int) -> None:
    (folders.pred / "p1_ES.nii.gz").unlink()
    with pytest.raises(UserError, match=r"no prediction for 1 of 4 cases: p1_ES; .* --allow-missing"):
        folders.evaluate()
    assert not (folders.root / "out").exists()
    result = folders.evaluate(allow_missing=True, empty=policy)
    assert set(result.failures["failure"]) == {"prediction missing"}
    assert len(result.failures) == 3
    row = result.structures.set_index(["phase", "structure", "metric"]).loc[("all", "LV", "Dice")]
    assert row["n"] == n
    assert math.isnan(value(result, "p1_ES", "LV", "Volume"))
    assert result.agreement.set_index("quantity").at["LV ESV", "n"] == 1  # a volume nobody predicted is no volume of 0 mL
    assert any("p1_ES" in note for note in result.notes)
    assert len(json.loads((folders.root / "out" / "summary.json").read_text())["metric_per_case"]) == 3


def test_both_empty_is_excluded_and_a_structure_nobody_annotated_is_not_scored(folders: Folders) -> None:
    for case in CASES:
        truth = folders.truth(case)
        truth[truth == 2] = 0
        if case == "p0_ED":
            truth[truth == 1] = 0
            folders.write(case, truth)
        write_nifti(folders.gt / f"{case}.nii.gz", truth, SPACING)
    result = folders.evaluate()
    assert set(result.table["structure"]) == {"RV", "LV"}
    assert "Not scored, because no ground truth holds it: MYO." in result.notes
    row = result.structures.set_index(["phase", "structure", "metric"]).loc[("all", "RV", "Dice")]
    assert (row["n"], row["failures"], row["excluded"]) == (3, 0, 1)
    assert math.isnan(value(result, "p0_ED", "RV", "Dice"))


def test_structures_that_a_patient_lacks_by_annotation(folders: Folders) -> None:
    """cohort.json says that only the LV of p0 was contoured: its RV and MYO are no failures, whatever the network drew."""
    dataset = folders.root / "nnUNet_raw" / "Dataset009_Mixed"
    dataset.mkdir(parents=True)
    annotated = {"p0": ["LV"], "p1": ["RV", "MYO", "LV"]}
    subjects = [{"patient": p, "cases": {phase: f"{p}_{phase}" for phase in ("ED", "ES")}, "annotated": a} for p, a in annotated.items()]
    (dataset / "cohort.json").write_text(json.dumps({"subjects": subjects}))
    for case in CASES[:2]:
        write_nifti(folders.gt / f"{case}.nii.gz", np.where(folders.truth(case) == 3, 3, 0).astype(np.uint8), SPACING)
    result = folders.evaluate(dataset=dataset)
    assert result.failures.empty
    assert result.table.groupby("structure")["patient"].nunique().to_dict() == {"LV": 2, "MYO": 1, "RV": 1}


def test_several_processes_give_the_same_table(folders: Folders) -> None:
    alone = folders.evaluate().table
    pd.testing.assert_frame_equal(folders.evaluate(workers=2).table, alone)
    assert workers_for(10) == 1


def test_scoring_loads_no_pandas() -> None:
    """Every worker process would pay for it."""
    code = "import sys, evaluation.scoring.metrics; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_acdc_folders_as_downloaded(tmp_path: Path, folders: Folders) -> None:
    """Patients in folders, ``_gt`` in the names, images beside the masks, ED and ES in Info.cfg."""
    for i in range(2):
        patient = tmp_path / "acdc" / f"patient00{i}"
        for frame, phase in ((1, "ED"), (9, "ES")):
            write_nifti(patient / f"patient00{i}_frame{frame:02d}_gt.nii.gz", folders.truth(f"p{i}_{phase}"), SPACING)
            write_nifti(patient / f"patient00{i}_frame{frame:02d}.nii.gz", np.ones(SHAPE, np.float32), SPACING)
            write_nifti(tmp_path / "mine" / f"patient00{i}_frame{frame:02d}.nii.gz", folders.truth(f"p{i}_{phase}"), SPACING)
        text, encoding = [("ED: 1\nES: 9\nGroup: DCM\nNbFrame: 30\n", "utf-8"), ("ed = 1\nes = 9\n", "utf-16")][i]
        (patient / "Info.cfg").write_text(text, encoding=encoding)
    result = evaluate_folder(tmp_path / "mine", tmp_path / "out", gt=tmp_path / "acdc")
    assert set(result.table["phase"]) == {"ED", "ES"}
    assert (result.table.loc[result.table["metric"] == "Dice", "value"] == 1).all()
    assert result.agreement["n"].eq(2).all()


def test_labels_and_tolerances_as_text() -> None:
    assert parse_labels("RV=1, MYO=2,LV=3") == {"RV": (1,), "MYO": (2,), "LV": (3,)}
    assert parse_labels("mnms") == {"RV": (3,), "MYO": (2,), "LV": (1,)}
    assert parse_labels("EPI=2+3") == {"EPI": (2, 3)}
    for wrong in ("RV", "RV=", "RV=x", "RV=0", "RV=1,RV=2", ""):
        with pytest.raises(UserError, match="the labels"):
            parse_labels(wrong)
    assert parse_tolerance(None) == parse_tolerance("2") == 2.0
    assert parse_tolerance("RV=3,LV=1.5") == {"RV": 3.0, "LV": 1.5}
    for wrong in ("x", "-1", "2,3", "RV=", "inf"):
        with pytest.raises(UserError, match="the tolerance"):
            parse_tolerance(wrong)


def test_tolerance_and_regions(folders: Folders) -> None:
    strict = folders.evaluate(labels=parse_labels("EPI=2+3,LV=3"), tolerance={"LV": 1.0})
    loose = folders.evaluate(labels=parse_labels("EPI=2+3,LV=3"), tolerance=1.5)
    assert value(loose, "p0_ED", "LV", "Surface Dice") == 1.0  # rolled by one voxel of 1.5 mm
    assert value(strict, "p0_ED", "LV", "Surface Dice") < 1.0
    assert value(strict, "p0_ED", "EPI", "Surface Dice") == 1.0  # the default of 2 mm
    assert strict.about["surface_dice_tolerance_mm"] == {"LV": 1.0, "EPI": 2.0}
    with pytest.raises(UserError, match="cannot be translated"):
        folders.evaluate(labels=parse_labels("EPI=2+3,LV=3"), prediction_labels=parse_labels("EPI=2+1,LV=1"))


def test_parquet_where_pyarrow_is_installed(folders: Folders) -> None:
    pytest.importorskip("pyarrow")
    result = folders.evaluate()
    pd.testing.assert_frame_equal(pd.read_parquet(folders.root / "out" / "metrics.parquet"), result.table, check_dtype=False)


def test_command_line(folders: Folders) -> None:
    words = ["evaluate", "--pred", folders.pred, "--gt", folders.gt, "--labels", "RV=1,MYO=2,LV=3", "--out", folders.root / "out"]
    done = CliRunner().invoke(app, [*map(str, words), "--name", "mine", "-np", "1"])
    assert done.exit_code == 0, done.output
    assert "mine on" in done.output
    assert (folders.root / "out" / "metrics.csv").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"empty": "zero"}, "there is no policy 'zero'"),
        ({"engine": "fast"}, "no metric engine 'fast'"),
        ({"gt": Path("nowhere")}, "the ground truth folder nowhere does not exist"),
        ({"labels": {"AORTA": (7,)}}, "no ground truth of .* holds any of AORTA"),
        ({"prediction_labels": {"AORTA": (7,)}}, "have no structure in common"),
    ],
)
def test_bad_arguments(folders: Folders, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        folders.evaluate(**options)
    assert sorted(p.name for p in folders.root.iterdir()) == ["gt", "pred"]


def test_a_prediction_without_ground_truth_is_an_error(folders: Folders) -> None:
    folders.write("p7_ED", heart(4))
    with pytest.raises(UserError, match="has no ground truth for p7_ED"):
        folders.evaluate()


def test_works_alone() -> None:
    """Neither torch nor nnU-Net, and nothing slow that scoring does not need."""
    heavy = ("torch", "nnunetv2", "matplotlib", "medpy", "skimage", "scipy.stats", "scipy.spatial")
    code = f"import sys, nnunet_synth_aug.cli.app, evaluation.evaluate; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
