"""Which cases the training batches hold: alike over the bank and the batch positions, exact over worker processes and epochs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunet_fixture import PLANS, Project
from nnunet_training import make

from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.mixing.loader import MixedDataLoader
from nnunet_synth_aug.nnunet.mixing.weighting import WeightedPatches

pytestmark = pytest.mark.usefixtures("trained_here")


def training_loader(name: str, plans: str = PLANS) -> MixedDataLoader:
    """As the trainer makes it, one batch after the one that nnU-Net throws away."""
    made = make(name, plans)
    made.initialize()
    loader = made.get_dataloaders()[0].data_loader
    assert isinstance(loader, MixedDataLoader)
    return loader


def synthetic_share(loader: MixedDataLoader, batches: int) -> np.ndarray:
    """Whether each sample is synthetic, (batches, batch_size)."""
    return synthetic([loader.get_indices() for _ in range(batches)])


def synthetic(batches: list[np.ndarray]) -> np.ndarray:
    """Whether each sample's key is a synthetic case's, (batches, batch_size)."""
    return np.char.startswith(np.stack(batches), "synth_")


def test_every_case_and_position_is_drawn_alike() -> None:
    """Uniform over the bank; synthetic cases at each batch position, so that forced foreground serves both kinds."""
    loader = training_loader("nnUNetTrainerSynthAug_mix25")
    np.random.seed(0)
    drawn = np.stack([loader.get_indices() for _ in range(4000)])
    synthetic = np.char.startswith(drawn, "synth_")
    assert (synthetic.sum(1) == 1).all()
    np.testing.assert_allclose(synthetic.mean(0), 0.25, atol=0.03)
    _, counts = np.unique(drawn[synthetic], return_counts=True)
    assert len(counts) == 9
    np.testing.assert_allclose(counts, 4000 / 9, rtol=0.2)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, [0.6, 0.6, 0.6, 0.6]),
        ({"to": 0.0}, [0.6, 0.4, 0.2, 0.0]),
        ({"to": 0.3, "shape": "step", "from_epoch": 2}, [0.6, 0.6, 0.3, 0.3]),
    ],
)
def test_every_epoch_has_its_share(plans_with: Any, schedule: Any, expected: list[float]) -> None:
    name = plans_with("curriculumPlans", ratio=0.6, epochs=4, iterations_per_epoch=25, schedule=schedule)
    drawn = synthetic_share(training_loader("nnUNetTrainerSynthAug", name), 100)
    counts = drawn.reshape(4, 25, 4).sum((1, 2))
    np.testing.assert_allclose(counts, 100 * np.array(expected), atol=1)
    per_batch = drawn.sum(1).reshape(4, 25)
    for epoch, ratio in enumerate(expected):
        assert set(per_batch[epoch]) <= {int(np.floor(round(4 * ratio, 9))), int(np.ceil(round(4 * ratio, 9)))}


def test_the_name_says_how_the_share_falls(plans_with: Any) -> None:
    plans = plans_with("constantPlans", ratio=0.1, iterations_per_epoch=25)
    drawn = synthetic_share(training_loader("nnUNetTrainerSynthAug_mix60to00_4epochs", plans), 100)
    assert drawn.reshape(4, 25, 4).sum((1, 2)).tolist() == [60, 40, 20, 0]


@pytest.fixture(params=["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    """How Python starts nnU-Net's workers: forked on Linux so far, spawned on macOS and Windows."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


# nnU-Net's thread that empties the workers' queue may meet a worker that has just been told to end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_workers_share_one_quota(plans_with: Any, start_method: str) -> None:
    """Each of two workers alone would make the ten synthetic batches of the first epoch once more."""
    schedule = {"to": 0.0, "shape": "step", "from_epoch": 1}
    loader = training_loader(
        "nnUNetTrainerSynthAug", plans_with("stepPlans", ratio=1.0, epochs=4, iterations_per_epoch=10, schedule=schedule)
    )
    augmenter = NonDetMultiThreadedAugmenter(loader, None, 2, num_cached=6)  # as nnU-Net makes it
    batches: list[np.ndarray] = []
    try:
        # A worker that the machine holds up delivers late what it has begun, so the order of arrival says nothing: wait for all ten.
        while len(batches) < 40 or (synthetic(batches).mean(1).sum() < 10 and len(batches) < 1000):
            batches.append(next(augmenter)["keys"])
    finally:
        augmenter._finish()
    shares = synthetic(batches).mean(1)
    assert set(shares) == {0.0, 1.0}
    assert shares.sum() == 10


def test_a_continued_training_goes_on_in_its_schedule(plans_with: Any) -> None:
    schedule = {"to": 0.0, "shape": "step", "from_epoch": 2}
    made = make("nnUNetTrainerSynthAug", plans_with("stepPlans", ratio=1.0, epochs=4, iterations_per_epoch=10, schedule=schedule))
    made.current_epoch = 1
    made.initialize()
    loader = made.get_dataloaders()[0].data_loader
    assert synthetic_share(loader, 20).mean(1).tolist() == [1.0] * 10 + [0.0] * 10


def test_diagnoses_are_drawn_by_their_weights(plans_with: Any, manifest: Any) -> None:
    content = read_json(manifest)
    for case, diagnosis in zip(content["cases"], ["DCM"] * 3 + ["NOR"] * 3 + ["RV"] * 3, strict=True):
        case["requested"]["diagnosis"] = diagnosis
    write_json(manifest, content)
    of = {case["id"]: case["requested"]["diagnosis"] for case in content["cases"]}
    loader = training_loader("nnUNetTrainerSynthAug", plans_with("weightPlans", weights={"diagnosis": {"DCM": 2, "RV": 0}}))
    drawn = [of[key] for _ in range(1500) for key in loader.get_indices() if key.startswith("synth_")]
    assert len(drawn) == pytest.approx(3000, abs=1)  # the quota is as without weights
    assert drawn.count("RV") == 0
    assert drawn.count("DCM") / len(drawn) == pytest.approx(2 / 3, abs=0.04)
    with pytest.raises(SystemExit, match="names HCM, but the bank's hearts are DCM, NOR, RV"):
        make("nnUNetTrainerSynthAug", plans_with("weightPlans", weights={"diagnosis": {"HCM": 2}})).on_train_start()


def test_structure_weights_move_synthetic_patches_only(plans_with: Any, project: Project) -> None:
    made = make("nnUNetTrainerSynthAug", plans_with("weightPlans", weights={"structure": {"LV": 0, "MYO": 0}}))
    made.initialize()
    loader = made.get_dataloaders()[0].data_loader
    assert isinstance(loader._data.synthetic, WeightedPatches)
    right = 3  # RV in the fixture's masks
    assert set(loader._data.load_case("synth_00000_t00")[3]["class_locations"]) == {right}
    assert set(loader._data.load_case("patient001_ED")[3]["class_locations"]) == {1, 2, 3}
    loader.patch_size, loader.need_to_pad = (1, 9, 9), np.zeros(3, int)  # so small that its centre is what was chosen
    for _ in range(20):
        _, seg, _, properties = loader._data.load_case("synth_00001_t01")
        (z, y, x), _ = loader.get_bbox(seg.shape[1:], True, properties["class_locations"])
        assert seg[0, z, y + 4, x + 4] == right
