"""What tests/test_nnunet_ddp.py runs twice, as rank 0 and 1: nnU-Net's training on two processes, without GPUs.

nnU-Net starts several processes on CUDA devices only (``-num_gpus``). What it does there is the same with gloo on the CPU, after
two changes to nnU-Net itself: its trainer takes the CPU, and DDP is not told of a GPU. The trainer under test is not touched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from nnunet_fixture import DATASET
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host  # noqa: N813
from torch.nn.parallel import DistributedDataParallel

from nnunet_synth_aug.files import write_json

TRAINER = "nnUNetTrainerSynthAug"


def make(name: str, plans: str, resume: bool) -> Any:
    made = get_trainer_from_args(DATASET, "2d", 0, name, plans, resume)
    made.device, made.grad_scaler = torch.device("cpu"), None
    maybe_load_checkpoint(made, resume, False)
    return made


def train(plans: str, changed: str) -> dict[str, Any]:
    """Train and note the case ids of this process's batches; then try to go on with other settings."""
    made = make(TRAINER, plans, False)
    keys: list[list[str]] = []
    step = made.train_step

    def watched(batch: dict) -> dict:
        keys.append([str(key) for key in batch["keys"]])
        return step(batch)

    made.train_step = watched
    made.run_training()
    weights = np.concatenate([p.detach().numpy().ravel() for p in made.network.parameters()])
    (Path(made.preprocessed_dataset_folder_base) / f"{plans}.json").write_text(changed)
    dist.barrier()  # both have the new plans
    try:
        make(TRAINER, plans, True).run_training()
        refused = ""
    except SystemExit as error:
        refused = str(error)
    return {"keys": keys, "weights": [float(weights.sum()), float(np.abs(weights).sum())], "refused": refused}


def main(rank: int, folder: Path, plans: str) -> None:
    torch.set_num_threads(1)
    host.DDP = lambda network, device_ids: DistributedDataParallel(network)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    try:
        write_json(folder / f"rank{rank}.json", train(plans, (folder / "changed.json").read_text()))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
