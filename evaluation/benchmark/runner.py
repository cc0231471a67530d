"""Runs the steps of a study: what is finished is skipped, what was killed goes on, what fails does not hold up the rest."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.markup import escape

from evaluation.benchmark.clock import on_the_clock
from evaluation.benchmark.executors import Executor, Job, LocalExecutor
from evaluation.benchmark.processes import last_line, lock_path, try_lock
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.steps import Step
from evaluation.benchmark.study import Study
from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError

#: Seconds between two looks at the running commands.
PAUSE = 0.5


@dataclass
class _Running:
    step: Step
    job: Job
    slot: int
    start: float


class Runner:
    """One start of a study."""

    def __init__(self, study: Study, steps: list[Step], out: Path, executor: Executor) -> None:
        self._study, self._steps, self._out, self._executor = study, steps, out, executor
        self._here = LocalExecutor(out)
        self._stamps = Stamps(out / "steps")
        self._running: list[_Running] = []
        self._ended: set[str] = set()  # ids of finished steps
        self._failed: dict[str, str] = {}  # id -> why
        self._seconds: dict[str, list[float]] = {}  # what steps of a kind took

    def run(self) -> None:
        """Run every step that is not finished.

        Raises:
            UserError: the study has changed, another benchmark is at work in the folder, or a step failed (after all
                others that do not need it).
        """
        self._stamps.refuse_changes(self._steps)
        with _alone(self._out), _terminable():
            self._ended = {s.id for s in self._steps if self._stamps.finished(s)}
            for step in self._steps:
                if step.id in self._ended:
                    self._note(step, self._stamps.read(step).get("seconds", 0.0))
            done, total = len(self._ended), len(self._steps)
            print(f"{total} steps, {done} done already{self._left()}; logs in {self._out / 'logs'}", flush=True)
            try:
                self._loop()
            finally:
                for running in self._running:
                    running.job.leave()
        if self._failed:
            first = next(iter(self._failed.values()))
            more = f" and {len(self._failed) - 1} more steps" if len(self._failed) > 1 else ""
            raise UserError(f"{first}{more}; start the same command again to go on")

    def _loop(self) -> None:
        with console.status("") as status:
            while True:
                self._fill()
                if not self._running:
                    return
                if len(self._running) == 1:  # all others wait for it
                    self._running[0].job.take_all_cores()
                time.sleep(PAUSE)
                for running in list(self._running):
                    if (code := running.job.poll()) is not None:
                        self._running.remove(running)
                        self._end(running, code)
                told = [f"{r.step.title}: {last_line(self._log(r.step))[:100]}" for r in self._running]
                status.update(escape(" | ".join(told)))

    def _fill(self) -> None:
        """Start what may start."""
        for step in self._steps:
            if len(self._running) >= self._study.workers:
                return
            busy = {r.step.id for r in self._running}
            if step.id in self._ended or step.id in busy or step.id in self._failed or not set(step.needs) <= self._ended:
                continue
            self._start(step)

    def _start(self, step: Step) -> None:
        start = time.monotonic()
        record = self._stamps.read(step)
        heavy = step.heavy and step.command is not None
        if heavy and record.get("job"):
            self._running.append(_Running(step, self._executor.find(record["job"]), self._slot(), start))
            return
        attempt = self._stamps.start(step)
        step.prepare()
        if step.command is None:
            self._finish(step, time.monotonic() - start)
            return
        slot = self._slot()
        gpus = self._study.gpus
        environment = step.environment | ({"CUDA_VISIBLE_DEVICES": str(gpus[slot % len(gpus)])} if gpus else {})
        words = step.command(attempt)
        print(f"$ {shlex.join(words)}", flush=True)
        job = (self._executor if heavy else self._here).start(step, words, environment, self._log(step), slot)
        self._stamps.note_job(step, job.name)
        self._running.append(_Running(step, job, slot, start))

    def _slot(self) -> int:
        taken = {r.slot for r in self._running}
        return next(slot for slot in range(self._study.workers) if slot not in taken)

    def _end(self, running: _Running, code: int) -> None:
        step, log = running.step, self._log(running.step)
        self._stamps.note_job(step, None)
        if code == 0 and step.done():
            self._finish(step, time.monotonic() - running.start)
            return
        why = f"exit code {code}" if code else "no product"
        self._failed[step.id] = f"'{step.title}' failed ({why}: {last_line(log)}); see {log}"
        print(f"[{self._place()}] {step.title}: failed, see {log}", flush=True)

    def _finish(self, step: Step, seconds: float) -> None:
        self._stamps.finish(step, seconds)
        self._ended.add(step.id)
        self._note(step, seconds)
        print(f"[{self._place()}] {step.title}: {_clock(seconds)}{self._left()}", flush=True)

    def _place(self) -> str:
        return f"{len(self._ended) + len(self._failed):>{len(str(len(self._steps)))}}/{len(self._steps)}"

    def _note(self, step: Step, seconds: float) -> None:
        self._seconds.setdefault(kind_of(step), []).append(seconds)

    def _left(self) -> str:
        """Time left, from what steps of the same kind took; of other kinds, from the study's minutes at this machine's pace."""
        means = {kind: sum(taken) / len(taken) for kind, taken in self._seconds.items()}
        told = {kind: 60 * minutes for kind, minutes in asdict(self._study.minutes).items() if minutes}
        both = means.keys() & told.keys()
        pace = sum(means[kind] for kind in both) / sum(told[kind] for kind in both) if both else 1.0
        expected = {kind: pace * seconds for kind, seconds in told.items()} | means
        left = [step for step in self._steps if step.id not in self._ended]
        known = {step.id: expected[kind_of(step)] for step in left if kind_of(step) in expected}
        if not known:
            return ""
        about = "about" if len(known) == len(left) else "at least"
        return f" ({about} {_roughly(on_the_clock(left, known, self._study.workers))} left)"

    def _log(self, step: Step) -> Path:
        return self._out / "logs" / f"{step.id}.log"


def dry_run(steps: list[Step], stamps: Stamps) -> Iterator[str]:
    """Every step in order as a shell script: its title and whether it is finished, and its command where it is one."""
    stamps.refuse_changes(steps)
    exported: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        yield f"# {number}/{len(steps)} {step.title}{' (done)' if stamps.finished(step) else ''}"
        if step.command is None:
            yield "# made by 'synthaug benchmark' itself"
            continue
        if changed := {k: v for k, v in step.environment.items() if exported.get(k) != v}:
            yield shlex.join(["export", *(f"{k}={v}" for k, v in changed.items())])
            exported |= changed
        yield shlex.join(step.command(0))
    yield "# at the end: every arm against real only, in report/benchmark.md"


def kind_of(step: Step) -> str:
    """What steps that take about as long have in common, such as ``train``."""
    kind = step.id.split("_")[0]
    return "tests" if kind == "import" else kind  # 'import' is no name for a field of Minutes


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h" if minutes >= 60 else f"{minutes}:{rest:02d} min"


def _roughly(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours}:{minutes:02d} h" if hours else f"{minutes} min"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder for this process."""
    with lock_path(out, "benchmark").open("a+", encoding="utf-8") as stream:
        if not try_lock(stream):
            raise UserError(f"another benchmark is at work in {out}; wait for it, or choose another --out")
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as an exception, which ends the commands at hand, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
