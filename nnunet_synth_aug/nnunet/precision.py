"""nnU-Net's network in bfloat16 on a CPU that computes in it, as nnU-Net has it in float16 on a GPU; its loss stays in float32."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn

from nnunet_synth_aug.model.training.device import uses_bf16


def cpu_bf16(mode: str, device: torch.device) -> bool:
    """Whether a training computes in bfloat16; on other devices than a CPU nnU-Net decides.

    Args:
        mode: "off", "bf16", or "auto": where the CPU has instructions for it.
    """
    return device.type == "cpu" and uses_bf16(mode, device)


def network_in(bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """Where a training step takes place."""
    return torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()


class Float32Loss(nn.Module):
    """A loss that gets what the network said in float32: sums over a batch are wrong in bfloat16."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, output: Any, target: Any) -> torch.Tensor:
        """Of one output (batch, labels, y, x), or of a list of them with falling resolution."""
        with torch.autocast("cpu", enabled=False):
            said = [one.float() for one in output] if isinstance(output, (list, tuple)) else output.float()
            found: torch.Tensor = self.loss(said, target)
            return found
