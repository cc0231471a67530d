"""Who is whose patient, and who is on which side of a split. The leak guard rests on this module: nothing else reads these files.

A case belongs to the patient whom, in this order, these name:

1. ``cohort.json`` (written by the import) or ``patients.csv`` (yours, with the columns ``case`` and ``patient``), both in the
   dataset's folder in nnUNet_raw;
2. the case's own name without the parts that tell the moment: ``ED``, ``ES``, ``frame01``, ``t00`` and ``ses-1``, in capitals or not,
   anywhere between ``_``, ``-`` or ``.``. So ``patient001-ED``, ``ES_patient001`` and ``patient001_ses-1_t00`` are ``patient001``.

Names that look like moments of one heart but do not follow that rule, such as ``p1ED`` beside ``p1ES``, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.labels import PHASES
from nnunet_synth_aug.core.tables import read_table
from nnunet_synth_aug.core.volumes import ending_of

COHORT, PATIENTS, SPLITS = "cohort.json", "patients.csv", "splits_final.json"

_MOMENT = re.compile(
    rf"(?:^|(?<=[_.-]))(?:(?P<session>ses-[a-z0-9]+|ses\d+)|(?P<phase>{'|'.join(PHASES)}|frame[_-]?\d+|t\d+))(?=[_.-]|$)", re.IGNORECASE
)
#: What also tells a moment, but not safely: words, and phases that run into the rest of the name (``p1ED``, ``p1frame01``).
_PERHAPS = re.compile(
    r"(?:end[_.-]?)?(?:dia|sy)stol[a-z]*|(?<![a-z])(?:dia|sys)(?![a-z])|(?:frame|phase|timepoint|(?<![a-z])tp)[_.-]?\d+"
    r"|(?<=\d)(?:e[ds]|t\d+)(?![a-z0-9])|(?<![a-z0-9])e[ds](?=\d)|(?-i:(?<=[a-z])E[DS](?![A-Za-z])|(?<![A-Za-z])E[DS](?=[a-z]))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Name:
    """What a case's name says of whose it is, and when it was taken."""

    patient: str
    phase: str = ""  # "ED", "ES", "frame01" or "t00"; "" where the name tells none
    session: str = ""  # such as "ses-1"; likewise


def read_name(case: str) -> Name:
    """Patient and moment by the rule above. A name that tells no moment, or nothing else, is a patient of its own."""
    found = list(_MOMENT.finditer(case))
    rest = re.sub(r"([_.-])[_.-]+", r"\1", _MOMENT.sub("", case)).strip("_.-")
    phases = [match["phase"] for match in found if match["phase"]]
    phase = next((p.upper() for p in phases if p.upper() in PHASES), phases[0].lower() if phases else "")
    session = next((match["session"].lower() for match in found if match["session"]), "")
    return Name(rest if found and rest else case, phase, session)


@dataclass(frozen=True)
class Member:
    """One patient of a ``cohort.json``."""

    patient: str
    cases: dict[str, str]  # phase -> case id
    annotated: frozenset[str] | None  # structures that were contoured; None: taken to be all
    centre: str = ""  # hospital; "" if unknown


def cohort_records(path: Path, part: str = "subjects") -> list[dict[str, Any]]:
    """The subjects of a ``cohort.json``, as they are written there; with the part "test" those kept for testing.

    Raises:
        UserError: missing, no cohort, or of a format that this version does not know.
    """
    content = read_json(path)
    records = content.get(part, [] if part == "test" else None) if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path} is damaged (no list of {part}); import the dataset again")
    if (version := content.get("format", 1)) != 1:
        raise UserError(f"{path} has the format {version}, which this version does not know; upgrade nnunet-synth-aug")
    return records


