"""Score one folder of predictions: tables, nnU-Net's ``summary.json``, clinical volumes, and a sheet of definitions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from evaluation.analysis.volumes import agreement, clinical_values
from evaluation.inputs.arms import Arm, ScoredCase, read_arm
from evaluation.inputs.dataset import Dataset, structure_labels, without_truth
from evaluation.inputs.interop import PARQUET, read_summary, write_parquet, write_summary
from evaluation.inputs.scores import Where, long_table, score_masks
from evaluation.report.methods import SURFACE, versions
from evaluation.scoring.masks import LabelMaps, Labels
from evaluation.scoring.rules import BY_DEFAULT, ScoringRules, to_json
from evaluation.scoring.table import BOTH_EMPTY, HD95_DIRECTED, METRICS
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, refuse_read_only, write_json, write_text
from nnunet_synth_aug.core.others_files import refuse_to_replace
from nnunet_synth_aug.core.tables import quoted_table

TABLE, SUMMARY, ABOUT = "metrics.csv", "summary.json", "evaluation.json"
STRUCTURES_TABLE, CLINICAL, AGREEMENT = "structures.csv", "clinical.csv", "agreement.csv"


@dataclass(frozen=True)
class Evaluation:
    """What was found, and where it lies."""

    out: Path
    table: pd.DataFrame  # long table, see evaluation.scoring.table
    structures: pd.DataFrame  # see :func:`describe`
    clinical: pd.DataFrame  # per patient, see evaluation.analysis.volumes.clinical_values
    agreement: pd.DataFrame  # see evaluation.analysis.volumes.agreement
    failures: pd.DataFrame
    notes: list[str]
    about: dict[str, Any]  # definitions and rules, as in ``evaluation.json``


def evaluate_folder(
    predictions: Path, out: Path, *, name: str = "", rules: ScoringRules = BY_DEFAULT, **where: Unpack[Where]
) -> Evaluation:
    """Score one folder of predictions and write the results to ``out``.

    Args:
        predictions: see :func:`evaluation.inputs.arms.read_arm`. The values of a ``summary.json`` are taken as they are.
        out: gets ``metrics.csv`` (and ``metrics.parquet`` where pyarrow is installed), ``structures.csv``, ``clinical.csv``,
            ``agreement.csv``, ``summary.json`` and ``evaluation.json``; may exist.
        name: of the model in the tables; by default nnU-Net's folder of it.
        rules: by which masks are scored.
        where: see :class:`evaluation.inputs.scores.Where`.

    Raises:
        UserError: a folder or file is missing or damaged, predictions and ground truth do not fit, or files of something else are in the
            way. Nothing is written then.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose a folder for the results")
    refuse_read_only(out)
    _refuse_others_files(out)
    arm = read_arm(predictions, name or _model_name(predictions))
    if predictions.suffix == ".json":
        rules = ScoringRules(empty=rules.empty)  # the values are the file's own
        found, scored, maps = _from_summary(predictions, arm, where.get("labels") or where.get("reference_labels"))
        notes = [f"Dice, IoU and what else there is were taken from {predictions.name}; no mask was read."]
    else:
        masks = score_masks([arm], rules, where)
        found, scored, maps, notes = masks.dataset, masks.scored, masks.maps[0], masks.notes
    wanted = maps.labels
    held = [s for s in wanted if any((c := one.scores[s].counts) is not None and c.tp + c.fn for one in scored)]
    if not held:
        raise UserError(f"no ground truth of {found.name} holds any of {', '.join(wanted)}; check the labels")
    if absent := [s for s in wanted if s not in held]:
        notes.append(f"Not scored, because no ground truth holds it: {', '.join(absent)}.")
    table = long_table(scored, found)
    table = table[table["structure"].isin(held)].reset_index(drop=True)
    clinical = clinical_values(table)
    result = Evaluation(
        out=out,
        table=table,
        structures=describe(table, held),
        clinical=clinical,
        agreement=agreement(clinical),
        failures=_failures(table),
        notes=notes,
        about=_about(arm, found, maps, rules, held, notes),
    )
    _write(result, scored, found.ground_truth, {s: wanted[s] for s in held})
    return result


def _refuse_others_files(out: Path) -> None:
    """Refuse a folder with files that something else wrote, such as nnU-Net's own ``summary.json`` beside the predictions."""
    names, summary = (TABLE, PARQUET, STRUCTURES_TABLE, CLINICAL, AGREEMENT, SUMMARY), out / SUMMARY
    refuse_to_replace(out, names, [ABOUT], "synthaug evaluate")
    content = read_json(summary) if summary.is_file() else {"synthaug": {}}
    if not isinstance(content, dict) or "synthaug" not in content:
        refuse_to_replace(out, [SUMMARY], [], "synthaug evaluate")


