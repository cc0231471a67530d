"""M&Ms, M&Ms-2 and Sunnybrook in their layouts, and what a user can get wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from evaluation.benchmark.reading import read_study
from evaluation.inputs.dataset import cases_in, find_dataset
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, MYOCARDIAL_DENSITY, RV
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.importers.mnms import list_mnms, read_mnms, read_mnms2
from nnunet_synth_aug.data.importers.sunnybrook import read_sunnybrook
from nnunet_synth_aug.data.importers.table import find_table
from nnunet_synth_aug.data.test_set import write_test_set

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "sunnybrook_cine").is_dir(), reason=f"the real Sunnybrook copies are not in {DATA}")

SHAPE, SPACING = (8, 9, 4), (1.25, 1.25, 9.6)
MNMS_HEADER = "Unnamed: 0,External code,Pathology,VendorName,Vendor,Centre,ED,ES,Age,Sex,Height,Weight"


@pytest.fixture
def nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def save(path: Path, array: np.ndarray, step: float = 0.03) -> Path:
    """(X, Y, Z) or (X, Y, Z, T) with the spacing of these tests."""
    image: Any = nib.Nifti1Image(array, np.diag([*SPACING, 1.0]))
    image.header.set_zooms(SPACING + ((step,) if array.ndim == 4 else ()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def opened(path: Path) -> Any:
    return nib.load(path)


def heart(lv: int, lv_value: int, myo_value: int, rv_value: int) -> np.ndarray:
    """A mask with ``lv`` columns of LV, MYO around them and a column of RV."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[: lv + 2, 1:7, 1:3], mask[1 : lv + 1, 2:6, 1:3], mask[lv + 2, 2:6, 1:3] = myo_value, lv_value, rv_value
    return mask


def cine(frames: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 300, (*SHAPE, frames)).astype(np.int16)


def make_mnms(root: Path, name: str, place: str = "Training/Labeled", ed: int = 1, es: int = 4) -> Path:
    folder = root / place / name
    save(folder / f"{name}_sa.nii.gz", cine())
    masks = np.zeros((*SHAPE, 6), np.uint8)
    if "Unlabeled" not in place:
        masks[..., ed], masks[..., es] = heart(5, 1, 2, 3), heart(3, 1, 2, 3)
    save(folder / f"{name}_sa_gt.nii.gz", masks)
    return folder


