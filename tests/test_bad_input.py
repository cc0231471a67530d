"""Every bad input gives one sentence that names the file and what to do, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core import files
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.importers import acdc
from nnunet_synth_aug.data.importers.acdc import list_acdc, read_acdc
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.data.test_set import write_test_set

AFFINE = np.diag([1.5, 1.5, 8, 1])


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's three folders, empty."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three good patients; patient002 is the one that the tests spoil, after patient001 has been written."""
    for name in ("patient001", "patient002", "patient003"):
        folder = tmp_path / "acdc" / name
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 4\nGroup: NOR\nHeight: 170.0\nNbFrame: 6\nWeight: 70.0\n")
        image = np.random.default_rng(0).integers(1, 300, (20, 20, 6, 6)).astype(np.int16)
        save(folder / f"{name}_4d.nii.gz", image)
        for frame in (1, 4):
            save(folder / f"{name}_frame{frame:02d}_gt.nii.gz", good_mask())
    return tmp_path / "acdc"


def good_mask() -> np.ndarray:
    mask = np.zeros((20, 20, 6), np.uint8)
    mask[2:6, 4:16, 1:5], mask[6:16, 4:16, 1:5], mask[8:14, 6:14, 1:5] = 1, 2, 3
    return mask


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.save(nib.Nifti1Image(array, affine), path)


def import_all(source: Path) -> Path:
    return write_dataset(read_acdc(source), 27, "ACDC", folds=2)


def left_behind(root: Path) -> list[str]:
    """Everything under nnU-Net's folders, hidden files included."""
    return sorted(str(path.relative_to(root)) for path in root.glob("nnUNet_*/**/*"))


def refusal(source: Path, folders: Path) -> str:
    """The one sentence that the import ends with; checks that nothing was left behind."""
    with pytest.raises(UserError) as caught:
        import_all(source)
    assert left_behind(folders) == []
    message = str(caught.value)
    assert "\n" not in message
    return message


def truncate(folder: Path) -> None:
    path = folder / "patient002_4d.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def not_nifti(folder: Path) -> None:
    (folder / "patient002_4d.nii.gz").write_bytes(b"<html>404</html>")


def foreign_label(folder: Path) -> None:
    mask = good_mask()
    mask[0, 0, 0] = 4
    save(folder / "patient002_frame04_gt.nii.gz", mask)


def fractional_label(folder: Path) -> None:
    mask = good_mask().astype(np.float32)
    mask[0, 0, 0] = 2.5
    save(folder / "patient002_frame04_gt.nii.gz", mask)


def other_shape(folder: Path) -> None:
    save(folder / "patient002_frame01_gt.nii.gz", good_mask()[:-1])


def other_spacing(folder: Path) -> None:
    save(folder / "patient002_frame01_gt.nii.gz", good_mask(), np.diag([1.5, 1.5, 10, 1]))


def one_frame(folder: Path) -> None:
    save(folder / "patient002_4d.nii.gz", np.ones((20, 20, 6, 1), np.int16))


def three_axes(folder: Path) -> None:
    save(folder / "patient002_4d.nii.gz", np.ones((20, 20, 6), np.int16))


def nan_voxels(folder: Path) -> None:
    image = np.ones((20, 20, 6, 6), np.float32)
    image[3, 3, 3, 3] = np.nan
    save(folder / "patient002_4d.nii.gz", image)


