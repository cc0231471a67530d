"""Splits by patient, and the leak guard: the cases of a fold, and whether a generator has seen those that it validates on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import dataset_name, folder_to_write, preprocessed_folder, raw_folder
from nnunet_synth_aug.core.patients import COHORT, SPLITS, patients_of, read_fold, read_name, refuse_shared, ungrouped
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.splits import make_splits
from nnunet_synth_aug.nnunet.target import training_files

#: Said wherever nnU-Net shows a "validation" of fold all.
ABOUT_ALL = (
    "fold all trains on every patient and 'validates' on the same ones: its validation figures say how well these were learnt, "
    "and nothing about new patients"
)


def case_patients(dataset: str, cases: Iterable[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Patient of every case, see :mod:`nnunet_synth_aug.core.patients`. Training needs no nnUNet_raw; then ``known`` and the names tell.

    Raises:
        UserError: a file is damaged, or names look like moments of one heart that cannot be told apart.
    """
    try:
        folder = raw_folder(dataset)
    except UserError:
        return patients_of(cases, None, known)
    return patients_of(cases, folder, known)


def fold_cases(dataset: str, fold: int | str, cases: list[str]) -> tuple[list[str], list[str]]:
    """Training and validation case ids of a fold.

    Args:
        dataset: folder name.
        fold: index in ``splits_final.json``, or "all" (then both are all ``cases``).
        cases: every preprocessed case.

    Raises:
        UserError: no or a damaged splits file, no such fold, a case in it that is not among ``cases``, or a patient on both of its sides.
    """
    if str(fold) == "all":
        return list(cases), list(cases)
    split = read_fold(splits_file(dataset), fold)
    if absent := sorted({*split.train, *split.val} - set(cases)):
        raise UserError(
            f"{splits_file(dataset)} names {len(absent)} cases in fold {fold} that are not preprocessed, such as {absent[0]}; correct the "
            f"name there, or run 'nnUNetv2_preprocess -d {int(dataset[7:10])}' for these plans and this configuration"
        )
    refuse_shared(splits_file(dataset), fold, split.train, split.val, case_patients(dataset, [*split.train, *split.val]))
    return list(split.train), list(split.val)


def write_split(dataset: str | int, folds: int, seed: int) -> list[str]:
    """Write ``splits_final.json`` of a dataset in nnUNet_raw, imported or not, with all cases of a patient on one side.

    Diagnoses, where an import has told them, are spread evenly. With the import's seed it is the import's split.

    Args:
        dataset: id or name.
        folds: their number.
        seed: decides who goes where.

    Returns:
        lines for the screen.

    Raises:
        UserError: no such dataset, cases that cannot be grouped, too few patients, or a split is there that is another one.
    """
    name = dataset_name(dataset)
    splits, patients = split_by_patient(name, folds, seed)
    path = splits_file(name)
    if path.exists():
        if read_json(path) != splits:
            raise UserError(f"{path} holds another split, which trainings and banks may rest on; remove it to have this one")
    else:
        folder_to_write("nnUNet_preprocessed")
        write_json(path, splits)
    note = ungrouped(patients)
    about = f"{len(set(patients.values()))} patients with {len(patients)} cases"
    return [f"{folds} folds of {about}: {path}", *([f"note: {note}"] if note else [])]


def split_by_patient(dataset: str, folds: int, seed: int) -> tuple[list[dict[str, list[str]]], dict[str, str]]:
    """The folds that :func:`write_split` writes, and the patient of every case; errors as there."""
    cases = _training_cases(dataset)
    patients = case_patients(dataset, cases)
    grouped: dict[str, list[str]] = {}
    for case in cases:
        grouped.setdefault(patients[case], []).append(case)
    imported = (raw_folder(dataset) / COHORT).is_file()
    groups = {subject.patient: subject.priors.diagnosis for subject in Cohort.load(dataset).subjects} if imported else {}
    return make_splits(grouped, groups, folds, seed), patients


def _training_cases(dataset: str) -> list[str]:
    """Ids of the cases in nnUNet_raw, as nnU-Net finds them."""
    folder = raw_folder(dataset)
    about = read_json(folder / "dataset.json")
    try:
        found = sorted(training_files(folder, about))
    except (KeyError, TypeError, AttributeError, OSError, AssertionError, ValueError) as error:
        raise UserError(f"{folder} is no dataset that nnU-Net can read ({error!r}); correct its dataset.json and imagesTr") from error
    if not found:
        raise UserError(f"{folder / 'imagesTr'} holds no {about['file_ending']} files; add the training images")
    return found


def splits_file(dataset: str) -> Path:
    """Where nnU-Net keeps the folds of a dataset."""
    return preprocessed_folder(dataset) / SPLITS


def leaked_patients(generator_patients: Iterable[str], validation_cases: Iterable[str], *names: Mapping[str, str]) -> list[str]:
    """Validation patients that a generator was trained on, sorted.

    Every known name of a patient counts: by each mapping of ``names`` and by the case's own name. A cohort
    that was renamed after the generator was trained must not hide a leak.
    """
    seen = {str(p) for p in generator_patients}
    aliases = {alias for case in validation_cases for alias in (case, read_name(case).patient, *(n[case] for n in names if case in n))}
    return sorted(seen & aliases)


def refuse_leak(leaked: list[str], fold: int | str, dataset: str) -> None:
    """Raise UserError naming the patients when there are any."""
    if leaked:
        raise UserError(
            f"the generator behind this bank was trained on validation patients of fold {fold} ({shortened(leaked, 10)}), so the "
            f"validation would be worthless; train one for this fold with 'synthaug fit -d {dataset} -f {fold}' and make its bank with "
            "'synthaug bank'"
        )
