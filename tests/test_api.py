"""The Python API as a notebook uses it: a few lines, arrays with axes, one sentence for what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_study import AUG, BASE, FOLDERS, Study
from shared_folders import set_folders

import nnunet_synth_aug as synthaug
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence

pytestmark = pytest.mark.usefixtures("one_thread")
SPACING = (1.5, 1.5, 10.0)


@pytest.fixture(scope="module")
def folder(micro_generator: Path) -> str:
    return str(micro_generator / "nnUNet_results" / "Dataset007_Phantom" / "synth_aug_generator" / "fold_0")


def box(label: int, x: int = 0) -> np.ndarray:
    """A mask (12, 12, 4) with a box of 4 x 4 x 2 voxels, moved by ``x``."""
    mask = np.zeros((12, 12, 4), np.uint8)
    mask[2 + x : 6 + x, 4:8, 1:3] = label
    return mask


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, nnunet_synth_aug as synthaug; assert not {'torch', 'numpy', 'nnunet_synth_aug.api'} & set(sys.modules); "
        "synthaug.score, synthaug.compare, synthaug.UserError; assert 'torch' not in sys.modules; print(dir(synthaug))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("compare", "load_generator", "sample", "score", "UserError"):
        assert name in shown
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        synthaug.fit  # noqa: B018


def test_hearts_are_arrays_with_the_axes_that_the_docs_tell(folder: str) -> None:
    generator = synthaug.load_generator(folder)
    hearts = synthaug.sample(generator, n=2, priors={"lv_ef": 30, "diagnosis": "DCM"}, seed=0, frames=5, check=False)
    assert len(hearts) == 2
    for heart in hearts:
        assert (heart.image.dtype, heart.mask.dtype) == (np.float32, np.uint8)
        assert heart.image.shape == heart.mask.shape
        assert heart.image.shape[0] == 5
        assert heart.image.shape[1:3] == generator.grid.size[:2]
        assert heart.image.shape[3] == heart.requested.n_slices
        assert heart.spacing[2] == heart.requested.slice_thickness
        assert (heart.requested.lv_ef, heart.requested.diagnosis) == (30, "DCM")
        assert 0 <= heart.ed < heart.es < 5
    assert not np.array_equal(hearts[0].image, hearts[1].image)
    again = synthaug.sample(generator, n=1, priors={"lv_ef": 30, "diagnosis": "DCM"}, seed=0, frames=5, check=False)
    np.testing.assert_allclose(again[0].image, hearts[0].image, rtol=1e-3, atol=0.5)  # whoever its companions are


def test_they_are_the_hearts_that_the_command_line_writes(
    folder: str, micro_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_folders(monkeypatch, micro_generator)
    words = f"sample -d 7 -f 0 -o {tmp_path} -n 2 --prior lv_edv=100..200 --seed 3 --frames 4 --no-check --no-gif"
    app(words.split(), standalone_mode=False)
    generator = synthaug.load_generator(dataset=7, fold=0)
    hearts = synthaug.sample(generator, 2, {"lv_edv": (100, 200)}, seed=3, frames=4, check=False)
    for heart, name in zip(hearts, read_index(tmp_path)[0], strict=True):
        written = read_sequence(tmp_path, name)
        np.testing.assert_array_equal(heart.mask, written.mask)
        np.testing.assert_array_equal(np.round(heart.image), written.image)
        assert heart.requested == written.requested
        assert 100 <= heart.requested.lv_edv <= 200  # type: ignore[operator]


def test_what_a_generator_cannot_do_is_one_sentence(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(synthaug.UserError, match=r"there is no generator in .*nowhere; run 'synthaug fit'"):
        synthaug.load_generator("nowhere")
    with pytest.raises(synthaug.UserError, match="give one of the two"):
        synthaug.load_generator()
    with pytest.raises(synthaug.UserError, match="give one of the two"):
        synthaug.load_generator(folder, dataset=7)
    with pytest.raises(synthaug.UserError, match=r"'cuda:77' cannot be used here .*device=\"cpu\""):
        synthaug.load_generator(folder, device="cuda:77")
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(synthaug.UserError, match="nnUNet_raw is not set"):
        synthaug.load_generator(dataset=7)
    generator = synthaug.load_generator(folder)
    for priors, sentence in (
        ({"ef": 30}, "there is no prior 'ef'; did you mean lv_ef"),
        ({"lv_ef": 140}, "lv_ef 140 % is outside 2 to 90 %"),
        ({"lv_ef": "low"}, "'low' is not a number"),
        ({"lv_ef": (30, 20)}, r"write the lower end first: lv_ef=20\.\.30"),
    ):
        with pytest.raises(synthaug.UserError, match=sentence):
            synthaug.sample(generator, priors=priors)  # type: ignore[arg-type]
    with pytest.raises(synthaug.UserError, match="n is 0; it must be a whole number of at least 1"):
        synthaug.sample(generator, 0)
    with pytest.raises(synthaug.UserError, match="frames is 1; it must be a whole number of at least 2"):
        synthaug.sample(generator, frames=1)
    # Six steps of training make no heart: the quality control says so, after all its tries.
    with pytest.raises(synthaug.UserError, match=r"none of \d+ samples passed the quality control .* or pass check=False") as caught:
        synthaug.sample(generator, frames=2)
    assert "missed_" not in str(caught.value)  # nothing was asked for
    with pytest.raises(synthaug.UserError, match=r"none of \d+ samples for {'lv_ef': 60.0} passed .* or pass check=False"):
        synthaug.sample(generator, frames=2, priors={"lv_ef": 60})


def test_scores_are_those_of_hand_computed_boxes() -> None:
    prediction, reference = box(3, x=2), box(3)
    scores = synthaug.score(prediction, reference, SPACING)
    assert list(scores.columns) == ["Dice", "HD", "HD95", "ASSD", "failure"]
    assert list(scores.index) == ["RV", "MYO", "LV"]
    assert scores.loc["LV", "Dice"] == pytest.approx(0.5)
    assert scores.loc["LV", "HD"] == pytest.approx(3.0)  # two voxels of 1.5 mm
    assert scores.loc[["RV", "MYO"], "Dice"].isna().all()
    assert list(scores["failure"]) == ["both empty", "both empty", ""]
    wall = synthaug.score(box(2), box(2) + box(3, x=4), SPACING, labels={"EPI": (2, 3), "LV": 3})
    assert wall.loc["EPI", "Dice"] == pytest.approx(2 / 3)
    assert wall.loc["LV", "failure"] == "prediction empty"
    assert wall.loc["LV", "HD"] == pytest.approx(np.sqrt(18**2 + 18**2 + 40**2))
    assert np.isnan(synthaug.score(box(2), box(3), SPACING, {"LV": 3}, empty="nan").loc["LV", "HD"])
    # M&Ms counts LV as 1.
    pd.testing.assert_frame_equal(synthaug.score(box(1, x=2), box(1), SPACING, "mnms").loc[["LV"]], scores.loc[["LV"]])
    pd.testing.assert_frame_equal(synthaug.score(prediction.astype(float), reference.tolist(), SPACING), scores)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prediction": np.zeros((12, 12, 5))}, r"shape \(12, 12, 5\) but the reference \(12, 12, 4\)"),
        ({"prediction": np.zeros((5, 12, 12, 4))}, "give one frame"),
        ({"reference": np.full((12, 12, 4), 0.5)}, "the reference holds values that are no labels"),
        ({"spacing": (1.5, 1.5)}, "not three positive numbers"),
        ({"spacing": (1.5, 1.5, 0)}, "not three positive numbers"),
        ({"labels": "LV:3"}, "the labels 'LV:3' are not understood"),
        ({"empty": "zero"}, "there is no policy 'zero'"),
    ],
)
def test_arrays_that_cannot_be_scored_are_one_sentence(changes: dict, sentence: str) -> None:
    arguments = {"prediction": box(3), "reference": box(3), "spacing": SPACING, **changes}
    with pytest.raises(synthaug.UserError, match=sentence):
        synthaug.score(**arguments)


@pytest.mark.slow
def test_two_folders_are_compared_by_their_paths_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    study = Study(tmp_path)
    out = tmp_path / "report"
    baseline, augmented = str(study.results / BASE), str(study.results / AUG)
    result = synthaug.compare(baseline, [augmented], str(out), names=("real", "mixed"), images=False)
    assert result.report == out / "report.html"
    assert "mixed" in result.report.read_text()
    scores = pd.read_csv(out / "metrics.csv", dtype={"fold": str})
    one = scores.query("model == 'real' and patient == 'p00' and phase == 'ED' and structure == 'LV' and metric == 'HD'")["value"].item()
    expected = synthaug.score(study.read("baseline", "p00_ED"), study.mask("p00_ED"), (1.5, 1.5, 8.0))
    assert one == pytest.approx(expected.loc["LV", "HD"])
    with pytest.raises(synthaug.UserError, match="nowhere of baseline does not exist"):
        synthaug.compare("nowhere", augmented, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: synthaug.load_generator(951), r"write load_generator\(dataset=951"),  # type: ignore[arg-type]
        (lambda: synthaug.load_generator(dataset=951, fold=None), "fold is None"),  # type: ignore[arg-type]
        (lambda: synthaug.sample("path"), "'path' is no generator"),  # type: ignore[arg-type]
        (lambda: synthaug.score(box(3), box(3), None), "spacing None is not three"),  # type: ignore[arg-type]
        (lambda: synthaug.score(box(3), box(3), 1.5), "spacing 1.5 is not three"),  # type: ignore[arg-type]
        (lambda: synthaug.score(box(3), box(3), SPACING, {"RV": 1.5}), "'RV' is 1.5; it must be a whole number"),  # type: ignore[dict-item]
        (lambda: synthaug.score(box(3), box(3), SPACING, {"RV": 0}), "'RV' is 0; it must be a whole number of at least 1"),
        (lambda: synthaug.score(box(3), box(3), SPACING, {"RV": 1, "MYO": 1}), "RV and MYO the same value, 1"),
        (lambda: synthaug.score(box(3), box(3), SPACING, {}), "give a mapping such as"),
        (lambda: synthaug.score(box(3), box(3), SPACING, ["RV"]), "give a mapping such as"),  # type: ignore[arg-type]
        (lambda: synthaug.score(box(3), box(3), SPACING, "RV=1,MYO=1"), "RV and MYO the same value, 1"),
        (lambda: synthaug.score(box(3) > 0, box(3) > 0, SPACING), "tells no structures apart"),
        (lambda: synthaug.score(box(3)[:0], box(3)[:0], SPACING), "no voxel"),
        (lambda: synthaug.compare([], [], "report"), r"baseline is \[\]; give a folder"),
        (lambda: synthaug.compare(None, "a", "report"), "baseline is None"),  # type: ignore[arg-type]
    ],
)
def test_slips_of_a_notebook_are_one_sentence(call, sentence: str) -> None:
    with pytest.raises(synthaug.UserError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n": 1.5}, "n is 1.5"),
        ({"n": True}, "n is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"priors": "lv_ef=30"}, "priors are 'lv_ef=30'; give a mapping"),
        ({"priors": {"n_slices": (6, 99)}}, "n_slices 99"),
    ],
)
def test_slips_of_a_request_are_one_sentence(folder: str, arguments: dict, sentence: str) -> None:
    with pytest.raises(synthaug.UserError, match=sentence):
        synthaug.sample(synthaug.load_generator(folder), **arguments)


def test_what_no_training_patient_shows_is_said(folder: str) -> None:
    generator = synthaug.load_generator(folder)
    highest = max(t.priors.lv_edv for t in generator.templates)
    with pytest.warns(UserWarning, match="lv_edv goes from .* and 550 lies beyond"):
        synthaug.sample(generator, priors={"lv_edv": 550}, check=False, frames=2)
    assert highest < 550
