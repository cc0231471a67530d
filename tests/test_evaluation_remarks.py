"""What ``evaluate`` says of predictions beside their scores: lost sizes, no place, exchanged labels."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from evaluation_study import heart
from hypothesis import given
from hypothesis import strategies as st

from evaluation.evaluate import evaluate_folder
from evaluation.scoring.remarks import exchanged, lost_sizes
from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core.geometry import Grid

SPACING = (1.5, 1.5, 8.0)
CASES = [f"p{i}_{phase}" for i in (1, 2, 3) for phase in ("ED", "ES")]
LABELS = {"RV": (1,), "MYO": (2,), "LV": (3,)}


def save(path: Path, mask: np.ndarray, spacing: tuple[float, ...] = SPACING, place: bool = True) -> None:
    path.parent.mkdir(exist_ok=True)
    image = nib.Nifti1Image(mask, np.diag([*spacing, 1]))
    image.header.set_zooms(spacing)
    if not place:
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
    nib.save(image, path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Ground truth ``gt`` and predictions ``pred`` of three patients."""
    for i, case in enumerate(CASES):
        save(tmp_path / "gt" / f"{case}.nii", heart(6 + i % 3))
        save(tmp_path / "pred" / f"{case}.nii", np.roll(heart(6 + i % 3), 1, axis=0))
    return tmp_path


def notes(folders: Path) -> list[str]:
    found = evaluate_folder(folders / "pred", folders / "out", gt=folders / "gt").notes
    return [note for note in found if not note.startswith("No dataset.json")]


def again(folder: Path, cases: list[str], **how: object) -> None:
    for case in cases:
        path = folder / f"{case}.nii"
        save(path, np.asanyarray(nib.load(path).dataobj).copy(), **how)  # type: ignore[arg-type]


def relabelled(folder: Path, cases: list[str], values: list[int]) -> None:
    for case in cases:
        path = folder / f"{case}.nii"
        save(path, np.array(values, np.uint8)[np.asanyarray(nib.load(path).dataobj)])


def test_good_predictions_get_no_note(folders: Path) -> None:
    assert notes(folders) == []


def test_lost_sizes_are_said_on_the_screen_and_in_the_result(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in ("gt", "pred"):
        again(folders / side, CASES, spacing=(1.0, 1.0, 1.0))
    arguments = ["evaluate", "--pred", str(folders / "pred"), "--gt", str(folders / "gt"), "-o", str(folders / "out"), "-np", "1"]
    monkeypatch.setattr(sys, "argv", ["synthaug", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    sentence = "Headers of the ground truth say 1 x 1 x 1 mm, which no stack of a heart has"
    assert sentence in capsys.readouterr().out
    assert sentence in (folders / "out" / "evaluation.json").read_text()


@pytest.mark.parametrize(
    ("shape", "spacing", "lost"),
    [
        ((216, 256, 10), (1, 1, 1), "1 x 1 x 1"),
        ((216, 256, 10), (1.3, 1.3, 1), "1.3 x 1.3 x 1"),  # the slice distance alone
        ((216, 256, 10), (0.0015, 0.0015, 0.01), "0.0015 x 0.0015 x 0.01"),  # metres
        ((10, 216, 256), (1, 1, 1), "1 x 1 x 1"),
        ((216, 256, 10), (1.4, 1.4, 10), ""),
        ((100, 95, 5), (1.2, 1.2, 5), ""),  # a crop of ACDC
        ((160, 160, 120), (1, 1, 1), ""),  # a heart in voxels of 1 mm
        ((216, 256, 1), (1.4, 1.4, 1), ""),  # one slice
    ],
)
def test_sizes_that_no_stack_of_a_heart_has(shape: tuple[int, int, int], spacing: tuple[float, float, float], lost: str) -> None:
    assert lost_sizes(Grid(shape, np.diag([*map(float, spacing), 1]), spacing)) == lost


def test_masks_without_a_place_are_named(folders: Path) -> None:
    again(folders / "pred", CASES[:2], place=False)
    (note,) = notes(folders)
    assert note.startswith("Headers that do not say where voxels lie")
    assert note.endswith("a mirrored mask would not be noticed: p1_ED, p1_ES.")


def test_labels_exchanged_in_all_predictions(folders: Path) -> None:
    relabelled(folders / "pred", CASES, [0, 2, 1, 3])
    (note,) = notes(folders)
    assert note.startswith(
        "In 6 of 6 predictions the predicted RV lies on the true MYO and the predicted MYO lies on the true RV (p1, p2, p3)"
    )
    assert "different label maps" in note


def test_labels_exchanged_in_one_patient(folders: Path) -> None:
    relabelled(folders / "pred", CASES[2:4], [0, 3, 2, 1])
    (note,) = notes(folders)
    assert note.startswith("In 2 of 6 predictions the predicted RV lies on the true LV and the predicted LV lies on the true RV (p2)")
    assert note.endswith("look at these files and correct them.")


def found(mask: np.ndarray, reference: np.ndarray) -> tuple[tuple[str, str], ...]:
    dice = {
        name: 2 * np.sum((mask == value) & (reference == value)) / max(1, np.sum(mask == value) + np.sum(reference == value))
        for name, (value,) in LABELS.items()
    }
    return exchanged(mask, reference, LABELS, dice)


@given(st.permutations([1, 2, 3]), st.integers(-1, 1), st.integers(0, 1))
def test_every_exchange_is_found_and_nothing_else(values: list[int], along: int, across: int) -> None:
    names = {value: name for name, (value,) in LABELS.items()}
    reference = heart(6)
    predicted = np.array([0, *values], np.uint8)[np.roll(reference, (along, across), (0, 1))]
    moved = {(names[new], names[old]) for old, new in enumerate(values, start=1) if new != old}
    assert set(found(predicted, reference)) == moved


def test_a_poor_or_empty_prediction_is_no_exchange() -> None:
    reference = heart(6)
    assert found(np.zeros_like(reference), reference) == ()
    assert found(np.roll(reference, 12, axis=1), reference) == ()
    assert found(np.random.default_rng(0).integers(0, 4, reference.shape), reference) == ()


def test_a_relative_folder_of_ground_truth_names_the_data_set(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    assert evaluate_folder(Path("pred"), Path("out"), gt=Path("gt")).about["dataset"] == folders.name
