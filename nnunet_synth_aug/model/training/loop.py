"""The one training loop of the three stages.

The randomness of step i comes from (seed, i) alone, and a checkpoint holds weights, EMA and optimiser: a
training that was killed and resumed takes the same steps as one that was not, on any number of processes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json
from nnunet_synth_aug.model.config import TrainConfig
from nnunet_synth_aug.model.training.checkpoint import load_checkpoint, load_optimiser, optimiser_tensors, save_checkpoint
from nnunet_synth_aug.model.training.device import uses_bf16
from nnunet_synth_aug.model.training.distributed import is_first, mean_over_processes, same_everywhere, world


@dataclass(frozen=True)
class Step:
    """What a loss may depend on besides the network."""

    index: int
    share: float  # index / steps
    rng: np.random.Generator  # of this step
    teacher: nn.Module  # the EMA of the network


#: State of a network, by name.
Weights = dict[str, torch.Tensor]

#: Draws this process's rows of the joint batch; returns its term of the loss (distributed.joint_mean) and of the parts worth showing.
Loss = Callable[[nn.Module, Step], tuple[torch.Tensor, dict[str, torch.Tensor]]]

#: Of AdamW, and the largest norm of a step's gradient.
WEIGHT_DECAY, CLIP_NORM = 0.01, 1.0
#: Steps between two looks at the loss: reading it makes a GPU wait.
LOOK = 10


class _LossOf(nn.Module):
    """A loss as the forward pass of a module, which is what DistributedDataParallel synchronises."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.loss(self.network, step)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then cosine to 2 % of the peak."""
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def train(
    network: nn.Module,
    loss: Loss,
    config: TrainConfig,
    folder: Path,
    title: str,
    seed: int,
    identity: dict,
    device: torch.device,
) -> nn.Module:
    """Train ``network`` and return its EMA, resuming from ``folder`` if a checkpoint is there.

    Args:
        network: trained in place.
        loss: (network, step) -> loss, parts.
        config: steps, learning rate, EMA.
        folder: for ``<title>.training.safetensors`` (removed by the caller when the stage is saved) and
            ``<title>.losses.jsonl`` (of every tenth step: losses, and the seconds since this process began).
        title: of the stage, for files and the progress bar.
        seed: of the whole training.
        identity: what the training depends on (config, data); a checkpoint of another identity is refused.
        device: where to train; this process's, see distributed.processes.
    """
    checkpoint, log = folder / f"{title}.training.safetensors", folder / f"{title}.losses.jsonl"
    if config.batch_size % world():
        raise UserError(f"{title}: a batch of {config.batch_size} cannot be shared evenly by {world()} processes; start fewer or more")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    network.to(device).train()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=WEIGHT_DECAY,
        betas=(0.9, 0.99),
        fused=device.type in ("cpu", "cuda"),
    )
    fingerprint = hash_json({"train": asdict(config), "seed": seed, **identity})
    first = 0
    if checkpoint.is_file():
        tensors, header = load_checkpoint(checkpoint, device)
        if header["fingerprint"] != fingerprint:
            raise UserError(f"{checkpoint} belongs to a training with other settings or patients; delete {folder} or use the same settings")
        network.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        average.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("ema.")})
        load_optimiser(optimiser, tensors)
        first = header["step"]
    if not same_everywhere(first, device):
        raise UserError(f"the processes do not see the same {checkpoint}; {folder} must lie on a file system that all of them share")
    loss_of: nn.Module = _LossOf(network, loss)
    if world() > 1:
        loss_of = nn.parallel.DistributedDataParallel(loss_of)

    def save(step: int) -> None:
        tensors = {f"net.{k}": v for k, v in network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in average.state_dict().items()}
        save_checkpoint(checkpoint, tensors | optimiser_tensors(optimiser), {"step": step, "fingerprint": fingerprint})

    folder.mkdir(parents=True, exist_ok=True)
    bf16 = uses_bf16(config.autocast, device)
    saved = begun = time.monotonic()
    with progress(title, config.steps, first) as bar:
        for index in range(first, config.steps):
            rng = np.random.default_rng([seed, index])
            torch.manual_seed(int(rng.integers(2**62)))
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, index)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                value, parts = loss_of(Step(index, index / config.steps, rng, average.module))
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
            # Early averages would remember the initial weights: ramp the EMA in.
            average.multi_avg_fn = get_ema_multi_avg_fn(min(config.ema_decay, (1 + index) / (10 + index)))
            average.update_parameters(network)
            if index % LOOK != 0 and index + 1 < config.steps:
                continue
            shown = dict(zip(("loss", *parts), mean_over_processes(torch.stack([value.detach(), *parts.values()])).tolist(), strict=True))
            if not math.isfinite(shown["loss"]):
                raise UserError(f"{title}: the loss became {shown['loss']} by step {index}; lower the learning rate and delete {folder}")
            if is_first():
                line = {"step": index, **{k: round(v, 5) for k, v in shown.items()}, "seconds": round(time.monotonic() - begun, 2)}
                with log.open("a") as lines:
                    lines.write(json.dumps(line) + "\n")
                bar.advance(index + 1, " ".join(f"{k} {v:.3f}" for k, v in shown.items()))
                if time.monotonic() - saved > config.checkpoint_seconds and index + 1 < config.steps:
                    save(index + 1)
                    saved = time.monotonic()
    return average.module.eval()
