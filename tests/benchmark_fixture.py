"""Studies whose steps are real processes of a moment, for the tests of how they are run; and what a whole tiny study needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from evaluation.benchmark.executors import LocalExecutor
from evaluation.benchmark.runner import Runner
from evaluation.benchmark.steps import Step
from evaluation.benchmark.study import Study

#: Every start appends a line, so that repeated work shows; then it waits for the file ``go`` if it is told to.
WORK = """
import os, sys, time
product, patient = sys.argv[1:]
open(product + ".starts", "a").write("x\\n")
while patient == "waits" and not os.path.exists(os.path.join(os.path.dirname(product), "go")):
    time.sleep(0.05)
open(product, "a").write("done ")
"""


def a_study(**changes) -> Study:
    return Study("test", None, ("mix50",), **changes)  # type: ignore[arg-type]


def step(folder: Path, name: str, needs: tuple[str, ...] = (), settings: dict | None = None, code: str = WORK, how: str = "runs") -> Step:
    product = folder / name
    words = ["python", "-c", code, str(product), how]
    return Step(name, name, settings or {"a": {"b": 1}}, product.is_file, needs, command=lambda _: words, heavy=True)


def three_steps(folder: Path) -> list[Step]:
    return [step(folder, "quick"), step(folder, "slow", ("quick",), how="waits"), step(folder, "last", ("slow",))]


def run(folder: Path, steps: list[Step], study: Study | None = None) -> None:
    Runner(study or a_study(), steps, folder, LocalExecutor(folder)).run()


def starts(folder: Path, name: str) -> int:
    path = folder / f"{name}.starts"
    return len(path.read_text().split()) if path.is_file() else 0


if __name__ == "__main__":  # a benchmark in a process of its own, which can be killed
    import sys

    run(Path(sys.argv[1]), three_steps(Path(sys.argv[1])))


#: Plans and length of the smallest trainings.
TINY: dict[str, Any] = {
    "plans": {"spacing": 2.5, "patch": 48, "batch": 4, "stages": 3, "features": 8},
    "training": {"epochs": 2, "iterations": 5, "val_iterations": 1},
}


#: One process and one thread for each command.
#: Everything in one process, as every process of nnU-Net imports for eight seconds.
LIMITS = {"OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0", "nnUNet_npp": "0", "nnUNet_nps": "0"}


def synthaug(folders: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with one thread."""
    script = str(Path(sys.executable).with_name("synthaug"))
    return subprocess.run([script, *words], env=os.environ | LIMITS | folders, capture_output=True, text=True, check=False)
