"""How large a patch and how deep a network small trainings need, real patients only: docs/results/cpu-size.md has the plan.

    python tests/benchmarks/cpu_size.py --acdc ACDC --mnms MNMS_RAW --out FOLDER [--sizes now both] [--seeds 0]

ACDC is a folder as ``synthaug import acdc`` takes it, MNMS_RAW a raw data set of nnU-Net with test patients of other scanners. The same
command goes on after a kill; what is finished is scored and written to FOLDER/cpu_size.json. Several of them, each with sizes of its own
and OMP_NUM_THREADS=1, use the cores better than one with all threads.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from evaluation.benchmark.executors import LocalExecutor
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import Runner
from evaluation.benchmark.study import REAL, VALIDATION, Data, PlansSettings, Study, TestSet, Training
from evaluation.benchmark.workspace import Workspace
from evaluation.evaluate import evaluate_folder
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json

#: Spacing in mm, in-plane patch, batch and stages. 160 x 160 at 2 mm and 112 x 112 at 3 mm cover the images; three of the one and six of
#: the other hold the pixels of eight of 96 x 96.
SIZES = {
    "now": (2.0, 96, 8, 4),
    "deeper": (2.0, 96, 8, 5),
    "wider": (2.0, 160, 3, 4),
    "both": (2.0, 160, 3, 5),
    "twice": (2.0, 160, 6, 5),
    "coarse": (3.0, 112, 6, 5),
}
OTHERS = "Dataset228_Others"


def study(size: str, seed: int, acdc: Path) -> Study:
    """Ten patients train, two of each group; all others are tested."""
    spacing, patch, batch, stages = SIZES[size]
    return Study(
        f"CPU size {size}",
        Data("acdc", folder=acdc, per_group=2, test_unused=True),
        arms=(),
        plans=PlansSettings(spacing=spacing, patch=patch, batch=batch, stages=stages, features=12),
        training=Training(100, 50, 1),
        seeds=(seed,),
        tests=(TestSet("others", "nnunet", dataset=OTHERS),),
    )


def scores(predictions: Path, out: Path, truth: Path) -> dict[str, Any]:
    """Means over patients per structure, with islands and without."""
    found: dict[str, Any] = {}
    for largest in (False, True):
        table = evaluate_folder(predictions, out, rules=ScoringRules(largest_heart=largest), dataset=truth).table
        own = table[table["metric"].isin(["Dice", "HD"])].groupby(["structure", "metric", "patient"])["value"].mean()
        for (structure, metric), mean in own.groupby(["structure", "metric"]).mean().items():
            found[f"{structure} {metric}{' without islands' if largest else ''}"] = round(float(mean), 4)
    return found


def islands(predictions: Path, truth: Path) -> dict[str, Any]:
    """What lies apart from the largest heart: how much of it, how far from the heart in the slices' plane, what share beyond its slices."""
    count, far, beyond, frames = 0, [], 0, 0
    for path in sorted(predictions.glob("fold_0/validation/*.nii.gz")):
        predicted, spacing, _ = read_nifti(path, ndim=3)
        heart = read_nifti(truth / "labelsTr" / path.name, ndim=3)[0] > 0
        pieces, n = ndimage.label(predicted > 0, np.ones((3, 3, 3)))
        sizes, slices, centre = np.bincount(pieces.ravel())[1:], np.flatnonzero(heart.any((0, 1))), np.argwhere(heart).mean(0)
        frames += 1
        for piece in range(1, n + 1):
            if piece != sizes.argmax() + 1:
                place = np.argwhere(pieces == piece).mean(0)
                count, beyond = count + 1, beyond + (not slices.min() <= round(place[2]) <= slices.max())
                far.append(float(np.hypot(*((place - centre)[:2] * spacing[:2]))))
    quartiles = np.percentile(far, (25, 50, 75)).round().tolist() if far else []
    return {"a frame": round(count / frames, 2), "mm away (quartiles)": quartiles, "beyond the heart": round(beyond / max(count, 1), 2)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--acdc", type=Path, required=True)
    arguments.add_argument("--mnms", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = arguments.parse_args()
    out, raw = given.out.resolve(), given.out.resolve() / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if not (raw / OTHERS).is_symlink():
        (raw / OTHERS).symlink_to(given.mnms.resolve())
    os.environ |= {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(out / "preprocessed"), "nnUNet_results": str(out / "results")}
    each = out / "trainings"
    each.mkdir(exist_ok=True)
    for seed in given.seeds:  # one of every size first
        for size in given.sizes:
            one = study(size, seed, given.acdc.resolve())
            at = Workspace(out / size, one)
            Runner(one, build_steps(one, at), at.out, LocalExecutor(at.out)).run()
            tests = {VALIDATION: (at.model(REAL, seed), at.raw), "others": (at.predictions(REAL, seed, "others"), raw / OTHERS)}
            if not (kept := each / f"{size} {seed}.json").is_file():
                found = {name: scores(folder, at.out / f"scores_{name}_{seed}", truth) for name, (folder, truth) in tests.items()}
                write_json(kept, found | {f"islands {name}": islands(folder, truth) for name, (folder, truth) in tests.items()})
            every = {path.stem: read_json(path) for path in sorted(each.glob("*.json"))}
            write_json(out / "cpu_size.json", {"sizes": SIZES, "trainings": every})
            console.print(f"{size}, seed {seed}: {every[kept.stem]}")


if __name__ == "__main__":
    main()
