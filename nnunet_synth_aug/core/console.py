"""Progress bars with an estimate of the time left, for anything over a few seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, soft_wrap=True, quiet=os.environ.get("RANK", "0") != "0")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Bar:
    """One progress bar; on a log file instead of a terminal it prints a line at every tenth."""

    def __init__(self, progress: Progress | None, task: int, title: str, total: int, first: int = 0) -> None:
        self._progress, self._task, self._title, self._total = progress, task, title, total
        self._first, self._tenth, self._start = first, -1, time.monotonic()

    def advance(self, done: int, note: str = "") -> None:
        """Set how many units are ``done``; ``note`` stands beside the bar (losses, the case at hand)."""
        if self._progress is not None:
            from rich.progress import TaskID

            self._progress.update(TaskID(self._task), completed=done, note=note)
        elif (tenth := 10 * done // (self._total or 100)) != self._tenth or done == self._total:
            self._tenth = tenth
            left = (
                f", {_clock((time.monotonic() - self._start) * (self._total - done) / (done - self._first))} left"
                if done > self._first and self._total
                else ""
            )
            print(f"{self._title}: {done}/{self._total or '?'}{left} {note}", file=sys.stderr, flush=True)


class _Silent(Bar):
    def advance(self, done: int, note: str = "") -> None:
        pass


@contextmanager
def progress(title: str, total: int, start: int = 0) -> Iterator[Bar]:
    """A bar of ``total`` units (0 if unknown) of which ``start`` are done already."""
    if os.environ.get("RANK", "0") != "0":  # of several processes, the first one speaks
        yield _Silent(None, 0, title, total, start)
        return
    if not console.is_terminal or console.is_dumb_terminal:  # which could not draw over a line
        yield Bar(None, 0, title, total, start)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(title, total=total or None, completed=start, note="")
        yield Bar(bars, int(task), title, total)