def write_mnms_table(root: Path, *rows: str) -> None:
    (root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv").write_text("\n".join([MNMS_HEADER, *rows, ",,,,,,,,,,,"]) + "\n")


@pytest.fixture
def mnms(tmp_path: Path) -> Path:
    root = tmp_path / "OpenDataset"
    make_mnms(root, "A0S9V9")
    make_mnms(root, "B1T2W3", "Validation")
    make_mnms(root, "C4U5X6", "Training/Unlabeled")
    write_mnms_table(
        root,
        "0,A0S9V9,HCM,Siemens,A,1,1,4,41,M,170.0,70.5",
        "1,B1T2W3,ARV,Philips,B,2,1,4,,F,nan,",
        "2,C4U5X6,LVNC,GE,C,4,0,3,60,,,",
    )
    return root


def test_mnms_download(mnms: Path) -> None:
    (mnms / "201014_M&Ms_Dataset_Information_-_opendataset.csv").write_text("External code,VendorName,ED,ES\nA0S9V9,Canon,0,2\n")
    assert list_mnms(mnms) == ["A0S9V9", "B1T2W3", "C4U5X6"]
    first, second, third = read_mnms(mnms)  # the fuller table is used
    assert first.is_cine
    np.testing.assert_array_equal(first.image, np.moveaxis(cine(), -1, 0))
    assert (first.ed, first.es, first.spacing, first.frame_seconds) == (1, 4, SPACING, pytest.approx(0.03))
    np.testing.assert_array_equal(first.masks["ED"], heart(5, LV, MYO, RV))
    np.testing.assert_array_equal(first.masks["ES"], heart(3, LV, MYO, RV))
    assert first.priors.specified() == {
        "diagnosis": "HCM", "vendor": "Siemens", "age": 41.0, "sex": "M", "height": 170.0, "weight": 70.5
    }  # fmt: skip
    assert second.priors.specified() == {"diagnosis": "RV", "vendor": "Philips", "sex": "F"}
    assert (third.masks, third.ed, third.es) == ({}, 0, 3)
    assert third.priors.specified() == {"vendor": "GE", "age": 60.0}  # non-compaction is none of ACDC's groups


def test_mnms_contours_win_over_a_table_that_names_other_frames(mnms: Path) -> None:
    make_mnms(mnms, "A0S9V9", ed=5, es=2)
    first = next(read_mnms(mnms))
    assert (first.ed, first.es) == (5, 2)
    np.testing.assert_array_equal(first.masks["ED"], heart(5, LV, MYO, RV))


def test_mnms_as_a_cohort(mnms: Path, nnunet: Path) -> None:
    result = CliRunner().invoke(app, ["import", "mnms", str(mnms), "-d", "31", "--folds", "2"])
    assert result.exit_code == 0, result.output
    cohort = Cohort.load("31")
    assert [s.patient for s in cohort.subjects if s.cases] == ["A0S9V9", "B1T2W3"]
    assert [s.centre for s in cohort.subjects] == ["1", "2", "4"]
    elsewhere = replace(cohort, subjects=tuple(replace(s, centre="") for s in cohort.subjects))
    assert elsewhere.hash() == cohort.hash()  # generators of before fit to data that were imported again
    unlabelled = load_sequence(cohort.subject("C4U5X6"))  # a cine to learn motion and grey values from
    assert unlabelled.labelled == ()
    assert unlabelled.image.shape == (6, *SHAPE)


def in_testing(root: Path) -> None:
    (root / "Testing").mkdir()
    (root / "Validation" / "B1T2W3").rename(root / "Testing" / "B1T2W3")
    make_mnms(root, "D7D7D7")
    rows = ["0,A0S9V9,HCM,Siemens,A,1,1,4,41,M,170.0,70.5", "1,B1T2W3,ARV,Philips,B,2,1,4,,F,nan,", "2,C4U5X6,LVNC,GE,C,4,0,3,60,,,"]
    write_mnms_table(root, *rows, "3,D7D7D7,DCM,GE,C,4,1,4,60,,,")


def test_mnms_test_patients_are_a_test_set(mnms: Path, nnunet: Path) -> None:
    in_testing(mnms)
    result = CliRunner().invoke(app, ["import", "mnms", str(mnms), "-d", "31", "--folds", "2"])
    assert result.exit_code == 0, result.output
    (folder,) = (nnunet / "nnUNet_raw").iterdir()
    assert sorted(cases_in(folder / "labelsTs")) == ["B1T2W3_ED", "B1T2W3_ES"]
    np.testing.assert_array_equal(np.asanyarray(opened(folder / "labelsTs" / "B1T2W3_ES.nii.gz").dataobj), heart(3, LV, MYO, RV))
    assert not [path for path in folder.rglob("*B1T2W3*") if path.parent.name not in ("imagesTs", "labelsTs")]
    assert "B1T2W3" not in (nnunet / "nnUNet_preprocessed" / folder.name / "splits_final.json").read_text()
    assert [s.patient for s in Cohort.load("31").subjects] == ["A0S9V9", "C4U5X6", "D7D7D7"]
    found = find_dataset(frozenset(cases_in(folder / "labelsTs")), [nnunet], dataset=folder)  # what a study scores
    assert {(i.patient, i.vendor, i.centre, i.diagnosis) for i in found.cases.values()} == {("B1T2W3", "Philips", "2", "RV")}


def test_mnms_testing_without_masks_alone_or_given_itself(mnms: Path) -> None:
    in_testing(mnms)
    (mnms / "Testing" / "B1T2W3" / "B1T2W3_sa_gt.nii.gz").rename(mnms / "masks.nii.gz")
    (one,) = (subject for subject in read_mnms(mnms) if subject.test)
    assert (one.patient, one.masks) == ("B1T2W3", {})
    (mnms / "masks.nii.gz").rename(mnms / "Testing" / "B1T2W3" / "B1T2W3_sa_gt.nii.gz")
    (one,) = read_mnms(mnms / "Testing")  # a user who gives it means it, and is told
    assert not one.test
    assert one.notes == ("in the challenge's Testing/, but trained on, since this folder was given",)
    shutil.rmtree(mnms / "Training")
    with pytest.raises(UserError, match="has patients in Testing/ alone, and nothing would be trained on; add Training/, or give"):
        read_mnms(mnms)


def empty_contours(root: Path) -> None:
    save(root / "Training/Labeled/A0S9V9/A0S9V9_sa_gt.nii.gz", np.zeros((*SHAPE, 6), np.uint8))


def one_row_less(root: Path) -> None:
    write_mnms_table(root, "1,B1T2W3,ARV,Philips,B,2,1,4,,F,nan,", "2,C4U5X6,LVNC,GE,C,4,0,3,60,,,")


def change_row(row: str) -> Callable[[Path], None]:
    return lambda root: write_mnms_table(root, row, "1,B1T2W3,ARV,Philips,B,2,1,4,,F,nan,", "2,C4U5X6,LVNC,GE,C,4,0,3,60,,,")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty_contours, r"contours in the frames \[\]"),
        (one_row_less, "no row for A0S9V9"),
        (change_row("0,A0S9V9,HCM,Siemens,A,1,1,6,41,M,170.0,70.5"), "ES of A0S9V9 as '6'; its cine has the frames 0 to 5"),
        (change_row("0,A0S9V9,HCM,Siemens,A,1,,4,41,M,170.0,70.5"), "ED of A0S9V9 as ''"),
        (change_row("0,A0S9V9,HCM,Acme,A,1,1,4,41,M,170.0,70.5"), "vendor 'Acme' is unknown"),
        (change_row("0,A0S9V9,HCM,Siemens,A,1,1,4,41,M,17.0,70.5"), "height 17 cm is outside"),
        (lambda root: (root / "Training/Labeled/A0S9V9/A0S9V9_sa_gt.nii.gz").unlink(), "A0S9V9_sa_gt.nii.gz does not exist"),
        (lambda root: make_mnms(root, "A0S9V9", "Validation"), "A0S9V9 is both in"),
        (lambda root: [p.unlink() for p in root.glob("*.csv")], "no CSV table with the columns External code, VendorName, ED, ES"),
    ],
)
def test_mnms_errors_name_file_and_remedy(mnms: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(mnms)
    with pytest.raises(UserError, match=message):
        list(read_mnms(mnms))


@pytest.mark.parametrize("read", [read_mnms, read_mnms2, read_sunnybrook])
def test_empty_and_missing_folders(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(UserError, match=r"holds no .* patient"):
        read(tmp_path)
    with pytest.raises(UserError, match="does not exist or is not a folder"):
        read(tmp_path / "nowhere")


def make_mnms2(root: Path, name: str, with_cine: bool = True) -> Path:
    folder = root / "dataset" / name
    frames = cine(seed=int(name))
    for phase, frame, size in (("ED", 0, 5), ("ES", 3, 3)):
        save(folder / f"{name}_SA_{phase}.nii.gz", frames[..., frame])
        save(folder / f"{name}_SA_{phase}_gt.nii.gz", heart(size, 1, 2, 3))
        save(folder / f"{name}_LA_{phase}.nii.gz", frames[..., :1, frame])
    if with_cine:
        save(folder / f"{name}_SA_CINE.nii.gz", frames)
    return folder


@pytest.fixture
def mnms2(tmp_path: Path) -> Path:
    root = tmp_path / "MnM2"
    make_mnms2(root, "001")
    make_mnms2(root, "042", with_cine=False)
    rows = [
        "SUBJECT_CODE;DISEASE;VENDOR;SCANNER;FIELD",
        "1;NOR;GE MEDICAL SYSTEMS;SIGNA;1.5",
        "42;FALL;Philips Medical Systems;Achieva;3.0",
    ]
    (root / "dataset_information.csv").write_text("\n".join(rows) + "\n;;;;\n", encoding="utf-8-sig")
    return root


def test_mnms2_download(mnms2: Path) -> None:
    first, second = read_mnms2(mnms2)
    assert (first.patient, first.is_cine, first.image.shape) == ("001", True, (6, *SHAPE))
    assert (first.ed, first.es) == (0, 3)  # nowhere written, found in the cine
    np.testing.assert_array_equal(first.masks["ES"], heart(3, LV, MYO, RV))
    assert first.priors.specified() == {"diagnosis": "NOR", "vendor": "GE", "field_strength": 1.5}
    assert (second.patient, second.is_cine, second.ed, second.es) == ("042", False, 0, 1)
    np.testing.assert_array_equal(second.image[1], cine(seed=42)[..., 3])
    assert second.priors.specified() == {"vendor": "Philips", "field_strength": 3.0}


def test_mnms2_cine_of_another_heart(mnms2: Path) -> None:
    save(mnms2 / "dataset" / "001" / "001_SA_CINE.nii.gz", cine(seed=7))
    with pytest.raises(UserError, match=r"001_SA_CINE.nii.gz has no frame that is the ED image; remove that file"):
        list(read_mnms2(mnms2))


def test_mnms2_test_patients_alone_are_trained_on_and_it_is_said(mnms2: Path) -> None:
    for name in ("001", "042"):
        shutil.rmtree(mnms2 / "dataset" / name)
    make_mnms2(mnms2, "201")
    (mnms2 / "dataset_information.csv").write_text("SUBJECT_CODE,DISEASE,VENDOR,FIELD\n201,NOR,GE,1.5\n")
    (one,) = read_mnms2(mnms2)
    assert not one.test
    assert one.notes == ("has the number of a test patient of the challenge, but is trained on, since all here have",)


def test_a_study_may_test_on_whom_the_source_keeps(mnms2: Path, mnms: Path) -> None:
    for source, folder in (("mnms2", mnms2), ("mnms", mnms)):
        study = folder / "study.yaml"
        sets = {"data": {"source": source, "folder": "."}, "tests": [{"name": "kept", "source": source, "folder": "."}]}
        study.write_text(json.dumps({"title": "t", "arms": ["real", "phantom50"], **sets}))
        with pytest.raises(UserError, match="leads to the patients of data"):
            read_study(study)
        (folder / ("dataset/201" if source == "mnms2" else "Testing")).mkdir()
        assert read_study(study).tests[0].source == source


def test_mnms2_as_a_cohort(mnms2: Path, nnunet: Path) -> None:
    result = CliRunner().invoke(app, ["import", "mnms2", str(mnms2 / "dataset"), "-d", "32", "--folds", "2"])  # the table lies above
    assert result.exit_code == 0, result.output
    assert [s.patient for s in Cohort.load("32").subjects] == ["001", "042"]


def test_table_with_a_patient_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("SUBJECT_CODE,FIELD\n1,3\n001,3\n")
    with pytest.raises(UserError, match="two rows for 001"):
        find_table(tmp_path, ("SUBJECT_CODE",), "SUBJECT_CODE", digits=3)


def make_sunnybrook(root: Path, name: str = "SCD0000101") -> Path:
    save(root / f"{name}_4d.nii.gz", cine())
    save(root / f"{name}_frame02_gt.nii.gz", heart(3, 3, 0, 0))
    save(root / f"{name}_frame06_gt.nii.gz", heart(4, 3, 2, 0))
    return root


def test_sunnybrook_annotates_what_is_contoured_at_both_phases(tmp_path: Path) -> None:
    (subject,) = read_sunnybrook(make_sunnybrook(tmp_path))
    assert (subject.ed, subject.es) == (5, 1)  # the larger LV is ED, though its frame comes last
    assert subject.annotated == {LV}
    assert set(np.unique(subject.masks["ED"])) == set(np.unique(subject.masks["ES"])) == {0, LV}
    assert subject.priors.specified() == {"vendor": "GE", "field_strength": 1.5}  # 0.6 g of myocardium is no heart's


def unzipped_into_folders(root: Path) -> None:
    """Every image in a folder of its own name, as some programs leave them."""
    for path in sorted(root.rglob("*.nii.gz")):
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name.removesuffix(".gz")).with_suffix(".nii.gz").write_bytes(content)


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda root: make_mnms2(root, "001"), read_mnms2),
        (lambda root: make_mnms(root, "A0S9V9"), read_mnms),
        (lambda root: make_sunnybrook(root), read_sunnybrook),
    ],
)
def test_images_in_folders_of_their_own_names(make: Callable[[Path], Any], read: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path)
    write_mnms_table(tmp_path, "0,A0S9V9,HCM,Siemens,A,1,1,4,41,M,170.0,70.5")
    (tmp_path / "mnms2.csv").write_text("SUBJECT_CODE,DISEASE,VENDOR,FIELD\n1,NOR,GE,1.5\n")
    (before,) = read(tmp_path)
    unzipped_into_folders(tmp_path)
    (after,) = read(tmp_path)
    np.testing.assert_array_equal(after.image, before.image)
    for phase, mask in before.masks.items():
        np.testing.assert_array_equal(after.masks[phase], mask)
    assert after.masks.keys() == before.masks.keys()


