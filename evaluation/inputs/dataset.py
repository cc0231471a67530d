"""What is known about the scored cases: ground truth, images, labels, patients, splits of one nnU-Net dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import read_object
from nnunet_synth_aug.core.labels import PHASES, STRUCTURES
from nnunet_synth_aug.core.patients import COHORT, PATIENTS, SPLITS, Fold, patients_of, read_members, read_name, read_splits
from nnunet_synth_aug.core.tables import read_table, read_words
from nnunet_synth_aug.core.volumes import ending_of

_DATASET = re.compile(r"Dataset\d{3}_.+")
#: Folders of a dataset that hold ground truth.
_MASKS = ("gt_segmentations", "labelsTr", "labelsTs")
#: ED and ES frame of a patient in ACDC's own folders.
_ACDC_FRAME = re.compile(rf"^\s*({'|'.join(PHASES)})\s*(?:[:=]|\s)\s*(\d+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class CaseInfo:
    """Who a case belongs to; empty strings where unknown."""

    patient: str
    phase: str
    vendor: str = ""
    centre: str = ""
    diagnosis: str = ""
    annotated: frozenset[str] | None = None  # structures that were contoured; None: taken to be all


@dataclass(frozen=True)
class Dataset:
    """Where the ground truth of the scored cases is, and what is known about them."""

    name: str
    ground_truth: dict[str, Path]  # case -> file
    images: dict[str, Path]  # case -> first channel; only those found
    cases: dict[str, CaseInfo]
    splits: tuple[Fold, ...] = ()  # empty where unknown
    dataset_json: dict[str, Any] | None = None


def cases_in(folder: Path) -> dict[str, Path]:
    """Case id -> file of every image or mask directly in ``folder``, in any format of ``ENDINGS``; hidden and partial ones are left out.

    Raises:
        UserError: two files of one case.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ending = ending_of(path.name)
        if not ending or path.name[0] == "." or not path.is_file():
            continue
        if (other := found.setdefault(path.name.removesuffix(ending), path)) != path:
            raise UserError(f"{folder} holds both {other.name} and {path.name} of one case; keep the one that is right")
    return found


def reference_cases(folder: Path) -> dict[str, Path]:
    """Case id -> file of the ground truth in ``folder``, or in the folders inside it where it has none itself.

    Where names end with ``_gt`` (ACDC, M&Ms), only those are masks, and the case id goes without it.
    """
    found = cases_in(folder)
    if not found and folder.is_dir():
        found = {case: path for sub in sorted(folder.iterdir()) if sub.is_dir() for case, path in cases_in(sub).items()}
    marked = {case.removesuffix("_gt"): path for case, path in found.items() if case.endswith("_gt")}
    return marked or found


def dataset_name(path: Path) -> str:
    """``DatasetNNN_Name`` from the parts of a path, or "" when it has none."""
    return next((part for part in reversed(path.resolve().parts) if _DATASET.fullmatch(part)), "")


def candidate_folders(dataset: Path | None, results: Sequence[Path]) -> list[Path]:
    """Folders of the dataset in nnUNet_raw and nnUNet_preprocessed: the given one, by environment, beside nnUNet_results."""
    names = [n for n in dict.fromkeys(dataset_name(p) for p in ([dataset] if dataset else list(results))) if n]
    roots = [Path(os.environ[v]) for v in ("nnUNet_preprocessed", "nnUNet_raw") if os.environ.get(v)]
    for path in results:
        roots += [
            p.parent.parent / v for p in path.resolve().parents if _DATASET.fullmatch(p.name) for v in ("nnUNet_preprocessed", "nnUNet_raw")
        ]
    found = ([dataset] if dataset else []) + [root / name for root in roots for name in names]
    return [p for p in dict.fromkeys(found) if p.is_dir()]


def find_dataset(
    cases: frozenset[str], results: Sequence[Path], gt: Path | None = None, dataset: Path | None = None, *, every: bool = False
) -> Dataset:
    """Locate everything known about ``cases``.

    Args:
        cases: case ids that were predicted.
        results: the folders of the arms; their paths name the dataset.
        gt: folder of ground truth masks, instead of searching.
        dataset: the dataset's folder in nnUNet_raw or nnUNet_preprocessed, instead of searching.
        every: return the ground truth of all cases that the chosen folder holds, not of ``cases`` alone.

    Raises:
        UserError: no ground truth, or not for every case.
    """
    for path, what in ((gt, "ground truth"), (dataset, "dataset")):
        if path is not None and not path.is_dir():
            raise UserError(f"the {what} folder {path} does not exist")
    folders = candidate_folders(dataset, results)
    places = [gt] if gt is not None else [f / sub for f in folders for sub in _MASKS]
    found = {place: reference_cases(place) for place in places}
    best = max(found, key=lambda place: len(cases & set(found[place])), default=None)
    if best is None or not cases & set(found[best]):
        where = f"in {gt}" if gt is not None else "in gt_segmentations, labelsTr or labelsTs of the dataset"
        raise UserError(f"no ground truth for the predictions in {results[0]} was found {where}; give its folder with --gt")
    if missing := cases - set(found[best]):
        raise UserError(
            f"{best} has no ground truth for {shortened(missing)}, which {results[0]} predicts; give the right folder with --gt"
        )
    if every:
        cases = frozenset(found[best])
    truth = {c: found[best][c] for c in sorted(cases)}
    images = {c.removesuffix("_0000"): p for f in folders for sub in ("imagesTr", "imagesTs") for c, p in cases_in(f / sub).items()}
    said = [*([dataset] if dataset else []), *results, *([gt] if gt else [])]
    name = next(filter(None, map(dataset_name, said)), best.resolve().parent.name)
    description = next((f / "dataset.json" for f in folders if (f / "dataset.json").is_file()), None)
    return Dataset(
        name=name,
        ground_truth=truth,
        images={c: images[c] for c in cases if c in images},
        cases=_case_infos(truth, [*folders, *([best.parent] if best.name in _MASKS else [])]),
        splits=_splits(folders),
        dataset_json=None if description is None else read_object(description),
    )


