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

from evaluation.benchmark.executors import LocalExecutor
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import Runner
from evaluation.benchmark.study import REAL, VALIDATION, Data, PlansSettings, Study, TestSet, Training
from evaluation.benchmark.workspace import Workspace
from evaluation.evaluate import evaluate_folder
from evaluation.scoring.rules import ScoringRules
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.files import read_json, write_json

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
                write_json(kept, {name: scores(folder, at.out / f"scores_{name}_{seed}", truth) for name, (folder, truth) in tests.items()})
            found = {path.stem: read_json(path) for path in sorted(each.glob("*.json"))}
            write_json(out / "cpu_size.json", {"sizes": SIZES, "trainings": found})
            console.print(f"{size}, seed {seed}: {found[kept.stem]}")


if __name__ == "__main__":
    main()
