"""Two processes under torchrun train like one with the joint batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import distributed_worker as worker
import pytest
import torch
from safetensors.torch import load_file

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.model.config import TrainConfig
from nnunet_synth_aug.model.training.distributed import (
    broadcast,
    joint_mean,
    joint_randn,
    mean_over_processes,
    mine,
    processes,
    rank,
    same_everywhere,
    world,
)
from nnunet_synth_aug.model.training.loop import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Folder with what two processes made."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", worker.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def of_rank(folder: Path, number: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"rank{number}" / "results.safetensors")


@pytest.mark.slow
def test_both_processes_end_with_the_same_weights(two):
    first, second = of_rank(two, 0), of_rank(two, 1)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.slow
def test_gradients_are_those_of_the_joint_batch(two, tmp_path):
    alone, together = worker.gradients(tmp_path), of_rank(two, 0)
    assert max(float(g.abs().max()) for g in alone.values()) > 1e-3
    for name, gradient in alone.items():
        torch.testing.assert_close(together[f"gradient.{name}"], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["vae", "static", "motion"])
def test_weights_are_those_of_the_joint_batch(two, tmp_path, stage):
    """To a thousandth of the way that the weights went: two steps of at most the learning rate each."""
    alone, together = worker.stages(tmp_path)[stage].state_dict(), of_rank(two, 0)
    errors = torch.cat([(together[f"{stage}.{name}"] - weight).flatten() for name, weight in alone.items()])
    assert len(errors) > 1000
    assert float(errors.square().mean().sqrt()) < 1e-3 * worker.TWO.learning_rate


@pytest.mark.slow
def test_the_curves_show_the_joint_loss_once(two, tmp_path):
    worker.stages(tmp_path)
    for stage in ("vae", "static", "motion"):
        alone, together = ([json.loads(line) for line in (f / f"{stage}.losses.jsonl").open()] for f in (tmp_path, two))
        assert [line["step"] for line in together] == [0, 1]
        for a, b in zip(alone, together, strict=True):
            del a["seconds"], b["seconds"]
            assert a == pytest.approx(b, abs=2e-5)


@pytest.mark.slow
def test_a_training_killed_on_two_processes_ends_alike_on_one(two, tmp_path):
    assert (two / "resumed" / "static.training.safetensors").is_file()
    header = json.loads((two / "resumed" / "static.training.json").read_text())
    assert header["step"] == 11
    resumed, whole = worker.resumable(two / "resumed", None), worker.resumable(tmp_path, None)
    errors = torch.cat([(a - b).flatten() for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)])
    assert float(errors.detach().square().mean().sqrt()) < 1e-2 * worker.TWO.learning_rate


@pytest.mark.slow
def test_dropout_masks_are_those_of_the_joint_batch(two):
    joint = worker.dropout()
    assert 0.2 < float((joint == 0).float().mean()) < 0.6
    for number in range(2):
        rows = load_file(two / f"rank{number}" / "dropout.safetensors")["dropout"]
        assert torch.equal(rows, joint[number::2])


def test_one_process_is_the_whole_world():
    with processes(CPU) as device:
        assert device == CPU
        assert (rank(), world()) == (0, 1)
        values = torch.tensor([1.0, 2.0, 6.0])
        assert mine([1, 2, 3]) == [1, 2, 3]
        assert float(joint_mean(values, 3)) == 3
        assert torch.equal(mean_over_processes(values), values)
        assert same_everywhere(4, CPU)
        broadcast([values], CPU)
        assert joint_randn(torch.zeros(5, 2)).shape == (5, 2)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_synth_aug.model.training.loop.world", lambda: 3)
    with pytest.raises(UserError, match="batch of 4 cannot be shared evenly by 3 processes"):
        train(torch.nn.Linear(1, 1), lambda n, s: (n.weight.sum(), {}), TrainConfig(batch_size=4), tmp_path, "s", 0, {}, CPU)


@pytest.mark.parametrize(("device", "sentence"), [("cuda:0", "give -device cuda"), ("mps", "use cuda or cpu")])
def test_devices_that_processes_cannot_share_are_refused(monkeypatch, device, sentence):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match=sentence), processes(torch.device(device)):
        pass
