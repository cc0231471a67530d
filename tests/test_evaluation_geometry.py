"""Masks in any orientation and in any format that nnU-Net reads score the same; masks that lie elsewhere are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from evaluation.compare import evaluate
from evaluation.evaluate import evaluate_folder
from evaluation.inputs.dataset import cases_in
from evaluation.inputs.scores import read_sources
from evaluation.report.overlays import Shown, overlay
from evaluation.scoring.masks import LabelMaps
from evaluation.scoring.metrics import CaseFiles, ScoredFile, score_case
from evaluation.scoring.rules import BY_DEFAULT
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.volumes import ENDINGS, read_volume, slice_axis

LABELS = {"RV": (1,), "MYO": (2,), "LV": (3,)}
SPACING = (1.3, 1.5, 8.0)
#: Axes and directions as nibabel names them: (3, 2) each.
ORIENTATIONS = [np.array([*zip(axes, flips, strict=True)]) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]


def oblique(spacing: tuple[float, ...] = SPACING) -> np.ndarray:
    """A short-axis plane: no axis of the stack is one of the body."""
    a, b = np.deg2rad(35), np.deg2rad(-50)
    first = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = first @ second * spacing
    affine[:3, 3] = (-91.25, 40.5, -17.75)
    return affine


def heart(shift: int = 0) -> np.ndarray:
    """RV, myocardium and LV that narrow towards the apex, (X, Y, Z)."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in (26, 24, 7)), indexing="ij")
    size = 7 - 0.7 * z
    mask = np.zeros(x.shape, np.uint8)
    mask[(np.hypot(x - 9 - shift, y - 12) < size) & (z < 6)] = 1
    mask[(np.hypot(x - 15 - shift, y - 12) < size) & (z > 0)] = 2
    mask[(np.hypot(x - 15 - shift, y - 12) < size - 2) & (z > 0)] = 3
    return mask


