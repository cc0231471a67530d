"""Every input on the page of inputs does what the page says."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from input_cases import CASES, Case, make_acdc, make_mnms, make_mnms2, make_sunnybrook
from shared_folders import FOLDERS, set_folders

from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.data.importers.acdc import read_acdc
from nnunet_synth_aug.data.importers.mnms import read_mnms, read_mnms2
from nnunet_synth_aug.data.importers.sunnybrook import read_sunnybrook
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.data.test_set import write_test_set

NUMBERS = {"acdc": 1, "mnms": 2, "mnms2": 3, "sunnybrook": 4}


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each source as it should be, and the datasets of :data:`NUMBERS` made of them."""
    root = tmp_path_factory.mktemp("sources")
    make_acdc(root / "acdc")
    make_mnms(root / "mnms")
    make_mnms2(root / "mnms2")
    make_sunnybrook(root / "sunnybrook")
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        write_dataset(read_acdc(root / "acdc"), 1, "acdc", folds=2)
        write_dataset(read_mnms(root / "mnms"), 2, "mnms", folds=2)
        write_dataset(read_mnms2(root / "mnms2"), 3, "mnms2", folds=2)
        write_test_set(read_sunnybrook(root / "sunnybrook"), 4, "sunnybrook")
    return root


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    set_folders(monkeypatch, tmp_path)

    def imported(source: str, folder: Path, number: int) -> Ended:
        folds = [] if source == "sunnybrook" else ["--folds", "2"]  # Sunnybrook is a test set
        monkeypatch.setattr(sys, "argv", ["synthaug", "import", source, str(folder), "-d", str(number), *folds])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return imported


def dataset(root: Path, number: int) -> Path:
    (found,) = (root / "nnUNet_raw").glob(f"Dataset{number:03d}_*")
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}: {case.what}"[:60])
def test_the_input_does_what_the_page_says(case: Case, sources: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    source = tmp_path / "source"
    shutil.copytree(sources / case.source, source)
    case.change(source)
    ended = run(case.source, source, 9)
    if case.outcome == "refused":
        assert ended.code == 2, ended
        (sentence,) = [line for line in ended.err.splitlines() if line.startswith("synthaug: ")]
        assert case.says in sentence
        assert str(source) in sentence
        assert not [path for name in FOLDERS for path in (tmp_path / name).iterdir()]
        return
    assert ended.code == 0, ended
    assert case.says in ended.out
    new, old = dataset(tmp_path, 9), dataset(sources, NUMBERS[case.source])
    found, plain = (pd.read_csv(folder / "priors.csv", index_col="patient") for folder in (new, old))
    if case.outcome == "left out":
        assert "1 of 6 masks are left out" in ended.out
        cases = {path.name for path in (new / "labelsTr").iterdir()}
        assert len(cases) == 5
        (phase,) = [phase for phase in ("ED", "ES") if f"patient002_{phase}.nii.gz" not in cases]
        assert f"the {phase} mask" in ended.out
        assert pd.isna(found.loc["patient002", "lv_ef"])
        split = (tmp_path / "nnUNet_preprocessed" / new.name / "splits_final.json").read_text()
        assert f"patient002_{phase}" not in split
        return
    if not case.says:
        assert ended.out.count("\n") == 1  # where the dataset is, and nothing else
    if case.same:
        pd.testing.assert_frame_equal(found, plain, rtol=1e-4)
        assert {path.name for path in (new / "labelsTr").iterdir()} == {path.name for path in (old / "labelsTr").iterdir()}


def test_what_people_write_as_time_is_in_seconds(sources: Path, tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    for number, (case, seconds) in enumerate(((c, s) for c in CASES if c.topic == "Time" for s in [0.03 if "30" in c.says else 0.0]), 1):
        source = tmp_path / f"source{number}"
        shutil.copytree(sources / "acdc", source)
        case.change(source)
        assert run("acdc", source, number).code == 0
        records = json.loads((dataset(tmp_path, number) / "cohort.json").read_text())["subjects"]
        assert {r["patient"]: r["frame_seconds"] for r in records} == {"patient001": 0.03, "patient002": seconds, "patient003": 0.03}
