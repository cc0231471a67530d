"""The leak guard: the cases of a fold by a dataset's name, and whether a generator has seen those it validates on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.paths import preprocessed_folder, raw_folder
from nnunet_synth_aug.core.patients import SPLITS, patients_of, read_fold, read_name, refuse_shared

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
        UserError: no or a damaged splits file, no such fold, or a patient on both of its sides.
    """
    if str(fold) == "all":
        return list(cases), list(cases)
    split = read_fold(splits_file(dataset), fold)
    refuse_shared(splits_file(dataset), fold, split.train, split.val, case_patients(dataset, [*split.train, *split.val]))
    return list(split.train), list(split.val)


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
        shown = ", ".join(leaked[:10]) + (f" and {len(leaked) - 10} more" if len(leaked) > 10 else "")
        raise UserError(
            f"the generator behind this bank was trained on validation patients of fold {fold} ({shown}), so the validation would be "
            f"worthless; train one for this fold with 'synthaug fit -d {dataset} -f {fold}' and make its bank with 'synthaug bank'"
        )
