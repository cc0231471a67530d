"""A study that is killed again and again ends like one that was left alone: measured with kill -9 on the smoke study.

    python tests/benchmarks/study_kills.py --out FOLDER [--kills 5] [--json docs/benchmarks/kills.json]

``synthaug benchmark smoke`` runs once undisturbed and once with ``kill -9`` at random moments of random steps: of the benchmark's process
alone, which leaves its command running, or of every process that it started. Then cases, arms, counts and scores are compared.
Started again, this script goes on where it was. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.benchmark.processes import lock_path, try_lock
from evaluation.benchmark.reading import read_study
from evaluation.scoring.table import read_table
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import program

CASE = ["patient", "phase", "fold", "seed", "model", "structure", "metric"]


def stamps(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: read_json(path) for path in sorted((out / "steps").glob("*.json"))}


def start(study: str, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "stdout.log").open("a") as stream:
        command = [program("synthaug"), "benchmark", study, "-o", str(out)]
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)


def finish(study: str, out: Path) -> None:
    """Run to the end; what is finished already is skipped."""
    if not (out / "report" / "benchmark.json").is_file() and (code := start(study, out).wait()):
        raise UserError(f"the study in {out} ended with exit code {code}; see {out / 'stdout.log'}")


def descendants(pid: int) -> list[int]:
    """Every process that ``pid`` started and those started."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for one, parent in (map(int, line.split()) for line in listed.splitlines()):
        children.setdefault(parent, []).append(one)
    found = list(children.get(pid, []))
    for one in found:
        found += children.get(one, [])
    return found


def kill_again_and_again(study: str, out: Path, kills: int, seed: int, undisturbed: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Start and kill the study ``kills`` times, each time somewhere in another random step; returns what was at work at each kill."""
    record = out / "kills.json"
    done: list[dict[str, Any]] = read_json(record) if record.is_file() else []
    rng = random.Random(seed)
    order = sorted(undisturbed, key=lambda name: undisturbed[name]["ended"])
    targets = sorted(rng.sample(range(len(order)), kills))
    shares = [rng.uniform(0.1, 0.9) for _ in range(kills)]
    for number in range(len(done), kills):
        name = order[targets[number]]
        process, begun = start(study, out), 0.0
        while process.poll() is None:
            one = stamps(out).get(name, {"attempts": 0, "finished": False})
            begun = begun or (time.monotonic() if one["attempts"] else 0.0)
            # A faster machine must not let the step get away: then the kill hits the beginning of the next one.
            if one["finished"] or (begun and time.monotonic() - begun > shares[number] * undisturbed[name]["seconds"]):
                break
            time.sleep(0.2)
        if process.poll() is not None:
            raise UserError(
                f"the study in {out} ended before its kill {number + 1} (exit code {process.returncode}); see {out / 'stdout.log'}"
            )
        everything = number % 2 == 1
        for pid in [process.pid, *(descendants(process.pid) if everything else [])]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        busy = [step for step, one in stamps(out).items() if one["attempts"] and not one["finished"]]
        done.append({"aimed_at": name, "killed": "all processes" if everything else "benchmark alone", "during": busy})
        write_json(record, done)
        print(f"kill {number + 1} of {kills}: {done[-1]}", flush=True)
    return done


def left_running(out: Path) -> list[str]:
    """Steps whose lock is still held by a process."""
    held = []
    for name in stamps(out):
        with lock_path(out, name).open("a+") as stream:
            if not try_lock(stream):
                held.append(name)
    return held


def scores(out: Path) -> pd.DataFrame:
    """The long table of the validation, refused if it scores anything twice."""
    return read_table(out / "report" / "validation" / "metrics.csv").set_index(CASE)["value"].sort_index().to_frame()


def compared(out: Path) -> dict[str, Any]:
    """What is equal between the two, and how far apart the scores are."""
    folders = {"undisturbed": out / "undisturbed", "killed": out / "killed"}
    figures = {name: read_json(folder / "report" / "benchmark.json") for name, folder in folders.items()}
    tables = {name: scores(folder) for name, folder in folders.items()}
    dice = {name: table.xs("Dice", level="metric")["value"].groupby(level="model").mean() for name, table in tables.items()}
    return {
        "same_steps": stamps(folders["undisturbed"]).keys() == stamps(folders["killed"]).keys(),
        "same_trainings": figures["undisturbed"]["runs"] == figures["killed"]["runs"],
        "same_cases_and_arms": tables["undisturbed"].index.equals(tables["killed"].index),
        "rows": {name: len(table) for name, table in tables.items()},
        "doubled_rows": {name: int(table.index.duplicated().sum()) for name, table in tables.items()},
        "runs": figures["killed"]["runs"],
        "attempts": {name: one["attempts"] for name, one in stamps(folders["killed"]).items() if one["attempts"] > 1},
        "left_running": left_running(folders["killed"]),
        "mean_dice": {name: {arm: round(float(value), 4) for arm, value in one.items()} for name, one in dice.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--study", default="smoke", help="study file or ready study")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of steps and moments of the kills")
    parser.add_argument("--json", type=Path, help="where the figures go besides OUT")
    a = parser.parse_args()
    out = a.out.resolve()
    study = read_study(Path(a.study))
    finish(a.study, out / "undisturbed")
    undisturbed = stamps(out / "undisturbed")
    kills = kill_again_and_again(a.study, out / "killed", a.kills, a.seed, undisturbed)
    finish(a.study, out / "killed")
    figures = {
        "format": 1,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores, shared with other work",
        "study": study.title,
        "seed": a.seed,
        "steps": len(undisturbed),
        "kills": kills,
        **compared(out),
    }
    for path in filter(None, (out / "study_kills.json", a.json)):
        write_json(path, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
