"""Batches per second of the mixing loader over nnU-Net's own, with nnU-Net's augmentation, in one process.

    python tests/benchmarks/loader.py --out matrix_run [--json docs/nnunet/loader.json] [--pairs 200]

``--out`` is the folder of nnunet/matrix.py, after its rows "plan and preprocess", "short plans", "doctor" and "3d_fullres". Both
loaders read the same data: for this benchmark, in a copy of the project, the bank holds the fold's training cases under its own
names, because how long a case takes to unpack depends on how well it was packed. They make short stretches of batches in turns,
the first of a pair alternating, so that what else the machine does falls on both. Augmentation is drawn at random, and some draws
take longer than others, so both draw it from the same seed, sample by sample. A pair gives one ratio; reported is the median over
pairs with a 95 % interval by bootstrap over pairs, for elapsed and for processor time. nnU-Net's loader against itself is the
control: what its interval leaves open, this benchmark cannot see. The images are small, so that what a loader adds weighs more than
with real ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "nnunet"))
from workspace import DOCS, HEARTS, Workspace, stamp

from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.nnunet.bank.manifest import manifest_path, read_manifest
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES
from nnunet_synth_aug.nnunet.patients import fold_cases
from nnunet_synth_aug.nnunet.target import load_target

PLANS = "shortPlans"
MIXES = (0, 25, 50, 100)
STRETCH = {"2d": 8, "3d_fullres": 8}  # batches
NAME = "nnUNetTrainerSynthAug_mix{:02d}"


class Seeded:
    """nnU-Net's transforms, with a seed for every sample."""

    def __init__(self, transforms: Any) -> None:
        self.transforms, self.next = transforms, 0

    def __call__(self, **sample: Any) -> Any:
        np.random.seed(self.next)
        torch.manual_seed(self.next)
        self.next += 1
        return self.transforms(**sample)


def copied_project(matrix: Workspace, root: Path) -> None:
    """A project whose banks hold the training cases, in place of synthetic ones; entered."""
    dataset = HEARTS.folder
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(matrix.folder("nnUNet_preprocessed", dataset), root / "nnUNet_preprocessed" / dataset)
    Workspace(root).enter()
    os.environ["nnUNet_raw"] = str(matrix.folder("nnUNet_raw"))  # noqa: SIM112  # nnU-Net's name
    for configuration in STRETCH:
        target = load_target(dataset, configuration, PLANS)
        train, _ = fold_cases(dataset, 0, target.cases())
        manifest = read_manifest(target, 0)
        shown = manifest.content["cases"][: len(train)]
        for entry, case in zip(shown, train, strict=True):
            for ending in CASE_FILES:
                shutil.copy(target.folder / target.data_identifier / f"{case}{ending}", manifest.folder / f"{entry['id']}{ending}")
        write_json(manifest_path(dataset, 0, target.data_identifier), manifest.content | {"cases": shown})


def loader(name: str, configuration: str) -> Any:
    """The training loader of a trainer as nnU-Net makes it, in this process, with seeded augmentation."""
    from nnunetv2.run.run_training import get_trainer_from_args

    made = get_trainer_from_args(HEARTS.folder, configuration, 0, name, PLANS, device=torch.device("cpu"))
    made.initialize()
    found = made.get_dataloaders()[0].data_loader
    found.transforms = Seeded(found.transforms)
    return found


def stretch(one: Any, batches: int) -> tuple[float, float]:
    """Elapsed and processor seconds for some batches."""
    elapsed, busy = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(one)
    return time.perf_counter() - elapsed, time.process_time() - busy


def compare(own: Any, other: Any, batches: int, pairs: int) -> dict[str, Any]:
    """Speed of ``other`` over that of ``own``: ratio of the times of neighbouring stretches."""
    stretch(own, 2), stretch(other, 2)
    ratios = []
    for pair in range(pairs):
        times = {}
        for which in ("own", "other") if pair % 2 else ("other", "own"):
            turn = own if which == "own" else other
            turn.transforms.next = 1000 * pair
            np.random.seed(pair)  # of the first batch's cases and patches
            times[which] = stretch(turn, batches)
        ratios.append([a / b for a, b in zip(times["own"], times["other"], strict=True)])
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {"pairs": pairs, "batches_per_stretch": batches}
    for name, values in zip(("elapsed", "processor"), np.array(ratios).T, strict=True):
        medians = np.median(rng.choice(values, (2000, pairs)), axis=1)
        low, high = np.percentile(medians, [2.5, 97.5])
        result[name] = {"median_ratio": round(float(np.median(values)), 4), "interval_95": [round(float(low), 4), round(float(high), 4)]}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder of nnunet/matrix.py")
    parser.add_argument("--json", type=Path, default=DOCS / "loader.json")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--busy", action="store_true", help="say in the result that other work ran on the machine")
    arguments = parser.parse_args()
    copied_project(Workspace(arguments.out.resolve()), arguments.out.resolve() / "loader")
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  # nnU-Net's name
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    for configuration, batches in STRETCH.items():
        own = loader("nnUNetTrainer", configuration)
        start = stretch(own, batches)
        cases = {"control: nnU-Net's loader twice": loader("nnUNetTrainer", configuration)}
        cases |= {f"mix {mix} %": loader(NAME.format(mix), configuration) for mix in MIXES}
        rows[configuration] = {
            "batch_size": own.batch_size,
            "patch": list(own.final_patch_size),
            "seconds_per_batch": round(start[0] / batches, 3),
        }
        for name, other in cases.items():
            rows[configuration][name] = compare(own, other, batches, arguments.pairs)
            print(configuration, name, rows[configuration][name], flush=True)
    write_json(arguments.json, {**stamp(), "machine_busy": arguments.busy, "rows": rows})


if __name__ == "__main__":
    main()
