"""The synthetic share over 2 000 batches through nnU-Net's worker processes, and mix00 beside nnU-Net's own trainer.

    python tests/benchmarks/nnunet/quota.py --out matrix_run [--json docs/nnunet/quota.json] [--batches 2000]

``--out`` is the folder of matrix.py, after its bank rows. Cells that are in the JSON are not run again; --again repeats all.
Cases are held in memory and patches are small, because the counts are asked for, not the speed (tests/benchmarks/loader.py).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from workspace import DOCS, HEARTS, Workspace, stamp

from nnunet_synth_aug.core.files import read_json, write_json

PLANS = "shortPlans"
RATIO = 0.35  # whole numbers of samples at no batch size below
BATCH_SIZES, WORKERS, METHODS = (2, 5, 12), (1, 2, 3, 4), ("fork", "spawn")
PATCH = (16, 16)
STEPS = 8  # of the two trainers side by side


class InMemory:
    """nnU-Net's dataset interface over arrays."""

    def __init__(self, cases: dict[str, tuple[Any, ...]]) -> None:
        self.cases, self.identifiers = cases, list(cases)

    def load_case(self, identifier: str) -> tuple[Any, ...]:
        return self.cases[identifier]


def in_memory(dataset: Any) -> InMemory:
    cases = {}
    for case in dataset.identifiers:
        data, seg, _, properties = dataset.load_case(case)
        cases[case] = (np.asarray(data[:]), np.asarray(seg[:]), None, properties)
    return InMemory(cases)


def trainer(name: str, configuration: str = "2d") -> Any:
    from nnunetv2.run.run_training import get_trainer_from_args

    made = get_trainer_from_args(HEARTS.folder, configuration, 0, name, PLANS, device=torch.device("cpu"))
    made.initialize()
    return made


def count(data: Any, label_manager: Any, batch_size: int, workers: int, batches: int) -> dict[str, Any]:
    """Synthetic samples of the first ``batches`` batches that ``workers`` processes deliver."""
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

    from nnunet_synth_aug.nnunet.mixing.loader import MixedDataLoader
    from nnunet_synth_aug.nnunet.mixing.mixture import Mix

    loader = MixedDataLoader(data, batch_size, PATCH, PATCH, label_manager, mix=Mix((RATIO,), batches))
    augmenter = NonDetMultiThreadedAugmenter(loader, None, workers, max(6, workers // 2), None, False, 0.002)
    counts, positions, seen = [], np.zeros(batch_size), set()
    for _ in range(batches):
        batch = next(augmenter)
        synthetic = np.array([key.startswith("synth_") for key in batch["keys"]])
        counts.append(int(synthetic.sum()))
        positions += synthetic
        seen.add(hashlib.sha256(np.ascontiguousarray(batch["data"]).tobytes()).digest())
    augmenter._finish()
    asked = RATIO * batch_size * batches
    return {
        "batch_size": batch_size,
        "workers": workers,
        "samples": batch_size * batches,
        "asked": round(asked, 3),
        "synthetic": sum(counts),
        "off_by": round(sum(counts) - asked, 3),
        "per_batch": [min(counts), max(counts)],
        "per_batch_allowed": [math.floor(RATIO * batch_size), math.ceil(RATIO * batch_size)],
        "share_by_position": [round(float(p) / batches, 3) for p in (positions.min(), positions.max())],
        "distinct_batches": len(seen),
    }


def side_by_side(configuration: str) -> dict[str, Any]:
    """nnUNetTrainer and mix00 from the same seeds: batches, losses and weights."""
    batches: list[list[Any]] = []
    losses: list[list[float]] = []
    weights = []
    for name in ("nnUNetTrainer", "nnUNetTrainerSynthAug_mix00"):
        torch.manual_seed(5)
        made = trainer(name, configuration)
        np.random.seed(6)
        torch.manual_seed(6)
        made.on_train_start()
        made.on_train_epoch_start()
        drawn = [next(made.dataloader_train) for _ in range(STEPS)]
        batches.append([*drawn, next(made.dataloader_val)])
        losses.append([float(made.train_step(batch)["loss"]) for batch in drawn])
        weights.append(torch.cat([p.detach().flatten() for p in made.network.parameters()]))
    same = all(
        list(a["keys"]) == list(b["keys"])
        and torch.equal(a["data"], b["data"])
        and all(torch.equal(s, t) for s, t in zip(a["target"], b["target"], strict=True))
        for a, b in zip(*batches, strict=True)
    )
    return {
        "configuration": configuration,
        "steps": STEPS,
        "same_batches": same,
        "same_losses": losses[0] == losses[1],
        "largest_difference_of_weights": float((weights[0] - weights[1]).abs().max()),
        "weights": int(weights[0].numel()),
        "losses": [round(x, 4) for x in losses[1]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder of matrix.py")
    parser.add_argument("--json", type=Path, default=DOCS / "quota.json")
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    Workspace(arguments.out.resolve()).enter()
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  # nnU-Net's name; of the side-by-side trainings only
    torch.set_num_threads(1)
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    from nnunet_synth_aug.nnunet.bank.manifest import bank_status
    from nnunet_synth_aug.nnunet.mixing.dataset import MixedDataset
    from nnunet_synth_aug.nnunet.target import load_target

    known = read_json(arguments.json) if arguments.json.is_file() and not arguments.again else {}
    result: dict[str, Any] = {"ratio": RATIO, "batches": arguments.batches, "cells": {}, "mix00": {}}
    if known.get("batches") == arguments.batches:
        result |= {"cells": known["cells"], "mix00": known["mix00"]}

    def keep(part: str, name: str, value: dict[str, Any]) -> None:
        result[part][name] = value
        print(f"{name}: {value}", flush=True)
        write_json(arguments.json, {**stamp(), **result})

    for configuration in ("2d", "3d_fullres"):
        if configuration not in result["mix00"]:
            keep("mix00", configuration, side_by_side(configuration))

    target = load_target(HEARTS.folder, "2d", PLANS)
    bank = bank_status(target, 0)
    real = nnUNetDatasetBlosc2(str(target.folder / target.data_identifier))
    data = MixedDataset(in_memory(real), in_memory(nnUNetDatasetBlosc2(str(bank.folder), bank.ids)))
    labels = target.plans_manager.get_label_manager(target.dataset_json)
    for method in METHODS:
        multiprocessing.set_start_method(method, force=True)
        for workers in WORKERS:
            for batch_size in BATCH_SIZES:
                name = f"{method}, {workers} workers, batch {batch_size}"
                if name not in result["cells"]:
                    keep("cells", name, {"method": method, **count(data, labels, batch_size, workers, arguments.batches)})
    failed = [name for name, cell in result["cells"].items() if abs(cell["off_by"]) > 1 + cell["workers"]]
    raise SystemExit(f"the share is not exact: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