def test_sunnybrook_errors(tmp_path: Path) -> None:
    make_sunnybrook(tmp_path)
    save(tmp_path / "SCD0000101_frame07_gt.nii.gz", heart(3, 3, 0, 0))
    with pytest.raises(UserError, match=r"frame07_gt.nii.gz is not named after one of the frames 1 to 6"):
        list(read_sunnybrook(tmp_path))
    (tmp_path / "SCD0000101_frame07_gt.nii.gz").unlink()
    (tmp_path / "SCD0000101_frame02_gt.nii.gz").unlink()
    with pytest.raises(UserError, match="masks of 1 frames"):
        list(read_sunnybrook(tmp_path))


@needs_data
def test_real_sunnybrook_becomes_a_test_set_of_the_lv(nnunet: Path) -> None:
    result = CliRunner().invoke(app, ["import", "sunnybrook", str(DATA / "sunnybrook_cine"), "-d", "33"])
    assert result.exit_code == 0, result.output
    cohort = Cohort.load("33")
    assert [s.patient for s in cohort.subjects] == ["SCD0000101", "SCD0000201", "SCD0000301"]
    for subject in cohort.subjects:
        sequence = load_sequence(subject)
        assert sequence.labelled == (subject.ed, subject.es)
        assert subject.annotated == {LV}
        assert subject.priors.lv_edv is not None and 60 < subject.priors.lv_edv < 400
        assert subject.priors.lv_ef is not None and 5 < subject.priors.lv_ef < 75
        contoured = np.asanyarray(opened(DATA / "sunnybrook_cine" / f"{subject.patient}_frame{subject.ed + 1:02d}_gt.nii.gz").dataobj)
        mass = np.count_nonzero(contoured == 2) * np.prod(subject.spacing) / 1000 * MYOCARDIAL_DENSITY
        assert 50 < mass < 350
        assert subject.priors.lv_mass == pytest.approx(mass)
        for phase, frame in (("ED", subject.ed), ("ES", subject.es)):
            image = opened(cohort.folder / "imagesTs" / f"{subject.patient}_{phase}_0000.nii.gz")
            np.testing.assert_array_equal(np.asanyarray(image.dataobj), sequence.image[frame])
    cases = cases_in(cohort.folder / "labelsTs")
    found = find_dataset(frozenset(cases), [nnunet], dataset=cohort.folder)
    assert found.ground_truth == cases
    assert {(info.patient, info.vendor) for info in found.cases.values()} == {(s.patient, "GE") for s in cohort.subjects}


def test_a_broken_subject_leaves_no_test_set(tmp_path: Path, nnunet: Path) -> None:
    make_sunnybrook(tmp_path / "source")
    (make_sunnybrook(tmp_path / "source", "SCD0000201") / "SCD0000201_4d.nii.gz").write_bytes(b"not NIfTI")
    with pytest.raises(UserError, match=r"SCD0000201_4d.nii.gz is not a complete NIfTI file"):
        write_test_set(read_sunnybrook(tmp_path / "source"), 33, "Sunnybrook")
    assert list((nnunet / "nnUNet_raw").iterdir()) == []
