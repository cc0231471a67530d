"""The study of ``synthaug try`` as a file, its run, and what it ends with."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from evaluation.benchmark.conclude import FIGURES
from evaluation.benchmark.demo import seconds_taken
from evaluation.benchmark.main import run_study
from evaluation.benchmark.reading import checked, read_study
from evaluation.benchmark.steps import difference, plain
from evaluation.benchmark.study import VALIDATION, Study
from evaluation.benchmark.workspace import Workspace
from evaluation.report.writing import REPORT
from evaluation.trial.facts import Facts
from evaluation.trial.proposal import Proposal
from evaluation.trial.verdict import as_json, judge, told
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_object, refuse_read_only, write_json, write_text
from nnunet_synth_aug.core.settings import read

STUDY, VERDICT, SAID = "study.yaml", "verdict.json", "try.json"


@dataclass(frozen=True)
class Trial:
    """One fold, what is mixed in, and the folder of its study."""

    facts: Facts
    proposal: Proposal
    content: dict[str, Any]  # of the study file, without minutes
    out: Path  # absolute
    small: bool

    @property
    def study(self) -> Study:
        """The study, checked."""
        return checked(read(Study, self.content, str(self.out / STUDY), folder=self.out), str(self.out / STUDY))

    @property
    def iterations(self) -> int:
        """Of each training."""
        return int(self.content["training"]["epochs"] * self.content["training"]["iterations"])

    def began(self) -> bool:
        """Whether this very trial was started in its folder before.

        Raises:
            UserError: another one was, something else is there, or nothing can be written.
        """
        path = self.out / STUDY
        if not path.is_file():
            if self.out.exists() and (not self.out.is_dir() or {one.name for one in self.out.iterdir()} - {SAID}):
                raise UserError(f"{self.out} is there and holds something else; choose another folder with -o")
            refuse_read_only(self.out)
            return False
        refuse_read_only(self.out)
        before = replace(read_study(path), minutes=self.study.minutes)
        if found := difference(plain(before), plain(self.study)):
            raise UserError(f"{self.out} holds another try ({found}); choose another folder with -o, or remove that one")
        return True


def as_yaml(content: dict[str, Any], comments: list[str]) -> str:
    """A study file."""
    return "\n".join([*(f"# {line}".rstrip() for line in comments), yaml.safe_dump(content, sort_keys=False, width=140)])


def write_trial(trial: Trial, minutes: dict[str, float], said: dict[str, float], pace: dict[str, float], comments: list[str]) -> None:
    """Write the study file, and what was said of it and measured for it."""
    trial.out.mkdir(parents=True, exist_ok=True)
    write_json(trial.out / SAID, {"estimated": said, "pace": pace})
    write_text(trial.out / STUDY, as_yaml(trial.content | {"minutes": minutes}, comments))


def run_trial(trial: Trial, settings: dict[str, Any]) -> list[str]:
    """Run the study, or go on with it, and write its verdict.

    Args:
        trial: whose study file is written.
        settings: ``configuration``, ``plans`` and ``device``, for ``verdict.json``.

    Returns:
        lines for the screen.

    Raises:
        UserError: a step failed, or the arms are not comparable.
    """
    study = read_study(trial.out / STUDY)
    at = Workspace(trial.out, study)
    before = read_json(trial.out / VERDICT) if (trial.out / VERDICT).is_file() else None
    start = time.monotonic()
    run_study(study, trial.out)
    [_, arm] = study.all_arms
    _, steps = seconds_taken(study, at)
    tested = study.tests[0].name if study.tests else VALIDATION
    headline = read_json(trial.out / "report" / FIGURES)["comparisons"][tested][arm.name]["headline"]
    verdict = judge(headline, trial.facts, trial.proposal, trial.iterations, trial.small)
    last = max(path.stat().st_mtime for path in (trial.out / "steps").iterdir())
    reported = before["took"]["minutes"] if before else (steps + min(time.time() - last, time.monotonic() - start)) / 60
    took = {"minutes": round(reported, 2), "megabytes": round(_megabytes(trial.out), 1)}
    report = trial.out / "report" / tested / REPORT
    content = as_json(
        verdict,
        trial.facts,
        trial.proposal,
        settings | {"small_network": trial.small},
        iterations=trial.iterations,
        said=read_object(trial.out / SAID, "estimated")["estimated"],
        took=took,
        files={"report": str(report), "study": str(trial.out / STUDY)},
    )
    write_json(trial.out / VERDICT, content)
    return ["", *told(verdict), f"report: {report}", f"the same for programs: {trial.out / VERDICT}"]


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6
