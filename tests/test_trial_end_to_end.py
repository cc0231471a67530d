"""``synthaug try`` with the real nnU-Net, on names that it has never seen: from measuring this machine to the verdict."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from benchmark_fixture import synthaug
from nnunet_fixture import DATASET, Project

from nnunet_synth_aug.core.files import read_json, write_json

OTHER = "Dataset734_Unknown"


@pytest.fixture
def unknown(project: Project, tmp_path: Path) -> dict[str, str]:
    """The fixture's hearts under names that say nothing, with a table of patients; planned by nnU-Net, never preprocessed."""
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    raw, own = Path(folders["nnUNet_raw"], OTHER), Path(folders["nnUNet_preprocessed"], OTHER)
    names = {}
    for path in sorted((project.raw / "labelsTr").glob("*.nii.gz")):
        names[path.name.removesuffix(".nii.gz")] = f"Herz.{len(names) * 7:03d}"
    for side, ending in (("images", "_0000.nii.gz"), ("labels", ".nii.gz")):
        (raw / f"{side}Tr").mkdir(parents=True)
        for case, name in names.items():
            shutil.copy(project.raw / f"{side}Tr" / f"{case}{ending}", raw / f"{side}Tr" / f"{name}{ending}")
    shutil.copy(project.raw / "dataset.json", raw)
    (raw / "patients.csv").write_text("case,patient\n" + "".join(f"{name},{case.rpartition('_')[0]}\n" for case, name in names.items()))
    own.mkdir(parents=True)
    for name in ("dataset.json", "dataset_fingerprint.json", "nnUNetPlans.json"):
        write_json(own / name, read_json(project.preprocessed / name))
    plans = read_json(own / "nnUNetPlans.json")
    write_json(own / "nnUNetPlans.json", plans | {"dataset_name": OTHER})
    splits = read_json(project.preprocessed / "splits_final.json")
    write_json(own / "splits_final.json", [{side: [names[case] for case in fold[side]] for side in ("train", "val")} for fold in splits])
    return folders


@pytest.mark.slow
def test_a_try(unknown: dict[str, str], tmp_path: Path) -> None:
    assert DATASET != OTHER
    before = {path: path.read_bytes() for path in tmp_path.glob("nnUNet_*/**/*") if path.is_file()}
    out = tmp_path / "out"
    ended = synthaug(unknown, "try", "-d", "734", "-f", "1", "--iterations", "10", "-o", str(out), "--go")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {path: path.read_bytes() for path in tmp_path.glob("nnUNet_*/**/*") if path.is_file()} == before, "the user's files changed"
    assert ended.stdout.startswith(f"{OTHER}, fold 1\n")
    assert "(arm copies+phantom50to00)" in ended.stdout
    answer = read_json(out / "verdict.json")
    assert answer["verdict"] == "no_difference"
    assert (answer["iterations"], answer["quick"], answer["small_network"]) == (10, True, True)
    assert Path(answer["report"]).is_file()
    assert {row["structure"] for row in answer["results"]} == {"RV", "MYO", "LV", "mean"}
    assert 0.2 < answer["estimated"]["minutes"] / answer["took"]["minutes"] < 5  # short steps on a busy machine
    runs = read_json(out / "report" / "benchmark.json")["runs"]
    assert [run["iterations"] for run in runs] == [10, 10]
    assert runs[0]["samples"] == runs[1]["samples"] > runs[1]["synthetic_samples"] > runs[0]["synthetic_samples"] == 0
    assert yaml.safe_load((out / "study.yaml").read_text())["data"] == {"source": "nnunet", "dataset": OTHER}
