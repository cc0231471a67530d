"""``synthaug benchmark``: read, run, conclude."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.benchmark.conclude import conclude
from evaluation.benchmark.executors import make_executor
from evaluation.benchmark.reading import read_study
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import Runner, dry_run
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.study import Study
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.core.errors import UserError


def benchmark(file: Path, out: Path | None, only_show: bool = False, check: Callable[[Study], None] | None = None) -> Path | None:
    """Run a study, or go on with it, and return the page that sums up its reports.

    Args:
        file: a study file, or the name of a ready study.
        out: where everything goes; default ``benchmark_NAME`` here.
        only_show: print every command in order and stop.
        check: refuses what only the code that makes phantoms and generators knows, naming the key.

    Raises:
        UserError: the file has a mistake, the study changed, a step failed, the arms are not comparable.
    """
    study = read_study(file)
    if check is not None:
        try:
            check(study)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
    folder = (out or Path(f"benchmark_{file.stem}")).resolve()
    if only_show:
        for line in dry_run(build_steps(study, Workspace(folder, study)), Stamps(folder / "steps")):
            print(line)
        return None
    return run_study(study, folder)


def run_study(study: Study, out: Path) -> Path:
    """Run every step of a study that is not finished, and conclude."""
    at = Workspace(out.resolve(), study)
    Runner(study, build_steps(study, at), at.out, make_executor(study, at.out)).run()
    return conclude(study, at)
