"""Studies that cannot run, or whose test set is trained on, are refused when they are read: a dry run says it, too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from evaluation_cases import ACDC, MNMS, STUDIES, Studied, named
from evaluation_study import heart
from shared_folders import set_folders

from evaluation.benchmark.reading import read_study
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json, write_nifti

PHANTOM: dict[str, Any] = {"title": "t", "data": {"source": "phantom", "hearts": 20}, "arms": ["real", "phantom50"]}
SLURM = {"timeout_min": 720, "slurm_partition": "gpu", "gpus_per_node": 1, "cpus_per_task": 12, "mem_gb": 32}


def written(folder: Path, **change: Any) -> Path:
    for name in ("acdc", "acdc/patient001", "database", "database/training", "database/testing", "mnms"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "acdc" / "patient001" / "Info.cfg").write_text("ED: 1\nES: 4\n")
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(PHANTOM | change))))
    return path


def refusal(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence that a dry run ends with; nothing was written."""
    out = path.parent / "out"
    monkeypatch.setattr(sys, "argv", ["synthaug", "benchmark", str(path), "--dry-run", "-o", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert not out.exists()
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("synthaug: ")]
    assert str(path) in sentence
    return sentence


@pytest.mark.parametrize("case", STUDIES, ids=lambda case: case.what)
def test_a_study_that_cannot_run_is_refused(
    case: Studied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "submitit" in case.says:
        pytest.importorskip("submitit")
    assert case.says in refusal(written(tmp_path, **case.change), monkeypatch, capsys)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bank": {"sequences": 10**9}}, r"bank\.sequences is 1000000000; it must be a whole number from 1 to 100000"),
        ({"plans": {"patch": 10**13}}, r"plans\.patch is 10000000000000; it must be a whole number from 8 to 4096"),
        ({"bank": {"vendors": "GE,"}}, r"bank\.vendors: there is no ''"),
        ({"data": MNMS | {"vendors": ["GE"]}, "tests": named(MNMS)}, r"tests\[0\]\.folder leads to the patients of data"),
        (
            {"tests": named({"source": "sunnybrook", "folder": "acdc", "vendors": ["Canon"]})},
            r"tests\[0\]\.vendors: sunnybrook has no patient of Canon",
        ),
        ({"executor": "slurm", "slurm": {"timeout_min": -3}}, r"slurm\.timeout_min is -3; it must be a whole number of at least 1"),
        ({"executor": "slurm", "slurm": {"timeout_min": 5, "mem_gb": "much"}}, r"slurm: submitit does not take this \(.*mem_gb"),
    ],
)
def test_so_is_what_is_of_the_same_kind(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    if "submitit" in sentence:
        pytest.importorskip("submitit")
    with pytest.raises(UserError, match=sentence):
        read_study(written(tmp_path, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"data": MNMS | {"vendors": ["GE"]}, "tests": named(MNMS | {"vendors": ["Philips", "Canon"]})},
        {"data": ACDC | {"folder": "database"}, "tests": named(ACDC | {"folder": "database"}, ACDC | {"folder": "database/testing"})},
        {"data": ACDC | {"folder": "database/training"}, "tests": named(ACDC | {"folder": "database/testing"}, MNMS)},
        {"tests": named({"source": "phantom", "hearts": 5, "seed": 7})},
        {
            "executor": "slurm",
            "slurm": SLURM,
        },
        {"bank": {"vendors": "GE, Canon"}, "generator": {"set": ["vae.train.steps=20", "grid.size=[96,96,8]"]}},
    ],
)
def test_studies_that_can_run_are_read(tmp_path: Path, change: dict[str, Any]) -> None:
    assert read_study(written(tmp_path, **change)).title == "t"


@pytest.mark.parametrize("setting", ["vae.train.steps=nan", "vae.train.steps=-1"])
def test_values_that_the_generator_does_not_take_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    sentence = refusal(written(tmp_path, generator={"set": [setting]}), monkeypatch, capsys)
    assert f"study.yaml: generator.set: --set {setting}" in sentence


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dataset 7 of four patients, two scanners."""
    set_folders(monkeypatch, tmp_path)
    raw, own = (tmp_path / root / "Dataset007_Own" for root in ("nnUNet_raw", "nnUNet_preprocessed"))
    cases = [f"p{i}_{phase}" for i in range(4) for phase in ("ED", "ES")]
    for case in cases:
        write_nifti(raw / "labelsTr" / f"{case}.nii.gz", heart(6), (1.5, 1.5, 8.0))
        write_nifti(raw / "imagesTr" / f"{case}_0000.nii.gz", heart(6).astype(np.float32), (1.5, 1.5, 8.0))
    write_json(raw / "dataset.json", {"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}, "file_ending": ".nii.gz"})
    write_json(raw / "cohort.json", {"subjects": [{"patient": f"p{i}", "cases": {k: f"p{i}_{k}" for k in ("ED", "ES")}} for i in range(4)]})
    (raw / "priors.csv").write_text("patient,vendor\np0,Siemens\np1,Siemens\np2,GE\np3,GE\n")
    write_json(own / "splits_final.json", [{"train": cases[2:], "val": cases[:2]}, {"train": cases[:2], "val": cases[2:]}])
    return tmp_path


@pytest.mark.parametrize(
    ("data", "test", "sentence"),
    [
        ({"vendors": ["Canon"]}, None, "no training patient of Canon"),
        ({"per_group": 9}, None, "data.per_group is 9; lower it"),
        ({}, {"vendors": ["Canon"]}, "has no patient of Canon with masks; choose other vendors"),
        ({}, {}, "is the dataset that is trained on and keeps no cases in labelsTs"),
        ({"vendors": ["GE"]}, {"vendors": ["GE"]}, "fold 1 has no training patient of GE"),
        ({"vendors": ["Siemens"]}, {"vendors": ["GE"]}, ""),
    ],
)
def test_existing_datasets_are_looked_at_before_anything_runs(
    dataset: Path, data: dict[str, Any], test: dict[str, Any] | None, sentence: str
) -> None:
    own = {"source": "nnunet", "dataset": 7}
    study = read_study(written(dataset, data=own | data, tests=[] if test is None else [{"name": "t"} | own | test]))
    at = Workspace(dataset / "out", study)
    if sentence:
        with pytest.raises(UserError, match=sentence):
            build_steps(study, at)
    else:
        assert build_steps(study, at)
    assert not (dataset / "out").exists()


def test_a_test_set_waits_for_the_folds_that_the_study_makes(dataset: Path) -> None:
    """Who is trained on is known only then."""
    (dataset / "nnUNet_preprocessed" / "Dataset007_Own" / "splits_final.json").unlink()
    own = {"source": "nnunet", "dataset": 7}
    study = read_study(written(dataset, data=own | {"splits": 2}, tests=[{"name": "t", "source": "phantom", "hearts": 4}]))
    steps = {step.id: step for step in build_steps(study, Workspace(dataset / "out", study))}
    assert "folds" in steps["test_t"].needs
