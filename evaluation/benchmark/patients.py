"""Who is trained on, who is tested: nested subsets of a split, and test cases chosen by vendor."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.benchmark.study import Data
from evaluation.inputs.dataset import CaseInfo, cases_in, find_dataset, structure_labels
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti, read_object, write_json
from nnunet_synth_aug.core.paths import GENERATOR_META
from nnunet_synth_aug.core.patients import COHORT, cohort_records, read_fold, read_members, read_splits
from nnunet_synth_aug.core.volumes import read_volume

Splits = list[dict[str, list[str]]]


def restricted(splits: Splits, cases: Mapping[str, CaseInfo], data: Data) -> Splits:
    """The splits with fewer training patients: of some vendors or diagnoses, or some per diagnosis.

    The order within a diagnosis depends on ``subset_seed`` and the patient's name alone, so that the patients of a smaller
    ``per_group`` are among those of a larger one. The next ``unlabelled`` in this order are for the generator, without their masks;
    a split lists them by name (``nnunet_synth_aug.data.splits.fold_patients``).

    Raises:
        UserError: a fold has no such patient, or too few of a diagnosis.
    """
    out: Splits = []
    for fold, split in enumerate(splits):
        groups: dict[str, dict[str, list[str]]] = {}
        for case in split["train"]:
            about = cases[case]
            if (not data.vendors or about.vendor in data.vendors) and (not data.diagnoses or about.diagnosis in data.diagnoses):
                groups.setdefault(about.diagnosis or "unknown", {}).setdefault(about.patient, []).append(case)
        if not groups:
            wanted_by = [" or ".join(names) for names in (data.vendors, data.diagnoses) if names]
            raise UserError(f"fold {fold} has no training patient of {' with '.join(wanted_by)}; choose other vendors or diagnoses")
        kept: list[str] = []
        silent: list[str] = []
        for group, members in sorted(groups.items()):
            wanted = {"per_group": data.per_group or 0, "unlabelled": data.unlabelled or 0}
            if len(members) < sum(wanted.values()):
                asked = " and ".join(f"{key} is {n}" for key, n in wanted.items() if n)
                raise UserError(f"fold {fold} has {len(members)} training patients with the diagnosis {group}, but data.{asked}; lower it")
            chosen = sorted(members, key=lambda patient: hashlib.sha256(f"{data.subset_seed}:{patient}".encode()).hexdigest())
            kept += [case for patient in chosen[: data.per_group] for case in members[patient]]
            silent += chosen[wanted["per_group"] : sum(wanted.values())] if data.unlabelled else []
        unused = [case for case in split["train"] if case not in kept and cases[case].patient not in silent] if data.test_unused else []
        lists = {"train": sorted(kept), "val": sorted([*split["val"], *unused])}
        out.append(lists | ({"unlabelled": sorted(silent)} if silent else {}))
    return out


def write_restricted(data: Data, raw: Path, full: Path, target: Path) -> None:
    """Replace the split in ``target`` by its restricted form; the whole one is kept in ``full``."""
    if not full.is_file():
        write_json(full, [fold.to_json() for fold in read_splits(target)])
    write_json(target, restricted_splits(data, raw, full))


def restricted_splits(data: Data, raw: Path, full: Path) -> Splits:
    """The restricted form of the split in ``full``, see :func:`restricted`.

    Raises:
        UserError: as there, or patients without masks.
    """
    splits = [fold.to_json() for fold in read_splits(full)]
    silent = [member.patient for member in read_members(raw) if not member.cases]
    if silent and data.unlabelled_folder is None:
        raise UserError(
            f"{len(silent)} patients of {raw.name} such as {silent[0]} have no masks, and the generator would learn from them in every "
            "fold; leave them out of the import, give them as unlabelled_folder, or train without vendors, diagnoses and per_group"
        )
    ids = frozenset(case for split in splits for side in ("train", "val") for case in split[side])
    return restricted(splits, find_dataset(ids, [raw], dataset=raw).cases, data)


def split_patients(split: Mapping[str, list[str]], raw: Path) -> dict[str, list[str]]:
    """Training and validation patients of a fold, sorted."""
    sides = {name: split[name] for name in ("train", "val")}
    cases = find_dataset(frozenset(case for side in sides.values() for case in side), [raw], dataset=raw).cases
    return {name: sorted({cases[case].patient for case in side}) for name, side in sides.items()}


def refuse_foreign(generator: Path, raw: Path, splits: Path, fold: int) -> None:
    """Raise UserError unless a generator trained elsewhere saw the training patients of this fold and no other."""
    meta = read_object(generator / GENERATOR_META)
    split = read_fold(splits, fold)
    train = set(split_patients(split.to_json(), raw)["train"])
    seen = set(map(str, meta.get("patients") or []))
    unlabelled = {member.patient for member in read_members(raw) if not member.cases}.union(split.unlabelled)
    if foreign := sorted(seen - train - unlabelled):
        raise UserError(
            f"the generator in {generator} saw {foreign[0]}, who is no training patient of fold {fold}; train one for this study"
        )
    if missing := sorted(train - seen):
        raise UserError(f"the generator in {generator} was not trained on {missing[0]} of fold {fold}; train one for this study")


def link_test_cases(
    raw: Path,
    vendors: tuple[str, ...],
    training: Path,
    trained: frozenset[str],
    images: Path,
    silent: frozenset[str] = frozenset(),
) -> None:
    """Fill ``images`` with links to the images of the test cases that have a mask.

    Args:
        raw: the dataset: ``imagesTs`` and ``labelsTs``, else ``imagesTr`` and ``labelsTr``.
        vendors: keep these scanners' patients only; all if empty.
        training: raw dataset that is trained on, whose label values the predictions will have.
        trained: its cases that any network of the study is trained on.
        images: made if missing.
        silent: patients of ``training`` without contours, whose images a generator or a bank has seen.

    Raises:
        UserError: no such case, an image is missing or was trained on, or a structure has another value than in training.
    """
    side = "Ts" if cases_in(raw / "labelsTs") else "Tr"
    masks = cases_in(raw / f"labels{side}")
    found = {case.removesuffix("_0000"): path for case, path in cases_in(raw / f"images{side}").items() if case.endswith("_0000")}
    chosen = chosen_cases(raw, masks, vendors)
    if missing := [case for case in chosen if case not in found]:
        raise UserError(f"{raw / f'images{side}'} lacks the image of {missing[0]}; restore it")
    own, theirs = (structure_labels(read_object(folder / "dataset.json"))[0] for folder in (training, raw))
    if different := [name for name in own if name in theirs and own[name] != theirs[name]]:
        name = different[0]
        raise UserError(
            f"{name} is {_value(theirs[name])} in {raw.name} but {_value(own[name])} in {training.name}; give both the same labels"
        )
    reads = str(read_object(training / "dataset.json", "file_ending")["file_ending"])
    if foreign := [found[case].name for case in chosen if not found[case].name.endswith(reads)]:
        raise UserError(
            f"{raw / f'images{side}'} holds {foreign[0]}, but networks that are trained on {training.name} read {reads} files; convert it"
        )
    images_trained = cases_in(training / "imagesTr")
    for case in trained.intersection(chosen):  # other data sets may use the same names for other people
        if np.array_equal(read_volume(found[case]).array, read_volume(images_trained[f"{case}_0000"]).array):
            raise UserError(
                f"{raw.name} holds {case}, which the networks of this study are trained on; choose patients that they never saw"
            )
    _refuse_silent(raw, {case: found[case] for case in chosen}, training, silent)
    images.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        link = images / found[case].name
        if not link.is_symlink():
            link.symlink_to(found[case].resolve())


def _refuse_silent(raw: Path, chosen: Mapping[str, Path], training: Path, silent: Collection[str]) -> None:
    """Raise UserError if a test patient is one without contours whom the study learns from, by name or by image."""
    if not silent:
        return
    owner = {case: about.patient for case, about in find_dataset(frozenset(chosen), [raw], dataset=raw).cases.items()}
    records = cohort_records(training / COHORT) if (training / COHORT).is_file() else []
    learnt = {_digest(frame): str(one["patient"]) for one in records if one["patient"] in silent for frame in _frames(training, one)}
    for case, path in chosen.items():
        if who := owner[case] if owner[case] in silent else learnt.get(_digest(read_volume(path).array)):
            raise UserError(
                f"{raw.name} holds {case}, and the study learns from images of {who} without contours; leave this patient out of one of "
                "the two (two people of one name need two names)"
            )


def _frames(training: Path, record: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """Volumes (X, Y, Z) of a patient."""
    if record["cine"]:
        yield from np.moveaxis(read_nifti(training / record["cine"], ndim=4)[0], -1, 0)
    else:
        yield from (read_nifti(training / path, ndim=3)[0] for path in record["images"].values())


def _digest(volume: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(volume, np.float32).tobytes()).hexdigest()


def silent_patients(raw: Path, splits: Path, folds: tuple[int, ...]) -> frozenset[str]:
    """Patients without contours whose images a study learns from: of the dataset, and of the lists of these folds."""
    content = read_splits(splits)
    members = read_members(raw)
    owner = {case: member.patient for member in members for case in member.cases.values()}
    listed = (owner.get(name, name) for fold in folds for name in content[fold].unlabelled)
    return frozenset(member.patient for member in members if not member.cases).union(listed)


def chosen_cases(raw: Path, masks: Collection[str], vendors: tuple[str, ...]) -> list[str]:
    """The cases of these scanners' patients; all if ``vendors`` is empty.

    Raises:
        UserError: there are none.
    """
    if not masks:
        raise UserError(f"{raw} holds no masks in labelsTs or labelsTr, so nothing can be scored on it; choose another test set")
    about = find_dataset(frozenset(masks), [raw], dataset=raw).cases
    chosen = [case for case in masks if not vendors or about[case].vendor in vendors]
    if not chosen:
        raise UserError(f"{raw} has no patient of {' or '.join(vendors)} with masks; choose other vendors")
    return chosen


def _value(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))


def trained_cases(splits: Path, folds: tuple[int, ...]) -> frozenset[str]:
    """Cases that the networks of these folds are trained on."""
    content = read_splits(splits)
    return frozenset(case for fold in folds for case in content[fold].train)
