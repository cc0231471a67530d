"""The figures of docs/results/demo.md from a finished demo, and from more trainings of its arms.

    synthaug demo
    python tests/benchmarks/walkthrough.py synthaug_demo
    synthaug benchmark tests/benchmarks/demo_seeds.yaml -o synthaug_demo
    python tests/benchmarks/walkthrough.py synthaug_demo --trainings

What an earlier demo ended with stays in the JSON, as one of ``other_runs``.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

from demo_page import mean
from page_table import DOCS
from utility_probe import run_scores

from evaluation.benchmark.conclude import FIGURES
from evaluation.benchmark.study import VALIDATION
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
        "machine": f"{os.cpu_count()} CPU cores beside other work, no GPU, Python {platform.python_version()}",
        "date": ended[:10],
        "version": __version__,
    }


def trainings(folder: Path) -> dict[str, Any]:
    """Scores of every training of the study in ``folder``, and what its report says of all of them."""
    found = read_json(folder / "report" / FIGURES)
    arms, seeds = found["study"]["arms"], found["study"]["seeds"]
    scores = run_scores(folder / "report" / VALIDATION, arms, seeds)
    return {
        "runs": [{"arm": arm, "seed": seed, **scores[arm, seed]} for seed in seeds for arm in arms],
        "comparisons": {
            arm: read_json((folder / "report" / one["report"]).with_name("comparison.json"))
            for arm, one in found["comparisons"][VALIDATION].items()
        },
        "date": found["date"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the demo, or the study of more trainings, ended")
    parser.add_argument("--trainings", action="store_true", help="read the study of more trainings")
    parser.add_argument("--json", type=Path, default=DOCS / "walkthrough.json")
    arguments = parser.parse_args()
    figures: dict[str, Any] = read_json(arguments.json) if arguments.json.is_file() else {"other_runs": []}
    if arguments.trainings:
        found = trainings(arguments.folder)
        kept = ("headline", "conclusion")
        figures["trainings"] = found | {"comparisons": {arm: {key: one[key] for key in kept} for arm, one in found["comparisons"].items()}}
    else:
        demo = finished_demo(arguments.folder)
        if "demo" in figures and mean(figures["demo"]) != mean(demo):
            figures["other_runs"].append(mean(figures["demo"]))
        figures["demo"] = demo
    write_json(arguments.json, figures)
    print(f"figures: {arguments.json}")


if __name__ == "__main__":
    main()
