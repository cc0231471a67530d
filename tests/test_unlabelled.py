"""Patients whom nobody has contoured, as plain files beside a data set or in a folder of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from input_cases import AFFINE, cine, make_acdc, unlabelled
from nifti_files import saved
from shared_folders import FOLDERS, set_folders

from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.data.importers.unlabelled import list_unlabelled, read_unlabelled, volume_folders

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Two volumes, one volume, and a cine in the layout of M&Ms, with a mask that is not looked at."""
    unlabelled("B1_ED", "B1_ES_0000", "B2", table="patient,vendor,centre\nB1,PHILIPS,3\nB2,,\nC3,GE MEDICAL SYSTEMS,4\n")(tmp_path)
    folder = tmp_path / "unlabelled"
    (folder / "C3").mkdir()
    saved(folder / "C3" / "C3_sa.nii.gz", cine(5), AFFINE)
    saved(folder / "C3" / "C3_sa_gt.nii.gz", np.zeros(cine(5).shape, np.uint8), AFFINE)
    saved(folder / "B2_gt.nii.gz", cine(5)[..., 0], AFFINE)
    return folder


def test_what_is_read_of_every_form(target: Path) -> None:
    pair, still, moving = read_unlabelled(target, nested=True)
    assert [(one.patient, len(one.image), one.is_cine, one.ed, one.es) for one in (pair, still, moving)] == [
        ("B1", 2, False, 0, 1),
        ("B2", 1, False, 0, 0),
        ("C3", 4, True, 0, 2),
    ]
    assert [(one.priors.vendor, one.centre) for one in (pair, still, moving)] == [("Philips", "3"), (None, ""), ("GE", "4")]
    assert not any(one.masks for one in (pair, still, moving))
    np.testing.assert_array_equal(pair.image, np.stack([cine(20)[..., 0], cine(21)[..., 0]]))
    assert list(list_unlabelled(target)) == ["B1", "B2"]  # importers read patients' folders themselves
    assert volume_folders(target.parent) == [target]


def test_they_come_into_a_cohort_and_into_no_fold(target: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    make_acdc(tmp_path / "acdc")
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    set_folders(monkeypatch, tmp_path)
    words = ["synthaug", "import", "acdc", str(tmp_path / "acdc"), "-d", "9", "--folds", "2", "--unlabelled", str(target)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr()
    assert "passed over" not in capsys.readouterr().out
    raw = tmp_path / "nnUNet_raw" / "Dataset009_ACDC"
    silent = {one["patient"]: one for one in read_json(raw / "cohort.json")["subjects"] if not one["cases"]}
    assert {name: (one["n_frames"], sorted(one["images"])) for name, one in silent.items()} == {
        "B1": (2, ["ED", "ES"]),
        "B2": (1, ["ED"]),
        "C3": (4, []),
    }
    assert pd.read_csv(raw / "priors.csv", index_col="patient")["vendor"].to_dict() == {
        **{f"patient00{n}": "Siemens" for n in (1, 2, 3)},
        "B1": "Philips",
        "B2": pytest.approx(float("nan"), nan_ok=True),
        "C3": "GE",
    }
    assert not any(name in (tmp_path / "nnUNet_preprocessed" / raw.name / "splits_final.json").read_text() for name in silent)
    assert {path.name[:8] for path in (raw / "imagesTr").iterdir()} == {"patient0"}


def test_a_dataset_that_nothing_is_trained_on_takes_none(target: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    set_folders(monkeypatch, tmp_path)
    monkeypatch.setattr(sys, "argv", ["synthaug", "import", "dicom", str(tmp_path), "-d", "9", "--unlabelled", str(target)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--unlabelled adds patients to a dataset that nnU-Net trains on, which needs --masks" in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / "mnms_edes").is_dir(), reason=f"the real M&Ms volumes are not in {DATA}")
def test_real_volumes_that_lost_their_slice_distance_are_refused() -> None:
    folder = DATA / "mnms_edes" / "imagesUnlabelled"
    assert len(list_unlabelled(folder)) == 20
    with pytest.raises(UserError, match=r"its voxels are 1.3 x 1.3 x 1 mm, which no short-axis stack has"):
        next(read_unlabelled(folder))
