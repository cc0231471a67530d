"""Reading ACDC in the official layout and in the two local copies that deviate from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import measure
from nnunet_synth_aug.data.importers.acdc import list_acdc, read_acdc

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "acdc_cine").is_dir(), reason=f"the real ACDC copies are not in {DATA}")


def opened(path: Path) -> Any:
    return nib.load(path)


def make_patient(parent: Path, name: str, step: float = 0.035) -> Path:
    """One made-up patient in the official layout: 8 x 9 x 4 voxels, 6 frames, ED 2, ES 5 (from 1)."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text("ED: 2\nES: 5\nGroup: HCM\nHeight: 170.0\nNbFrame: 6\nWeight: 70.5\n")
    image = np.random.default_rng(0).integers(0, 300, (8, 9, 4, 6)).astype(np.int16)
    mask = np.zeros((8, 9, 4), np.uint8)
    mask[0:2, 2:7, 1:3], mask[2:8, 1:8, 1:3], mask[3:7, 2:7, 1:3] = 1, 2, 3
    affine = np.diag([1.5, 1.5, 8, 1])
    cine = nib.Nifti1Image(image, affine)
    cine.header.set_zooms((1.5, 1.5, 8, step))
    nib.save(cine, folder / f"{name}_4d.nii.gz")
    for frame in (2, 5):
        nib.save(nib.Nifti1Image(image[..., frame - 1], affine), folder / f"{name}_frame{frame:02d}.nii.gz")
        nib.save(nib.Nifti1Image(mask, affine), folder / f"{name}_frame{frame:02d}_gt.nii.gz")
    return folder


@needs_data
def test_cropped_cines_without_frame_images() -> None:
    names = list_acdc(DATA / "acdc_cine")
    assert len(names) == 40
    subject = next(read_acdc(DATA / "acdc_cine", ["patient003"]))
    raw = opened(DATA / "acdc_cine" / "patient003" / "patient003_4d.nii.gz")
    assert subject.is_cine
    assert subject.image.dtype == np.int16
    np.testing.assert_array_equal(np.moveaxis(subject.image, 0, -1), np.asanyarray(raw.dataobj))
    assert subject.image.shape == (30, 100, 95, 7)
    assert (subject.ed, subject.es) == (0, 14)
    assert subject.spacing == (1.5625, 1.5625, 10.0)
    assert subject.frame_seconds == 0.0  # the header says 1 s, which no cine has
    assert (subject.priors.diagnosis, subject.priors.vendor) == ("DCM", "Siemens")
    assert subject.priors.lv_edv is None  # measured by the dataset writer, not stated by ACDC


@needs_data
def test_ed_and_es_volumes_without_a_cine() -> None:
    subject = next(read_acdc(DATA / "acdc_edes", ["patient001"]))
    assert not subject.is_cine
    assert subject.image.shape == (2, 216, 256, 10)
    assert (subject.ed, subject.es) == (0, 1)
    assert (subject.priors.height, subject.priors.weight) == (184.0, 95.0)
    for frame, number in ((0, 1), (1, 12)):
        raw = opened(DATA / "acdc_edes" / "patient001" / f"patient001_frame{number:02d}.nii.gz")
        np.testing.assert_array_equal(subject.image[frame], np.asanyarray(raw.dataobj))


