"""Which patient a case belongs to, which cases a fold validates on, and whether a generator has seen them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.paths import preprocessed_folder, raw_folder

#: Said wherever nnU-Net shows a "validation" of fold all.
ABOUT_ALL = (
    "fold all trains on every patient and 'validates' on the same ones: its validation figures say how well these were learnt, "
    "and nothing about new patients"
)
_FRAME_SUFFIX = re.compile(r"_(?:ED|ES|frame\d+)$", re.IGNORECASE)


def patient_from_name(case: str) -> str:
    """``patient001_ED``, ``patient001_ES`` and ``patient001_frame12`` belong to ``patient001``."""
    return _FRAME_SUFFIX.sub("", case)


def cohort_patients(dataset: str) -> dict[str, str]:
    """Case id -> patient by the dataset's ``cohort.json`` in nnUNet_raw; empty where there is none."""
    try:
        path = raw_folder(dataset) / "cohort.json"
    except UserError:  # training needs no nnUNet_raw
        return {}
    if not path.is_file():
        return {}
    try:
        return {str(case): str(s["patient"]) for s in read_json(path)["subjects"] for case in s["cases"].values()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a cohort of this package ({error!r}); import the dataset again") from error


def case_patients(dataset: str, cases: Iterable[str]) -> dict[str, str]:
    """Patient of every case: by the cohort, else by the case's name."""
    cohort = cohort_patients(dataset)
    return {case: cohort.get(case, patient_from_name(case)) for case in cases}


def fold_cases(dataset: str, fold: int | str, cases: list[str]) -> tuple[list[str], list[str]]:
    """Training and validation case ids of a fold.

    Args:
        dataset: folder name.
        fold: index in ``splits_final.json``, or "all" (then both are all ``cases``).
        cases: every preprocessed case.

    Raises:
        UserError: no splits file, or no such fold.
    """
    if str(fold) == "all":
        return list(cases), list(cases)
    path = splits_file(dataset)
    if not path.is_file():
        raise UserError(f"{path} does not exist; write patient-grouped splits with 'synthaug import' before using fold {fold}")
    splits: Any = read_json(path)
    if not str(fold).isdigit() or int(fold) >= len(splits):
        raise UserError(f"fold {fold} is not in {path}, which holds the folds 0 to {len(splits) - 1}; choose one of these or 'all'")
    split = splits[int(fold)]
    return list(split["train"]), list(split["val"])


def splits_file(dataset: str) -> Path:
    return preprocessed_folder(dataset) / "splits_final.json"


def leaked_patients(generator_patients: Iterable[str], validation_cases: Iterable[str], *names: Mapping[str, str]) -> list[str]:
    """Validation patients that a generator was trained on, sorted.

    Every known name of a patient counts: by each mapping of ``names`` and by the case's own name. A cohort
    that was renamed after the generator was trained must not hide a leak.
    """
    seen = {str(p) for p in generator_patients}
    aliases = {alias for case in validation_cases for alias in (case, patient_from_name(case), *(n[case] for n in names if case in n))}
    return sorted(seen & aliases)


def refuse_leak(leaked: list[str], fold: int | str, dataset: str) -> None:
    """Raise UserError naming the patients when there are any."""
    if leaked:
        shown = ", ".join(leaked[:10]) + (f" and {len(leaked) - 10} more" if len(leaked) > 10 else "")
        raise UserError(
            f"the generator behind this bank was trained on validation patients of fold {fold} ({shown}), so the validation would be "
            f"worthless; train one for this fold with 'synthaug fit -d {dataset} -f {fold}' and make its bank with 'synthaug bank'"
        )