def edit_info(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / "Info.cfg").read_text()
        assert old in text
        (folder / "Info.cfg").write_text(text.replace(old, new))

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    # what is wrong: (how to spoil patient002, file that the sentence must name, key content)
    "truncated": (truncate, "patient002_4d.nii.gz", "is not a complete NIfTI file"),
    "not NIfTI": (not_nifti, "patient002_4d.nii.gz", "is not a complete NIfTI file"),
    "foreign label": (foreign_label, "patient002_frame04_gt.nii.gz", "holds the label 4 where only 0, 1, 2, 3 are known"),
    "fractional label": (fractional_label, "patient002_frame04_gt.nii.gz", "holds the label 2.5"),
    "other shape": (other_shape, "patient002_frame01_gt.nii.gz", "has the shape (19, 20, 6) but its image has (20, 20, 6)"),
    "other spacing": (
        other_spacing,
        "patient002_frame01_gt.nii.gz",
        "has the spacing (1.5, 1.5, 10.0) mm but its image has (1.5, 1.5, 8.0) mm",
    ),
    "one frame": (one_frame, "patient002_4d.nii.gz", "has one frame; a cine needs several"),
    "three axes": (three_axes, "patient002_4d.nii.gz", "has one frame; a cine needs several"),
    "NaN voxels": (nan_voxels, "patient002_4d.nii.gz", "holds 1 NaN or infinite voxels"),
    "unknown diagnosis": (edit_info("NOR", "LVNC"), "Info.cfg", "unknown Group 'LVNC'; choose one of NOR, MINF, DCM, HCM, RV"),
    "no diagnosis": (edit_info("Group: NOR\n", ""), "Info.cfg", "has no Group; add the line"),
    "no ED": (edit_info("ED: 1\n", ""), "Info.cfg", "has no ED; add the line"),
    "ED is no number": (edit_info("ED: 1", "ED: first"), "Info.cfg", "gives ED as 'first'"),
    "ED is ES": (edit_info("ED: 1", "ED: 4"), "Info.cfg", "gives frame 4 as both ED and ES"),
    "ES beyond the cine": (edit_info("ES: 4", "ES: 9"), "Info.cfg", "gives frame 9 as ES but patient002_4d.nii.gz has 6 frames"),
    "impossible height": (edit_info("170.0", "1.70"), "Info.cfg", "height 1.7 cm is outside 40 to 230 cm"),
    "no Info.cfg": (remove("Info.cfg"), "Info.cfg", "does not exist; copy it from the original data set"),
    "no ES mask": (
        remove("patient002_frame04_gt.nii.gz"),
        "patient002_frame04_gt.nii.gz",
        "the ES mask that Info.cfg names, does not exist",
    ),
    "no cine, no frames": (remove("patient002_4d.nii.gz"), "patient002_frame01.nii.gz", "there is no 4D file either"),
}


@pytest.mark.parametrize("what", CASES)
def test_a_bad_file_is_named_and_nothing_is_left(what: str, source: Path, folders: Path) -> None:
    spoil, file, content = CASES[what]
    spoil(source / "patient002")
    message = refusal(source, folders)
    assert str(source / "patient002" / file) in message
    assert content in message


