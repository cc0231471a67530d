"""The independent segmenter: a real nnU-Net, trained for seconds on real cases, against nnU-Net's own prediction from files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_fixture import DATASET, PATIENTS, PLANS, SPACING, Project, heart
from nnunetv2.run.run_training import get_trainer_from_args

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json, write_nifti
from nnunet_synth_aug.core.labels import LV, MYO, RV, STRUCTURES
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.nnunet.mixing.mixture import BASE_NAME
from nnunet_synth_aug.nnunet.segmenter import Segmenter, load_segmenter

CPU = torch.device("cpu")
TRAINER = f"{BASE_NAME}_mix00"


def generator(**provenance: Any) -> Any:
    """What the loader asks of a generator."""
    return SimpleNamespace(provenance={"dataset": DATASET, "fold": 0, "patients": list(PATIENTS[:4]), **provenance})


@pytest.fixture(scope="module")
def trained(built_project: Project) -> Iterator[Path]:
    """Results folder of a real-only training of fold 0, long enough to tell structures apart."""
    source = read_json(built_project.preprocessed / f"{PLANS}.json")
    plans = built_project.preprocessed / "judgePlans.json"
    run = {"epochs": 6, "iterations_per_epoch": 25, "val_iterations_per_epoch": 1}
    write_json(plans, {**source, "plans_name": "judgePlans", "synth_aug": run})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            patch.setenv(name, str(built_project.root / name))
        patch.setenv("nnUNet_n_proc_DA", "0")
        patch.setenv("nnUNet_extTrainer", str(Path(__file__).resolve().parents[1] / "trainers"))
        torch.manual_seed(0)
        np.random.seed(0)
        made = get_trainer_from_args(DATASET, "2d", 0, TRAINER, "judgePlans", False, device=CPU)
        made.run_training()
        yield built_project.results / f"{TRAINER}__judgePlans__2d"
    torch.set_num_threads(threads)
    plans.unlink()
    shutil.rmtree(built_project.results, ignore_errors=True)


@pytest.fixture(scope="module")
def segmenter(trained: Path) -> Segmenter:
    return load_segmenter(trained, generator(), CPU)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def test_it_segments_as_nnunet_does_from_files(segmenter: Segmenter, tmp_path: Path) -> None:
    """Axes, spacing, normalisation and labels are those of nnUNetv2_predict on the NIfTI file."""
    image, _ = heart(np.random.default_rng(3), 1.0)
    image[:7] = 150  # no symmetry that would hide swapped axes
    write_nifti(tmp_path / "in" / "a_0000.nii.gz", image, SPACING)
    (tmp_path / "out").mkdir()
    segmenter.nnunet.predict_from_files_sequential([[str(tmp_path / "in" / "a_0000.nii.gz")]], [str(tmp_path / "out" / "a")])
    theirs, _, _ = read_nifti(tmp_path / "out" / "a.nii.gz", ndim=3)
    mine = segmenter.segment(image, SPACING)
    assert mine.shape == image.shape
    translated = np.array([0, LV, MYO, RV], np.uint8)[theirs.astype(int)]  # the fixture's labels are LV 1, myo 2, RV 3
    assert np.array_equal(mine, translated)
    assert len(np.unique(mine)) >= 3  # or the comparison would say nothing


def test_it_finds_the_heart(segmenter: Segmenter) -> None:
    image, mask = heart(np.random.default_rng(4), 1.0)
    found = segmenter.segment(image, SPACING)
    overlap = 2 * np.count_nonzero((found == LV) & (mask == LV)) / (np.count_nonzero(found == LV) + np.count_nonzero(mask == LV))
    assert overlap > 0.6


def test_it_confirms_a_heart_and_disputes_a_shifted_mask(segmenter: Segmenter) -> None:
    """What the quality control of a bank asks: does the image show what the mask says, at ED and at ES?"""
    ed, es = (heart(np.random.default_rng(seed), scale) for seed, scale in ((4, 1.0), (5, 0.9)))
    images, masks = (np.stack([ed[part], es[part]]) for part in (0, 1))
    beating = SyntheticSequence(
        "a", images.astype(np.float32), masks, SPACING, ed=0, es=1, frame_seconds=0.04, seed=0, requested=Priors(), measured=Priors()
    )
    good = segmenter.agreement(beating)
    assert set(good) == set(STRUCTURES)
    assert good["LV"] > 0.6
    by_hand = [segmenter.segment(image, SPACING) == LV for image in beating.image]
    truth = beating.mask == LV
    assert good["LV"] == pytest.approx(2 * np.count_nonzero(truth & by_hand) / (np.count_nonzero(truth) + np.count_nonzero(by_hand)))
    moved = segmenter.agreement(replace(beating, mask=np.roll(beating.mask, 6, axis=1)))
    assert moved["LV"] < good["LV"] - 0.2
    empty = segmenter.agreement(replace(beating, image=np.zeros_like(beating.image), mask=np.zeros_like(beating.mask)))
    assert all(np.isnan(value) for value in empty.values())


def test_grey_values_do_not_matter_and_context_does(segmenter: Segmenter) -> None:
    image, _ = heart(np.random.default_rng(5), 0.9)
    plain = segmenter.segment(image, SPACING)
    assert np.mean(segmenter.segment(0.3 * image + 40, SPACING) != plain) < 1e-3
    own = (float(image.mean()), float(image.std()))
    assert np.mean(segmenter.segment(image, SPACING, own) != plain) < 1e-3
    scaled = (0.3 * own[0] + 40, 0.3 * own[1])
    assert np.mean(segmenter.segment(0.3 * image + 40, SPACING, scaled) != plain) < 1e-3
    assert not np.array_equal(segmenter.segment(image, SPACING, (own[0] + 4 * own[1], own[1])), plain)


def test_an_empty_frame_has_an_empty_mask(segmenter: Segmenter) -> None:
    assert not segmenter.segment(np.zeros((20, 24, 3), np.float32), SPACING).any()


def test_provenance_names_the_training(segmenter: Segmenter) -> None:
    assert segmenter.provenance["trainer"] == TRAINER
    assert segmenter.provenance["fold"] == 0
    assert len(segmenter.provenance["checkpoint_sha256"]) == 64


def test_one_that_has_seen_synthetic_cases_is_refused(copy: Path) -> None:
    record = copy / "fold_0" / "synth_aug.json"
    write_json(record, {**read_json(record), "synthetic_samples": 8})
    with pytest.raises(UserError, match="trained on 8 synthetic samples"):
        load_segmenter(copy, generator(), CPU)
    record.unlink()
    with pytest.raises(UserError, match="may have seen synthetic cases"):
        load_segmenter(copy, generator(), CPU)


def test_another_fold_split_or_dataset_is_refused(copy: Path) -> None:
    with pytest.raises(UserError, match=f"no finished fold 1.*nnUNetv2_train {DATASET} 2d 1 -tr {TRAINER} -p judgePlans"):
        load_segmenter(copy, generator(fold=1), CPU)
    with pytest.raises(UserError, match=f"trained on {DATASET}, not on Dataset001_X"):
        load_segmenter(copy, generator(dataset="Dataset001_X"), CPU)
    cases = [{"prediction_file": f"/x/{patient}_ED.nii.gz"} for patient in PATIENTS[3:5]]
    write_json(copy / "fold_0" / "validation" / "summary.json", {"metric_per_case": cases})
    with pytest.raises(UserError, match=f"held out {PATIENTS[3]}, whom fold 0 trains on"):
        load_segmenter(copy, generator(), CPU)


def test_a_folder_that_is_no_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an nnU-Net results folder"):
        load_segmenter(tmp_path, generator(), CPU)
