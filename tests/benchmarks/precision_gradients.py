"""How far gradients in bfloat16 are from those in float32, at the beginning and at the end of a training: docs/decisions/bfloat16.md.

    python tests/benchmarks/precision_gradients.py RUN --out FILE

RUN is the folder ``TRAINER__PLANS__CONFIGURATION/fold_K`` of a finished training on a CPU; nnU-Net's folders are those it was trained with.
The cosine between gradients of two batches tells what a difference means.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.precision import Float32Loss, network_in

BATCHES = 4


def gradient(trainer: nnUNetTrainer, batch: dict[str, Any], bf16: bool) -> torch.Tensor:
    """Of all weights but the biases in front of an instance norm, whose gradient is 0."""
    trainer.network.zero_grad()
    loss: nn.Module = Float32Loss(trainer.loss) if bf16 else trainer.loss
    with network_in(bf16):
        loss(trainer.network(batch["data"]), batch["target"]).backward()
    found = [p.grad.flatten() for name, p in trainer.network.named_parameters() if p.grad is not None and not name.endswith("conv.bias")]
    return torch.cat(found).clone()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    model = given.run.parent
    plans = read_json(model / "plans.json") | {"continue_training": True}
    fold, configuration = given.run.name.removeprefix("fold_"), model.name.split("__")[-1]
    trainer = nnUNetTrainer(plans, configuration, int(fold), read_json(model / "dataset.json"), torch.device("cpu"))
    trainer.initialize()
    trainer.dataloader_train, _ = trainer.get_dataloaders()
    trainer.network.train()
    batches = [next(trainer.dataloader_train) for _ in range(BATCHES)]
    first = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    last = torch.load(given.run / "checkpoint_final.pth", map_location="cpu", weights_only=False)["network_weights"]
    found = {}
    for when, weights in (("beginning", first), ("end", last)):
        trainer.network.load_state_dict(weights)
        exact = [gradient(trainer, batch, False) for batch in batches]
        rounded = [gradient(trainer, batch, True) for batch in batches]

        def cosines(pairs: Any) -> dict[str, float]:
            values = [float(nn.functional.cosine_similarity(one, other, dim=0)) for one, other in pairs]
            return {"lowest": round(min(values), 4), "highest": round(max(values), 4)}

        others = [(exact[i], exact[j]) for i in range(BATCHES) for j in range(i)]
        found[when] = {"bfloat16 and float32": cosines(zip(exact, rounded, strict=True)), "two batches": cosines(others)}
        console.print({when: found[when]})
    write_json(given.out, {"batches": BATCHES, "cosines": found})


if __name__ == "__main__":
    main()
