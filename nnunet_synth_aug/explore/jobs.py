"""The queue of hearts: one is made at a time, each user gets his own, and a heart that nobody waits for any more is not made."""

from __future__ import annotations

import secrets
import threading
import time
import traceback
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.explore.hearts import Heart, Wish, make_heart, notes_of
from nnunet_synth_aug.explore.picture import shown
from nnunet_synth_aug.model.generator import Generator

#: Hearts that are kept for downloads and for who asks again, about 10 MB each; jobs that are remembered.
KEPT_HEARTS, KEPT_JOBS = 12, 200
#: A page asks for its heart several times a second. After so many seconds of silence it is gone, and its heart is not made.
GONE_AFTER = 10.0


class _StoppedError(Exception):
    """Nobody waits for the heart that is being made."""


@dataclass
class Job:
    """One request of one page."""

    id: str
    wish: Wish
    state: str = "waiting"  # running, done, failed, or dropped because nobody waited
    doing: str = ""
    share: float = 0.0  # of the work that is done
    error: str = ""
    seconds: float = 0.0  # that it took
    heart: Heart | None = None
    picture: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False
    asked_for: float = field(default_factory=time.monotonic)  # when somebody last did

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.stopped and time.monotonic() - self.asked_for < GONE_AFTER


class Queue:
    """Makes hearts one after the other. Who made the queue calls :meth:`work`, the server's threads ask."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._made: OrderedDict[Wish, Job] = OrderedDict()
        self._change = threading.Condition()
        self._closed = False

    def ask(self, wish: Wish, instead: str = "") -> Job:
        """Line up for a heart.

        Args:
            wish: what heart.
            instead: the page's earlier job, which it no longer wants.
        """
        with self._change:
            if instead in self._jobs:
                self._jobs[instead].stopped = True
            job = Job(secrets.token_hex(8), wish)
            self._jobs[job.id] = job
            while len(self._jobs) > KEPT_JOBS:
                self._jobs.popitem(last=False)[1].stopped = True
            self._change.notify_all()
        return job

    def look(self, key: str) -> dict[str, Any]:
        """How far a job is, and its heart once it is made."""
        with self._change:
            job = self._jobs.get(key)
            if job is None:  # of a server that was before this one
                return {"state": "dropped"}
            job.asked_for = time.monotonic()
            told: dict[str, Any] = {"state": job.state, "doing": job.doing, "share": round(job.share, 3)}
            if job.state == "waiting":
                told["ahead"] = sum(one.state in ("waiting", "running") and one.wanted for one in self._before(key))
            return told | ({"error": job.error} if job.error else {}) | ({"heart": job.picture} if job.state == "done" else {})

    def heart(self, key: str) -> Heart | None:
        """The heart of a job, for a download."""
        with self._change:
            job = self._jobs.get(key)
            return None if job is None else job.heart

    def work(self) -> None:
        """Make hearts until the queue is closed; in the first thread, because in others torch takes twice as long on two cores."""
        while (job := self._next()) is not None:
            self._make(job)

    def close(self) -> None:
        """Stop the heart that is being made, and make no more."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _before(self, key: str) -> list[Job]:
        found = []
        for name, job in self._jobs.items():
            if name == key:
                break
            found.append(job)
        return found

    def _next(self) -> Job | None:
        """The longest waiting job that somebody wants; None when the queue is closed."""
        with self._change:
            while not self._closed:
                for job in self._jobs.values():
                    if job.state == "waiting" and job.wanted:
                        job.state = "running"
                        return job
                self._change.wait(timeout=1)
        return None

    def _make(self, job: Job) -> None:
        def tell(doing: str, share: float) -> None:
            job.doing, job.share = doing, share
            if self._closed or not job.wanted:
                raise _StoppedError

        begun = time.monotonic()
        try:
            if (known := self._made.get(job.wish)) is not None:
                heart, picture = known.heart, known.picture
            else:
                heart = make_heart(self._generator, job.wish, tell)
                picture = shown(heart, notes_of(self._generator, job.wish))
                picture["seconds"] = round(time.monotonic() - begun, 1)
        except _StoppedError:
            job.state = "dropped"
        except UserError as error:
            job.state, job.error = "failed", str(error)
        except Exception as error:  # the page of one user must not end that of the others
            traceback.print_exc()
            job.state, job.error = "failed", f"the generator failed ({type(error).__name__}: {error}); the terminal shows where"
        else:
            with self._change:
                job.heart, job.picture, job.state, job.share = heart, picture, "done", 1.0
                self._made[job.wish] = job
                self._made.move_to_end(job.wish)
                while len(self._made) > KEPT_HEARTS:
                    self._forget(self._made.popitem(last=False)[0])

    def _forget(self, wish: Wish) -> None:
        """Let go of the arrays of a heart; who has its page may ask for it again."""
        for job in self._jobs.values():
            if job.wish == wish and job.state == "done":
                job.heart, job.picture, job.state, job.error = None, {}, "failed", "that heart is no longer kept; ask for it again"
