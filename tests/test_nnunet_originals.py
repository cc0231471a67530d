"""Copies of a plain nnU-Net dataset, without a cohort of this package: the command, and what is wrong with the files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nifti_files import saved
from nnunet_fixture import DATASET, PATIENTS, PLANS, SPACING, VALIDATION, Project
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
from PIL import Image
from typer.testing import CliRunner

from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json, write_nifti
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.nnunet import doctor
from nnunet_synth_aug.nnunet.bank.manifest import bank_status
from nnunet_synth_aug.nnunet.bank.originals import field_of_view, raw_originals
from nnunet_synth_aug.nnunet.doctor import Check, run_checks
from nnunet_synth_aug.nnunet.patients import splits_file
from nnunet_synth_aug.nnunet.sizes import refuse_other_sizes
from nnunet_synth_aug.nnunet.target import load_target, training_files

__all__ = ["plain"]


@pytest.fixture
def plain(project: Project):
    """The project as somebody has it who never met this package."""
    cohort, kept = project.raw / "cohort.json", project.root / "cohort.json"
    bank = project.preprocessed / "synth_aug" / "fold_1"
    cohort.rename(kept)
    yield project
    kept.rename(cohort)
    shutil.rmtree(bank, ignore_errors=True)


def test_the_files_of_a_dataset_are_those_that_nnunet_finds(tmp_path: Path) -> None:
    for name in ("a_0000.nii.gz", "a_0001.nii.gz", "ab_0000.nii.gz", "a_b_0000.nii.gz", "notes.txt", "other_0000.nii"):
        (tmp_path / "imagesTr" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "imagesTr" / name).touch()
    for about in ({"file_ending": ".nii.gz"}, {"dataset": {"x": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}}):
        theirs = get_filenames_of_train_images_and_targets(str(tmp_path), dict(about))
        assert training_files(tmp_path, dict(about)) == {str(case): files for case, files in theirs.items()}


def test_originals_are_the_cases_as_they_lie_in_this_packages_labels(plain: Project) -> None:
    originals = raw_originals(load_target(731, "2d", PLANS), 1)
    assert {one.patient for one in originals} == set(PATIENTS) - set(VALIDATION[1])
    assert len(originals) == 8
    for one in originals[:2]:
        read = one.load()
        image, spacing, _ = read_nifti(plain.raw / "imagesTr" / f"{one.name}_0000.nii.gz", ndim=3)
        labels, _, _ = read_nifti(plain.raw / "labelsTr" / f"{one.name}.nii.gz", ndim=3)
        assert read.spacing == spacing == SPACING
        np.testing.assert_allclose(read.image[0], image)
        for here, there in ((RV, 3), (MYO, 2), (LV, 1)):
            np.testing.assert_array_equal(read.mask[0] == here, labels == there)


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".nii"])
def test_originals_are_the_same_in_other_formats(plain: Project, ending: str) -> None:
    target = load_target(731, "2d", PLANS)
    with pytest.MonkeyPatch.context() as patch:
        own = raw_originals(target, 1)
        before = [one.load() for one in own[:2]]
        raw = plain.root / f"other{ending}" / DATASET
        for path in (*plain.raw.glob("imagesTr/*"), *plain.raw.glob("labelsTr/*")):
            new = raw / path.parent.name / path.name.replace(".nii.gz", ending)
            new.parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.ReadImage(str(path)), str(new))
        patch.setenv("nnUNet_raw", str(raw.parent))
        patch.setattr("nnunetv2.paths.nnUNet_raw", str(raw.parent))
        there = raw_originals(replace(target, dataset_json=target.dataset_json | {"file_ending": ending}), 1)
        assert [one.name for one in there] == [one.name for one in own]
        for one, same in zip(there, before, strict=False):
            read = one.load()
            assert read.spacing == pytest.approx(same.spacing)
            np.testing.assert_array_equal(read.image, same.image)
            np.testing.assert_array_equal(read.mask, same.mask)


def test_phantoms_show_the_field_of_view_of_the_training_images(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target(DATASET, "2d", PLANS)
    assert field_of_view(target, 0) == 120  # 60 pixels of 2 mm

    def asked(_index: int, _seed: int, *, vendor: str | None, field: float | None) -> None:
        raise UserError(f"a phantom of {vendor} with {field} mm")

    monkeypatch.setattr("nnunet_synth_aug.synthesis.sources.phantoms.phantom_subject", asked)
    result = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "1", "-p", PLANS, "--source", "phantom", "-n", "1"])
    assert str(result.exception) == "a phantom of None with 120.0 mm"


def test_contours_are_turned_as_their_affine_says(plain: Project) -> None:
    one = raw_originals(load_target(731, "2d", PLANS), 1)[0]
    label = plain.raw / "labelsTr" / f"{one.name}.nii.gz"
    before, good = one.load(), label.read_bytes()
    image = nib.load(label)
    nib.save(image.as_reoriented([[1, -1], [0, 1], [2, -1]]), label)
    try:
        assert nib.load(label).shape[:2] == image.shape[1::-1]
        np.testing.assert_array_equal(one.load().mask, before.mask)
    finally:
        label.write_bytes(good)


def test_impossible_hearts_are_refused(plain: Project) -> None:
    one = raw_originals(load_target(731, "2d", PLANS), 1)[0]
    image, label = plain.raw / "imagesTr" / f"{one.name}_0000.nii.gz", plain.raw / "labelsTr" / f"{one.name}.nii.gz"
    good = {path: path.read_bytes() for path in (image, label)}
    labels = read_nifti(label, ndim=3)[0]
    try:
        write_nifti(label, np.array([0, 3, 2, 1], np.uint8)[labels], SPACING)
        with pytest.raises(UserError, match=rf"LV and RV are exchanged in .*{one.name}"):
            one.load()
        for path in (image, label):
            path.write_bytes(good[path])
            write_nifti(path, read_nifti(path, ndim=3)[0], (1.0, 1.0, 1.0))
        with pytest.raises(UserError, match="1 x 1 x 1 mm, so their size was lost"):
            one.load()
    finally:
        for path, content in good.items():
            path.write_bytes(content)


def test_slices_must_lie_along_the_last_axis(plain: Project) -> None:
    one = raw_originals(load_target(731, "2d", PLANS), 1)[0]
    paths = plain.raw / "imagesTr" / f"{one.name}_0000.nii.gz", plain.raw / "labelsTr" / f"{one.name}.nii.gz"
    good = [path.read_bytes() for path in paths]
    for path in paths:
        nib.save(nib.load(path).as_reoriented([[1, 1], [2, 1], [0, 1]]), path)
    try:
        with pytest.raises(UserError, match=r"slices along axis 0 .*synthaug import"):
            one.load()
    finally:
        for path, content in zip(paths, good, strict=True):
            path.write_bytes(content)


def test_the_command_needs_neither_a_cohort_nor_a_generator(plain: Project) -> None:
    result = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "1", "-p", PLANS, "--source", "copies", "-n", "9"])
    assert result.exit_code == 0, result.output
    manifest = bank_status(load_target(731, "2d", PLANS), 1)
    assert len(manifest.ids) == 9 * 3  # each heart in three looks of other scanners, if nobody says otherwise
    drawn = sorted(path.name for path in manifest.folder.parent.glob("sequences/*.gif"))
    assert drawn == ["copy_00000.gif", "copy_00001.gif", "copy_00002.gif"], "three hearts to look at, unless --gif says otherwise"
    sheet = manifest.folder.parent / "hearts.png"
    assert result.output.splitlines()[-1] == f"its hearts beside training patients: {sheet}"
    with Image.open(sheet) as picture:
        assert min(picture.size) > 600
    provenance = manifest.content["generator"]
    assert (provenance["source"], provenance["dataset"]) == ("copies", DATASET)
    assert provenance["patients"] == sorted(set(PATIENTS) - set(VALIDATION[1]))


def test_sizes_that_nnunet_reads_otherwise_are_refused(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes pixdim, and so does ITK; everything else here takes sform."""
    for check in ("_trainer", "_torch_pair"):  # which start interpreters
        monkeypatch.setattr(doctor, check, lambda: Check("quick", True, ""))
    target = load_target(731, "2d", PLANS)
    assert refuse_other_sizes(target) == 12
    path = plain.raw / "imagesTr" / "patient004_ES_0000.nii.gz"
    content, array = path.read_bytes(), read_nifti(path)[0]
    try:
        saved(path, array, np.diag([*SPACING, 1.0]), pixdim=(1, 1, 1))
        assert sitk.ReadImage(str(path)).GetSpacing() == (1.0, 1.0, 1.0)
        said = f"{path} says 1 x 1 x 1 mm in pixdim, which nnU-Net takes, but 2 x 2 x 8 mm in sform"
        failed = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "1", "-p", PLANS, "--source", "copies", "-n", "9"])
        assert isinstance(failed.exception, UserError)
        assert str(failed.exception).startswith(f"{said}; correct pixdim and run nnU-Net's planning and preprocessing again")
        (found,) = (check for check in run_checks(731, plans=PLANS) if check.name == "images")
        assert (found.ok, found.message) == (False, said)
        saved(path, array, np.diag([1.0, 1.0, 1.0, 1.0]), pixdim=SPACING)  # as ACDC's download has it: nnU-Net reads what we read
        assert refuse_other_sizes(target) == 12
    finally:
        path.write_bytes(content)
    (found,) = (check for check in run_checks(731, plans=PLANS) if check.name == "images")
    assert (found.ok, found.message) == (True, "12 training images whose headers agree on the size of voxels")


