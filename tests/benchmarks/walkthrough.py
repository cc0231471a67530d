"""The figures of docs/results/demo.md from finished demos.

    for seed in 0 1 2 3 4 5 6 7 8 9; do synthaug demo --seed $seed -o demo_$seed; done
    python tests/benchmarks/walkthrough.py demo_0 demo_1 demo_2 demo_3 demo_4 demo_5 demo_6 demo_7 demo_8 demo_9

The first folder is shown step by step; all of them are in the table of runs.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

from demo_page import mean
from page_table import DOCS

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json


def finished_demo(folder: Path) -> dict[str, Any]:
    """What the demo in ``folder`` ended with, when, and on what machine."""
    figures = read_json(folder / "demo.json")
    if figures["settings"]["source"] is not None:
        raise UserError("only the figures of the phantom demo are kept")
    ended = max(read_json(path)["ended"] for path in (folder / "steps").glob("*.json") if "seed_0" in path.name)
    figures["bank"]["quality"]["given_up"] = len(figures["bank"]["quality"]["given_up"])
    return figures | {
        "machine": f"{os.cpu_count()} CPU cores, no GPU, Python {platform.python_version()}",
        "date": ended[:10],
        "version": __version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="where demos ended; the first is shown in detail")
    parser.add_argument("--json", type=Path, default=DOCS / "walkthrough.json")
    arguments = parser.parse_args()
    demos = [finished_demo(folder) for folder in arguments.folders]
    if len({demo["settings"]["seed"] for demo in demos}) < len(demos):
        raise UserError("two of the demos have one seed; give every run once")
    runs = sorted((mean(demo) for demo in demos), key=lambda run: run["seed"])
    write_json(arguments.json, {"demo": demos[0], "runs": runs})
    print(f"figures: {arguments.json}")


if __name__ == "__main__":
    main()
