"""Patient-grouped cross-validation splits in nnU-Net's ``splits_final.json``.

nnU-Net writes that file itself at the first training if it is missing, and then splits by case: the ED and ES frames of
one patient land in different folds and validation is no longer honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json
from nnunet_synth_aug.core.paths import preprocessed_folder
from nnunet_synth_aug.core.patients import SPLITS, Fold, read_fold, refuse_shared, remake
from nnunet_synth_aug.data.cohort import Cohort


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
    split = read_fold(path, fold)
    owner = {case: subject.patient for subject in cohort.subjects for case in subject.cases.values()}
    if unknown := sorted({*split.train, *split.val} - owner.keys()):
        raise UserError(f"{path} names the case {unknown[0]} in fold {fold}, which {cohort.folder} does not have; {remake(path)}")
    refuse_shared(path, fold, split.train, split.val, owner)
    train, val = {owner[case] for case in split.train}, {owner[case] for case in split.val}
    silent = {subject.patient for subject in cohort.subjects if not subject.cases}
    return _fold(train | silent, val, _unlabelled(cohort, path, fold, split, owner, train | val))


def _unlabelled(cohort: Cohort, path: Path, fold: int | str, split: Fold, owner: dict[str, str], taken: set[str]) -> set[str]:
    """Patients that a fold lists as unlabelled."""
    known = {subject.patient for subject in cohort.subjects}
    patients = {owner.get(name, name) for name in split.unlabelled}
    if unknown := sorted(patients - known):
        raise UserError(f"{path} lists {unknown[0]} as unlabelled in fold {fold}, whom {cohort.folder} does not have; correct the split")
    if both := sorted(patients & taken):
        raise UserError(
            f"{path} lists {', '.join(both)} as unlabelled in fold {fold} but has their cases in training or validation; choose one"
        )
    return patients


def _fold(train: Set[str], val: Set[str], unlabelled: Set[str] = frozenset()) -> FoldPatients:
    lists = {"train": sorted(train | unlabelled), "val": sorted(val)} | ({"unlabelled": sorted(unlabelled)} if unlabelled else {})
    return FoldPatients(tuple(lists["train"]), tuple(lists["val"]), hash_json(lists), tuple(sorted(unlabelled)))
