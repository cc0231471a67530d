"""The loop: it learns, it resumes exactly, and it refuses what is not its own."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.model.config import PRESETS, GeneratorConfig, TrainConfig, preset
from nnunet_synth_aug.model.training.checkpoint import load_checkpoint, save_checkpoint
from nnunet_synth_aug.model.training.device import uses_bf16
from nnunet_synth_aug.model.training.loop import learning_rate, train

CPU = torch.device("cpu")
CONFIG = TrainConfig(steps=60, learning_rate=0.05, ema_decay=0.9, checkpoint_seconds=0.0)


def regression(network, step):
    x = torch.from_numpy(step.rng.normal(size=(16, 3))).float()
    target = x @ torch.tensor([1.0, -2.0, 0.5])
    # dropout draws from torch's generator, whose state must not matter for resuming
    value = ((network(nn.functional.dropout(x, 0.1))[:, 0] - target) ** 2).mean()
    return value, {"mse": value.detach()}


class KilledError(Exception):
    pass


def killed_at(index):
    def loss(network, step):
        if step.index == index:
            raise KilledError
        return regression(network, step)

    return loss


def fresh():
    torch.manual_seed(3)
    return nn.Linear(3, 1)


def test_it_learns(tmp_path):
    network = train(fresh(), regression, CONFIG, tmp_path, "s", 0, {}, CPU)
    assert network.weight[0].tolist() == pytest.approx([1, -2, 0.5], abs=0.25)
    assert not network.training


@pytest.mark.parametrize("index", [1, 17, 59])
def test_a_killed_training_ends_like_an_undisturbed_one(tmp_path, index):
    whole = train(fresh(), regression, CONFIG, tmp_path / "a", "s", 0, {}, CPU)
    with pytest.raises(KilledError):
        train(fresh(), killed_at(index), CONFIG, tmp_path / "b", "s", 0, {}, CPU)
    torch.manual_seed(99)
    resumed = train(fresh(), regression, CONFIG, tmp_path / "b", "s", 0, {}, CPU)
    for expected, got in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, got)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    with pytest.raises(KilledError):
        train(fresh(), killed_at(5), CONFIG, tmp_path, "s", 0, {"patients": ["a"]}, CPU)
    with pytest.raises(UserError, match="other settings or patients"):
        train(fresh(), regression, CONFIG, tmp_path, "s", 0, {"patients": ["a", "b"]}, CPU)


def test_a_diverging_loss_stops_with_a_sentence(tmp_path):
    with pytest.raises(UserError, match="loss became nan"):
        train(fresh(), lambda n, s: (n.weight.sum() * float("nan"), {}), CONFIG, tmp_path, "s", 0, {}, CPU)


def test_a_loss_that_breaks_later_leaves_no_broken_checkpoint(tmp_path):
    def breaks(network, step):
        value, parts = regression(network, step)
        return value * (float("nan") if step.index >= 13 else 1), parts

    with pytest.raises(UserError, match="loss became nan by step 20"):
        train(fresh(), breaks, CONFIG, tmp_path, "s", 0, {}, CPU)
    tensors, header = load_checkpoint(tmp_path / "s.training.safetensors")
    assert header["step"] == 11
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_the_curve_has_a_line_for_every_tenth_step_and_the_last(tmp_path):
    train(fresh(), regression, CONFIG, tmp_path, "s", 0, {}, CPU)
    lines = [json.loads(line) for line in (tmp_path / "s.losses.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 10, 20, 30, 40, 50, 59]
    assert lines[-1]["loss"] == lines[-1]["mse"] < lines[0]["mse"]
    assert 0 <= lines[0]["seconds"] <= lines[-1]["seconds"]


def test_bf16_runs_the_network_and_spares_the_loss(tmp_path):
    seen = []

    def loss(network, step):
        out = network(torch.ones(4, 3))
        seen.append(out.dtype)
        value = (out.float() ** 2).mean()
        return value, {}

    for mode in ("off", "bf16", "auto"):
        train(fresh(), loss, TrainConfig(steps=1, autocast=mode), tmp_path / mode, "s", 0, {}, CPU)
    assert seen == [torch.float32, torch.bfloat16, torch.bfloat16 if uses_bf16("auto", CPU) else torch.float32]
    with pytest.raises(UserError, match="auto, off or bf16"):
        uses_bf16("fp16", CPU)


def test_learning_rate_warms_up_and_falls():
    config = TrainConfig(steps=100, warmup=0.1, learning_rate=1.0)
    rates = [learning_rate(config, i) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(0.02, abs=0.01)


def test_checkpoint_round_trip_and_damage(tmp_path):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.arange(4)}, {"patients": ["p1"]})
    tensors, header = load_checkpoint(path)
    assert tensors["a"].tolist() == [0, 1, 2, 3]
    assert header == {"patients": ["p1"]}
    assert not list(tmp_path.glob(".partial*"))
    assert path.stat().st_mode == path.with_suffix(".json").stat().st_mode  # readable by whoever may read the folder's other files
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="not a complete checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", PRESETS)
def test_config_round_trip(name):
    config = preset(name)
    assert GeneratorConfig.from_json(config.to_json()) == config
    assert config.preset == name
    with pytest.raises(UserError, match="unknown key 'colour'; use the version"):
        GeneratorConfig.from_json(config.to_json() | {"colour": 1})


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(UserError, match="tiny"):
        preset("huge")
