"""What a fold of an nnU-Net dataset holds, read from names, tables and headers alone."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.inputs.dataset import CaseInfo, cases_in, find_dataset
from nnunet_synth_aug.core.errors import UserError, shortened
from nnunet_synth_aug.core.files import nifti_header, read_object
from nnunet_synth_aug.core.geometry import pixdim
from nnunet_synth_aug.core.labels import DIAGNOSES, PHASES, VENDORS
from nnunet_synth_aug.core.patients import COHORT, Fold, cohort_records, ungrouped
from nnunet_synth_aug.core.volumes import NIFTI, read_volume, slice_axis

#: Fewest training patients that are worth a training, and tested ones with which a difference has an interval.
FEWEST_TRAINED, FEWEST_TESTED = 3, 2
#: Of lines on the screen.
WIDTH = 116


@dataclass(frozen=True)
class Patients:
    """One side of a fold, or the test set."""

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    phases: Mapping[str, int]  # such as ED -> cases; "" where names and tables do not tell
    diagnoses: Mapping[str, int]  # -> patients; "" where unknown
    vendors: Mapping[str, int]
    cines: int = 0  # patients who have one
    of: str = "test"  # what the study calls it


@dataclass(frozen=True)
class Size:
    """Voxels and their size in mm, each axis's smallest and largest, slices last."""

    shape: tuple[tuple[int, int], ...]
    spacing: tuple[tuple[float, float], ...]
    median_shape: tuple[float, ...]
    median_spacing: tuple[float, ...]

    @property
    def side(self) -> float:
        """The shorter side of a median image in the plane, mm."""
        return min(n * mm for n, mm in zip(self.median_shape[:2], self.median_spacing[:2], strict=True))


@dataclass(frozen=True)
class Facts:
    """What ``synthaug try`` looks at."""

    dataset: str  # folder name
    fold: int
    train: Patients
    val: Patients
    test: Patients | None  # those of imagesTs that have masks
    size: Size
    imported: bool
    own_split: bool  # the dataset has none, so that the study makes one
    planned: bool
    median_case: str  # of training, whose image is of median size
    note: str = ""  # about patients that may be counted as several

    @property
    def tested(self) -> Patients:
        """Whom the verdict is about: the test set, else the fold's validation patients."""
        return self.test or self.val


