"""What is on record of every step: its settings, its attempts, whether and when it was finished."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.benchmark.steps import Step, difference
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json


@dataclass(frozen=True)
class Stamps:
    """The folder ``steps`` of a study."""

    folder: Path

    def read(self, step: Step) -> dict[str, Any]:
        """What is recorded of a step; of one that never began, no attempt."""
        path = self.folder / f"{step.id}.json"
        content: dict[str, Any] = read_json(path) if path.is_file() else {"settings": step.settings, "attempts": 0, "finished": False}
        return content

    def finished(self, step: Step) -> bool:
        """Whether the step ended well and its product is still there."""
        return bool(self.read(step)["finished"]) and step.done()

    def refuse_changes(self, steps: list[Step]) -> None:
        """Raise UserError when a step on record was made with other settings: its product must not be mixed with new ones."""
        for step in steps:
            if found := difference(self.read(step)["settings"], step.settings):
                raise UserError(
                    f"the study has changed since '{step.title}' was run in {self.folder.parent} ({found}); "
                    "set that back, or choose another --out"
                )

    def start(self, step: Step, job: str | None = None) -> int:
        """Put an attempt on record and return its number, counted from 0."""
        attempt = int(self.read(step)["attempts"])
        self._write(step, attempts=attempt + 1, finished=False, job=job)
        return attempt

    def note_job(self, step: Step, job: str | None) -> None:
        """Put on record which cluster job is at it."""
        self._write(step, job=job)

    def finish(self, step: Step, seconds: float) -> None:
        """Record that the step has ended well."""
        self._write(step, finished=True, job=None, seconds=round(seconds, 1), ended=time.strftime("%Y-%m-%dT%H:%M:%S"))

    def _write(self, step: Step, **changes: Any) -> None:
        write_json(self.folder / f"{step.id}.json", self.read(step) | {"title": step.title, "settings": step.settings} | changes)
