"""Commands as processes of this machine: one at a time per step, even after a kill that left the last one running."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.paths import program

#: Seconds that a process has to end by itself, and that a killed one has to be gone.
PATIENCE = 20.0
#: nnU-Net's own variable for the number of processes.
LIMIT = "nnUNet_def_n_proc"


def lock_path(out: Path, what: str) -> Path:
    """A lock file on this machine's own disk: network disks lose locks that a child process inherits."""
    digest = hashlib.sha256(f"{out.resolve()}:{what}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"synthaug-{os.getuid()}-{digest}.lock"


def try_lock(stream: IO[str]) -> bool:
    """Lock an open file for this process; False if another one holds it."""
    with suppress(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def process_count(most: int) -> str:
    """Processes that a command of nnU-Net may start: as many as cores or as ``LIMIT`` says, and not more than ``most``."""
    wanted = os.environ.get(LIMIT, "")
    return str(min(most, int(wanted) if wanted.isdigit() and int(wanted) else os.cpu_count() or 1))


def share_of_cores(slot: int, shares: int) -> set[int] | None:
    """The cores of one of several commands at a time, None for all: where there are fewer than shares, or no way to say it.

    nnU-Net on a CPU starts as many threads as the machine has cores, whatever else runs there, and they wait for each other.
    """
    if shares < 2 or not hasattr(os, "sched_setaffinity"):
        return None
    return set(sorted(os.sched_getaffinity(0))[slot::shares]) or None


def move(process: subprocess.Popen[bytes], cores: set[int]) -> None:
    """Let a command of :func:`launch`, with all its threads and whatever it started, use these cores; where Linux tells what these are."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended, or is another user's
            # pid (name) state parent group session ...
            if status.read_text(errors="replace").rpartition(")")[2].split()[3] != str(process.pid):
                continue
            for thread in (status.parent / "task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)


def launch(words: list[str], environment: dict[str, str], log: Path, lock: Path, cores: set[int] | None = None) -> subprocess.Popen[bytes]:
    """Start a command with its output appended to ``log``.

    The command holds the lock as long as it lives. Whoever finds it held ends that process first: its own benchmark was killed, and
    two nnU-Net trainings in one folder would ruin each other.

    Args:
        words: the command.
        environment: beyond this process's.
        log: made if missing.
        lock: see :func:`lock_path`.
        cores: what it may use, and whatever it starts; default all.

    Raises:
        UserError: the earlier process cannot be ended.
    """
    with lock.open("a+", encoding="utf-8") as holder:
        if not try_lock(holder):
            _end_holder(holder, lock)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {shlex.join(words)}\n")
            stream.flush()
            # A session of its own, so that nnU-Net's workers end with it.
            process = subprocess.Popen(
                [program(words[0]), *words[1:]],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(holder.fileno(),),
            )
        if cores is not None:
            with suppress(ProcessLookupError, PermissionError):  # it has ended already, or this machine does not allow it
                os.sched_setaffinity(process.pid, cores)
        holder.seek(0)
        holder.truncate()
        holder.write(str(process.pid))
    return process


def _end_holder(holder: IO[str], lock: Path) -> None:
    """Kill the process group that holds the lock, and take it."""
    holder.seek(0)
    text = holder.read().strip()
    if text.isdigit():  # true as long as the lock is held: no other process can have got that number
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(text), signal.SIGKILL)
    start = time.monotonic()
    while not try_lock(holder):
        if time.monotonic() - start > PATIENCE:
            raise UserError(
                f"process {text or '?'} of an earlier start is still running and cannot be ended (lock: {lock}); end it by hand"
            )
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command and everything it started: asked first, then killed."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return


def last_line(log: Path) -> str:
    """The last line that says anything, from the end of a log that may be long."""
    if not log.is_file():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