def read_members(folder: Path) -> tuple[Member, ...]:
    """The patients of the cohort in a dataset's folder, test patients last; none where it has no ``cohort.json``.

    Raises:
        UserError: the file is damaged, or gives one case to two patients.
    """
    path = folder / COHORT
    if not path.is_file():
        return ()
    members: list[Member] = []
    owner: dict[str, str] = {}
    for record in [*cohort_records(path), *cohort_records(path, "test")]:
        patient, cases, annotated = record.get("patient"), record.get("cases"), record.get("annotated")
        if not isinstance(patient, str) or not isinstance(cases, dict) or not _are_names(list(cases.values())):
            raise UserError(f"{path} is damaged (a subject without 'patient' or 'cases'); import the dataset again")
        if annotated is not None and not _are_names(annotated):
            raise UserError(f"{path} is damaged ('annotated' of {patient} is no list of structures); import the dataset again")
        for case in cases.values():
            if owner.setdefault(case, patient) != patient:
                raise UserError(f"{path} gives the case {case} to {owner[case]} and to {patient}; import the dataset again")
        contoured = None if annotated is None else frozenset(annotated)
        members.append(Member(patient, dict(cases), contoured, str(record.get("centre") or "")))
    return tuple(members)


def named_patients(folder: Path) -> dict[str, str]:
    """Case -> patient as ``cohort.json`` and ``patients.csv`` in a dataset's folder say; empty where neither says it.

    Raises:
        UserError: a file is damaged, or the two contradict each other.
    """
    by_cohort = {case: member.patient for member in read_members(folder) for case in member.cases.values()}
    by_table = _read_table(folder / PATIENTS)
    for case, patient in by_table.items():
        if by_cohort.get(case, patient) != patient:
            raise UserError(f"{folder / PATIENTS} gives {case} to {patient}, but {COHORT} gives it to {by_cohort[case]}; correct the table")
    spelt: dict[str, str] = {}
    for patient in (by_table | by_cohort).values():
        if (other := spelt.setdefault(patient.casefold(), patient)) != patient:
            raise UserError(
                f"{folder / PATIENTS} names the patients {other} and {patient}, which differ in capitals alone; write one person's name in "
                "one way, and give two people two names"
            )
    return by_table | by_cohort


def patients_of(cases: Iterable[str], folder: Path | None = None, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """The patient of every case.

    Args:
        cases: case ids.
        folder: the dataset in nnUNet_raw, or None where there is none.
        known: case -> patient as it was recorded before, for cases that no file there names.

    Raises:
        UserError: ``patients.csv`` lacks a case, or names look like moments of one heart and do not follow the rule.
    """
    wanted = sorted(set(cases))
    said = dict(known or {}) | (named_patients(folder) if folder else {})
    unnamed = [case for case in wanted if case not in said]
    if unnamed and folder and _read_table(folder / PATIENTS):
        raise UserError(
            f"{folder / PATIENTS} does not name the case {unnamed[0]}; add a row for every case (its id, without _0000 and .nii.gz)"
        )
    found = {case: said[case] if case in said else read_name(case).patient for case in wanted}
    alike: dict[str, list[str]] = {}
    for case in wanted:
        alike.setdefault(_likeness(case), []).append(case)
    for group in alike.values():
        if len({found[case] for case in group}) > 1 and any(case not in said for case in group) and any(map(_has_moment, group)):
            first, second = group[0], next(case for case in group if found[case] != found[group[0]])
            raise UserError(
                f"the cases {first} and {second} look like two moments of one heart, but their names do not say so clearly; "
                f"write {folder / PATIENTS if folder else PATIENTS + ' in the dataset folder in nnUNet_raw'} with the columns case,patient"
            )
    return found


def ungrouped(patients: Mapping[str, str]) -> str:
    """A sentence if cases (case -> patient) may be of one heart and count as different patients; else "".

    Either a table separates what the names group, or no name and no file groups any.
    """
    by_name: dict[str, dict[str, str]] = {}
    for case, patient in sorted(patients.items()):
        if (name := read_name(case)).phase or name.session:
            by_name.setdefault(name.patient.casefold(), {}).setdefault(patient, case)
    if apart := [list(owners.values()) for owners in by_name.values() if len(owners) > 1]:
        first, second = apart[0][:2]
        more = f", and so are {len(apart) - 1} more" if len(apart) > 1 else ""
        return (
            f"{first} and {second} are of two patients by {PATIENTS}, though their names say one heart{more}; if they are one person, "
            "give them one patient there"
        )
    if len(patients) < 2 or any(case != patient or read_name(case).phase for case, patient in patients.items()):
        return ""
    return f"every case counts as a patient of its own; if some are of one patient, say so in {PATIENTS} (columns case,patient)"


def _likeness(case: str) -> str:
    """The name without anything that may tell a moment; equal for cases that may be of one heart."""
    return re.sub(r"[_.-]+", "-", _PERHAPS.sub("", _MOMENT.sub("", case))).strip("-").casefold()


def _has_moment(case: str) -> bool:
    return bool(_MOMENT.search(case) or _PERHAPS.search(case))


def _read_table(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    columns, rows = read_table(path)
    names = {name.casefold(): name for name in columns}
    if rows and "case" not in names and "patient" in names and len({row[names["patient"]] for row in rows.values()}) == len(rows):
        return {}  # one row a patient: a table about them, such as their scanners, which groups no cases
    if not rows or not {"case", "patient"} <= names.keys():
        raise UserError(f"{path} has no rows with the columns case and patient; write them, separated by commas")
    found: dict[str, str] = {}
    for number, row in rows.items():
        case, patient = (row[names[name]] for name in ("case", "patient"))
        if not case or not patient:
            raise UserError(f"{path}, row {number} lacks its case or its patient; fill it in or remove the row")
        case = case.removesuffix(ending_of(case))
        if case in found:
            raise UserError(f"{path}, row {number}: the case {case} is there twice; remove one of the rows")
        found[case] = patient
    return found


@dataclass(frozen=True)
class Fold:
    """One fold of nnU-Net's ``splits_final.json``, by case ids."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()  # ours: cases or patients whose images may be learnt from, not their masks

    def to_json(self) -> dict[str, list[str]]:
        """As nnU-Net writes it."""
        sides = {"train": list(self.train), "val": list(self.val)}
        return sides | ({"unlabelled": list(self.unlabelled)} if self.unlabelled else {})


def read_splits(path: Path) -> list[Fold]:
    """All folds of a ``splits_final.json``.

    Raises:
        UserError: missing, not a list of folds, or a fold with an empty side.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, and nnU-Net's own split would separate ED and ES of one patient; write one with {_command(path)}"
        )
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} is not a list of folds with 'train' and 'val' case ids; {remake(path)}")
    return [_read_fold(path, number, one) for number, one in enumerate(content)]


