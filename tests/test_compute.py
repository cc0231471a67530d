"""The compute table: counts against arithmetic by hand, the preset's limits, and that the committed page is current."""

import dataclasses
import importlib
import sys
import time
from pathlib import Path

import pytest

from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.model.config import PRESETS, preset

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "tests" / "benchmarks"


@pytest.fixture(scope="module")
def compute():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("compute")


@pytest.fixture(scope="module")
def counted(compute):
    return compute.counts(list(PRESETS))


def decoder_flops(config) -> int:
    """One decoded frame, layer by layer: 2 x kernel volume x channels in x channels out x positions."""
    c, (X, Y, Z) = config.vae.channels, config.grid.size
    positions = [X * Y * Z // (config.vae.patch**2 * 4**level) for level in range(len(c))]
    last = len(c) - 1
    total = config.vae.latent_channels * c[last] * positions[last] + 2 * 9 * c[last] ** 2 * positions[last]
    for level in reversed(range(last)):
        total += 2 * 9 * c[level + 1] ** 2 * positions[level + 1] + 9 * c[level + 1] * c[level] * positions[level]
    pixel_channels = max(8, c[0] // config.vae.patch**2)
    total += (2 * 9 * c[0] ** 2 + 9 * c[0] * pixel_channels * config.vae.patch**2) * positions[0]
    return 2 * (total + 9 * pixel_channels * (1 + 4) * X * Y * Z)


@pytest.mark.parametrize("name", PRESETS)
def test_a_decoded_frame_costs_what_its_layers_cost(counted, name):
    assert counted[name]["gflop"]["decode"] * 1e9 == pytest.approx(decoder_flops(preset(name)), rel=1e-9)


def test_training_costs_about_three_forward_passes(compute):
    for cost in (compute.static_cost(preset("base")), compute.motion_cost(preset("base"))):
        assert 2.9 < cost.training / cost.forward <= 3.0  # the first layer needs no gradient of its input


@pytest.mark.parametrize("name", PRESETS)
def test_heun_with_guidance_in_an_interval_evaluates_as_often_as_it_should(counted, name):
    settings = preset(name).static
    assert settings.objective == "rf"
    low, high = settings.guidance_interval
    times = [1 - i / settings.sampler_steps for i in range(settings.sampler_steps)]
    evaluated = times + times[1:]  # Heun evaluates each inner time at the end of one step and at the start of the next
    expected = len(evaluated) + sum(low <= t <= high for t in evaluated)
    assert counted[name]["evaluations"] == {"static": expected, "motion": expected, "decoded_frames": 30}


def test_base_keeps_its_limits(counted):
    base = counted["base"]
    assert base["case_tflop"]["total"] <= 5
    assert base["parameters"]["static"] + base["parameters"]["motion"] <= 70e6
    assert max(base["h200_minutes_assumed"]) <= 30


def test_frame_by_frame_costs_a_motion_sample_for_every_frame(counted):
    whole, frames = counted["base"], counted["base, framewise"]
    assert frames["evaluations"]["motion"] in (29 * whole["evaluations"]["motion"], 30 * whole["evaluations"]["motion"])
    assert frames["case_tflop"]["static"] == whole["case_tflop"]["static"]


def test_the_papers_case_is_the_published_sum(compute):
    paper = compute.Paper()
    assert round(paper.case(max(paper.motion))["total"], -1) == 2690
    assert min(counts := [paper.case(m)["total"] for m in paper.motion]) / max(counts) > 0.97


def test_the_committed_figures_are_what_the_code_counts(compute, counted):
    """Otherwise: python tests/benchmarks/compute.py --write."""
    kept = read_json(ROOT / "docs" / "compute.json")
    assert _close({name: kept["counts"][name] for name in counted}, counted)


def _close(a, b):
    if isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in b)
    if isinstance(b, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return a == pytest.approx(b, rel=1e-6)


def test_a_timing_replaces_its_like_only(compute):
    row = {"machine": "CPU", "preset": "tiny", "batch": 1, "seconds_per_case": 2.0}
    others = [row | {"machine": "GPU"}, row | {"batch": 8}, row | {"preset": "small"}]
    kept = compute.merged([row, *others], [row | {"seconds_per_case": 1.0}])
    assert len(kept) == 4
    assert [r["seconds_per_case"] for r in kept if r["machine"] == "CPU" and r["preset"] == "tiny" and r["batch"] == 1] == [1.0]


def test_timing_runs_the_whole_cascade_and_measures_memory(compute, monkeypatch):
    from nnunet_synth_aug.model import config as settings

    untrained = importlib.import_module("untrained")
    tiny = preset("tiny")
    micro = dataclasses.replace(
        tiny,
        grid=dataclasses.replace(tiny.grid, size=(16, 16, 3)),
        vae=dataclasses.replace(tiny.vae, channels=(4, 8)),
        static=dataclasses.replace(tiny.static, channels=(8,), embedding=16, sampler_steps=2),
        motion=dataclasses.replace(tiny.motion, channels=(8,), embedding=16, sampler_steps=2),
    )
    monkeypatch.setitem(settings.PRESETS, "micro", micro)
    row = untrained.time_case("micro", "cpu", 2, most=2)
    assert row["runs"] == 2
    assert row["seconds_per_case"] > 0
    assert 50 < row["peak_mib"] < 20_000


@pytest.fixture(scope="module")
def deadline():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS / "gpu"))
        yield importlib.import_module("deadline")


def test_a_step_is_interrupted_at_its_limit_and_may_clean_up(deadline, tmp_path):
    marker = tmp_path / "cleaned"
    script = (
        "import pathlib, sys, time\n"
        "print('up', flush=True)\n"
        "try:\n    time.sleep(60)\n"
        f"except KeyboardInterrupt:\n    pathlib.Path({str(marker)!r}).touch(); sys.exit(130)"
    )
    start = time.monotonic()
    assert not deadline.run_within([sys.executable, "-c", script], {}, 1.5)
    assert time.monotonic() - start < 20
    assert marker.exists()


def test_a_step_that_finishes_or_fails_says_so(deadline):
    assert deadline.run_within([sys.executable, "-c", "pass"], {}, 60)
    with pytest.raises(SystemExit) as failure:
        deadline.run_within([sys.executable, "-c", "raise SystemExit(3)"], {}, None)
    assert failure.value.code == 3
