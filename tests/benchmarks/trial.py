"""The figures of docs/results/try.md from finished tries.

    synthaug try -d 44 --iterations 40 --go -o ten
    python tests/benchmarks/trial.py "ten ACDC patients=ten" "phantoms=phantoms"

Each folder is named in words; tries that are in the figures and not named stay. Nothing of a patient is kept: numbers of patients, times,
sizes and the verdict.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

from page_table import DOCS

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json

KEPT = ("date", "version", "verdict", "quick", "sentences", "limits", "fold", "configuration", "device", "small_network", "iterations")
KEPT += ("arm", "why", "training_patients", "tested", "tested_patients", "results", "estimated", "took")


def finished_try(data: str, folder: Path) -> dict[str, Any]:
    """What the try in ``folder`` said, took and ended with."""
    answer = read_json(folder / "verdict.json")
    steps = [read_json(path) for path in sorted((folder / "steps").glob("*.json"))]
    seconds = {step["title"]: step["seconds"] for step in sorted(steps, key=lambda step: step["ended"]) if step["seconds"] >= 1}
    return {"data": data} | {key: answer[key] for key in KEPT} | {"seconds": seconds}


def processor() -> str:
    """The name of this machine's processor, without speeds and trademarks."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return " ".join(name.replace("(R)", "").split()[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tries", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--json", type=Path, default=DOCS / "try.json")
    arguments = parser.parse_args()
    named = [text.partition("=") for text in arguments.tries]
    if wrong := [name for name, equals, folder in named if not (name and equals and folder)]:
        raise UserError(f"{wrong[0]} is not of the form NAME=FOLDER")
    tries = [finished_try(name, Path(folder)) for name, _, folder in named]
    machine = f"{os.cpu_count()} cores of an {processor()}, no GPU, beside other work, Python {platform.python_version()}"
    made = {one["data"]: one | {"machine": machine} for one in tries}
    known = {one["data"]: one for one in read_json(arguments.json)["tries"]} if arguments.json.is_file() else {}
    write_json(arguments.json, {"tries": list((known | made).values())})
    print(f"figures: {arguments.json}")


if __name__ == "__main__":
    main()