def read_facts(dataset: str, fold: int, split: Fold, raw: Path, *, own_split: bool, planned: bool) -> Facts:
    """Look at one fold.

    Args:
        dataset: folder name.
        fold: its number.
        split: its cases.
        raw: the dataset in nnUNet_raw.
        own_split: whether ``split`` is the study's own.
        planned: whether the plans that were asked for are there.

    Raises:
        UserError: an image or mask is missing, no stack of slices, or there are too few patients.
    """
    images, masks = cases_in(raw / "imagesTr"), cases_in(raw / "labelsTr")
    wanted = frozenset((*split.train, *split.val))
    for case in sorted(wanted):
        if f"{case}_0000" not in images or case not in masks:
            side = "imagesTr" if f"{case}_0000" not in images else "labelsTr"
            raise UserError(f"fold {fold} names the case {case}, which {raw / side} lacks; restore it, or correct the split")
    infos = find_dataset(wanted, [raw], dataset=raw).cases
    test_masks = cases_in(raw / "labelsTs")
    if lacking := [case for case in test_masks if f"{case}_0000" not in cases_in(raw / "imagesTs")]:
        raise UserError(f"{raw / 'imagesTs'} lacks the image of {lacking[0]}, whose mask is in labelsTs; restore it, or remove the mask")
    test_infos = find_dataset(frozenset(test_masks), [raw], dataset=raw).cases if test_masks else {}
    cines = _cines(raw)
    train, val = (_patients(side, infos, cines, name) for side, name in ((split.train, "train"), (split.val, "validation")))
    test = _patients(test_masks, test_infos, frozenset(), "test") if test_masks else None
    if test and (both := sorted(set(test.patients) & set(train.patients))):
        raise UserError(
            f"{raw / 'labelsTs'} holds {shortened(both)}, who also train in fold {fold}, so the test would be worthless; remove one of both"
        )
    tested = test or val
    if len(train.patients) < FEWEST_TRAINED or len(tested.patients) < FEWEST_TESTED:
        raise UserError(
            f"fold {fold} of {dataset} has {len(train.patients)} training and {len(tested.patients)} {tested.of} patients; "
            f"a comparison needs at least {FEWEST_TRAINED} and {FEWEST_TESTED}"
        )
    sizes = {case: _size(images[f"{case}_0000"]) for case in sorted(wanted)}
    median = sorted(train.cases, key=lambda case: (_product(sizes[case][0]), case))[len(train.cases) // 2]
    patients = {case: info.patient for case, info in infos.items()}
    return Facts(
        dataset, fold, train, val, test, _spread(sizes.values()), (raw / COHORT).is_file(), own_split, planned, median, ungrouped(patients)
    )


def _patients(cases: Iterable[str], infos: Mapping[str, CaseInfo], cines: Collection[str], of: str) -> Patients:
    chosen = tuple(sorted(cases))
    about = {infos[case].patient: infos[case] for case in chosen}
    return Patients(
        chosen,
        tuple(sorted(about)),
        Counter(_phase(infos[case].phase) for case in chosen),
        Counter(info.diagnosis if info.diagnosis in DIAGNOSES else "" for info in about.values()),
        Counter(info.vendor if info.vendor in VENDORS else "" for info in about.values()),
        len(cines & about.keys()) if isinstance(cines, frozenset) else 0,
        of,
    )


def _phase(text: str) -> str:
    return next((phase for phase in PHASES if phase in text.split()), "")


def _cines(raw: Path) -> frozenset[str]:
    """Patients of an imported dataset who have a cine."""
    if not (raw / COHORT).is_file():
        return frozenset()
    return frozenset(str(one.get("patient")) for one in cohort_records(raw / COHORT) if one.get("cine"))


def _size(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and spacing in mm, slices last."""
    if path.name.endswith(NIFTI):
        header = nifti_header(path)
        shape, spacing = tuple(int(n) for n in header.get_data_shape()), tuple(float(s) for s in pixdim(header))
    else:
        volume = read_volume(path)
        shape, spacing = volume.array.shape, volume.grid.spacing
    if len(shape) != 3 or min(shape) < 1:
        what = "one cine in one file" if len(shape) == 4 else f"{len(shape)} axes"
        raise UserError(f"{path} holds {what}, where nnU-Net needs one stack of short-axis slices a file; import it with 'synthaug import'")
    if sorted(shape)[1] < 32:
        raise UserError(f"{path} has {'x'.join(map(str, shape))} voxels, which is no stack of short-axis slices; give a dataset of hearts")
    across = slice_axis((shape[0], shape[1], shape[2]))
    order = [axis for axis in range(3) if axis != across] + [across]
    return tuple(shape[a] for a in order), tuple(spacing[a] for a in order)


def _spread(sizes: Iterable[tuple[tuple[int, ...], tuple[float, ...]]]) -> Size:
    found = list(sizes)
    shapes, spacings = list(zip(*(shape for shape, _ in found), strict=True)), list(zip(*(spacing for _, spacing in found), strict=True))
    middle = len(found) // 2
    return Size(
        tuple((min(axis), max(axis)) for axis in shapes),
        tuple((min(axis), max(axis)) for axis in spacings),
        tuple(float(sorted(axis)[middle]) for axis in shapes),
        tuple(float(sorted(axis)[middle]) for axis in spacings),
    )


def _product(numbers: Iterable[int]) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


def read_dataset(raw: Path) -> dict[str, Any]:
    """``dataset.json`` of a dataset that has one input channel.

    Raises:
        UserError: no dataset, or images with several channels.
    """
    if not (raw / "dataset.json").is_file():
        raise UserError(f"{raw} is no nnU-Net dataset (dataset.json is missing); give the number of one")
    about = read_object(raw / "dataset.json", "labels", "file_ending")
    channels = about.get("channel_names", about.get("modality", {}))
    if len(channels) != 1:
        raise UserError(f"{raw.name} has {len(channels)} input channels, but synthetic hearts have one; use a dataset of cine images alone")
    if not isinstance(about["labels"], dict):
        raise UserError(f"{raw / 'dataset.json'} is damaged: its labels are no mapping of names to numbers; restore it")
    return about


def told(facts: Facts) -> list[str]:
    """The fold in a few lines."""
    rows = [("training", facts.train), ("validation", facts.val), *([("test", facts.test)] if facts.test else [])]
    lines = [f"{facts.dataset}, fold {facts.fold}", *(line for name, side in rows for line in labelled(name, _told(side)))]
    x, y, z = facts.size.shape
    dx, _, dz = facts.size.spacing
    spacing = f"pixels of {_range(*dx, '.2f')} mm, slices {_range(*dz, '.3g')} mm apart"
    lines += labelled("images", f"{_range(*x)} x {_range(*y)} pixels, {_range(*z)} slices; {spacing}")
    for number, what in enumerate(missing(facts)):
        lines += labelled("" if number else "not there", what)
    return lines + (labelled("note", facts.note) if facts.note else [])


def labelled(name: str, text: str) -> list[str]:
    """A text for the screen behind its name, in lines that a terminal shows."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14, break_on_hyphens=False)


def missing(facts: Facts) -> list[str]:
    """What the dataset does not have and could have."""
    found = []
    if facts.own_split:
        found.append("folds (the study splits by patient into five, as 'synthaug split' does)")
    if not facts.planned:
        found.append("plans (the study plans and preprocesses in its own folder)")
    if not facts.train.cines:
        found.append("cines")
    elif facts.train.cines < len(facts.train.patients):
        found.append(f"cines of {len(facts.train.patients) - facts.train.cines} training patients")
    if set(facts.train.phases) == {""}:
        found.append("which volumes are ED and which ES (names do not tell; all are used)")
    if set(facts.train.diagnoses) == {""}:
        found.append("diagnoses")
    if set(facts.train.vendors) == {""}:
        found.append("scanner vendors")
    if facts.test is None:
        found.append("test patients (imagesTs with labelsTs), so validation patients are tested")
    return found


def _told(side: Patients) -> str:
    phases = [f"{n} {phase}" for phase, n in sorted(side.phases.items()) if phase]
    unknown = side.phases.get("", 0)
    phases += [f"{unknown} of unknown phase"] if unknown and phases else []
    parts = [f"{len(side.patients)} patients, {len(side.cases)} contoured volumes" + (f" ({', '.join(phases)})" if phases else "")]
    for counts, word in ((side.diagnoses, "not told"), (side.vendors, "unknown scanner")):
        if set(counts) - {""}:
            parts.append(", ".join(f"{n} {name or word}" for name, n in sorted(counts.items(), key=lambda one: (not one[0], one[0]))))
    if side.cines:
        parts.append(f"{side.cines} cines")
    return "; ".join(parts)


def _range(low: float, high: float, pattern: str = "g") -> str:
    one, other = format(low, pattern), format(high, pattern)
    return one if one == other else f"{one} to {other}"