def read_fold(path: Path, fold: int | str) -> Fold:
    """One fold of a ``splits_final.json``, by its number from 0.

    Raises:
        UserError: as :func:`read_splits`, or there is no such fold.
    """
    splits = read_splits(path)
    if not str(fold).isdecimal() or int(fold) >= len(splits):
        raise UserError(f"fold {fold} is not in {path}; choose {', '.join(map(str, range(len(splits))))} or all")
    return splits[int(fold)]


def _read_fold(path: Path, number: int, one: Any) -> Fold:
    sides: list[Any] = [one.get("train"), one.get("val"), one.get("unlabelled", [])] if isinstance(one, dict) else [None]
    if not all(map(_are_names, sides)):
        raise UserError(f"{path} is not a list of folds with 'train' and 'val' case ids (see fold {number}); {remake(path)}")
    if empty := [side for side in ("train", "val") if not one[side]]:
        raise UserError(f"{path} has no case in '{empty[0]}' of fold {number}; {remake(path)}")
    return Fold(*(tuple(side) for side in sides))


def refuse_shared(where: str | Path, fold: int | str, train: Iterable[str], val: Iterable[str], patients: Mapping[str, str]) -> None:
    """Raise UserError naming the patients who are on both sides of a fold.

    Args:
        where: the file that holds the split.
        fold: its number, for the message.
        train, val: case ids.
        patients: case -> patient.
    """
    if both := {patients[case] for case in train} & {patients[case] for case in val}:
        raise UserError(
            f"{where} puts {shortened(both, 10)} into both training and validation of fold {fold}; {remake(Path(where))}, which keeps "
            "all cases of a patient on one side"
        )


def _command(splits: Path) -> str:
    """What writes a split of this dataset."""
    return f"'synthaug split -d {splits.parent.name}'"


def remake(splits: Path) -> str:
    """What to do about a split that does not fit."""
    return f"remove it and run {_command(splits)}"


def _are_names(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)
