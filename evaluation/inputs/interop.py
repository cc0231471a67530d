"""Other people's files: label maps by name, nnU-Net's ``summary.json`` in both directions, Parquet."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.inputs.arms import Arm, ScoredCase
from evaluation.scoring.masks import Labels
from evaluation.scoring.metrics import Counts, Score
from evaluation.scoring.table import BOTH_EMPTY, METRICS, PREDICTION_EMPTY, REFERENCE_EMPTY, TOLERANCE_MM
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_object, write_text
from nnunet_synth_aug.core.labels import LABEL_MAPS, STRUCTURES

#: The long table beside ``metrics.csv``, where pyarrow is installed.
PARQUET = "metrics.parquet"
#: What nnU-Net writes per case and label; the rest of ours is added to it.
_NNUNET = ("Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref")


def parse_labels(text: str) -> dict[str, tuple[int, ...]]:
    """Structures from ``RV=1,MYO=2,LV=3``, with regions like ``EPI=2+3``, or from the name of a data set (``acdc``, ``mnms``).

    Raises:
        UserError: neither, naming what is wrong.
    """
    if text.lower() in LABEL_MAPS:
        values = {here: there for there, here in LABEL_MAPS[text.lower()].items()}
        return {name: (values[value],) for name, value in STRUCTURES.items() if value in values}
    found: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, equals, numbers = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not all(n.strip().isdigit() and int(n) > 0 for n in numbers.split("+")):
            raise UserError(
                f"the labels {text!r} are not understood at {part.strip()!r}; write for example RV=1,MYO=2,LV=3, EPI=2+3 for a region, "
                f"or the name of a data set ({', '.join(LABEL_MAPS)})"
            )
        if name in found:
            raise UserError(f"the labels {text!r} name {name} twice; give every structure once")
        found[name] = tuple(int(n) for n in numbers.split("+"))
    return told_apart(found)


def told_apart(labels: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The labels, if no two structures have the same values.

    Raises:
        UserError: two have: one of the numbers is a slip.
    """
    seen: dict[frozenset[int], str] = {}
    for name, values in labels.items():
        if (other := seen.setdefault(frozenset(values), name)) != name:
            raise UserError(f"the labels give {other} and {name} the same value, {label_key(values)}; give every structure its own")
    return labels


def parse_tolerance(text: str | None) -> float | dict[str, float]:
    """Tolerance of the surface Dice in mm: ``2``, or by structure ``RV=3,LV=2``; the default if None."""
    parts = [part.partition("=") for part in (text or f"{TOLERANCE_MM:g}").split(",")]
    try:
        values = {name.strip(): float(number if equals else name) for name, equals, number in parts}
        if not all(0 <= v < math.inf for v in values.values()) or (len(parts) > 1 and not all(equals for _, equals, _ in parts)):
            raise ValueError
    except ValueError:
        raise UserError(f"the tolerance {text!r} is not understood; give millimetres, such as 2, or RV=3,MYO=2,LV=2") from None
    return values if parts[0][1] else next(iter(values.values()))


def label_key(values: tuple[int, ...]) -> str:
    """nnU-Net's key of a label or region in ``summary.json``: ``3``, or ``(2, 3)``."""
    return str(values[0]) if len(values) == 1 else str(values)


def write_summary(path: Path, scored: Sequence[ScoredCase], references: Mapping[str, Path], labels: Labels, about: dict[str, Any]) -> None:
    """Write nnU-Net's ``summary.json`` with the surface metrics added to every label, and ``about`` as the extra key ``synthaug``.

    Counts, Dice and IoU are nnU-Net's own, whatever the policy for empty masks; its means leave NaN out, as do those of the added
    metrics. Missing predictions are left out, as nnU-Net does with ``--chill``. NaN is written as ``NaN``, as nnU-Net writes it.
    """
    names = {structure: label_key(values) for structure, values in labels.items()}
    cases: list[dict[str, Any]] = []
    for one in scored:
        if one.prediction is not None:
            metrics = {names[structure]: _as_nnunet(score) for structure, score in one.scores.items() if structure in names}
            files = {"prediction_file": str(one.prediction.path), "reference_file": str(references.get(one.case, ""))}
            cases.append({"metrics": metrics, **files})
    keys = [*_NNUNET, *(m for m in METRICS if m not in _NNUNET)]
    mean = {name: {m: _mean(case["metrics"][name].get(m, math.nan) for case in cases) for m in keys} for name in names.values()}
    foreground = {m: float(np.mean([mean[name][m] for name in mean])) for m in keys}
    result = {"foreground_mean": foreground, "mean": mean, "metric_per_case": cases, "synthaug": about}
    write_text(path, json.dumps(result, indent=4, sort_keys=True) + "\n")


def _as_nnunet(score: Score) -> dict[str, float]:
    n = score.counts or Counts(0, 0, 0, 0)
    union = n.tp + n.fp + n.fn
    overlap = {"Dice": 2 * n.tp / (2 * n.tp + n.fp + n.fn) if union else math.nan, "IoU": n.tp / union if union else math.nan}
    counts = {"FP": n.fp, "TP": n.tp, "FN": n.fn, "TN": n.tn, "n_pred": n.fp + n.tp, "n_ref": n.fn + n.tp}
    return {**{m: v for m, v in score.values.items() if m in METRICS}, **overlap, **counts}


def _mean(values: Iterable[float]) -> float:
    """Mean without NaN; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def read_summary(path: Path, arm: Arm, labels: Labels) -> tuple[list[ScoredCase], dict[str, Path]]:
    """The scores in nnU-Net's ``summary.json``: Dice, IoU, and the distances where this package wrote it.

    Args:
        arm: from :func:`evaluation.inputs.arms.read_arm` of the same file.
        labels: structure -> label values; labels of the file that none names are left out.

    Returns:
        Scores in the file's order, and case -> ground truth file.

    Raises:
        UserError: a label is missing in the file, or the file is not nnU-Net's.
    """
    content = read_object(path)["metric_per_case"]
    scored, references = [], {}
    for case, prediction in zip(content, arm.predictions, strict=True):
        scores = {}
        for structure, values in labels.items():
            try:
                scores[structure] = _from_nnunet(case["metrics"][label_key(values)])
            except KeyError as error:
                raise UserError(f"{path} has no {error} for {structure} (label {label_key(values)}); correct --labels") from error
            except TypeError as error:
                raise UserError(f"{path} is not nnU-Net's summary.json ({error}); give the folder of masks") from error
        scored.append(ScoredCase(arm, prediction.case, prediction.fold, prediction, scores))
        references[prediction.case] = Path(str(case.get("reference_file") or prediction.path))
    return scored, references


def _from_nnunet(found: dict[str, float]) -> Score:
    counts = Counts(*(int(found[key]) for key in ("TP", "FP", "FN", "TN")))
    n_prediction, n_reference = counts.tp + counts.fp, counts.tp + counts.fn
    failure = "" if n_prediction and n_reference else PREDICTION_EMPTY if n_reference else REFERENCE_EMPTY if n_prediction else BOTH_EMPTY
    return Score({m: math.nan if found[m] is None else float(found[m]) for m in METRICS if m in found}, failure, counts)


def write_parquet(path: Path, table: pd.DataFrame) -> bool:
    """Write the table as Parquet where pyarrow is installed; whether it was."""
    if importlib.util.find_spec("pyarrow") is None:
        return False
    table.to_parquet(path, index=False)
    return True
