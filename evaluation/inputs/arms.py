"""One arm of a comparison: the predictions in an nnU-Net results folder, and how its network was trained."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.inputs.dataset import Dataset, cases_in, dataset_name
from evaluation.scoring.metrics import Score
from evaluation.scoring.remarks import Remarks
from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import read_object
from nnunet_synth_aug.core.volumes import ENDINGS, ending_of

RECORD = "synth_aug.json"
#: Keys of the plans that tell a copy from its original, and those of their ``synth_aug`` in which arms are meant to differ.
_NAMES, _MIXED = ("plans_name", "synth_aug_copy_of"), ("ratio", "manifest_hash", "generator_hash", "schedule", "weights", "refresh")
_MODEL = re.compile(r"(?P<trainer>.+?)__(?P<plans>.+?)__(?P<configuration>.+)")
_FOLD = re.compile(r"fold_(?P<fold>\d+|all)")


@dataclass(frozen=True)
class Prediction:
    """One predicted mask; ``fold`` is "" where the folder does not tell."""

    case: str
    fold: str
    path: Path


@dataclass(frozen=True)
class Arm:
    """The predictions of one arm and what is recorded about its training."""

    name: str
    folder: Path
    predictions: tuple[Prediction, ...]
    trainer: str = ""
    plans: str = ""
    configuration: str = ""
    mix_ratio: float = float("nan")  # share of synthetic training samples that was asked for; NaN if unknown
    seed: str = ""
    dataset_json: dict[str, Any] | None = None
    planned: dict[str, Any] | None = None  # nnU-Net's plans without their name and without what an arm mixes in; None if not found
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # fold -> synth_aug.json of its training

    @property
    def cases(self) -> frozenset[str]:
        """Ids of the cases that were predicted."""
        return frozenset(p.case for p in self.predictions)

    @property
    def folds(self) -> tuple[str, ...]:
        """Folds of the predictions, "" where unknown."""
        return tuple(sorted({p.fold for p in self.predictions}))


@dataclass(frozen=True)
class ScoredCase:
    """One prediction and its scores by structure; ``prediction`` is None where the arm lacks the case."""

    arm: Arm
    case: str
    fold: str  # of the prediction, or in which it is missing; "" where unknown
    prediction: Prediction | None
    scores: dict[str, Score]
    remarks: Remarks = field(default_factory=Remarks)


#: Case and fold of a prediction.
Place = tuple[str, str]


def read_arm(folder: Path, name: str) -> Arm:
    """Find the predictions of one arm.

    Args:
        folder: ``TRAINER__PLANS__CONFIGURATION`` (every ``fold_K/validation`` in it is used), one ``fold_K``,
            any folder of predicted masks (``validation``, ``crossval_results...``, output of nnUNetv2_predict), or
            nnU-Net's ``summary.json``, which names predictions that need not exist any more.
        name: how the report calls the arm.

    Raises:
        UserError: no such folder, or no predictions in it.
    """
    summary = folder if folder.name.endswith(".json") else None
    folder = folder.parent if summary else folder
    if not (summary or folder).exists() or not folder.is_dir():
        raise UserError(f"the results folder {summary or folder} of {name} does not exist")
    fold_folders = (
        [folder]
        if _FOLD.fullmatch(folder.resolve().name)
        else sorted(p for p in folder.iterdir() if p.is_dir() and _FOLD.fullmatch(p.name))
    )
    predictions: list[Prediction] = []
    if own := _named_in(summary) if summary else cases_in(folder):
        fold_folders = _origins(folder.resolve())
        folds = {c: f.name.removeprefix("fold_") for f in fold_folders for c in cases_in(f / "validation")}
        predictions = [Prediction(c, folds.get(c, ""), p) for c, p in own.items()]
    else:
        for one in fold_folders:
            fold = one.resolve().name.removeprefix("fold_")
            predictions += [Prediction(c, fold, p) for c, p in cases_in(one / "validation").items()]
    if not predictions:
        where = "fold_*/validation" if fold_folders else "it"
        raise UserError(
            f"{folder} of {name} holds no predictions (*{', *'.join(ENDINGS)} in {where}); finish the training, or give a folder of masks"
        )
    plans = _beside(folder, "plans.json") or next((p for f in fold_folders if (p := _beside(f / "validation", "plans.json"))), None)
    records = {f.resolve().name.removeprefix("fold_"): read_object(f / RECORD) for f in fold_folders if (f / RECORD).is_file()}
    model = next((m for p in (folder.resolve(), *folder.resolve().parents[:2]) if (m := _MODEL.fullmatch(p.name))), None)
    trainer = model["trainer"] if model else ""
    seeds = {str(r["seed"]) for r in records.values() if r.get("seed") is not None}
    return Arm(
        name=name,
        folder=folder,
        predictions=tuple(predictions),
        trainer=trainer,
        plans=model["plans"] if model else "",
        configuration=model["configuration"] if model else "",
        mix_ratio=_ratio(records, trainer, plans, folder),
        seed=seeds.pop() if len(seeds) == 1 else "",
        dataset_json=_beside(folder, "dataset.json"),
        planned=None if plans is None else without_mix(plans),
        records=records,
    )


def without_mix(plans: dict[str, Any]) -> dict[str, Any]:
    """Plans without what tells a copy from its original and without what arms are meant to differ in."""
    shared = {k: v for k, v in plans.items() if k not in _NAMES}
    return shared | {"synth_aug": {k: v for k, v in plans.get("synth_aug", {}).items() if k not in _MIXED}}


def _origins(folder: Path) -> list[Path]:
    """The ``fold_K`` folders that the masks directly in ``folder`` come from, where nnU-Net's layout tells."""
    if folder.name == "validation" and _FOLD.fullmatch(folder.parent.name):
        return [folder.parent]
    if match := re.fullmatch(r"crossval_results_folds_(\d+(?:_\d+)*)", folder.name):
        return [f for k in match[1].split("_") if (f := folder.parent / f"fold_{k}").is_dir()]
    return []


