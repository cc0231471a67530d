"""The demo on phantoms and on ACDC, and more trainings of its arms, from the command line like a user, for docs/results/demo.md.

    python tests/benchmarks/walkthrough.py --out walkthrough_run [--acdc FOLDER] [--json docs/walkthrough.json]

Steps whose figures are in the JSON already are not run again; --again NAME repeats one.
The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from walkthrough_page import ended

from evaluation.benchmark.demo import demo_study
from evaluation.benchmark.study import parse_arm
from evaluation.benchmark.workspace import PLANS, TRAIN_ID, Workspace
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import program
from nnunet_synth_aug.nnunet.mixing.mixture import BASE_NAME

D, F = str(TRAIN_ID), "0"
SWEEP = "--prior lv_edv=150 -n 5 --frames 16 --free --no-check --no-gif --open-loop"  # all else fixed
BASELINE, AUGMENTED = (parse_arm(name).trainer for name in ("real", "mix50"))


class Folders:
    """One set of nnU-Net's folders with all that a demo made; its study keeps the arms apart, so the results are links."""

    def __init__(self, out: Path, source: Path | None) -> None:
        at = Workspace(out.resolve(), demo_study(source))
        mixed = at.study.all_arms[1]
        self.dataset, self._view, results = at.dataset, at.view(mixed), at.out / "all_results"
        self.environment = os.environ | at.arm_environment(mixed, results)
        made = [at.model(arm, 0) for arm in at.study.all_arms] + [at.generator(0).parent]
        (results / at.dataset).mkdir(parents=True, exist_ok=True)
        for folder in made:
            link = results / at.dataset / folder.name
            if not link.is_symlink():
                link.symlink_to(folder)

    def preprocessed(self, *parts: str) -> Path:
        return Path(self._view, *parts)


