"""Patient-grouped cross-validation splits in nnU-Net's ``splits_final.json``.

nnU-Net writes that file itself at the first training if it is missing, and then splits by case: the ED and ES frames of
one patient land in different folds and validation is no longer honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json
from nnunet_synth_aug.core.paths import preprocessed_folder
from nnunet_synth_aug.data.cohort import Cohort

SPLITS = "splits_final.json"


@dataclass(frozen=True)
class FoldPatients:
    """Who may be learnt from and who must not be seen, in one fold."""

    train: tuple[str, ...]  # sorted
    val: tuple[str, ...]  # sorted; empty for fold "all"
    hash: str  # of the lists
    unlabelled: tuple[str, ...] = ()  # those of ``train`` whose masks must not be seen either


def make_splits(
    cases: Mapping[str, Sequence[str]], groups: Mapping[str, str | None], folds: int = 5, seed: int = 12345
) -> list[dict[str, list[str]]]:
    """Split patients into folds, each diagnosis spread evenly.

    Args:
        cases: patient -> its nnU-Net case ids.
        groups: patient -> diagnosis; None or absent where unknown.
        folds: number of folds, at least 2.
        seed: decides who goes where, independently of the order of ``cases``.

    Returns:
        nnU-Net's format: one ``{"train": [case ids], "val": [case ids]}`` per fold.

    Raises:
        UserError: fewer than 2 folds, or fewer patients than folds.
    """
    if folds < 2:
        raise UserError(f"{folds} folds were asked for; cross-validation needs at least 2")
    if len(cases) < folds:
        raise UserError(
            f"{len(cases)} patients with masks cannot be split into {folds} folds; lower the number of folds to at most {len(cases)}"
        )

    # Ordering by a digest instead of a random generator: the same on every platform and version.
    def order(patient: str) -> tuple[str, str]:
        return groups.get(patient) or "", hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()

    fold_of = {patient: position % folds for position, patient in enumerate(sorted(cases, key=order))}
    splits = []
    for fold in range(folds):
        train = sorted(case for patient, ids in cases.items() for case in ids if fold_of[patient] != fold)
        val = sorted(case for patient, ids in cases.items() for case in ids if fold_of[patient] == fold)
        splits.append({"train": train, "val": val})
    return splits


def fold_patients(cohort: Cohort, fold: int | str) -> FoldPatients:
    """Training and validation patients of one fold, from nnU-Net's own ``splits_final.json``.

    Patients without any nnU-Net case (no masks, or only some structures contoured) can never be validated on: they count as
    training patients of every fold. A patient whose cases the split leaves out altogether is in neither list, unless the fold has a
    third list, ``unlabelled``, with cases or patients that it leaves out (nnU-Net does not look at it): their images may be learnt from
    and their masks may not.

    Args:
        cohort: the dataset.
        fold: its number from 0, or "all" for every patient in training and none in validation.

    Raises:
        UserError: no split file, no such fold, an unknown case in it, or a patient on two sides.
    """
    if fold == "all":
        return _fold({subject.patient for subject in cohort.subjects}, set())
    path = preprocessed_folder(cohort.name) / SPLITS
    splits = _read_splits(path)
    valid = f"{', '.join(map(str, range(len(splits))))} or all"
    try:
        number = int(fold)
    except ValueError as error:
        raise UserError(f"fold {fold!r} is not a fold; choose {valid}") from error
    if not 0 <= number < len(splits):
        raise UserError(f"fold {fold} is not in {path}; choose {valid}")
    return _read_fold(cohort, path, number, splits[number])


def _read_fold(cohort: Cohort, path: Path, number: int, split: dict[str, list[str]]) -> FoldPatients:
    owner = {case: subject.patient for subject in cohort.subjects for case in subject.cases.values()}
    if unknown := sorted({*split["train"], *split["val"]} - owner.keys()):
        raise UserError(f"{path} names the case {unknown[0]} in fold {number}, which {cohort.folder} does not have; make the split again")
    train = {owner[case] for case in split["train"]}
    val = {owner[case] for case in split["val"]}
    if both := sorted(train & val):
        raise UserError(
            f"{path} puts {', '.join(both)} into both training and validation of fold {number}; "
            "make a split that keeps all cases of a patient on one side"
        )
    silent = {subject.patient for subject in cohort.subjects if not subject.cases}
    return _fold(train | silent, val, _unlabelled(cohort, path, number, split, owner, train | val))


def _unlabelled(cohort: Cohort, path: Path, number: int, split: dict[str, list[str]], owner: dict[str, str], taken: set[str]) -> set[str]:
    """Patients that fold ``number`` lists as unlabelled."""
    known = {subject.patient for subject in cohort.subjects}
    patients = {owner.get(name, name) for name in split.get("unlabelled", [])}
    if unknown := sorted(patients - known):
        raise UserError(f"{path} lists {unknown[0]} as unlabelled in fold {number}, whom {cohort.folder} does not have; correct the split")
    if both := sorted(patients & taken):
        raise UserError(
            f"{path} lists {', '.join(both)} as unlabelled in fold {number} but has their cases in training or validation; choose one"
        )
    return patients


def _read_splits(path: Path) -> list[dict[str, list[str]]]:
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; write a patient-grouped split there, since nnU-Net's own would separate ED and ES of one patient"
        )
    splits: Any = read_json(path)
    if not isinstance(splits, list) or not splits or not all(_is_split(split) for split in splits):
        raise UserError(f"{path} is not a list of folds with 'train' and 'val' case ids; restore or remake it")
    return splits


def _is_split(split: Any) -> bool:
    return isinstance(split, dict) and all(
        isinstance(cases, list) and all(isinstance(case, str) for case in cases)
        for cases in (split.get("train"), split.get("val"), split.get("unlabelled", []))
    )


def _fold(train: Set[str], val: Set[str], unlabelled: Set[str] = frozenset()) -> FoldPatients:
    lists = {"train": sorted(train | unlabelled), "val": sorted(val)} | ({"unlabelled": sorted(unlabelled)} if unlabelled else {})
    return FoldPatients(tuple(lists["train"]), tuple(lists["val"]), hash_json(lists), tuple(sorted(unlabelled)))