def test_the_unspoilt_source_is_accepted(source: Path, folders: Path) -> None:
    """Without this the tests above could pass for a reason of their own."""
    assert import_all(source) == folders / "nnUNet_raw" / "Dataset027_ACDC"
    assert not [name for name in left_behind(folders) if ".partial" in name]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist or is not a folder") as caught:
        read_acdc(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_folder_without_patients(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="holds no ACDC patient"):
        list_acdc(tmp_path)


@pytest.mark.parametrize("where", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
def test_dataset_id_taken(where: str, folders: Path) -> None:
    taken = folders / where / "Dataset027_Prostate"
    taken.mkdir()

    def unread() -> Any:
        raise AssertionError("a subject was read although the id is taken")
        yield

    with pytest.raises(UserError, match="the dataset id 27 is taken by") as caught:
        write_dataset(unread(), 27, "ACDC")
    assert str(taken) in str(caught.value)
    assert left_behind(folders) == [f"{where}/Dataset027_Prostate"]


def test_nnunet_folder_not_set(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(UserError, match="environment variable nnUNet_raw is not set"):
        import_all(source)


@pytest.mark.parametrize(("dataset_id", "name"), [(0, "ACDC"), (1000, "ACDC"), (27, "AC/DC"), (27, ""), (27, "Dataset027_ACDC")])
def test_impossible_dataset_name(dataset_id: int, name: str, source: Path, folders: Path) -> None:
    with pytest.raises(UserError, match=r"is not between 1 and 999|cannot be a dataset name"):
        write_dataset(read_acdc(source), dataset_id, name)
    assert left_behind(folders) == []


def test_fewer_patients_than_folds(source: Path, folders: Path) -> None:
    with pytest.raises(UserError, match="3 patients with masks cannot be split into 5 folds"):
        write_dataset(read_acdc(source), 27, "ACDC")
    assert left_behind(folders) == []


@pytest.mark.parametrize("files_before", [0, 1, 4, 9])
def test_disk_full_while_writing_images(files_before: int, source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills in the middle of a file: a started file is there when the error comes."""
    save_really, saved = nib.save, 0

    def save_until_full(image: Any, path: Path) -> None:
        nonlocal saved
        if saved == files_before:
            Path(path).write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saved += 1
        save_really(image, path)

    monkeypatch.setattr(nib, "save", save_until_full)
    message = refusal(source, folders)
    assert saved == files_before
    assert "No space left on device" in message
    assert "patient00" in message


LAST_STEPS = [
    "nnUNet_raw/Dataset027_ACDC",
    "nnUNet_raw/*/dataset.json",
    "nnUNet_raw/*/cohort.json",
    "nnUNet_raw/*/priors.csv",
    "nnUNet_preprocessed/*/splits_final.json",
    "nnUNet_preprocessed/Dataset027_ACDC",
]


@pytest.mark.parametrize("step", LAST_STEPS)
def test_disk_full_while_finishing(step: str, source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last steps fail one by one, the final renames of both folders included."""
    replace_really, hit = os.replace, []

    def replace_until_full(old: Any, new: Any) -> None:
        if Path(new).relative_to(folders).match(step):
            hit.append(new)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_really(old, new)

    monkeypatch.setattr(os, "replace", replace_until_full)
    assert "No space left on device" in refusal(source, folders)
    assert len(hit) == 1


def test_interrupted_import_leaves_nothing(source: Path, folders: Path) -> None:
    def interrupted() -> Any:
        yield next(read_acdc(source))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(interrupted(), 27, "ACDC")
    assert left_behind(folders) == []


def test_dataset_that_this_package_did_not_make(folders: Path) -> None:
    (folders / "nnUNet_raw" / "Dataset027_ACDC").mkdir()
    with pytest.raises(UserError, match=r"cohort\.json does not exist, so this dataset was not made by 'synthaug import'"):
        Cohort.load(27)


BAD_TABLES = {
    "not a number": (lambda text: text.replace(",70.0\n", ",heavy\n"), r"row 2 \(patient001\): weight is 'heavy', which is not a number"),
    "out of range": (lambda text: text.replace(",70.0\n", ",700\n"), r"row 2 \(patient001\): weight 700 kg is outside 2 to 300 kg"),
    "unknown diagnosis": (lambda text: text.replace("NOR", "nor"), r"row 2 \(patient001\): diagnosis 'nor' is unknown; choose one of NOR"),
    "misspelt column": (lambda text: text.replace("lv_edv", "lvedv"), "unknown column 'lvedv'"),
    "decimal commas": (lambda text: text.replace("70.0", "70,0"), "row 2 has 17 cells for 15 columns; .* save it with semicolons"),
    "row removed": (lambda text: text[: text.index("patient003")], "has no row for patient003"),
    "row twice": (lambda text: text + text[text.index("patient003") :], "row 5: patient 'patient003' is there twice"),
    "foreign row": (lambda text: text + "patient009\n", r"row 5: patient 'patient009' is not in cohort\.json"),
    "empty": (lambda text: "", "is empty; restore it"),
    "a workbook": (lambda text: "PK\x03\x04", "is a workbook of a spreadsheet program; save it as CSV"),
    "no text": (lambda text: "patient\x01", "is not text that can be read; save it again as UTF-8"),
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_spoilt_priors_table(what: str, source: Path, folders: Path) -> None:
    spoil, content = BAD_TABLES[what]
    path = import_all(source) / "priors.csv"
    text = path.read_text()
    path.write_text(spoil(text))
    assert path.read_text() != text
    with pytest.raises(UserError, match=content) as caught:
        Cohort.load(27)
    assert str(path) in str(caught.value)


def test_damaged_cohort_file_and_missing_image(source: Path, folders: Path) -> None:
    path = import_all(source)
    (path / "cine" / "patient002_4d.nii.gz").unlink()
    with pytest.raises(UserError, match=r"patient002_4d\.nii\.gz, which cohort\.json lists for patient002, does not exist"):
        Cohort.load(27)
    text = (path / "cohort.json").read_text()
    (path / "cohort.json").write_text(text.replace('"es": 3', '"es": 6', 1))
    save(path / "cine" / "patient002_4d.nii.gz", np.ones((20, 20, 6, 6), np.int16))
    with pytest.raises(UserError, match=r"cohort\.json is damaged \(ValueError: the frames of patient001 are beyond its 6\)"):
        Cohort.load(27)
    (path / "cohort.json").write_text('{"format": 1, "subjects": [{"patient": "patient001"}]}')
    with pytest.raises(UserError, match=r"cohort\.json is damaged \(KeyError: 'spacing_mm'\); import the dataset again"):
        Cohort.load(27)


# ------------------------------------------------------------------ two at once, and what may not be read


def test_two_imports_of_one_number_at_once(source: Path, folders: Path) -> None:
    """The second is refused, whatever name it gives, and the number is free again when the first has been killed."""
    code = "import sys; from nnunet_synth_aug.data.raw_dataset import free_number\n"
    code += "with free_number(27): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for write in (lambda: write_dataset(read_acdc(source), 27, "Other"), lambda: write_test_set(read_acdc(source), 27, "Test")):
            with pytest.raises(
                UserError, match=rf"process {other.pid} .* writes a dataset with the id 27 now; wait for its end, or choose"
            ):
                write()
        write_dataset(read_acdc(source), 28, "Next", folds=2)  # another number
    finally:
        other.kill()
        other.communicate()
    import_all(source)
    assert {path.name for path in (folders / "nnUNet_raw").iterdir()} == {"Dataset027_ACDC", "Dataset028_Next"}


def denied(path: Path) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_a_source_that_may_not_be_read_is_named(source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not called damaged, or a full disk."""

    def opened(path: Path) -> Any:
        raise denied(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_opened", opened)
        with pytest.raises(UserError, match=r"patient001_4d\.nii\.gz cannot be read; change its permissions"):
            import_all(source)
        (folders / "a.nii").touch()
        with pytest.raises(UserError, match=r"a\.nii cannot be read; change its permissions"):
            files.nifti_header(folders / "a.nii")

    def unreadable(place: Path) -> Iterator[Any]:
        raise denied(place)
        yield

    with pytest.raises(UserError, match=r"acdc/patient002 cannot be read; change its permissions"):
        write_dataset(unreadable(source / "patient002"), 27, "ACDC")
    for place in (folders / "nnUNet_raw", folders / "nnUNet_raw" / "Dataset027_ACDC" / "imagesTr"):
        with pytest.raises(UserError, match=r"cannot write .*Dataset027_ACDC: Permission denied; free some space or choose another folder"):
            write_dataset(unreadable(place), 27, "ACDC")
    assert left_behind(folders) == []


def test_a_folder_that_may_not_be_looked_into_is_one_sentence(
    source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def looked(path: Path) -> bool:
        raise denied(path)

    monkeypatch.setattr(sys, "argv", ["synthaug", "import", "acdc", str(source), "-d", "27"])
    monkeypatch.setattr(acdc, "list_acdc", lambda folder: looked(folder))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"synthaug: {source} cannot be read or written; change its permissions\n"


def test_folders_with_quotes_and_spaces(source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = folders / 'it\'s "a" [b]* ~ $HOME\n'
    odd.mkdir()
    source.rename(odd / "acdc")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (odd / name).mkdir()
        monkeypatch.setenv(name, str(odd / name))
    folder = import_all(odd / "acdc")
    assert folder == odd / "nnUNet_raw" / "Dataset027_ACDC"
    assert len(list((folder / "labelsTr").iterdir())) == 6
    assert len(Cohort.load(27).subjects) == 3
