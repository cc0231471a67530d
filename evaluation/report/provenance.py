"""How the arms were trained, and what their synthetic data were."""

from __future__ import annotations

from typing import Any

from evaluation.inputs.arms import Arm, provenance
from evaluation.report.blocks import Blocks, Paragraph, Table
from evaluation.report.results import Results
from evaluation.report.tables import Rows, note
from evaluation.report.wording import DASH, number


def synthetic(results: Results) -> Blocks:
    """What each training recorded about its synthetic data."""
    rows: Rows = []
    for arm in (arm for runs in results.arms for arm in runs):
        for fold, record in sorted(arm.records.items()):
            source = provenance(record)
            share, patients = record.get("share"), source.get("patients")
            samples = DASH if record.get("samples") is None else f"{_cell(record.get('synthetic_samples'))} of {_cell(record['samples'])}"
            rows.append(
                [
                    _named(arm),
                    fold,
                    _cell(record.get("ratio")),
                    DASH if share is None else f"{float(share):.4f}",
                    samples,
                    DASH if patients is None else str(len(patients)),
                    _cell(record.get("distinct_synthetic_cases", source.get("n_cases"))),
                    _cell(source.get("generator_hash", source.get("hash")))[:12],
                    _cell(record.get("manifest_hash"))[:12],
                ]
            )
    if not rows:
        return [Paragraph("No training of either arm recorded synthetic data (no synth_aug.json beside the predictions).")]
    columns = [
        "arm",
        "fold",
        "ratio",
        "share counted",
        "synthetic samples",
        "generator patients",
        "distinct cases",
        "generator",
        "manifest",
    ]
    text = (
        "The share was counted batch by batch during training. Generator patients: those that any stage of the generator was trained on; "
        "none may be evaluated in the same fold. The last two columns are the first twelve digits of hashes."
    )
    return [Table(columns, rows, text=2), note(text)]


def _cell(value: Any) -> str:
    return DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _named(arm: Arm) -> str:
    return f"{arm.name}, {arm.seed}" if arm.seed else arm.name


def arms(results: Results) -> Blocks:
    """How each arm was trained; nothing when the scores came from a table."""
    rows: Rows = []
    for arm in (arm for runs in results.arms for arm in runs):
        folds = ", ".join(f for f in arm.folds if f) or DASH
        trained = [arm.trainer or DASH, arm.plans or DASH, arm.configuration or DASH, arm.seed or DASH]
        rows.append([arm.name, *trained, folds, number(arm.mix_ratio, 2), str(len(arm.predictions))])
    columns = ["arm", "trainer", "plans", "configuration", "seed", "folds", "mix ratio", "predictions"]
    return [Table(columns, rows, text=6)] if rows else []