def _model_name(predictions: Path) -> str:
    """nnU-Net's folder name of the model, or that of the predictions."""
    parts = predictions.resolve().parts
    return next((part for part in reversed(parts) if part.count("__") == 2), predictions.resolve().stem)


def _from_summary(path: Path, arm: Arm, given: Labels | None) -> tuple[Dataset, list[ScoredCase], LabelMaps]:
    found = without_truth({p.case: p.path for p in arm.predictions}, path)
    labels = given or structure_labels(arm.dataset_json or found.dataset_json)[0]
    scored, references = read_summary(path, arm, labels)
    return without_truth(references, path), scored, LabelMaps(labels)


def describe(table: pd.DataFrame, structures: list[str]) -> pd.DataFrame:
    """Every metric over cases, as nnU-Net and the challenges give it.

    Returns:
        One row per phase (``all``, then ED, ES and others that occur), structure and metric: unit, n (cases with a value), mean, sd,
        median, q1, q3; ``failures`` (cases with one mask empty or no prediction) and ``excluded`` (both empty).
    """
    scored = table[table["metric"].isin(METRICS)]
    phases = ["all", *sorted(p for p in scored["phase"].unique() if p)]
    rows: list[dict[str, Any]] = []
    for phase in phases:
        part = scored if phase == "all" else scored[scored["phase"] == phase]
        for structure in structures:
            for metric, definition in METRICS.items():
                cases = part[(part["structure"] == structure) & (part["metric"] == metric)]
                if cases.empty:
                    continue
                values = cases["value"].dropna()
                failed = cases["failure"] != ""
                excluded = cases["failure"] == BOTH_EMPTY
                quartiles = values.quantile([0.25, 0.5, 0.75]).to_list()
                rows.append(
                    {
                        "phase": phase,
                        "structure": structure,
                        "metric": metric,
                        "unit": definition.unit,
                        "n": len(values),
                        "mean": values.mean(),
                        "sd": values.std(),
                        "median": quartiles[1],
                        "q1": quartiles[0],
                        "q3": quartiles[2],
                        "failures": int((failed & ~excluded).sum()),
                        "excluded": int(excluded.sum()),
                    }
                )
    return pd.DataFrame(rows)


def _failures(table: pd.DataFrame) -> pd.DataFrame:
    failed = table[(table["metric"] == "Dice") & ~table["failure"].isin(["", BOTH_EMPTY])]
    return failed[["patient", "phase", "fold", "structure", "failure", "prediction_file"]].reset_index(drop=True)


def _about(arm: Arm, found: Dataset, maps: LabelMaps, rules: ScoringRules, structures: list[str], notes: list[str]) -> dict[str, Any]:
    own = maps.prediction_labels or maps.labels
    return {
        "format": 1,
        "dataset": found.name,
        "model": arm.name,
        "cases": len(arm.cases),
        "folds": [fold for fold in arm.folds if fold],
        "labels": {s: {"ground_truth": list(maps.labels[s]), "prediction": list(own[s])} for s in structures},
        **to_json(rules.of(structures)),
        "definitions": {
            **{name: metric.definition for name, metric in METRICS.items()},
            HD95_DIRECTED: "The larger of the 95th percentiles of the two directions (MONAI, MetricsReloaded): not the HD95 above.",
            "Surface": SURFACE,
        },
        "described_over": "cases; for tests, average the cases of a patient first",
        "notes": notes,
        "versions": versions(),
    }


def _write(result: Evaluation, scored: list[ScoredCase], references: Mapping[str, Path], labels: Labels) -> None:
    """Write all files beside ``out`` and move them in when every one is complete."""
    out = result.out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".partial-{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"cannot write to {out.parent}: {error.strerror or error}; choose another folder") from error
    try:
        tables = {TABLE: result.table, STRUCTURES_TABLE: result.structures, CLINICAL: result.clinical, AGREEMENT: result.agreement}
        for name, table in tables.items():
            if "metric" in table and name != TABLE:
                table = table.assign(definition=[METRICS[m].short for m in table["metric"]])
            write_text(staging / name, quoted_table(table).to_csv(index=False, lineterminator="\n"))
        write_parquet(staging / PARQUET, result.table)
        write_summary(staging / SUMMARY, scored, references, labels, result.about)
        write_json(staging / ABOUT, result.about | {"failures": result.failures.to_dict("records")})
        out.mkdir(exist_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name != ABOUT):
            path.replace(out / path.name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
