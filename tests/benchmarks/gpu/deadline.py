"""A command with a time limit. Interrupting is safe where the work resumes by itself and nothing is half-written."""

from __future__ import annotations

import signal
import subprocess

#: An interrupted process has this long to remove what it was writing.
GRACE_SECONDS = 30


def run_within(command: list[str], environment: dict[str, str], seconds: float | None) -> bool:
    """Run a command; interrupt it (as Ctrl-C would) after ``seconds``, or never.

    Returns:
        whether it finished; False if it was interrupted.

    Raises:
        SystemExit: it failed; with its exit code.
    """
    # A shell that starts us in the background has us ignore Ctrl-C, and children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        _interrupt(process)
        return False
    except BaseException:
        _interrupt(process)
        raise
    if code:
        raise SystemExit(code)
    return True


def _interrupt(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
