"""What a study ends with: every augmented arm against real-only on every test set, in reports and one table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluation.benchmark.fairness import check_fair
from evaluation.benchmark.steps import plain
from evaluation.benchmark.study import VALIDATION, Study, TestSet
from evaluation.benchmark.workspace import Workspace
from evaluation.compare import Comparison, compare, compare_arms
from evaluation.scoring.rules import ScoringRules
from evaluation.scoring.table import PRIMARY
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import write_json, write_text

FIGURES, PAGE = "benchmark.json", "benchmark.md"
_SHOWN = ("structure", "metric", "unit", "n", "baseline_mean", "augmented_mean", "difference", "ci_low", "ci_high", "p_holm", "verdict")


def conclude(study: Study, at: Workspace, name: str = "report") -> Path:
    """Check that the arms are comparable, compare them, and write ``OUT/report``, or a folder of another ``name``.

    Returns:
        the page that sums up the reports.

    Raises:
        UserError: see :func:`evaluation.benchmark.fairness.check_fair`.
    """
    runs = check_fair(study, at)
    report = at.out / name
    found = {
        name: _compared(study, at, test, report / name) for name, test in {VALIDATION: None, **{t.name: t for t in study.tests}}.items()
    }
    figures = {
        "format": 1,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "study": _shareable(plain(study)),
        "runs": runs,
        "comparisons": {test: {arm: _figures(one, report) for arm, one in by_arm.items()} for test, by_arm in found.items()},
    }
    write_json(report / FIGURES, figures)
    write_text(report / PAGE, _page(study, figures))
    return report / PAGE


def _compared(study: Study, at: Workspace, test: TestSet | None, out: Path) -> dict[str, Comparison]:
    """Every augmented arm against real-only on one test set; its trainings (seeds) and folds are repeated measures of the patients."""
    arms = {
        arm.name: [at.model(arm, seed) if test is None else at.predictions(arm, seed, test.name) for seed in study.seeds]
        for arm in study.all_arms
    }
    if test is not None:
        for arm in study.all_arms:
            for seed in study.seeds:
                for fold in study.folds:
                    _share_record(at.model(arm, seed) / f"fold_{fold}", at.predictions(arm, seed, test.name) / f"fold_{fold}")
    dataset = at.raw if test is None else at.test_raw(test)
    rules = ScoringRules(largest_heart=study.largest_heart)
    with _environment(at.environment()):  # where the splits of the study are
        if len(arms) > 2:
            return compare_arms(arms, out, rules=rules, dataset=dataset).comparisons
        (baseline, real), (name, augmented) = arms.items()
        return {name: compare(real, augmented, out, names=(baseline, name), rules=rules, dataset=dataset)}


def _share_record(trained: Path, predicted: Path) -> None:
    """Put what is recorded of a training beside its predictions, where the comparison looks for patients that the generator saw."""
    link = predicted / "synth_aug.json"
    if not link.is_symlink():
        link.symlink_to(trained / "synth_aug.json")


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _figures(comparison: Comparison, report: Path) -> dict[str, Any]:
    rows = comparison.summary[comparison.summary["metric"].isin(PRIMARY)]
    return {
        "report": comparison.report.relative_to(report).as_posix(),
        "headline": rows[list(_SHOWN)].to_dict("records"),
        "conclusion": comparison.conclusion,
        "definitions": comparison.definitions,
        "failures": len(comparison.failures),
    }


def _shareable(value: Any) -> Any:
    """Settings without folders and minutes, which say nothing on another machine."""
    if isinstance(value, dict):
        return {k: _shareable(v) for k, v in value.items() if k not in ("folder", "minutes")}
    return [_shareable(v) for v in value] if isinstance(value, list) else value


def _page(study: Study, figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    first = figures["runs"][0]
    lines = [
        f"# {study.title}",
        "",
        f"{len(figures['runs'])} trainings of {first['iterations']} iterations: {len(study.all_arms)} arms x {len(study.folds)} folds x "
        f"{len(study.seeds)} seeds. Differences are arm - real, averaged over folds and seeds within a patient.",
    ]
    for test, by_arm in figures["comparisons"].items():
        lines += ["", f"## {test}", "", "| arm | structure | metric | n | real | arm | difference [95 % CI] | Holm p | |", "|---" * 9 + "|"]
        lines += [_row(arm, row) for arm, found in by_arm.items() for row in found["headline"]]
        lines += ["", *{found["definitions"] for found in by_arm.values()}]
        lines += ["", *(f"- [{arm}]({found['report']}): {' '.join(found['conclusion'])}" for arm, found in by_arm.items())]
    return "\n".join(lines) + "\n"


def _row(arm: str, row: dict[str, Any]) -> str:
    interval = f"{_number(row['difference'], '+.3f')} [{_number(row['ci_low'], '.3f')}, {_number(row['ci_high'], '.3f')}]"
    means = [_number(row[side], ".3f") for side in ("baseline_mean", "augmented_mean")]
    metric = f"{row['metric']} [{row['unit']}]" if row["unit"] else row["metric"]
    cells = [arm, row["structure"], metric, str(row["n"]), *means, interval, _number(row["p_holm"], ".3f"), row["verdict"]]
    return f"| {' | '.join(cells)} |"


def _number(value: float, pattern: str) -> str:
    return "-" if value != value else format(value, pattern)  # NaN
