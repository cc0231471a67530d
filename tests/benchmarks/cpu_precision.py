"""What bfloat16 spares a training step of nnU-Net on a CPU: docs/decisions/bfloat16.md.

    python tests/benchmarks/cpu_precision.py [--threads 2] --out FILE

Networks of the sizes of cpu_size.py, random images, deep supervision and nnU-Net's loss, as nnU-Net's trainer steps; the median of 15
steps after five. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from cpu_size import SIZES
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.nnunet.precision import Float32Loss, network_in

LABELS, FIRST, STEPS = 4, 12, 15


def seconds(patch: int, batch: int, stages: int, bf16: bool) -> float:
    """Of one training step."""
    torch.manual_seed(0)
    network = PlainConvUNet(
        1,
        stages,
        [FIRST * 2**i for i in range(stages)],
        nn.Conv2d,
        3,
        [1] + [2] * (stages - 1),
        2,
        LABELS,
        2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    plain = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, ignore_label=None, dice_class=MemoryEfficientSoftDiceLoss)
    outputs = stages - 1
    loss: nn.Module = DeepSupervisionWrapper(plain, [2.0**-i for i in range(outputs)])
    loss = Float32Loss(loss) if bf16 else loss
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
    image = torch.randn(batch, 1, patch, patch)
    targets = [torch.randint(0, LABELS, (batch, 1, patch >> i, patch >> i)).float() for i in range(outputs)]
    taken = []
    for _ in range(5 + STEPS):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with network_in(bf16):
            loss(network(image), targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimiser.step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[5:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    rows = []
    for threads in given.threads:
        torch.set_num_threads(threads)
        for name, (_, patch, batch, stages) in SIZES.items():
            both = {mode: round(seconds(patch, batch, stages, mode == "bf16"), 4) for mode in ("float32", "bf16")}
            rows.append({"threads": threads, "size": name, "patch": patch, "batch": batch, "stages": stages, **both})
            console.print(rows[-1])
    able = [name for name in ("avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(name)]
    write_json(given.out, {"torch": torch.__version__, "instructions": able, "seconds": rows})


if __name__ == "__main__":
    main()
