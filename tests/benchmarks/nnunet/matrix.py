"""nnU-Net's own commands with our trainers, each in its own process with nothing set by hand but nnU-Net's folders.

    python tests/benchmarks/nnunet/matrix.py --out matrix_run [--json docs/nnunet/matrix.json] [--only ROW ...]
    python tests/benchmarks/nnunet/matrix.py --out matrix_cuda --device cuda --json docs/nnunet/matrix_cuda.json

A row (rows.py) that has run in the folder is not run again unless --only names it, its command changed, or it did not end as expected.
The table is in docs/results/nnunet.md (page.py).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from checks import Row
from rows import Matrix
from workspace import DOCS, TESTS, Workspace, stamp

from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import program

LIMIT = 1800.0  # seconds for one command


def run(row: Row, workspace: Workspace) -> dict[str, Any]:
    """Run one row in a process group of its own."""
    command = shown(row, workspace)
    result: dict[str, Any] = {"group": row.group, "configuration": row.configuration, "command": command, "expected": row.expected}
    try:
        if row.prepare is not None:
            row.prepare()
    except Exception as error:  # one row that cannot be prepared must not stop the others
        return result | {"exit_code": None, "ok": False, "why": f"preparation: {type(error).__name__}: {plain(str(error), workspace)}"}
    log = workspace.root / "logs" / f"{row.name}.log"
    log.parent.mkdir(exist_ok=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    words = row.command.split()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [program(words[0]), *words[1:]],
            env=workspace.environment | row.environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=workspace.root,
        )
        while process.poll() is None:
            if (row.kill_when is not None and row.kill_when()) or time.monotonic() - start > LIMIT:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    result |= {
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "ok": process.returncode == row.expected,
    }
    if not result["ok"]:
        return result | {"why": " / ".join(plain(line, workspace) for line in lines[-3:])}
    if row.says:
        sentence = next((plain(line, workspace) for line in reversed(lines) if row.says in line), None)
        return result | {"ok": sentence is not None, "says": sentence or plain(lines[-1], workspace)}
    try:
        return result | {"facts": row.check() if row.check is not None else {}}
    except Exception as error:  # a product of another shape than expected may fail in any way
        return result | {"ok": False, "why": f"{type(error).__name__}: {plain(str(error), workspace)}"}


def plain(text: str, workspace: Workspace) -> str:
    """Without this machine's folders."""
    text = text.replace(f"{workspace.root}/", "").replace(f"{TESTS.parent}/", "")
    return re.sub(r"/[^\s'\"]*/(site-packages|bin)/", "", text)


def shown(row: Row, workspace: Workspace) -> str:
    return plain(" ".join([*(f"{key}={value}" for key, value in row.environment.items()), *row.command.split()]), workspace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder")
    parser.add_argument("--json", type=Path, default=DOCS / "matrix.json")
    parser.add_argument("--device", default="cpu", help="of every training and prediction")
    parser.add_argument("--keep", nargs="+", default=[], metavar="VARIABLE", help="of the environment, e.g. PYTHONPATH")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="run these rows, again if need be")
    parser.add_argument("--skip", nargs="+", default=[], metavar="ROW")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.device != "cpu" and arguments.json == DOCS / "matrix.json":
        parser.error("the table of -device cpu is kept in matrix.json; give --json another name")
    workspace = Workspace(arguments.out.resolve(), tuple(arguments.keep))
    workspace.enter()
    gpu = {} if arguments.device == "cpu" else {"device": arguments.device, "gpu": torch.cuda.get_device_name(arguments.device)}
    state = workspace.root / "rows.json"
    done: dict[str, Any] = read_json(state) if state.is_file() else {}
    rows = Matrix(workspace, arguments.device).rows()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    for wrong in sorted({*arguments.only, *arguments.skip} - set(names)):
        raise SystemExit(f"there is no row {wrong!r}; see --list")
    for row in rows:
        if arguments.list:
            print(f"{row.name:35s} {shown(row, workspace)}")
            continue
        before = done.get(row.name, {})
        due = not before.get("ok", False) or before["command"] != shown(row, workspace)
        chosen = row.name in arguments.only if arguments.only else due
        if not chosen or row.name in arguments.skip:
            continue
        done[row.name] = run(row, workspace)
        print(f"{row.name}: {done[row.name]}", flush=True)
        write_json(state, done)
        write_json(arguments.json, {**stamp(), **gpu, "rows": {name: done[name] for name in names if name in done}})


if __name__ == "__main__":
    main()