def without_truth(references: Mapping[str, Path], results: Path) -> Dataset:
    """What is known about the cases of a ``summary.json``, whose masks nobody needs to have any more.

    Args:
        references: case -> ground truth file, which need not exist.
        results: the file, whose path names the dataset.
    """
    folders = candidate_folders(None, [results])
    description = next((f / "dataset.json" for f in folders if (f / "dataset.json").is_file()), None)
    return Dataset(
        name=dataset_name(results) or results.resolve().parent.name,
        ground_truth={},
        images={},
        cases=_case_infos(references, folders),
        dataset_json=None if description is None else read_object(description),
    )


def _case_infos(truth: Mapping[str, Path], folders: Sequence[Path]) -> dict[str, CaseInfo]:
    folder = next((f for f in folders if (f / COHORT).is_file() or (f / PATIENTS).is_file()), None)
    patients = patients_of(truth, folder)
    infos = {case: _acdc_phase(CaseInfo(patients[case], read_name(case).phase), path) for case, path in truth.items()}
    if folder is not None:
        for member in read_members(folder):
            for phase, case in member.cases.items():
                if case in infos:
                    infos[case] = CaseInfo(member.patient, phase, centre=member.centre, annotated=member.annotated)
        for name in (PATIENTS, "priors.csv"):
            about = _groups_in(folder / name)
            infos = {case: replace(info, **(about.get(case) or about.get(info.patient, {}))) for case, info in infos.items()}
    return _told_apart(infos)


def _told_apart(infos: Mapping[str, CaseInfo]) -> dict[str, CaseInfo]:
    """With the session in the phase (``ses-1 ED``) where a patient has several, or numbers where names tell no phase."""
    result = dict(infos)
    for patient in {info.patient for info in infos.values()}:
        cases = sorted(case for case, info in infos.items() if info.patient == patient)
        phases = [infos[case].phase for case in cases]
        if len(set(phases)) == len(cases):
            continue
        phases = [f"{read_name(case).session} {phase}".strip() for case, phase in zip(cases, phases, strict=True)]
        if not any(phases):
            phases = [f"image {number}" for number in range(1, len(cases) + 1)]
        result |= {case: replace(infos[case], phase=phase) for case, phase in zip(cases, phases, strict=True)}
    return result


def _acdc_phase(info: CaseInfo, reference: Path) -> CaseInfo:
    """ED or ES for ``frameNN``, where ACDC's ``Info.cfg`` lies beside the reference."""
    about = reference.with_name("Info.cfg")
    if not info.phase.startswith("frame") or not about.is_file():
        return info
    frames = {int(number): phase.upper() for phase, number in _ACDC_FRAME.findall(read_words(about))}
    return replace(info, phase=frames.get(int(info.phase.removeprefix("frame")), info.phase))


def _groups_in(path: Path) -> dict[str, dict[str, Any]]:
    """Case, or patient where the table has no cases -> what the table says of vendor, centre and diagnosis."""
    if not path.is_file():
        return {}
    columns, lines = read_table(path)
    named = {name.casefold() for name in columns}
    if "patient" not in named:
        raise UserError(f"{path} has no column 'patient'; repair it or import the dataset again")
    rows = [{name.casefold(): value for name, value in line.items()} for line in lines.values()]
    told = {k for k in ("vendor", "centre", "diagnosis") if k in named}
    key = "case" if "case" in named else "patient"
    return {row[key].removesuffix(ending_of(row[key])): {k: row[k] for k in told if row[k]} for row in rows}


def _splits(folders: Sequence[Path]) -> tuple[Fold, ...]:
    path = next((f / SPLITS for f in folders if (f / SPLITS).is_file()), None)
    return () if path is None else tuple(read_splits(path))


def structure_labels(
    dataset_json: Mapping[str, Any] | None, wanted: Mapping[str, int] | None = None
) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """Structures to score as name -> label values, and the value to ignore.

    ``dataset_json`` is nnU-Net's; names that differ from RV, MYO, LV only in case are written like these. ``wanted``
    replaces its structures. Without either, the values of this package (ACDC's) are used.

    Raises:
        UserError: a label of ``dataset_json`` is not a number.
    """
    ignore: int | None = None
    found: dict[str, tuple[int, ...]] = {}
    for name, value in dict((dataset_json or {}).get("labels", {})).items():
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not all(isinstance(v, int) for v in values):
            raise UserError(f"dataset.json gives the label {name!r} the value {value!r}; it must be a number or a list of numbers")
        if name == "ignore":
            ignore = int(values[0])
        elif name != "background" and values != (0,):
            found[name.upper() if name.upper() in STRUCTURES else name] = values
    if wanted is not None:
        found = {name: (value,) for name, value in wanted.items()}
    found = found or {name: (value,) for name, value in STRUCTURES.items()}
    known = [n for n in STRUCTURES if n in found]
    return {n: found[n] for n in [*known, *(n for n in found if n not in known)]}, ignore
