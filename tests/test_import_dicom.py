"""Cines from the scanner: made-up series for every decision, and two real patients."""

from __future__ import annotations

import gzip
import json
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_cases import DICOM, cut
from dicom_series import DISTANCE, FRAMES, LONG, NORMAL, ORIGIN, PERSON, PIXEL, SHAPE, SHORT, SLICES, pixels, scan, shuffled
from hypothesis import given, settings
from hypothesis import strategies as st
from input_cases import Case
from shared_folders import FOLDERS, set_folders

from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.importers.dicom import find_dicom, read_dicom
from nnunet_synth_aug.data.importers.subject import SourceSubject

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "dicom").is_dir(), reason=f"the real DICOM files are not in {DATA}")


def only(folder: Path, masks: Path | None = None) -> SourceSubject:
    (subject,) = read_dicom(find_dicom(folder), masks)
    return subject


def same(one: SourceSubject, other: SourceSubject) -> bool:
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.affine, other.affine)  # type: ignore[arg-type]
        and (one.spacing, one.frame_seconds, one.priors, one.notes) == (other.spacing, other.frame_seconds, other.priors, other.notes)
    )


def header(path: Path, tag: str) -> str:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    reader.ReadImageInformation()
    return str(reader.GetMetaData(tag))


def expected(places: range | list[int] = range(SLICES), frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    return np.stack([np.stack([pixels(z, t, seed) for z in places], -1) for t in range(frames)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient with a stack in one series, and nothing else."""
    folder = tmp_path_factory.mktemp("plain")
    scan(folder)
    return folder


@pytest.fixture
def nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    set_folders(monkeypatch, tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["synthaug", "import", "dicom", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_pixels_and_places_are_those_of_the_scanner(plain: Path) -> None:
    subject = only(plain)
    np.testing.assert_array_equal(subject.image, expected())
    assert subject.spacing == (*PIXEL, DISTANCE)  # by the positions: SliceThickness is 6
    assert subject.frame_seconds == pytest.approx(0.04)
    assert subject.affine is not None
    for voxel in ([0, 0, 0], [3, 7, 4]):
        left, back, up = ORIGIN + voxel[0] * PIXEL[0] * SHORT[0] + voxel[1] * PIXEL[1] * SHORT[1] + voxel[2] * DISTANCE * NORMAL
        np.testing.assert_allclose(subject.affine @ [*voxel, 1], [-left, -back, up, 1], atol=1e-4)
    assert subject.priors.specified() == {
        "vendor": "Siemens", "field_strength": 1.5, "sex": "F", "age": 58.0, "height": 171.0, "weight": 68.5
    }  # fmt: skip


def test_slices_begin_at_the_base_whatever_side_they_are_seen_from(plain: Path, tmp_path: Path) -> None:
    scan(tmp_path, axes=SHORT * [[1], [-1]])
    seen, other = only(plain), only(tmp_path)
    np.testing.assert_array_equal(seen.image, other.image)
    assert seen.affine is not None
    assert other.affine is not None
    np.testing.assert_allclose(seen.affine[:, [0, 2, 3]], other.affine[:, [0, 2, 3]], atol=1e-6)
    np.testing.assert_allclose(seen.affine[:, 1], -other.affine[:, 1], atol=1e-6)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same patient with a series for each slice."""
    folder = tmp_path_factory.mktemp("split")
    scan(folder, slice_is_series=True)
    return folder


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32), by_series=st.booleans())
def test_names_folders_and_series_of_files_change_nothing(
    seed: int, by_series: bool, plain: Path, split: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = shuffled(split if by_series else plain, tmp_path_factory.mktemp("shuffled"), seed)
    assert same(only(other), only(plain))


def volume(path: Path, *shape: int) -> None:
    """One file of several frames, or of colours."""
    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(np.ones(shape, np.uint8), isVector=len(shape) == 4)
    image.SetMetaData("0008|0016", "1.2.840.10008.5.1.4.1.1.4")
    image.SetMetaData("0008|0060", "MR")
    sitk.WriteImage(image, str(path))


def test_what_is_passed_over_is_counted(plain: Path, tmp_path: Path) -> None:
    shuffled(plain, tmp_path, 6)
    volume(tmp_path / "many.dcm", 5, 20, 24)
    volume(tmp_path / "colours.dcm", 1, 20, 24, 3)
    (tmp_path / "readme.txt").write_text("no image")
    scan(tmp_path / "other", [0], 1, tags={"0008|0016": "1.2.840.10008.5.1.4.1.1.7", "0008|0060": "OT"})
    found = find_dicom(tmp_path)
    assert found.notes == (
        "passed over: DICOM files that are no MR images (1)",
        "passed over: files of many frames, which have to be exported one frame a file (1)",
        "passed over: files that are no DICOM images (1)",
        "passed over: pictures in colour (1)",
    )
    assert same(next(read_dicom(found)), only(plain))


OTHERS: dict[str, Callable[[Path], object]] = {
    "a localiser": lambda f: scan(f, range(3), 1, description="localizer", step=None, axes=LONG),
    "a long axis": lambda f: scan(f, [0], description="cine_4ch", axes=LONG),
    "a stack of long axes": lambda f: scan(f, range(5), description="cine_4ch_stack", axes=LONG),
    "a stack of no name in another direction": lambda f: scan(f, range(5), description="trufi", axes=LONG),
    "late enhancement": lambda f: scan(f, range(5), 1, description="psir_sax"),
    "tagging": lambda f: scan(f, range(5), description="SA tagging"),
    "real time": lambda f: scan(f, range(5), 13, description="sax_free", step=180),
    "perfusion": lambda f: scan(f, range(5), description="sax", step=900),
    "echoes": lambda f: scan(f, range(5), description="sax_t", step=0),
    "a cut slice": lambda f: scan(f, range(5), 5, description="sax_few"),
    "velocities": lambda f: scan(f, range(5), description="sax_v", tags={"0008|0008": "ORIGINAL\\PRIMARY\\P\\ND"}),
    "a report": lambda f: scan(f, [0], 1, tags={"0008|0016": "1.2.840.10008.5.1.4.1.1.7", "0008|0060": "OT"}),
    "a text": lambda f: (f / "readme").write_text("no image"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_short_axis_is_found_among(what: str, plain: Path, tmp_path: Path) -> None:
    folder = shuffled(plain, tmp_path / "all", 3)
    scan_other = OTHERS[what]
    (folder / "other").mkdir()
    scan_other(folder / "other")
    found, alone = only(folder), only(plain)
    np.testing.assert_array_equal(found.image, alone.image)
    assert found.notes == alone.notes


def test_a_slice_that_was_scanned_again_is_the_later_one(tmp_path: Path) -> None:
    scan(tmp_path, series=5)
    scan(tmp_path / "again", [2], series=9, time="103000", seed=1)
    scan(tmp_path / "before", [3], series=11, time="090000", seed=2)
    subject = only(tmp_path)
    wanted = expected()
    wanted[..., 2] = expected([2], seed=1)[..., 0]
    np.testing.assert_array_equal(subject.image, wanted)
    assert "slices that were scanned again: the later acquisition was taken (slice 3, 4, from series 5, 9)" in subject.notes


@pytest.mark.parametrize("acquisition", ["1", "2"])
def test_a_slice_may_be_scanned_again_in_its_own_series(acquisition: str, tmp_path: Path) -> None:
    one_series = {"0020|000e": header(scan(tmp_path)[0], "0020|000e")}
    step = 40.0 if acquisition == "1" else 41.0  # another heartbeat
    scan(tmp_path / "again", [2], seed=1, time="103000", step=step, tags={"0020|0012": acquisition, **one_series})
    subject = only(tmp_path)
    np.testing.assert_array_equal(subject.image[..., 2], expected([2], seed=1)[..., 0])
    assert "slices that were scanned again: the later acquisition was taken (slice 3, from series 5)" in subject.notes


def test_images_of_the_series_that_are_no_cine_are_named(tmp_path: Path) -> None:
    paths = scan(tmp_path)
    for path in paths[3 * FRAMES + 4 :]:
        path.unlink()
    subject = only(tmp_path)
    assert subject.image.shape == (FRAMES, *SHAPE, SLICES - 1)
    assert "images that are part of no cine were passed over (4 in series 5)" in subject.notes


def test_a_damaged_cine_beside_the_stack_does_no_harm(plain: Path, tmp_path: Path) -> None:
    shuffled(plain, tmp_path, 5)
    scan(tmp_path / "other", [0], description="cine_4ch", axes=LONG)[4].unlink()
    assert same(only(tmp_path), only(plain))


def test_of_two_stacks_the_larger_is_taken_and_of_two_equal_ones_the_later(tmp_path: Path) -> None:
    turned = np.stack([SHORT[0] * np.cos(0.1) + SHORT[1] * np.sin(0.1), SHORT[1] * np.cos(0.1) - SHORT[0] * np.sin(0.1)])
    scan(tmp_path / "one", series=5)
    scan(tmp_path / "two", series=6, time="110000", axes=turned, seed=1)
    np.testing.assert_array_equal(only(tmp_path).image, expected(seed=1))
    scan(tmp_path / "three", range(5), series=4, time="090000", seed=2, axes=turned, study="first")
    subject = only(tmp_path)
    np.testing.assert_array_equal(subject.image, expected(range(5), seed=2))
    assert "has several short-axis stacks; that of most slices, or else the later, was taken (not series 5, 6)" in subject.notes


def test_a_slice_at_the_end_with_other_frames_is_left_out(tmp_path: Path) -> None:
    scan(tmp_path, frames=lambda place: FRAMES + (place == 0), slice_is_series=True)
    subject = only(tmp_path)
    np.testing.assert_array_equal(subject.image, expected(range(1, SLICES)))
    assert "slices at an end with another number of frames than the others were left out (series 5)" in subject.notes


@pytest.mark.parametrize("case", [case for case in DICOM if case.outcome == "understood"], ids=lambda case: case.what[:60])
def test_understood_and_said(case: Case, nnunet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case.change(nnunet / "scans")
    assert run(monkeypatch, nnunet / "scans", "-d", 9) == 0
    assert case.says in capsys.readouterr().out
    (subject,) = Cohort.load(9).subjects
    assert load_sequence(subject).image.shape == (FRAMES, *SHAPE, SLICES - ("left out" in case.says))


@pytest.mark.parametrize("case", [case for case in DICOM if case.outcome == "refused"], ids=lambda case: case.what[:60])
def test_refused_with_one_sentence(case: Case, nnunet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case.change(nnunet / "scans")
    assert run(monkeypatch, nnunet / "scans", "-d", 9) == 2
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("synthaug: ")]
    assert case.says in sentence
    assert str(nnunet / "scans") in sentence
    assert "Doe" not in sentence
    assert "4711" not in sentence
    assert not [path for name in FOLDERS for path in (nnunet / name).iterdir()]


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_images_are_read(compressor: str, plain: Path, tmp_path: Path) -> None:
    scan(tmp_path, compress=compressor)
    assert max(path.stat().st_size for path in tmp_path.iterdir()) != max(path.stat().st_size for path in plain.iterdir())
    np.testing.assert_array_equal(only(tmp_path).image, expected())
    cut(sorted(tmp_path.iterdir())[11], -60)
    with pytest.raises(UserError, match="cut off or damaged"):
        only(tmp_path)


def test_copies_of_files_count_once(plain: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shuffled(plain, tmp_path / name, 1)
    found = find_dicom(tmp_path)
    assert found.notes == ("passed over: copies of other files (36)",)
    assert same(next(read_dicom(found)), only(plain))


def test_without_trigger_times_the_instance_numbers_order_frames(tmp_path: Path) -> None:
    scan(tmp_path, step=None)
    subject = only(tmp_path)
    np.testing.assert_array_equal(subject.image, expected())
    assert subject.frame_seconds == 0
    assert any("the headers do not say when frames were taken" in note for note in subject.notes)


def test_grey_values_are_those_that_the_header_scales(tmp_path: Path) -> None:
    paths = scan(tmp_path)
    for path, slope, intercept in ((paths[3], b".5", b"0 "), (paths[FRAMES + 1], b"2 ", b"10")):
        content = re.sub(rb"\x28\0[\x52\x53]\x10\x02\0\0\0..", b"", path.read_bytes())  # written or not, as GDCM likes
        place = content.index(b"\xe0\x7f\x10\0")
        tags = b"\x28\0\x52\x10\x02\0\0\0" + intercept + b"\x28\0\x53\x10\x02\0\0\0" + slope
        path.write_bytes(content[:place] + tags + content[place:])
    wanted = expected().astype(float)
    wanted[3, ..., 0] *= 0.5
    wanted[1, ..., 1] = wanted[1, ..., 1] * 2 + 10
    np.testing.assert_array_equal(only(tmp_path).image, wanted)


HEADERS = [
    ({"0018|0087": "15000", "0010|1020": "171"}, {"field_strength": 1.5, "height": 171.0}),
    ({"0008|0070": "GE MEDICAL SYSTEMS"}, {"vendor": "GE"}),
    ({"0010|1010": "", "0010|0030": "00000000"}, {"age": None}),
    ({"0010|1010": "", "0010|0030": "19600714"}, {"age": 58.0}),
    ({"0010|1010": "006M", "0008|0070": "Philips Medical Systems"}, {"age": 0.5, "vendor": "Philips"}),
    ({"0010|1010": "097Y", "0010|0040": "O"}, {"age": 90.0, "sex": None}),
    ({"0010|1010": "", "0010|0030": "", "0010|1030": "0", "0010|1020": ""}, {"age": None, "weight": None, "height": None}),
    ({"0008|0070": "Genuine Scanners", "0010|1030": "900"}, {"vendor": None, "weight": None}),
    ({"0008|0070": "TOSHIBA_MEC", "0018|0087": "2.89362"}, {"vendor": "Canon", "field_strength": 2.9}),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "priors"), HEADERS)
def test_headers_become_priors(tags: dict[str, str], priors: dict[str, object], tmp_path: Path) -> None:
    scan(tmp_path, range(3), person=PERSON | tags)
    subject = only(tmp_path)
    assert {name: getattr(subject.priors, name) for name in priors} == priors
    assert any("weight in the header is outside" in note for note in subject.notes) == (tags.get("0010|1030") == "900")


def test_patients_are_numbered_by_their_id_and_nothing_of_them_is_written(nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(nnunet / "scans" / "Doe", range(3), person=PERSON)
    scan(nnunet / "scans" / "Roe", range(3), person=PERSON | {"0010|0020": "HOSP-0815", "0010|0010": "Roe^Richard"}, seed=1)
    scan(nnunet / "scans" / "x", range(1), person=PERSON | {"0010|0020": "HOSP-2000"}, seed=2)
    scan(nnunet / "scans" / "y", range(3), person=PERSON | {"0010|0020": ""}, study="a", seed=3)
    scan(nnunet / "scans" / "z", range(3), person=PERSON | {"0010|0020": ""}, study="b", seed=4)
    assert run(monkeypatch, nnunet / "scans", "-d", 9) == 0
    folder = nnunet / "nnUNet_raw" / "Dataset009_DICOM"
    cohort = Cohort.load(9)
    names = [subject.patient for subject in cohort.subjects]
    assert len(names) == 4
    assert all(name.startswith("patient") for name in names)
    # The two of no number come first: their examinations' numbers begin with a digit.
    assert names == ["patient001", "patient002", "patient003", "patient005"]
    np.testing.assert_array_equal(load_sequence(cohort.subject("patient003")).image, expected(range(3), seed=1))
    notes = json.loads((folder / "cohort.json").read_text())["notes"]
    assert "passed over: patient004, no short-axis stack of cines (series 5: 1 slice)" in notes
    assert len(list((folder / "imagesTs").iterdir())) == 4 * FRAMES
    secrets = (b"Doe", b"Roe", b"HOSP", b"4711", b"0815", b"19600714", b"20190203", b"Welby", b"Elsewhere", b"cine_sax", b"1.2.826")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.name.endswith(".gz") else content
        assert not [secret for secret in secrets if secret in content + path.name.encode()], path


def test_a_study_may_keep_its_numbers(nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(nnunet / "scans", person=PERSON | {"0010|0020": "STUDY 7"})
    assert run(monkeypatch, nnunet / "scans", "-d", 9, "--keep-ids") == 0
    assert [subject.patient for subject in Cohort.load(9).subjects] == ["STUDY_7"]
    scan(nnunet / "none", person=PERSON | {"0010|0020": ""})
    assert run(monkeypatch, nnunet / "none", "-d", 10, "--keep-ids") == 2


def heart(size: int) -> np.ndarray:
    """A mask (X, Y, Z) with an LV of some voxels, muscle around it and an RV beside it."""
    mask = np.zeros((*SHAPE, SLICES), np.uint8)
    mask[1:6, 4:16, 1:3] = 1
    mask[6:22, 3:17, 1:3] = 2
    mask[14 - size : 14 + size, 10 - size : 10 + size, 1:3] = 3
    return mask


SIZES = {1: 6, 2: 5, 3: 5, 4: 4, 5: 4, 6: 5, 7: 5, 8: 5, 9: 5}


def save_masks(folder: Path, cine: Path, names: dict[str, int]) -> Path:
    """Masks of the names, with LVs of these sizes, where the cine lies."""
    folder.mkdir(exist_ok=True)
    for name, size in names.items():
        nib.save(nib.Nifti1Image(heart(size), nib.load(cine).affine), folder / name)  # type: ignore[attr-defined]
    return folder


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients in ``scans``, imported without contours as dataset 9."""
    root = tmp_path_factory.mktemp("imported")
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        for number in (1, 2, 3):
            scan(root / "scans" / str(number), person=PERSON | {"0010|0020": f"S{number}"}, seed=number)
        assert run(patch, root / "scans", "-d", 9) == 0
    return root


@pytest.fixture
def three(imported: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all, with nnU-Net's folders in it."""
    set_folders(monkeypatch, imported)
    return imported


def cine_of(root: Path, number: int) -> Path:
    return root / "nnUNet_raw" / "Dataset009_DICOM" / "cine" / f"patient00{number}_4d.nii.gz"


@pytest.mark.parametrize("every_frame", [False, True])
def test_masks_make_cases(every_frame: bool, three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = 11 if every_frame else 10
    for number in (1, 2):
        frames = SIZES if every_frame else {1: 6, 4: 4}
        save_masks(
            tmp_path / "masks", cine_of(three, number), {f"patient00{number}_frame{t:02d}.nii.gz": size for t, size in frames.items()}
        )
    assert run(monkeypatch, three / "scans", "-d", dataset, "--masks", tmp_path / "masks", "--folds", 2) == 0
    cohort = Cohort.load(dataset)
    first, third = load_sequence(cohort.subject("patient001")), cohort.subject("patient003")
    assert (first.ed, first.es, first.labelled) == (0, 3, (0, 3))
    np.testing.assert_array_equal(first.mask[0], heart(6))
    np.testing.assert_array_equal(first.mask[3], heart(4))
    assert (third.cases, third.ed, third.es, third.cine is not None) == ({}, 0, 4, True)  # its cine teaches
    assert cohort.subject("patient001").priors.lv_ef == pytest.approx(100 * (1 - 64 / 144))
    cases = sorted(path.name for path in (cohort.folder / "imagesTr").iterdir())
    assert cases == [f"patient00{number}_{phase}_0000.nii.gz" for number in (1, 2) for phase in ("ED", "ES")]
    assert any(
        "ED and ES are the frames with the largest" in note for note in json.loads((cohort.folder / "cohort.json").read_text())["notes"]
    ) == (every_frame)


def test_names_of_masks_may_say_ed_and_es(three: Path, tmp_path: Path) -> None:
    names = {"patient002_ED_frame08.nii.gz": 6, "patient002_ES_frame03.nii.gz": 4, "patient002_frame04.nii.gz": 3}
    masks = save_masks(tmp_path / "masks", cine_of(three, 2), names)
    _, subject, _ = read_dicom(find_dicom(three / "scans"), masks)
    assert (subject.ed, subject.es) == (7, 2)
    np.testing.assert_array_equal(subject.masks["ES"], heart(4))


def test_a_network_that_loses_the_heart_names_no_es(three: Path, tmp_path: Path) -> None:
    names = {f"patient001_frame{t:02d}.nii.gz": size for t, size in SIZES.items()}
    masks = save_masks(tmp_path / "masks", cine_of(three, 1), names | {"patient001_frame05.nii.gz": 0})
    subject, *_ = read_dicom(find_dicom(three / "scans"), masks)
    assert (subject.ed, subject.es) == (0, 3)
    assert "masks that cannot be of the same heart as the others were left out (1 of 9)" in subject.notes


WRONG_MASKS = [
    ({"patient009_frame01.nii.gz": 5}, "is of no patient in the DICOM folder; the patients are patient001, patient002, patient003"),
    ({"heart.nii.gz": 5}, "does not say whose frame it shows; call it patient001_frame01.nii.gz"),
    ({"patient001_frame01.nii.gz": 5}, "is the only mask of patient001; those of ED and ES are needed"),
    ({"patient001_frame00.nii.gz": 5, "patient001_frame03.nii.gz": 4}, "is not one of the frames 1 to 9 of patient001"),
    ({"patient001_ED_frame01.nii.gz": 5, "patient001_frame03.nii.gz": 4}, "needs one mask that is called ED and one that is called ES"),
    ({"patient001_frame01.nii.gz": 5, "patient001_frame01_gt.nii.gz": 4}, "are masks of one frame"),
    ({}, "holds no mask"),
]


@pytest.mark.parametrize(("names", "says"), WRONG_MASKS)
def test_wrong_masks_are_refused(names: dict[str, int], says: str, three: Path, tmp_path: Path) -> None:
    masks = save_masks(tmp_path / "masks", cine_of(three, 1), names)
    with pytest.raises(UserError, match=says):
        list(read_dicom(find_dicom(three / "scans"), masks))


def test_masks_of_another_patient_are_refused(three: Path, tmp_path: Path) -> None:
    cine = nib.load(cine_of(three, 1))  # type: ignore[attr-defined]
    moved = cine.affine.copy()
    moved[:3, 3] += 5
    nib.save(nib.Nifti1Image(np.zeros(cine.shape, np.int16), moved), tmp_path / "moved.nii.gz")
    masks = save_masks(tmp_path / "masks", tmp_path / "moved.nii.gz", {"patient001_frame01.nii.gz": 5, "patient001_frame04.nii.gz": 3})
    with pytest.raises(UserError, match="lies elsewhere than its image"):
        list(read_dicom(find_dicom(three / "scans"), masks))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    for name in ("bivme_patient1", "SCD0000301"):
        with tarfile.open(DATA / "dicom" / f"{name}.tar.xz") as archive:
            archive.extractall(root / name, filter="data")
    return root


@needs_data
def test_the_ge_patient_is_that_of_sunnybrook(real: Path) -> None:
    """Whose cine was cropped around the heart."""
    subject = only(shuffled(real / "SCD0000301", real / "shuffled", 7))
    known = nib.load(DATA / "sunnybrook_cine" / "SCD0000301_4d.nii.gz")  # type: ignore[attr-defined]
    assert subject.affine is not None
    first = np.linalg.solve(subject.affine, known.affine[:, 3])[:3]
    x, y, z = np.rint(first).astype(int)
    assert np.abs(first - [x, y, z]).max() < 0.01
    width, height, depth, frames = known.shape
    assert (depth, frames) == (subject.image.shape[3], len(subject.image))
    assert z == depth - 1  # it begins at the apex
    voxels = np.moveaxis(np.asanyarray(known.dataobj), -1, 0)
    np.testing.assert_array_equal(subject.image[:, x : x + width, y : y + height, ::-1], voxels)
    np.testing.assert_allclose(subject.affine[:3, :3] * [1, 1, -1], known.affine[:3, :3], atol=1e-4)
    assert subject.frame_seconds == pytest.approx(known.header.get_zooms()[3] / 1000)
    assert subject.priors.specified() == {"vendor": "GE", "field_strength": 1.5}


@needs_data
def test_the_siemens_patient_has_six_short_axis_slices_among_eleven_series(real: Path) -> None:
    """Compared with what SimpleITK reads of single files."""
    found = find_dicom(real / "bivme_patient1")
    (subject,) = read_dicom(found)
    assert [cine.series for cine in found.patients[0].slices] == [7001, 8001, 9001, 10001, 11001, 12001]
    assert subject.image.shape == (25, 256, 208, 6)
    assert subject.frame_seconds == pytest.approx(0.0332, abs=0.0005)
    assert subject.priors.specified() == {"vendor": "Siemens", "field_strength": 3.0}
    assert any("wide gaps between slices" in note for note in subject.notes)
    assert subject.affine is not None
    for z, cine in enumerate(found.patients[0].slices):
        for t in (0, 13):
            image = sitk.ReadImage(str(cine.frames[t].path))
            np.testing.assert_array_equal(subject.image[t, ..., z], sitk.GetArrayFromImage(image)[0].T)
        for x, y in ((0, 0), (255, 207)):
            left, back, up = image.TransformIndexToPhysicalPoint((x, y, 0))
            np.testing.assert_allclose((subject.affine @ [x, y, z, 1])[:3], [-left, -back, up], atol=0.05)


def without_a_slice(root: Path) -> None:
    frames = find_dicom(root).patients[0].slices[3].frames
    for frame in frames:
        frame.path.unlink()


def cut_off(root: Path) -> None:
    path = sorted(path for path in root.rglob("*") if path.is_file())[50]
    cut(path, path.stat().st_size // 2)


@needs_data
@pytest.mark.parametrize("patient", ["SCD0000301", "bivme_patient1"])
@pytest.mark.parametrize(("change", "says"), [(without_a_slice, "so slice 4 is missing"), (cut_off, "cut off or damaged")])
def test_damaged_real_patients_are_refused(change: Callable[[Path], None], says: str, patient: str, real: Path, tmp_path: Path) -> None:
    change(shuffled(real / patient, tmp_path / "scans", 2))
    with pytest.raises(UserError, match=says):
        find_dicom(tmp_path / "scans")


@needs_data
def test_a_real_slice_that_was_scanned_again(real: Path, tmp_path: Path) -> None:
    folder = shuffled(real / "bivme_patient1", tmp_path / "scans", 4)
    before = find_dicom(folder).patients[0].slices
    for frame in before[2].frames:
        content = frame.path.read_bytes()
        for own in (frame.tags["uid"].encode(), frame.tags["series"].encode()):
            content = content.replace(own, own.replace(b".4232746890.", b".5232746890."))
        (folder / f"again{frame.tags['instance']}").write_bytes(content)
    found = find_dicom(folder).patients[0]
    assert [len(cine.frames) for cine in found.slices] == [25] * 6
    assert {frame.path.name[:5] for frame in found.slices[2].frames} == {"again"}
    assert found.notes == ("slices that were scanned again: the later acquisition was taken (slice 3, from series 9001)",)
