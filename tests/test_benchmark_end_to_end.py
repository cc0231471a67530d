"""``synthaug try``, and so a whole study, with the real nnU-Net: an existing dataset with names of its own, two arms, the report.

Then the study goes on as its user changes it: nothing is trained again, a test set is added, and what cannot be changed is refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from benchmark_fixture import LIMITS, synthaug
from nnunet_fixture import VALIDATION, Project

from evaluation.benchmark.main import benchmark
from evaluation.trial.proposal import PLAIN
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json

OTHERS, UNKNOWN = "Dataset732_Others", "Dataset734_Unknown"
ENDINGS = {"images": "_0000.nii.gz", "labels": ".nii.gz"}


@pytest.fixture
def unknown(project: Project, tmp_path: Path) -> dict[str, str]:
    """The fixture's hearts under names that say nothing, with a table of patients; planned by nnU-Net, never preprocessed.

    Beside them a dataset to test on, of patients whom fold 1 does not train on.
    """
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    raw, others, own = (
        Path(folders[kind], name) for kind, name in (("nnUNet_raw", UNKNOWN), ("nnUNet_raw", OTHERS), ("nnUNet_preprocessed", UNKNOWN))
    )
    cases = [path.name.removesuffix(".nii.gz") for path in sorted((project.raw / "labelsTr").glob("*.nii.gz"))]
    names = {case: f"Herz.{number * 7:03d}" for number, case in enumerate(cases)}
    tested = {f"{patient}_ED": f"{patient}_ED" for patient in VALIDATION[1]}
    for side, ending in ENDINGS.items():
        for folder, copies in ((raw / f"{side}Tr", names), (others / f"{side}Ts", tested)):
            folder.mkdir(parents=True)
            for case, name in copies.items():
                shutil.copy(project.raw / f"{side}Tr" / f"{case}{ending}", folder / f"{name}{ending}")
    for folder in (raw, others):
        shutil.copy(project.raw / "dataset.json", folder)
    (raw / "patients.csv").write_text("case,patient\n" + "".join(f"{name},{case.rpartition('_')[0]}\n" for case, name in names.items()))
    own.mkdir(parents=True)
    for name in ("dataset.json", "dataset_fingerprint.json"):
        shutil.copy(project.preprocessed / name, own / name)
    write_json(own / "nnUNetPlans.json", read_json(project.preprocessed / "nnUNetPlans.json") | {"dataset_name": UNKNOWN})
    splits = read_json(project.preprocessed / "splits_final.json")
    write_json(own / "splits_final.json", [{side: [names[case] for case in fold[side]] for side in ("train", "val")} for fold in splits])
    return folders


@pytest.mark.slow
def test_a_try_and_what_its_user_makes_of_it(unknown: dict[str, str], tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in tmp_path.glob("nnUNet_*/**/*") if path.is_file()}
    ended = synthaug(unknown, "try", "-d", "734", "-f", "1", "--iterations", "10", "-o", str(out), "--go")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {path: path.read_bytes() for path in tmp_path.glob("nnUNet_*/**/*") if path.is_file()} == before, "the user's files changed"
    assert ended.stdout.startswith(f"{UNKNOWN}, fold 1\n")
    assert f"(arm {PLAIN})" in ended.stdout
    assert ended.stdout.count(f"train {PLAIN}, fold 1, seed 0: ") == 1

    answer = read_json(out / "verdict.json")
    assert answer["verdict"] == "no_difference"
    assert (answer["iterations"], answer["quick"], answer["small_network"]) == (10, True, True)
    assert Path(answer["report"]).is_file()
    assert {row["structure"] for row in answer["results"]} == {"RV", "MYO", "LV", "mean"}
    assert 0.2 < answer["estimated"]["minutes"] / answer["took"]["minutes"] < 5  # short steps on a busy machine

    figures = read_json(out / "report" / "benchmark.json")
    assert str(tmp_path) not in json.dumps(figures)
    assert [(run["arm"], run["fold"], run["iterations"]) for run in figures["runs"]] == [("real", 1, 10), (PLAIN, 1, 10)]
    real, mixed = (run["synthetic_samples"] for run in figures["runs"])
    assert real == 0 < mixed < figures["runs"][1]["samples"] == figures["runs"][0]["samples"]

    for name, value in (unknown | LIMITS).items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    study = yaml.safe_load((out / "study.yaml").read_text())
    assert study["data"] == {"source": "nnunet", "dataset": UNKNOWN}

    def again(**changes) -> str:
        (out / "study.yaml").write_text(yaml.safe_dump(study | changes))
        benchmark(out / "study.yaml", out)
        return str(capsys.readouterr().out)

    said = again(tests=[{"name": "others", "source": "nnunet", "dataset": OTHERS}])
    assert "train" not in said.split("# Dataset734")[0], "a finished study trains nothing"
    by_test = read_json(out / "report" / "benchmark.json")["comparisons"]
    assert {test: by_arm[PLAIN]["headline"][0]["n"] for test, by_arm in by_test.items()} == {"validation": 2, "others": 2}
    for by_arm in by_test.values():
        assert (out / "report" / by_arm[PLAIN]["report"]).is_file()
    with pytest.raises(UserError, match="training, epochs was 10 and is 3"):
        again(training={"epochs": 3, "iterations": 5})
    with pytest.raises(UserError, match="5 is out of range"):
        again(folds=[5])
