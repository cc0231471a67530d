"""What tests/test_nnunet_ddp.py runs twice, as rank 0 and 1: nnU-Net's ``run_ddp`` on two processes, without GPUs.

nnU-Net starts several processes on CUDA devices only (``-num_gpus``). What each does there, from making the trainer to the final
validation, is the same with gloo on the CPU, after changes to nnU-Net itself: its trainer takes the CPU, the processes meet over
gloo, and neither torch nor DDP is told of a GPU. The trainer under test is not touched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from nnunet_fixture import DATASET
from nnunetv2.run import run_training as command
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host  # noqa: N813
from torch.nn.parallel import DistributedDataParallel

from nnunet_synth_aug.core.files import write_json

TRAINER = "nnUNetTrainerSynthAug"


def train(rank: int, plans: str, changed: str, validate: bool) -> dict[str, Any]:
    """Train and maybe validate, and note the case ids of this process's batches; then try to go on with other settings."""
    keys: list[list[str]] = []
    trainers: list[Any] = []
    make = command.get_trainer_from_args

    def on_the_cpu(*arguments: Any) -> Any:
        made = make(*arguments)
        made.device, made.grad_scaler = torch.device("cpu"), None
        step = made.train_step

        def watched(batch: dict) -> dict:
            keys.append([str(key) for key in batch["keys"]])
            return step(batch)

        made.train_step = watched
        if not validate:
            made.perform_actual_validation = lambda *_: None
        trainers.append(made)
        return made

    def run(resume: bool) -> None:
        """As ``nnUNetv2_train 731 2d 0 -tr TRAINER -p PLANS -num_gpus 2``, with or without ``--c``, starts each process."""
        command.run_ddp(rank, DATASET, "2d", 0, TRAINER, plans, False, resume, False, None, False, False, 2)

    command.get_trainer_from_args = on_the_cpu
    run(resume=False)
    weights = np.concatenate([p.detach().numpy().ravel() for p in trainers[0].network.parameters()])
    (Path(trainers[0].preprocessed_dataset_folder_base) / f"{plans}.json").write_text(changed)
    dist.barrier()  # both have the new plans
    try:
        run(resume=True)
        refused = ""
    except SystemExit as error:
        refused = str(error)
    finally:
        command.get_trainer_from_args = make
    return {"keys": keys, "weights": [float(weights.sum()), float(np.abs(weights).sum())], "refused": refused}


def main(rank: int, folder: Path, *plans: str) -> None:
    torch.set_num_threads(1)
    host.DDP = lambda network, device_ids: DistributedDataParallel(network)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    command.setup_ddp = command.cleanup_ddp = lambda *_: None  # they would meet over nccl, and part after the first training
    torch.cuda.set_device = lambda _: None
    try:
        noted = [train(rank, name, (folder / f"{name}_changed.json").read_text(), name == plans[0]) for name in plans]
        write_json(folder / f"rank{rank}.json", noted)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
