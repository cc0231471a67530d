"""The arithmetic of tests/benchmarks/gpu/speed.py, which predicts how long a preset trains; the rest of it needs minutes."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.model.config import PRESETS, preset

GPU = Path(__file__).resolve().parent / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def speed():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GPU))
        yield importlib.import_module("speed")


def test_the_pace_leaves_out_the_slow_start(speed):
    # Nine seconds until step 10, then a tenth of a second for every step.
    curve = [{"step": 0, "seconds": 5.0}, *({"step": step, "seconds": 8.0 + step / 10} for step in range(10, 41, 10))]
    assert speed.pace(curve) == pytest.approx(0.1)
    with pytest.raises(UserError, match="--steps"):
        speed.pace(curve[:2])


def test_the_whole_stage_is_its_steps_and_its_copies(speed):
    assert speed.whole_seconds(0.1, 8000, 30.0, 48, 480) == pytest.approx(1100)
    assert speed.whole_seconds(0.1, 100, 30.0, 48, 16) == pytest.approx(40), "what is beside the steps does not shrink"


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_timed_is_the_preset(speed, name):
    options = speed.parse(["--work", "w", "--out", "o", "--preset", name, "--train-steps", "40", "--copies", "4"])[0]
    whole, short = preset(name), speed.in_precision(options, "off")
    for stage in speed.STAGES:
        of_whole, of_short = getattr(whole, stage), getattr(short, stage)
        assert of_short.train.steps == 40
        restored = dataclasses.replace(of_short.train, steps=of_whole.train.steps, autocast=of_whole.train.autocast)
        assert dataclasses.replace(of_short, train=restored) == of_whole
    assert dataclasses.replace(short.latents, copies=whole.latents.copies) == whole.latents