@needs_data
def test_labels_mean_what_they_say_in_both_copies() -> None:
    """patient001 has a dilated, weak LV: label 3 must be the cavity that MYO surrounds, and it must shrink by little."""
    for copy in ("acdc_cine", "acdc_edes"):
        subject = next(read_acdc(DATA / copy, ["patient001"]))
        priors = measure(subject.masks["ED"], subject.masks["ES"], subject.spacing, subject.annotated)
        assert priors.lv_edv is not None
        assert priors.lv_edv > 200
        assert priors.lv_ef is not None
        assert priors.lv_ef < 40
        middle = subject.masks["ED"][:, :, subject.masks["ED"].shape[2] // 2]
        inside = np.argwhere(middle == LV)
        around = np.argwhere(middle == MYO)
        assert (around.min(0) < inside.min(0)).all()
        assert (around.max(0) > inside.max(0)).all()
        assert RV in middle


def test_official_download_with_training_and_testing(tmp_path: Path) -> None:
    make_patient(tmp_path / "training", "patient001")
    make_patient(tmp_path / "testing", "patient101")
    (tmp_path / "MANDATORY_CITATION.md").write_text("cite")
    (tmp_path / "training" / "patientlist").mkdir()
    assert list_acdc(tmp_path) == ["patient001", "patient101"]
    assert list_acdc(tmp_path / "testing") == ["patient101"]
    subjects = list(read_acdc(tmp_path))
    assert [s.patient for s in subjects] == ["patient001", "patient101"]
    assert (subjects[0].ed, subjects[0].es) == (1, 4)
    assert subjects[0].frame_seconds == pytest.approx(0.035)
    assert subjects[0].priors.weight == 70.5
    assert subjects[0].priors.diagnosis == "HCM"
    assert set(np.unique(subjects[0].masks["ES"])) == {0, RV, MYO, LV}


def test_cines_without_contours_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    make_patient(tmp_path, "patient001")
    folder = make_patient(tmp_path / "unlabelled", "patient002")
    (folder / "Info.cfg").write_text("ED: 2\nES: 5\nVendor: GE\n")
    for path in folder.glob("*_frame??*"):
        if "frame05_gt" not in path.name:  # one that was left there is not read either
            path.unlink()
    labelled, unlabelled = read_acdc(tmp_path)
    assert set(labelled.masks) == {"ED", "ES"}
    assert (unlabelled.masks, unlabelled.is_cine, unlabelled.ed, unlabelled.es) == ({}, True, 1, 4)
    assert (unlabelled.priors.vendor, unlabelled.priors.diagnosis) == ("GE", None)
    (tmp_path / "patient001" / "Info.cfg").write_text("ED: 2\nES: 5\n")
    with pytest.raises(UserError, match="has no Group"):
        list(read_acdc(tmp_path))


def test_uncompressed_files_and_float_voxels(tmp_path: Path) -> None:
    folder = make_patient(tmp_path, "patient007")
    for path in list(folder.glob("*.nii.gz")):
        image = opened(path)
        kind = np.uint8 if path.name.endswith("_gt.nii.gz") else np.float32
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj).astype(kind), image.affine), path.with_name(path.name[:-3]))
        path.unlink()
    subject = next(read_acdc(tmp_path))
    assert subject.image.dtype == np.float32
    assert subject.is_cine


def test_mask_is_found_by_its_frame_not_by_its_order(tmp_path: Path) -> None:
    """ES before ED in the cine: the ED mask is still the ED mask."""
    folder = make_patient(tmp_path, "patient001")
    path = folder / "patient001_frame05_gt.nii.gz"
    mask = np.asanyarray(opened(path).dataobj).copy()
    mask[mask == 3] = 0
    nib.save(nib.Nifti1Image(mask, np.diag([1.5, 1.5, 8, 1])), path)
    info = folder / "Info.cfg"
    info.write_text(info.read_text().replace("ED: 2", "ED: 5").replace("ES: 5", "ES: 2", 1))
    subject = next(read_acdc(tmp_path))
    assert (subject.ed, subject.es) == (4, 1)
    assert LV not in subject.masks["ED"]
    assert LV in subject.masks["ES"]


def test_unknown_patient_is_refused_before_reading(tmp_path: Path) -> None:
    make_patient(tmp_path, "patient001")
    with pytest.raises(UserError, match="has no patient patient999"):
        read_acdc(tmp_path, ["patient001", "patient999"])


def test_same_patient_in_training_and_testing(tmp_path: Path) -> None:
    make_patient(tmp_path / "training", "patient001")
    make_patient(tmp_path / "testing", "patient001")
    with pytest.raises(UserError, match="patient001 is both in"):
        list_acdc(tmp_path)