def test_a_patient_on_both_sides_is_refused(plain: Project) -> None:
    """As in the split that nnU-Net makes by itself, which knows cases and no patients."""
    path = splits_file(DATASET)
    before = read_json(path)
    train = sorted({*before[1]["train"], "patient001_ES"})
    try:
        write_json(path, [before[0], {"train": train, "val": [c for c in before[1]["val"] if c != "patient001_ES"]}])
        with pytest.raises(UserError, match="puts patient001 into both training and validation of fold 1"):
            raw_originals(load_target(731, "2d", PLANS), 1)
    finally:
        write_json(path, before)


def test_bad_files_are_one_sentence(plain: Project) -> None:
    target = load_target(731, "2d", PLANS)
    one = raw_originals(target, 1)[0]
    image, label = plain.raw / "imagesTr" / f"{one.name}_0000.nii.gz", plain.raw / "labelsTr" / f"{one.name}.nii.gz"
    grey, labels = read_nifti(image, ndim=3)[0], read_nifti(label, ndim=3)[0]
    good = {path: path.read_bytes() for path in (image, label)}
    foreign = np.where(labels == 3, 9, labels).astype(np.uint8)
    nan = grey.copy()
    nan[0, 0, 0] = np.nan
    bad = {
        "not a complete NIfTI": (image, lambda: image.write_bytes(good[image][:200])),
        "1 NaN or infinite voxels": (image, lambda: write_nifti(image, nan, SPACING)),
        "but its image has": (label, lambda: write_nifti(label, labels[:, :, 1:].astype(np.uint8), SPACING)),
        "other values than those of RV, MYO and LV": (label, lambda: write_nifti(label, foreign, SPACING)),
    }  # fmt: skip
    for sentence, (path, spoil) in bad.items():
        spoil()
        try:
            with pytest.raises(UserError, match=sentence) as caught:
                one.load()
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
        finally:
            path.write_bytes(good[path])
    with pytest.raises(UserError, match=r"has \.png files"):
        raw_originals(replace(target, dataset_json=target.dataset_json | {"file_ending": ".png"}), 1)
    label.rename(label.with_suffix(".away"))
    try:  # before anything is made, whether this case would be copied or not
        with pytest.raises(
            UserError, match=r"patient\d+_E[DS]\.nii\.gz is not there, but fold 1 of .*splits_final\.json trains on it; restore"
        ):
            raw_originals(target, 1)
        image.rename(image.with_suffix(".away"))
        with pytest.raises(UserError, match=f"has no case {one.name}"):
            raw_originals(target, 1)
    finally:
        label.with_suffix(".away").rename(label)
        image.with_suffix(".away").rename(image)
