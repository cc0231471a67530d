"""``synthaug split``: patient-grouped folds of a dataset, imported or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_folders import set_folders
from test_dataset import hearts
from typer.testing import CliRunner

from evaluation.evaluate import evaluate_folder
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json, write_nifti
from nnunet_synth_aug.core.paths import folder_to_write, nnunet_folder
from nnunet_synth_aug.core.patients import patients_of, read_splits
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.nnunet.patients import fold_cases, write_split

NAME = "Dataset027_Own"
HEARTS = [f"p{i}{end}" for i in range(1, 7) for end in ("-ED", "_es")]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    set_folders(monkeypatch, tmp_path)
    return tmp_path


def own(root: Path, cases: list[str]) -> Path:
    """A dataset that nobody imported, in nnU-Net's raw format; its split's place."""
    raw = root / "nnUNet_raw" / NAME
    about = {"channel_names": {"0": "cine"}, "labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}, "file_ending": ".nii.gz"}
    write_json(raw / "dataset.json", {**about, "numTraining": len(cases)})
    for case in cases:
        for place in (raw / "imagesTr" / f"{case}_0000.nii.gz", raw / "labelsTr" / f"{case}.nii.gz"):
            write_nifti(place, np.zeros((2, 2, 2), np.uint8), (1.0, 1.0, 1.0))
    return root / "nnUNet_preprocessed" / NAME / "splits_final.json"


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["split", "-d", "27", *words])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_a_split_keeps_patients_together(folders: Path) -> None:
    path = own(folders, HEARTS)
    assert run("--folds", "3") == f"3 folds of 6 patients with 12 cases: {path}\n"
    found = read_splits(path)
    assert [len(fold.val) for fold in found] == [4, 4, 4]
    assert sorted(case for fold in found for case in fold.val) == sorted(HEARTS)
    for number in range(3):
        train, val = fold_cases(NAME, number, HEARTS)  # the guard of bank and trainer
        assert sorted([*train, *val]) == sorted(HEARTS)


def test_a_split_that_is_there_stays(folders: Path) -> None:
    path = own(folders, HEARTS)
    run("--folds", "3")
    before = path.read_bytes(), path.stat().st_mtime_ns
    run("--folds", "3")
    for other in (["--folds", "2"], ["--folds", "3", "--seed", "1"]):
        with pytest.raises(UserError, match=r"splits_final\.json holds another split, .*; remove it to have this one"):
            run(*other)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    path.write_text("[{")
    with pytest.raises(UserError, match="not readable JSON"):
        run("--folds", "3")


def test_patients_csv_groups_what_names_do_not(folders: Path) -> None:
    cases = [f"{letter}{number}" for letter in "abcd" for number in range(3)]
    path = own(folders, cases)
    table = folders / "nnUNet_raw" / NAME / "patients.csv"
    table.write_text("case,patient\n" + "".join(f"{case},{case[0]}\n" for case in cases))
    assert "2 folds of 4 patients with 12 cases" in run("--folds", "2")
    for fold in read_splits(path):
        assert not {case[0] for case in fold.train} & {case[0] for case in fold.val}


def test_where_nothing_groups_the_cases_it_is_said(folders: Path) -> None:
    own(folders, ["a", "b", "c"])
    assert "note: every case counts as a patient of its own" in run("--folds", "2")


def test_what_cannot_be_grouped_is_refused(folders: Path) -> None:
    path = own(folders, ["p1ED", "p1ES", "p2ED", "p2ES"])
    with pytest.raises(UserError, match=r"p1ED and p1ES look like two moments of one heart, .* write .*patients\.csv"):
        run()
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("5", "is no dataset that nnU-Net can read"),
        ("{}", "is no dataset that nnU-Net can read"),
        ('{"file_ending": ".mha"}', "imagesTr holds no .mha files"),
        ("[" * 20_000, "nested too deeply"),
    ],
)
def test_a_damaged_dataset_is_one_sentence(folders: Path, content: str, message: str) -> None:
    own(folders, HEARTS)
    (folders / "nnUNet_raw" / NAME / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_too_many_folds_and_no_dataset(folders: Path) -> None:
    with pytest.raises(UserError, match="there is no dataset 27"):
        run()
    own(folders, HEARTS)
    with pytest.raises(UserError, match="6 patients with masks cannot be split into 9 folds"):
        run("--folds", "9")


def test_an_imported_dataset_gets_the_import_s_split_back(folders: Path) -> None:
    raw = write_dataset(hearts(6), 28, "Imported", folds=3)
    path = folders / "nnUNet_preprocessed" / raw.name / "splits_final.json"
    before = path.read_text()
    path.unlink()
    write_split(28, 3, 12345)
    assert json.loads(path.read_text()) == json.loads(before)


names = st.lists(st.from_regex(r"[a-z]{1,3}[0-9]{0,2}", fullmatch=True), min_size=3, max_size=6, unique=True)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hearts=names, folds=st.integers(2, 3), seed=st.integers(0, 5), moments=st.sampled_from([("_ED", "_ES"), ("-t00", "-t07"), (".ed", "")])
)
def test_no_heart_is_on_both_sides(folders: Path, hearts: list[str], folds: int, seed: int, moments: tuple[str, str]) -> None:
    root = folders / f"{abs(hash((*hearts, folds, seed, moments)))}"
    root.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        cases = [heart + moment for heart in hearts for moment in moments]
        path = own(root, cases)
        try:
            write_split(27, folds, seed)
        except UserError as error:
            assert "look like two moments" in str(error)  # noqa: PT017
            return
        owner = patients_of(cases)
        for fold in read_splits(path):
            assert not {owner[case] for case in fold.train} & {owner[case] for case in fold.val}


# ------------------------------------------------------------------ nnU-Net's folders


@pytest.mark.parametrize("value", ["~/data", "'/data'", '"/data"', " /data", "/data "])
def test_folders_that_nnunet_does_not_understand_are_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", value)
    with pytest.raises(UserError, match=r"nnUNet_raw is .*, which nnU-Net does not understand; export it without quotes"):
        nnunet_folder("nnUNet_raw")


def test_a_mistyped_folder_is_not_made(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(folders / "typo"))
            done = CliRunner().invoke(app, ["phantom", "-d", "9", "-n", "4"])
            assert isinstance(done.exception, UserError)
            assert f"{name} is {folders / 'typo'}, which is no folder; correct the variable" in str(done.exception)
    own(folders, HEARTS)
    (folders / "nnUNet_preprocessed").rmdir()
    with pytest.raises(UserError, match=r"nnUNet_preprocessed is .*, which is no folder"):
        run("--folds", "3")
    assert sorted(path.name for path in folders.iterdir()) == ["nnUNet_raw", "nnUNet_results"]


def test_a_folder_that_cannot_be_written_is_told_at_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> object:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("nnunet_synth_aug.core.files.tempfile.TemporaryFile", refuse)  # root may write anywhere
    with pytest.raises(UserError, match=r"nothing can be written into .*nnUNet_raw \(Read-only file system\); choose another folder"):
        folder_to_write("nnUNet_raw")
    done = CliRunner().invoke(app, ["phantom", "-d", "9", "-n", "10000"])  # would take an hour
    assert "Read-only file system" in str(done.exception)


# ------------------------------------------------------------------ where nothing groups the cases


def test_the_report_says_where_nothing_groups_the_cases(folders: Path) -> None:
    mask = np.zeros((12, 12, 3), np.uint8)
    mask[2:9, 2:9], mask[4:7, 4:7], mask[9:11, 2:9] = 2, 3, 1
    told = {}
    for names in (("a", "b", "c"), ("a_ED", "a_ES", "b_ED")):
        for case in names:
            for place in ("gt", "predicted"):
                write_nifti(folders / names[0] / place / f"{case}.nii.gz", mask, (1.5, 1.5, 8.0))
        found = evaluate_folder(folders / names[0] / "predicted", folders / names[0] / "out", gt=folders / names[0] / "gt")
        told[names[0]] = [note for note in found.notes if "patient of its own" in note]
    assert told == {
        "a": ["Every case counts as a patient of its own; if some are of one patient, say so in patients.csv (columns case,patient)."],
        "a_ED": [],
    }
