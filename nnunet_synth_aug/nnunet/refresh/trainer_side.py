"""Live refresh, the trainer's side: a process that replaces bank cases while the training runs.

The generator always has a process of its own (``refresh_generator``), also on the training's device, where it samples while the
trainer waits between two epochs: the trainer never loads generative code, and what kills the generator (memory, a driver, a full
disk) cannot kill the training. The trainer writes how many cases the process may replace to its standard input, once per
epoch; the process keeps its counts in a small file. It ends with the trainer, however that ends.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import generator_folder
from nnunet_synth_aug.core.settings import Positive, Rule
from nnunet_synth_aug.nnunet.bank.manifest import Manifest
from nnunet_synth_aug.nnunet.refresh.cases import JOURNAL, live_folder

SAME = "same"
LOG = "synth_aug_refresh.log"
JOB, STATE = "job.json", "state.json"
#: Longest wait for the generator to load, and for its turn between two epochs [s]. The other processes of a DDP training give up
#: waiting for this one after ten minutes.
PATIENCE = 300.0
_POLL = 0.05
_DEVICE = Rule(f"{SAME}, cpu, mps, cuda or cuda:1", re.compile(rf"{SAME}|cpu|mps|cuda(:\d+)?").fullmatch)


@dataclass(frozen=True)
class RefreshSettings:
    """The ``refresh`` object in the plans' ``synth_aug``."""

    per_epoch: Positive  # cases replaced per epoch
    device: Annotated[str, _DEVICE] = SAME  # of the generator; SAME: the training's, between its epochs
    generator: Annotated[str, Rule("the folder of the bank's generator")] | None = None  # None: the fold's own in nnUNet_results


class Refresher:
    """The generator's process, as the trainer's first rank sees it."""

    def __init__(self, settings: RefreshSettings, manifest: Manifest, output_folder: Path, device: str) -> None:
        """``device`` is the training's."""
        self.together = settings.device == SAME
        self.log = output_folder / LOG
        self._rate, self._journal = settings.per_epoch, output_folder / JOURNAL
        self._live = live_folder(manifest.folder.parent, output_folder)
        self._state: dict[str, Any] = {"turns": 0, "replaced": 0}
        self._granted = 0
        self._waited = 0.0  # s, in this attempt
        self._reported: set[str] = set()
        content = manifest.content
        folder = settings.generator or generator_folder(content["dataset"], content["fold"])
        self._job = {
            **{key: content[key] for key in ("dataset", "fold", "configuration", "plans")},
            "manifest_hash": manifest.hash,
            "generator": str(folder),
            "device": device if self.together else settings.device,
            "together": self.together,
            "journal": str(self._journal),
        }

    def __repr__(self) -> str:  # nnU-Net writes it into debug.json
        return f"{self._rate} cases per epoch, by a generator on {self._job['device']}{' between epochs' * self.together}"

    @property
    def counts(self) -> dict[str, Any]:
        """What the generator did in this training so far, earlier attempts included; for the record."""
        self._read_state()
        about = {"per_epoch": self._rate, "device": self._job["device"], "between_epochs": self.together, "journal": JOURNAL}
        if self.together:
            about["waited_seconds"] = round(self._waited, 1)
        return about | {key: value for key, value in self._state.items() if key != "turns"}

    def start(self, fresh: bool) -> None:
        """Start the process and wait until it has loaded the generator.

        Args:
            fresh: forget what an earlier training replaced; False goes on from it.

        Raises:
            UserError: it cannot do what is asked, e.g. because its generator is not the one that made the bank.
        """
        if fresh:
            shutil.rmtree(self._live, ignore_errors=True)
            self._journal.unlink(missing_ok=True)
        self._live.mkdir(parents=True, exist_ok=True)
        (self._live / STATE).unlink(missing_ok=True)
        write_json(self._live / JOB, self._job)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w" if fresh else "a") as log:
            command = [sys.executable, "-m", "nnunet_synth_aug.nnunet.refresh.process", str(self._live / JOB)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        # Also where the trainer dies of an exception that its caller survives.
        self._end = weakref.finalize(self, self._process.terminate)
        deadline = time.monotonic() + PATIENCE
        while not self._read_state():
            if (code := self._process.poll()) is not None or time.monotonic() > deadline:
                self._process.terminate()
                if fresh:
                    shutil.rmtree(self._live, ignore_errors=True)
                reason = self._last_line() if code is not None else f"it did not load within {PATIENCE:.0f} s"
                raise UserError(
                    f"the generator of the live refresh did not start: {reason.removeprefix('Error: ')} (its log is {self.log})"
                )
            time.sleep(_POLL)
        if not self.together:
            self._grant()

    def turn(self) -> None:
        """Allow the cases of one more epoch; between epochs on the same device, wait until they are replaced."""
        if self._process.poll() is not None:
            return
        self._read_state()
        if not self.together:
            self._grant()
            return
        if self._state["turns"] < self._granted:  # still busy with a turn that took too long to be waited for
            return
        self._grant()
        start = time.monotonic()
        deadline = start + PATIENCE
        while self._state["turns"] < self._granted and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL)
            self._read_state()
        self._waited += time.monotonic() - start

    def warnings(self) -> list[str]:
        """What the training log should say, each once."""
        self._read_state()
        found = {}
        if (code := self._process.poll()) is not None:
            how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
            found["dead"] = (
                f"WARNING: the generator of the live refresh {how}, its last words: {self._last_line()!r}; training goes on with the bank "
                f"as it is now, {self._state['replaced']} cases replaced; see {self.log}, and continue with --c to start it again"
            )
        elif self._granted - self._state["turns"] > (0 if self.together else 2):
            found["slow"] = (
                f"WARNING: the generator of the live refresh is slower than {self._rate} cases per epoch; training goes on, "
                f"and the counts say what was really seen"
            )
        new = [text for kind, text in found.items() if kind not in self._reported]
        self._reported |= set(found)
        return new

    def stop(self) -> None:
        """End the process and remove the replaced cases; the journal holds the seeds that make them again."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._live, ignore_errors=True)

    def _grant(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{self._rate}\n".encode())
            self._process.stdin.flush()
            self._granted += 1
        except OSError:  # it has just died, which warnings() will say
            self._process.wait()

    def _read_state(self) -> bool:
        if (self._live / STATE).is_file():
            self._state = read_json(self._live / STATE)
            return True
        return False

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it left no message"
