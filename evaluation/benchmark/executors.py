"""Where commands run: processes of this machine, or jobs of a cluster through submitit."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from evaluation.benchmark.processes import launch, lock_path, move, share_of_cores, stop
from evaluation.benchmark.steps import Step
from evaluation.benchmark.study import Study
from nnunet_synth_aug.core.errors import UserError

#: A local job of submitit has no queue to be fair to; its default limit is two minutes.
WEEK_MIN = 7 * 24 * 60


class Job(Protocol):
    """A running command."""

    name: str | None  # under which a later start finds it again; None if it cannot

    def poll(self) -> int | None:
        """Its exit code; None as long as it runs."""

    def take_all_cores(self) -> None:
        """No other command will run beside it."""

    def leave(self) -> None:
        """What happens to it when the benchmark ends before it."""


class Executor(Protocol):
    """Starts commands."""

    def start(self, step: Step, words: list[str], environment: dict[str, str], log: Path, slot: int) -> Job:
        """Start a step's command with its output in ``log``; ``slot`` is its number among those that run at a time."""

    def find(self, name: str) -> Job:
        """A job of Slurm that an earlier start left in the queue."""


@dataclass
class ProcessJob:
    """A step that runs as a process of this machine."""

    process: subprocess.Popen[bytes]
    share: set[int] | None = None  # of the cores; None for all
    name: str | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.process.poll()

    def take_all_cores(self) -> None:
        """Use those beyond its share, too."""
        if self.share is not None:
            self.share = None
            move(self.process, os.sched_getaffinity(0))

    def leave(self) -> None:
        """End the process: its step goes on when the study is run again."""
        stop(self.process)


@dataclass(frozen=True)
class LocalExecutor:
    """Processes of this machine."""

    out: Path
    shares: int = 1  # of the cores; each command gets that of its slot

    def start(self, step: Step, words: list[str], environment: dict[str, str], log: Path, slot: int) -> Job:
        """Start the step as a process with its share of the cores."""
        share = share_of_cores(slot, self.shares)
        return ProcessJob(launch(words, environment, log, lock_path(self.out, step.id), share), share)

    def find(self, name: str) -> Job:
        """Refuse: a job with a name is one of a queue, and there is none here."""
        raise _queued(name)


class Command:
    """What a cluster job does. When its time is up it ends the command and queues itself again: every command resumes."""

    def __init__(self, words: list[str], environment: dict[str, str], log: Path, lock: Path) -> None:
        self.arguments = (words, environment, log, lock)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command and return its exit code."""
        self.process = launch(*self.arguments)
        return self.process.wait()

    def checkpoint(self) -> Any:  # called by submitit, in the job
        """What submitit queues again when the job runs out of time: the same command."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            stop(self.process)
        return DelayedSubmission(Command(*self.arguments))


class ClusterJob:
    """A job of submitit."""

    def __init__(self, job: Any, log: Path | None, name: str | None) -> None:
        self._job, self._log = job, log
        self.name = name

    def poll(self) -> int | None:
        """The exit code, or None while the job is queued or runs."""
        if not self._job.done():
            return None
        error = self._job.exception()
        if error is None:
            return int(self._job.result())
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(f"{error}\n")
        return 1

    def take_all_cores(self) -> None:
        """Nothing: the cluster gives it its cores."""

    def leave(self) -> None:
        """Nothing: it stays in the queue, and the next start finds it there."""


class ClusterExecutor:
    """Jobs of Slurm; or, to try the same path without a cluster, of submitit's local executor."""

    def __init__(self, study: Study, out: Path) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError(f"executor {study.executor} needs submitit; install it with pip install 'nnunet-synth-aug[slurm]'") from None
        self._out, self._slurm = out, study.executor == "slurm"
        self._folder = out / "jobs"
        try:
            self._executor = submitit.AutoExecutor(self._folder, cluster="slurm" if self._slurm else "local")
            self._executor.update_parameters(**({} if self._slurm else {"timeout_min": WEEK_MIN}) | study.slurm)
        # How submitit says that a parameter or Slurm is not there.
        except (NameError, TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise UserError(
                f"executor {study.executor} cannot be used ({' '.join(str(error).split())}); correct 'slurm' in the study file"
            ) from error

    def start(self, step: Step, words: list[str], environment: dict[str, str], log: Path, slot: int) -> Job:
        """Queue the step."""
        self._executor.update_parameters(name=step.id)
        log.parent.mkdir(parents=True, exist_ok=True)
        job = self._executor.submit(Command(words, environment, log, lock_path(self._out, step.id)))
        # A local one cannot be found again: its command is ended by whoever takes its lock.
        return ClusterJob(job, log, str(job.job_id) if self._slurm else None)

    def find(self, name: str) -> Job:
        """The job of that name, which an earlier run queued."""
        if not self._slurm:
            raise _queued(name)
        import submitit

        return ClusterJob(submitit.SlurmJob(folder=self._folder, job_id=name), None, name)


def _queued(name: str) -> UserError:
    return UserError(
        f"Slurm's job {name} of this study may still be in the queue; go on with executor: slurm, or cancel it and delete the step's "
        "record that names it in the folder steps"
    )


def make_executor(study: Study, out: Path) -> Executor:
    """The executor that the study asks for."""
    if study.executor != "local":
        return ClusterExecutor(study, out)
    return LocalExecutor(out, study.workers if study.device == "cpu" else 1)