def tree_memory(root: int) -> float:
    """Proportional memory (PSS) of a process and its descendants in GiB; Linux only, 0 elsewhere."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            parents[int(stat.parent.name)] = int(fields[1])
        except (OSError, IndexError):
            continue
    tree, total = {root}, 0
    for _ in range(8):
        tree |= {child for child, parent in parents.items() if parent in tree}
    for process in tree:
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 2**20


def run(command: list[str], environment: dict[str, str] | None = None, keep: int = 6) -> dict[str, Any]:
    """Run a command in a fresh process; exit code, seconds, peak memory, last lines of its output."""
    start, peak, stop = time.monotonic(), 0.0, threading.Event()
    process = subprocess.Popen(
        [program(command[0]), *command[1:]], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )

    def watch() -> None:
        nonlocal peak
        while not stop.wait(1.0):
            peak = max(peak, tree_memory(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        print("   ", line.rstrip()[:160], flush=True)
    code = process.wait()
    stop.set()
    watcher.join()
    shown = " ".join(Path(part).name if part.startswith("/") else part for part in command)
    return {
        "command": shown,
        "exit_code": code,
        "seconds": round(time.monotonic() - start, 1),
        "peak_gib": round(peak, 2),
        "last_lines": [line for line in lines if line.strip()][-keep:],
    }


def demo(out: Path, source: Path | None) -> dict[str, Any]:
    """The demo from nothing to its report."""
    shutil.rmtree(out, ignore_errors=True)
    command = ["synthaug", "demo", "-o", str(out), *([] if source is None else ["--source", str(source)])]
    result = run(command, keep=0)
    figures = read_json(out / "demo.json")
    figures["settings"]["source"] = None if source is None else source.name
    comparison = read_json(out / "report" / "validation" / "comparison.json") if result["exit_code"] == 0 else {}
    return result | {"figures": figures, "patients_tested": comparison.get("patients"), "controllability": sweep(out, source)}


def sweep(out: Path, source: Path | None) -> dict[str, Any]:
    """Requested against measured EF with all else fixed."""
    folders = Folders(out, source)
    rows = {}
    for ef in (20, 35, 50, 65):
        target = out / "sweep" / f"ef{ef}"
        shutil.rmtree(target, ignore_errors=True)
        place = ["-d", D, "-f", F, "-o", str(target)]
        code = run(["synthaug", "sample", *place, "--prior", f"lv_ef={ef}", *SWEEP.split()], folders.environment)["exit_code"]
        figures = read_json(target / "figures.json")["priors"]
        rows[str(ef)] = {
            "exit_code": code,
            "ef_measured": figures["lv_ef_percent"]["mean_measured"],
            "edv_measured": figures["lv_edv_mL"]["mean_measured"],
        }
    return rows


def repeats(out: Path, n: int = 3) -> dict[str, Any]:
    """Both arms of the finished demo, and one whose share falls to nothing, trained ``n`` more times on the same data and bank.

    How much one training tells, and what the report says of several. A killed call goes on where it stopped.
    """
    folders, top = Folders(out, None), out.resolve() / "repeats"
    arms = {"real": BASELINE, "mix50": AUGMENTED, "mix50to00": f"{BASE_NAME}_mix50to00"}
    names = {str(label): name for name, label in read_json(folders.preprocessed("dataset.json"))["labels"].items()}
    compare, rows = ["synthaug", "compare", "-o", str(top / "report"), "--no-images"], []
    for number in range(1, n + 1):
        environment = folders.environment | {"nnUNet_results": str(top / str(number))}
        for arm, trainer in arms.items():
            trained = top / str(number) / folders.dataset / f"{trainer}__{PLANS}__2d"
            compare += ["--arm", f"{arm}={trained}"]
            summary = trained / f"fold_{F}" / "validation" / "summary.json"
            if not summary.is_file():
                run(["nnUNetv2_train", D, "2d", F, "-tr", trainer, "-p", PLANS, "-device", "cpu"], environment)
            mean = read_json(summary)["mean"]
            rows.append({"run": number, "arm": arm, "dice": {names[label]: round(value["Dice"], 3) for label, value in mean.items()}})
    run(compare, folders.environment)
    kept = ("headline", "conclusion")
    comparisons = {arm: read_json(top / "report" / arm / "comparison.json") for arm in arms if arm != "real"}
    return {
        "trainings": rows,
        "comparisons": {arm: {key: comparison[key] for key in kept} for arm, comparison in comparisons.items()},
    }


def scrubbed(value: Any, places: list[str]) -> Any:
    """Without the paths of this machine: what is kept of each is the last part."""
    if isinstance(value, dict):
        return {k: scrubbed(v, places) for k, v in value.items()}
    if isinstance(value, list):
        return [scrubbed(v, places) for v in value]
    if isinstance(value, str):
        for place in places:
            value = value.replace(place, Path(place).name)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--acdc", type=Path)
    parser.add_argument("--json", type=Path, default=Path("docs/walkthrough.json"))
    parser.add_argument("--again", action="append", default=[])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = read_json(arguments.json) if arguments.json.is_file() else {}
    phantom, real = arguments.out / "phantom", arguments.out / "acdc"
    steps: dict[str, Callable[[], Any]] = {
        "demo_phantom": lambda: demo(phantom, None),
        "repeats": lambda: repeats(phantom),
    }
    if arguments.acdc is not None:
        steps["demo_acdc"] = lambda: demo(real, arguments.acdc)
    for name, step in steps.items():
        if name in figures and name not in arguments.again:
            continue
        print(f"== {name}", flush=True)
        if name == "demo_phantom" and name in figures:  # what earlier runs ended with stays on the page
            figures.setdefault("other_runs", []).append(ended(figures))
        figures[name] = step()
        figures["machine"] = {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "python": sys.version.split()[0],
            "version": __version__,
            "date": time.strftime("%Y-%m-%d"),
        }
        write_json(arguments.json, figures)
    places = [arguments.out.resolve(), Path(sys.prefix).resolve(), *([arguments.acdc.resolve()] if arguments.acdc else [])]
    write_json(arguments.json, scrubbed(read_json(arguments.json), [str(p) for p in places]))
    print(json.dumps({"figures": str(arguments.json), "steps": sorted(steps)}))


if __name__ == "__main__":
    main()
