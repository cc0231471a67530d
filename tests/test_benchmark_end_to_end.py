"""A whole study with the real nnU-Net: an existing dataset with labels in its own order, two arms, a test set, the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from benchmark_fixture import TINY, synthaug
from nnunet_fixture import DATASET, VALIDATION, Project

from evaluation.benchmark.main import benchmark
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json

OTHERS = "Dataset732_Others"
STUDY = {
    "title": "End to end",
    "data": {"source": "nnunet", "dataset": DATASET},
    **TINY,
    "bank": {"sequences": 1, "frames": 2},
    "arms": ["phantom50"],
    "folds": [1],
    "tests": [{"name": "others", "source": "nnunet", "dataset": OTHERS}],
}


@pytest.fixture
def plain_dataset(project: Project, tmp_path: Path) -> dict[str, str]:
    """The fixture's dataset as a user has it who never imported anything: no cohort, nothing preprocessed."""
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    shutil.copytree(project.raw, Path(folders["nnUNet_raw"], DATASET), ignore=shutil.ignore_patterns("cohort.json"))
    for patient in VALIDATION[1]:  # a test set of patients whom the study's fold does not train on
        for side, ending in (("images", "_0000.nii.gz"), ("labels", ".nii.gz")):
            target = Path(folders["nnUNet_raw"], OTHERS, f"{side}Ts", f"{patient}_ED{ending}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project.raw / f"{side}Tr" / target.name, target)
    shutil.copy(project.raw / "dataset.json", Path(folders["nnUNet_raw"], OTHERS))
    own = Path(folders["nnUNet_preprocessed"], DATASET)
    own.mkdir(parents=True)
    for name in ("dataset.json", "dataset_fingerprint.json", "nnUNetPlans.json", "splits_final.json"):
        shutil.copy(project.preprocessed / name, own / name)
    return folders


@pytest.mark.slow
def test_a_study_of_an_existing_dataset(plain_dataset, tmp_path, monkeypatch, capsys):
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(yaml.safe_dump(STUDY))
    before = sorted(p for p in tmp_path.glob("nnUNet_*/**/*"))
    ended = synthaug(plain_dataset, "benchmark", str(study), "-o", str(out))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(p for p in tmp_path.glob("nnUNet_*/**/*")) == before, "the user's own folders were written to"

    figures = read_json(out / "report" / "benchmark.json")
    assert [(r["arm"], r["fold"], r["iterations"], r["samples"]) for r in figures["runs"]] == [
        ("real", 1, 10, 40),
        ("phantom50", 1, 10, 40),
    ]
    assert [r["synthetic_samples"] for r in figures["runs"]] == [0, 20]
    assert set(figures["comparisons"]) == {"validation", "others"}
    assert str(tmp_path) not in json.dumps(figures)
    patients = {test: by_arm["phantom50"]["headline"][0]["n"] for test, by_arm in figures["comparisons"].items()}
    assert patients == {"validation": 2, "others": 2}
    for by_arm in figures["comparisons"].values():
        assert (out / "report" / by_arm["phantom50"]["report"]).is_file()
    assert ended.stdout.count("train phantom50, fold 1, seed 0: ") == 1

    for name, folder in plain_dataset.items():
        monkeypatch.setenv(name, folder)
    capsys.readouterr()
    benchmark(study, out)
    assert "train" not in capsys.readouterr().out.split("# End to end")[0], "a finished study trains nothing"
    study.write_text(yaml.safe_dump(STUDY | {"training": {"epochs": 3, "iterations": 5}}))
    with pytest.raises(UserError, match="training, epochs was 2 and is 3"):
        benchmark(study, out)
    study.write_text(yaml.safe_dump(STUDY | {"folds": [5]}))
    with pytest.raises(UserError, match="5 is out of range"):
        benchmark(study, out)