def _named_in(summary: Path) -> dict[str, Path]:
    """Case id -> prediction as nnU-Net's ``summary.json`` names it; a folder may have been moved since, so only its name counts."""
    try:
        names = [Path(case["prediction_file"]).name for case in read_object(summary)["metric_per_case"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{summary} is not nnU-Net's summary.json ({type(error).__name__}: {error}); give the folder of masks") from error
    return {name.removesuffix(ending_of(name)): summary.with_name(name) for name in names}


def _beside(folder: Path, name: str) -> dict[str, Any] | None:
    """A JSON file that nnU-Net puts in the folder of a model or of its predictions."""
    path = next((p / name for p in (folder.resolve(), *folder.resolve().parents[:2]) if (p / name).is_file()), None)
    return None if path is None else read_object(path)


def _ratio(records: dict[str, dict[str, Any]], trainer: str, plans: dict[str, Any] | None, folder: Path) -> float:
    ratios = {float(r["ratio"]) for r in records.values() if r.get("ratio") is not None}
    if len(ratios) > 1:
        found = ", ".join(f"{r:g}" for r in sorted(ratios))
        raise UserError(f"the folds of {folder} were trained with different mix ratios ({found}); compare them one by one")
    if ratios:
        return ratios.pop()
    if match := re.search(r"_mix(\d+)", trainer):
        return int(match[1]) / 100
    planned = ((plans or {}).get("synth_aug") or {}).get("ratio")
    if planned is not None:
        return float(planned)
    return 0.0 if trainer and "SynthAug" not in trainer else float("nan")


def check_pairing(baseline: Arm, augmented: Arm, allow_missing: bool = False) -> None:
    """Raise UserError unless both arms predict the same cases, in the same folds where folds are known.

    With ``allow_missing`` either may lack predictions, but a case that both have must share a fold.
    """
    for one, other in () if allow_missing else ((baseline, augmented), (augmented, baseline)):
        if missing := one.cases - other.cases:
            raise UserError(
                f"{other.folder} ({other.name}) lacks {len(missing)} of the cases that {one.name} predicts: {shortened(missing)}; "
                "predict them too, compare single folds, or score them as failures with --allow-missing"
            )
    folds = [_folds_of(arm) for arm in (baseline, augmented)]
    if all(p.fold for arm in (baseline, augmented) for p in arm.predictions):
        shared = baseline.cases & augmented.cases
        different = {c for c in shared if (not folds[0][c] & folds[1][c] if allow_missing else folds[0][c] != folds[1][c])}
        if different:
            raise UserError(
                f"{baseline.name} and {augmented.name} predict {shortened(different)} in different folds; "
                "train both with the same splits_final.json"
            )


def _folds_of(arm: Arm) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for prediction in arm.predictions:
        found.setdefault(prediction.case, set()).add(prediction.fold)
    return found


def fairness_notes(baseline: Arm, augmented: Arm, dataset: Dataset) -> list[str]:
    """Sentences about what makes the comparison invalid or hard to interpret; empty when nothing was found."""
    notes = []
    if leaked := leaked_patients(augmented, dataset) | leaked_patients(baseline, dataset):
        notes.append(f"Not valid: the generator was trained on evaluated patients ({shortened(leaked)}).")
    for fold in sorted({*baseline.folds, *augmented.folds}):
        if fold.isdigit() and int(fold) < len(dataset.splits) and (both := shared_patients(dataset, int(fold))):
            notes.append(f"Not valid: fold {fold} trains and validates on the same patients ({shortened(both)}).")
    if "all" in {*baseline.folds, *augmented.folds}:
        notes.append("Not a validation: fold 'all' was trained on the cases that it predicts.")
    for what in ("plans", "configuration"):
        first, second = getattr(baseline, what), getattr(augmented, what)
        if what == "plans" and None not in (baseline.planned, augmented.planned) and baseline.planned == augmented.planned:
            continue  # a copy with another name, such as that of a share that changes
        if first and second and first != second:
            notes.append(f"The arms differ in more than the augmentation: {what} is {first} in one and {second} in the other.")
    epochs = [re.search(r"_(\d+)epochs?", a.trainer, re.IGNORECASE) for a in (baseline, augmented)]
    if (baseline.trainer and augmented.trainer) and (lengths := [m[1] if m else "default" for m in epochs])[0] != lengths[1]:
        notes.append(f"The arms were trained for different numbers of epochs ({lengths[0]} and {lengths[1]}).")
    names = {n for a in (baseline, augmented) if (n := dataset_name(a.folder))}
    if len(names) > 1:
        notes.append(f"The arms were trained on different datasets ({' and '.join(sorted(names))}).")
    return notes


def shared_patients(dataset: Dataset, fold: int) -> set[str]:
    """Patients in training and in validation of a fold, among the cases whose ground truth is at hand."""
    split = dataset.splits[fold]
    train, val = ({dataset.cases[case].patient for case in side if case in dataset.cases} for side in (split.train, split.val))
    return train & val


def leaked_patients(arm: Arm, dataset: Dataset) -> set[str]:
    """Evaluated patients whom the generator of the same fold was trained on."""
    leaked: set[str] = set()
    for fold, record in arm.records.items():
        seen = set(generator_patients(record))
        leaked |= {dataset.cases[p.case].patient for p in arm.predictions if p.fold in ("", fold)} & seen
    return leaked


def generator_patients(record: dict[str, Any]) -> list[str]:
    """Patients whom the generator was trained on, or whose pixels show its hearts, in a ``synth_aug.json``.

    The manifest holds them itself or under ``generator``.
    """
    source = provenance(record)
    return [str(p) for key in ("patients", "donors", "styles") for p in source.get(key) or []]


def provenance(record: dict[str, Any]) -> dict[str, Any]:
    """Provenance of the synthetic cases of one training, flattened to one level."""
    manifest = dict(record.get("manifest") or {})
    generator = manifest.pop("generator", None)
    return {**manifest, **generator} if isinstance(generator, dict) else manifest
