"""What ``evaluate`` says of predictions beside their scores: lost sizes, no place, exchanged labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import EVALUATED, PREDICTED, Evaluated, make_folders, relabelled
from evaluation_study import heart
from hypothesis import given
from hypothesis import strategies as st

from evaluation.evaluate import evaluate_folder
from evaluation.scoring.remarks import exchanged, lost_sizes
from nnunet_synth_aug.cli.app import main
from nnunet_synth_aug.core.geometry import Grid

LABELS = {"RV": (1,), "MYO": (2,), "LV": (3,)}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    make_folders(tmp_path)
    return tmp_path


def notes(folders: Path) -> list[str]:
    found = evaluate_folder(folders / "pred", folders / "out", gt=folders / "gt").notes
    return [note for note in found if not note.startswith("No dataset.json")]


def test_good_predictions_get_no_note(folders: Path) -> None:
    assert notes(folders) == []


@pytest.mark.parametrize("case", EVALUATED, ids=lambda case: case.what)
def test_what_was_noticed_is_said_on_the_screen_and_in_the_result(
    case: Evaluated, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case.change(folders)
    arguments = ["evaluate", "--pred", str(folders / "pred"), "--gt", str(folders / "gt"), "-o", str(folders / "out"), "-np", "1"]
    monkeypatch.setattr(sys, "argv", ["synthaug", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    if case.outcome == "refused":
        assert ended.value.code == 2
        assert case.says in printed.err
        return
    assert ended.value.code in (0, None)
    assert case.says in printed.out
    written = json.loads((folders / "out" / "evaluation.json").read_text())["notes"]
    assert len([note for note in written if not note.startswith("No dataset.json")]) == 1
    assert case.says in " ".join(written)


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


def test_many_exchanged_labels_are_a_label_map_and_few_are_files(folders: Path) -> None:
    relabelled(3, 2, 1, cases=PREDICTED[:4])(folders)
    (note,) = notes(folders)
    assert note.endswith("give them with --pred-labels and --gt-labels.")
    relabelled(3, 2, 1, cases=PREDICTED[:2])(folders)  # back again
    (note,) = notes(folders)
    assert note.endswith("(p2): their labels seem to be exchanged, or those of their ground truth; look at these files and correct them.")


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
