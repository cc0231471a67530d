"""One training on several processes or GPUs, started by torchrun; without torchrun there is one process and nothing changes.

Every process draws the random numbers of the joint batch from (seed, step) and computes every world-th row of it. Losses
are means over rows, so the mean of the processes' gradients is the gradient of the joint batch. Nothing depends on
the number of processes, which may change whenever a training is resumed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from nnunet_synth_aug.core.errors import UserError

#: How long processes wait for one another: one of them may be writing a cohort.
PATIENCE = timedelta(hours=2)

Rows = TypeVar("Rows", torch.Tensor, np.ndarray, list)


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, and yield the device of this one: a GPU each, or the CPU.

    Args:
        device: what the user asked for; ``cuda`` becomes ``cuda:<local rank>``.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if device.index is not None:
            raise UserError(f"-device {device} names one GPU for all processes of torchrun; give -device cuda, and each takes its own")
        if local >= torch.cuda.device_count():
            raise UserError(f"torchrun started more processes than the {torch.cuda.device_count()} GPUs here; lower --nproc_per_node")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device, timeout=PATIENCE)
    elif device.type == "cpu":
        dist.init_process_group("gloo", timeout=PATIENCE)
    else:
        raise UserError(f"several processes cannot share -device {device.type}; use cuda or cpu, or start without torchrun")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes files and shows progress."""
    return rank() == 0


def barrier() -> None:
    """Wait for the others, e.g. until the first process has written what all will read."""
    if dist.is_initialized():
        dist.barrier()


def by_first(write: Callable[[], object]) -> None:
    """Let the first process write files: after all have read what was there before, and before any goes on."""
    barrier()
    if is_first():
        write()
    barrier()


def broadcast(tensors: Iterable[torch.Tensor], device: torch.device) -> None:
    """Overwrite ``tensors`` with the first process's, by way of ``device``.

    For statistics that every process computes by itself: a rounding difference is harmless, the arbitrary sign of a
    principal direction is not.
    """
    if not dist.is_initialized():
        return
    for tensor in tensors:
        carrier = tensor.to(device)
        dist.broadcast(carrier, 0)
        tensor.copy_(carrier)


def mine(joint: Rows) -> Rows:
    """This process's rows of a joint batch: rank, rank + world, ..."""
    return joint[rank() :: world()]


def joint_mean(values: torch.Tensor, n: int) -> torch.Tensor:
    """This process's term of the mean over the ``n`` rows of the joint batch, given its own rows (b,).

    The mean of the terms over the processes is the mean over the rows, however unevenly (even b = 0) they are spread.
    """
    return values.sum() * (world() / n)


def joint_randn(like: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers for this process's rows ``like`` (b, ...) of a joint batch of world * b rows."""
    return mine(torch.randn(len(like) * world(), *like.shape[1:], device=like.device, dtype=like.dtype))


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over the processes."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
        values /= world()
    return values


def same_everywhere(value: int, device: torch.device) -> bool:
    """Whether every process has the same ``value``."""
    if not dist.is_initialized():
        return True
    extremes = torch.tensor([value, -value], device=device)
    dist.all_reduce(extremes, dist.ReduceOp.MAX)
    return int(extremes[0]) == -int(extremes[1])


class JointDropout(nn.Dropout):
    """Dropout of (b, ...) whose mask is drawn for the joint batch of world * b rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero a share of the channels, drawn alike for any number of processes."""
        if not self.training or self.p == 0:
            return x
        kept = mine(x.new_empty(len(x) * world(), *x.shape[1:]).bernoulli_(1 - self.p))
        return x * kept / (1 - self.p)