def write(path: Path, mask: np.ndarray, orientation: np.ndarray | None = None, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file, stored in another orientation with its own right affine."""
    image = nib.Nifti1Image(mask, oblique() if affine is None else affine)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image if orientation is None else image.as_reoriented(orientation), path)
    return path


def scores(prediction: Path, reference: Path) -> ScoredFile:
    return score_case(CaseFiles("case", reference, (prediction,)), LabelMaps(LABELS), BY_DEFAULT)[0]


def assert_same(found: ScoredFile, expected: ScoredFile) -> None:
    for structure, one in expected.scores.items():
        assert found.scores[structure].counts == one.counts
        assert found.scores[structure].values == pytest.approx(one.values, rel=1e-9, nan_ok=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ScoredFile]:
    """A prediction and its reference, stored alike, and the scores."""
    folder = tmp_path_factory.mktemp("straight")
    files = write(folder / "prediction.nii", heart(2)), write(folder / "reference.nii", heart())
    expected = scores(*files)
    assert 0.5 < expected.scores["LV"].values["Dice"] < 0.9
    assert not expected.remarks.turned
    return *files, expected


def test_the_prediction_may_be_stored_in_any_orientation(straight: tuple[Path, Path, ScoredFile], tmp_path: Path) -> None:
    _, reference, expected = straight
    turned = 0
    for orientation in ORIENTATIONS:
        found = scores(write(tmp_path / "p.nii", heart(2), orientation), reference)
        assert_same(found, expected)
        turned += found.remarks.turned
    assert (len(ORIENTATIONS), turned) == (48, 47)


@given(own=st.sampled_from(ORIENTATIONS), theirs=st.sampled_from(ORIENTATIONS))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_may_be_stored_in_any_orientation(
    straight: tuple[Path, Path, ScoredFile], tmp_path: Path, own: np.ndarray, theirs: np.ndarray
) -> None:
    prediction, reference = write(tmp_path / "p.nii", heart(2), own), write(tmp_path / "r.nii", heart(), theirs)
    assert_same(scores(prediction, reference), straight[2])


def test_a_folder_in_another_orientation_scores_the_same_and_says_so(tmp_path: Path) -> None:
    truth = {case: heart(i % 2) for i, case in enumerate(("p1_ED", "p1_ES", "p2_ED", "p2_ES"))}
    lpi = ORIENTATIONS[-1]
    for case, mask in truth.items():
        write(tmp_path / "gt" / f"{case}.nii.gz", mask)
        write(tmp_path / "plain" / f"{case}.nii.gz", np.roll(mask, 1, 0))
        write(tmp_path / "turned" / f"{case}.nii.gz", np.roll(mask, 1, 0), lpi)
    plain, turned = (
        evaluate_folder(tmp_path / which, tmp_path / f"of_{which}", name="x", gt=tmp_path / "gt") for which in ("plain", "turned")
    )
    pd.testing.assert_frame_equal(turned.table, plain.table)
    sentence = "Predictions whose axes lie otherwise than in the ground truth were turned onto it: p1_ED, p1_ES, p2_ED, p2_ES."
    assert sentence in turned.notes
    assert sentence not in plain.notes
    [results] = evaluate(read_sources({"first": [tmp_path / "plain"], "second": [tmp_path / "turned"]}, gt=tmp_path / "gt"))
    assert (results.summary["difference"].dropna() == 0).all()
    assert any(note.startswith("Predictions of second whose axes") for note in results.notes)


def pictures(folder: Path, orientation: np.ndarray | None, theirs: np.ndarray | None) -> bytes:
    case = Shown(
        "ED",
        write(folder / "image.nii", (heart() * 60 + np.arange(7)).astype(np.float32), orientation),
        write(folder / "truth.nii", heart(), theirs),
        (write(folder / "a.nii", heart(2), orientation), write(folder / "b.nii", heart(1), orientation)),
    )
    figure = overlay([case], ("a", "b"), (LabelMaps(LABELS), LabelMaps(LABELS)), BY_DEFAULT)
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def test_pictures_show_image_and_masks_on_one_grid(tmp_path: Path) -> None:
    plain = pictures(tmp_path, None, None)
    assert pictures(tmp_path, ORIENTATIONS[-1], None) == plain
    slices_first = np.array([[1, 1], [2, 1], [0, 1]])  # (Z, X, Y): only the order of the axes differs
    assert pictures(tmp_path, slices_first, slices_first) == plain
    assert pictures(tmp_path, None, ORIENTATIONS[-1]) != plain  # the ground truth says how the patient is shown


def moved(change: Callable[[np.ndarray], object]) -> np.ndarray:
    affine = oblique()
    change(affine)
    return affine


def shift(affine: np.ndarray) -> None:
    affine[:3, 3] += affine[:3, 0] * 0.5


def tilt(affine: np.ndarray) -> None:
    angle = np.deg2rad(3)
    affine[:2, :3] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ affine[:2, :3]


def mirror(affine: np.ndarray) -> None:
    affine[:3, 0] *= -1


@pytest.mark.parametrize("change", [shift, tilt, mirror])
def test_a_mask_that_lies_elsewhere_is_refused(
    straight: tuple[Path, Path, ScoredFile], tmp_path: Path, change: Callable[..., None]
) -> None:
    prediction = write(tmp_path / "p.nii.gz", heart(2), affine=moved(change))
    with pytest.raises(
        UserError, match=r"p\.nii\.gz lies elsewhere in space than its ground truth .*reference\.nii .*write it with the geometry"
    ):
        scores(prediction, straight[1])


def test_rounding_of_headers_is_no_other_place(straight: tuple[Path, Path, ScoredFile], tmp_path: Path) -> None:
    affine = oblique(tuple(np.multiply(SPACING, 1.0009)))
    affine[:3, 3] += 0.02
    assert_same(scores(write(tmp_path / "p.nii", heart(2), affine=affine), straight[1]), straight[2])


def test_where_no_header_says_the_place_the_order_of_voxels_counts(straight: tuple[Path, Path, ScoredFile], tmp_path: Path) -> None:
    image = nib.Nifti1Image(heart(2), None)
    image.header.set_zooms(SPACING)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "p.nii")
    assert_same(scores(tmp_path / "p.nii", straight[1]), straight[2])


def test_a_writer_may_have_kept_the_qform_alone(straight: tuple[Path, Path, ScoredFile], tmp_path: Path) -> None:
    """The reference says two places; the prediction was written by a tool that read the other one."""
    reference = nib.Nifti1Image(heart(), oblique())
    other = moved(tilt)
    reference.set_qform(other, code=1)
    nib.save(reference, tmp_path / "r.nii")
    assert_same(scores(write(tmp_path / "p.nii", heart(2), affine=other), tmp_path / "r.nii"), straight[2])


def test_a_qform_that_is_no_rotation_does_not_matter(straight: tuple[Path, Path, ScoredFile], tmp_path: Path) -> None:
    image = nib.Nifti1Image(heart(2), oblique())
    image.set_qform(oblique(), code=1)
    for part in ("quatern_b", "quatern_c", "quatern_d"):
        image.header[part] = 3
    nib.save(image, tmp_path / "p.nii")
    assert_same(scores(tmp_path / "p.nii", straight[1]), straight[2])


def test_slices_lie_along_the_short_axis_of_the_array() -> None:
    assert [slice_axis(shape) for shape in ((216, 256, 10), (10, 216, 256), (216, 10, 256), (60, 50, 40), (20, 39, 200))] == [2, 0, 1, 2, 2]


def test_what_nnunet_reads_is_read() -> None:
    assert set(ENDINGS) == {*SimpleITKIO.supported_file_endings, *NibabelIO.supported_file_endings}


def converted(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.ReadImage(str(source)), str(target))
    return target


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_other_formats_hold_the_same_volume_in_the_same_place(straight: tuple[Path, Path, ScoredFile], tmp_path: Path, ending: str) -> None:
    prediction, reference, expected = straight
    other = converted(prediction, tmp_path / f"p{ending}")
    read, plain = read_volume(other), read_volume(prediction)
    np.testing.assert_array_equal(read.array, plain.array)
    np.testing.assert_allclose(read.grid.affine, plain.grid.affine, atol=1e-4)
    assert read.grid.spacing == pytest.approx(SPACING)
    found = scores(other, reference)
    assert not found.remarks.turned
    assert_same(found, expected)
    assert_same(scores(prediction, converted(reference, tmp_path / f"r{ending}")), expected)


def test_gipl_files_hold_no_directions(straight: tuple[Path, Path, ScoredFile], tmp_path: Path) -> None:
    """So they are laid on a mask of the same shape and spacing voxel by voxel, and on no other."""
    prediction, reference, expected = straight
    other = converted(prediction, tmp_path / "p.gipl")
    assert not read_volume(other).grid.oriented
    assert_same(scores(other, reference), expected)
    assert_same(scores(other, converted(reference, tmp_path / "r.gipl")), expected)
    finer = converted(write(tmp_path / "f.nii", heart(2), affine=np.diag([1, 1, 8, 1])), tmp_path / "f.gipl")
    with pytest.raises(UserError, match=r"f\.gipl has the spacing .* but its ground truth"):
        scores(finer, reference)


@pytest.mark.parametrize("ending", ENDINGS)
def test_folders_of_every_format_are_found_and_compared(tmp_path: Path, ending: str) -> None:
    for case in ("p1_ED", "p1_ES", "p2_ED", "p2_ES"):
        mask = heart(int(case[1]))
        for folder, one in (("gt", mask), ("a", np.roll(mask, 2, 0)), ("b", np.roll(mask, 1, 0))):
            plain = write(tmp_path / f"plain_{folder}" / f"{case}.nii.gz", one, affine=np.diag([*SPACING, 1]))
            converted(plain, tmp_path / folder / f"{case}{ending}")
    found = evaluate_folder(tmp_path / "a", tmp_path / "of_a", name="x", gt=tmp_path / "gt")
    expected = evaluate_folder(tmp_path / "plain_a", tmp_path / "of_plain", name="x", gt=tmp_path / "plain_gt")
    assert set(found.table["prediction_file"]) == {f"{case}{ending}" for case in ("p1_ED", "p1_ES", "p2_ED", "p2_ES")}
    pd.testing.assert_frame_equal(
        found.table.drop(columns=["prediction_file", "dataset"]), expected.table.drop(columns=["prediction_file", "dataset"])
    )
    again = evaluate_folder(tmp_path / "of_a" / "summary.json", tmp_path / "again", name="x", labels=LABELS)
    assert set(again.table["patient"]) == {"p1", "p2"}
    [results] = evaluate(read_sources({"a": [tmp_path / "a"], "b": [tmp_path / "b"]}, gt=tmp_path / "gt"))
    dice = results.summary[results.summary["metric"] == "Dice"]
    assert (dice["difference"] > 0).all()


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.nii", heart(), affine=np.diag([*SPACING, 1]))
    whole = converted(plain, tmp_path / "whole.mha")
    (tmp_path / "cut.mha").write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(UserError, match=r"cut\.mha is not a complete \.mha file; copy it again"):
        read_volume(tmp_path / "cut.mha")
    sitk.WriteImage(sitk.Compose(*[sitk.ReadImage(str(plain))] * 3), str(tmp_path / "colours.nrrd"))
    with pytest.raises(UserError, match=r"colours\.nrrd holds several values per voxel"):
        read_volume(tmp_path / "colours.nrrd")
    sitk.WriteImage(sitk.ReadImage(str(plain))[:, :, 2], str(tmp_path / "slice.mha"))
    with pytest.raises(UserError, match=r"slice\.mha has 2 axes where 3 are needed"):
        read_volume(tmp_path / "slice.mha")
    (tmp_path / "zero.mha").write_bytes(re.sub(rb"\nElementSpacing = \S+", b"\nElementSpacing = 0", whole.read_bytes()))
    with pytest.raises(UserError, match=r"zero\.mha is not a complete \.mha file"):
        read_volume(tmp_path / "zero.mha")
    with pytest.raises(UserError, match="does not exist"):
        read_volume(tmp_path / "none.mha")
    (tmp_path / "gt").mkdir()
    for name in ("case.nii.gz", "case.mha", ".hidden.mha", "text.txt"):
        (tmp_path / "gt" / name).touch()
    with pytest.raises(UserError, match=r"holds both case\.mha and case\.nii\.gz of one case"):
        cases_in(tmp_path / "gt")
    (tmp_path / "gt" / "case.mha").unlink()
    assert set(cases_in(tmp_path / "gt")) == {"case"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no predictions \(\*\.nii\.gz, \*\.nii, \*\.mha, \*\.nrrd, \*\.gipl in it\)"):
        evaluate_folder(tmp_path / "empty", tmp_path / "out", gt=tmp_path / "gt")
