"""The work folder of utility_probe.py: what lies where, and how its commands are run."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from nnunet_synth_aug.console import console
from nnunet_synth_aug.demo import Folders
from nnunet_synth_aug.errors import UserError

ID, NAME, TEST_ID, TEST_NAME = 911, "Dataset911_ACDC", 912, "Dataset912_Sunnybrook"
PLANS = "nnUNetPlansProbe"


@dataclass(frozen=True)
class Run:
    """One training: an arm, a seed, and for a mix the generator by its label."""

    arm: str  # real or mixNN
    seed: int
    generator: str  # "" for the real-only arm

    @property
    def trainer(self) -> str:
        return f"nnUNetTrainerSynthAug_{'mix00' if self.arm == 'real' else self.arm}"

    @property
    def title(self) -> str:
        return f"{self.arm} seed {self.seed}" + (f" ({self.generator})" if self.generator else "")


class Probe:
    """The work folder: shared data, one folder per generator, one per run."""

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self.base = Folders(self.out, NAME).environment

    def raw(self, dataset: str) -> Path:
        return Path(self.base["nnUNet_raw"], dataset)

    @property
    def preprocessed(self) -> Path:
        return Path(self.base["nnUNet_preprocessed"], NAME)

    def generator(self, label: str) -> Path:
        return self.out / "generators" / slug(label)

    def folder(self, run: Run) -> Path:
        """nnU-Net's results folder of one run: own folders keep seeds apart, which nnU-Net's naming does not."""
        return self.out / "runs" / (f"{run.arm}_{slug(run.generator)}" if run.generator else run.arm) / f"seed_{run.seed}"

    def environment(self, label: str = "", results: Path | None = None) -> dict[str, str]:
        """nnU-Net's folders; those of a generator show the shared preprocessed data beside its own bank."""
        own = self.base | ({"nnUNet_results": str(results)} if results else {})
        if label:
            view = self.generator(label) / "nnUNet_preprocessed"
            (view / NAME).mkdir(parents=True, exist_ok=True)
            for entry in self.preprocessed.iterdir():
                if not (link := view / NAME / entry.name).exists():
                    link.symlink_to(entry)
            own |= {"nnUNet_preprocessed": str(view), "nnUNet_results": str(results or self.generator(label) / "nnUNet_results")}
        return own

    def call(self, title: str, command: list[str], environment: dict[str, str]) -> None:
        """Run a command, its output in a log whose last line is shown."""
        log = self.out / "logs" / f"{slug(title)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        console.print(f"{title} (log: {log})")
        with log.open("a") as stream, console.status(title) as status:
            # A session of its own, so that nnU-Net's workers end with it.
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                while process.poll() is None:
                    time.sleep(1)
                    status.update(f"{title}: {last_line(log)[:100]}")
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise
        if process.returncode:
            raise UserError(f"'{title}' failed ({last_line(log)}); see {log}, then start the probe again to go on")


def slug(text: str) -> str:
    """A file name for a label; the digest keeps labels apart that differ in other characters."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-')[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def last_line(log: Path) -> str:
    return next((line.strip() for line in reversed(log.read_text(errors="replace").splitlines()) if line.strip()), "")
