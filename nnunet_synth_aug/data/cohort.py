"""A cohort on disk: ``cohort.json`` and ``priors.csv`` beside nnU-Net's raw dataset, and the sequences they describe.

``cohort.json`` holds geometry and relative paths, ``priors.csv`` one row per patient with the columns ``patient`` and every
name in :data:`nnunet_synth_aug.core.priors.VARIABLES` (units there; empty means unknown). Users may edit the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_synth_aug.core.cases import Sequence, Subject
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import atomic_path, hash_json, nifti_shape, read_json, read_nifti, write_json
from nnunet_synth_aug.core.labels import N_CLASSES, PHASES, STRUCTURES
from nnunet_synth_aug.core.paths import dataset_name, raw_folder
from nnunet_synth_aug.core.patients import COHORT, cohort_records, named_patients
from nnunet_synth_aug.core.priors import FROM_MASKS, VARIABLES, Priors
from nnunet_synth_aug.core.tables import plain_number, quoted_table, read_table

PRIORS = "priors.csv"

#: ED and ES of one scan differ in their grey values by less than this factor. Blood moves: 1.24 was the most that was seen.
SAME_SCALE = 1.3


@dataclass(frozen=True)
class Cohort:
    """The subjects of one nnU-Net dataset."""

    name: str  # e.g. Dataset027_ACDC
    subjects: tuple[Subject, ...]
    folder: Path  # nnUNet_raw/<name>
    segmenter: str = ""  # digest of the network behind the subjects' predicted masks

    @staticmethod
    def load(dataset: str | int) -> Cohort:
        """Load by id or name.

        Raises:
            UserError: no such dataset, no or a damaged ``cohort.json``, a missing image, an impossible value in ``priors.csv``.
        """
        name = dataset_name(dataset)
        return Cohort.read(raw_folder(name), name)

    @staticmethod
    def read(folder: Path, name: str) -> Cohort:
        """Read the cohort in ``folder``; errors as in :meth:`load`."""
        return Cohort(name, read_cohort(folder), folder)

    def subject(self, patient: str) -> Subject:
        """The subject of that name."""
        for subject in self.subjects:
            if subject.patient == patient:
                return subject
        raise UserError(f"{self.folder / COHORT} has no patient {patient!r}; choose one of its {len(self.subjects)} patients")

    def patient_of(self, case_id: str) -> str:
        """The patient an nnU-Net case belongs to."""
        for subject in self.subjects:
            if case_id in subject.cases.values():
                return subject.patient
        raise UserError(f"{self.folder / COHORT} has no case {case_id!r}; use the case ids of {self.folder / 'labelsTr'}")

    def select(self, patients: Iterable[str]) -> Cohort:
        """The cohort of these patients alone, in their order in the cohort."""
        wanted = {self.subject(patient).patient for patient in patients}
        return replace(self, subjects=tuple(subject for subject in self.subjects if subject.patient in wanted))

    def without_masks(self, patients: Iterable[str]) -> Cohort:
        """The cohort in which these patients have no mask, no nnU-Net case and no prior that only a mask tells."""
        silent = {self.subject(patient).patient for patient in patients}
        return replace(self, subjects=tuple(_unlabelled(s) if s.patient in silent else s for s in self.subjects))

    def hash(self) -> str:
        """Digest of what the subjects are: records, priors and file sizes; the same wherever the folder lies."""
        sizes = {str(path.relative_to(self.folder)): path.stat().st_size for subject in self.subjects for path in _paths(subject)}
        # No network learns from the name of the hospital.
        known = [(replace(subject, centre=""), subject.priors.specified()) for subject in self.subjects]
        records = [{**_record(subject, self.folder), "priors": priors} for subject, priors in known]
        return hash_json({"subjects": records, "sizes": sizes} | ({"predictor": self.segmenter} if self.segmenter else {}))


def _unlabelled(subject: Subject) -> Subject:
    return replace(subject, masks={}, cases={}, priors=replace(subject.priors, **dict.fromkeys(FROM_MASKS)))


def extent(subject: Subject) -> tuple[float, float]:
    """In-plane field of view (X, Y) in mm, from the header alone."""
    shape = nifti_shape(subject.cine or subject.images[PHASES[0]])
    return (shape[0] * subject.spacing[0], shape[1] * subject.spacing[1])


def load_sequence(subject: Subject) -> Sequence:
    """Read the images and masks of one subject.

    Returns:
        image float32 (T, X, Y, Z), mask uint8 (T, X, Y, Z) filled at the frames in ``labelled``, and in ``predicted`` if the subject has
        predicted masks. Without a cine, T is 2: ED, ES, on one scale of grey values; or 1, of a single volume.
        Structures outside ``subject.annotated`` are 0 in the mask though they are in the image.

    Raises:
        UserError: a file is missing, damaged, or of another shape than ``cohort.json`` says.
    """
    if subject.cine is not None:
        array, _, _ = read_nifti(subject.cine, ndim=4)
        image = np.ascontiguousarray(np.moveaxis(array, -1, 0), dtype=np.float32)
        if image.shape[0] != subject.n_frames:
            raise UserError(f"{subject.cine} has {image.shape[0]} frames where {COHORT} says {subject.n_frames}; import the dataset again")
    else:
        volumes = [read_nifti(subject.images[phase], ndim=3)[0] for phase in PHASES[: subject.n_frames]]
        if volumes[0].shape != volumes[-1].shape:
            raise UserError(
                f"{subject.images['ES']} has the shape {volumes[-1].shape} but ED has {volumes[0].shape}; import the dataset again"
            )
        image = np.stack([volumes[0], *(on_one_scale(volumes[0], other) for other in volumes[1:])]).astype(np.float32)

    mask = np.zeros(image.shape, np.uint8)
    labelled = []
    for phase, frame in zip(PHASES, (subject.ed, subject.es), strict=True):
        if (path := subject.masks.get(phase)) is None:
            continue
        array, _, _ = read_nifti(path, ndim=3)
        if array.shape != image.shape[1:]:
            raise UserError(f"{path} has the shape {array.shape} but its image has {image.shape[1:]}; import the dataset again")
        if not np.isin(array, range(N_CLASSES)).all():
            raise UserError(f"{path} holds labels other than 0 to {N_CLASSES - 1}; import the dataset again")
        mask[frame] = array
        labelled.append(frame)
    predicted = _add_predicted(subject, mask, labelled)
    return Sequence(image, mask, subject.spacing, subject.ed, subject.es, tuple(labelled), predicted)


def on_one_scale(ed: np.ndarray, es: np.ndarray) -> np.ndarray:
    """ES (X, Y, Z) in the grey values of ED, where its file has a scale of its own, as files have that were rescaled one by one.

    The factor is that between the quantiles of both volumes, in least squares. ES stays as it is if they differ by less than SAME_SCALE.
    """
    ranks = np.linspace(0.05, 0.99, 20)
    here, there = (np.quantile(volume, ranks) for volume in (ed, es))
    factor = float(here @ there) / (float(there @ there) or 1.0)
    return es if factor <= 0 or 1 / SAME_SCALE < factor < SAME_SCALE else es * np.float32(factor)


def _add_predicted(subject: Subject, mask: np.ndarray, labelled: list[int]) -> tuple[int, ...]:
    """Fill ``mask`` (T, X, Y, Z) where the subject's predicted masks have what contours lack; which frames these are."""
    if subject.predicted is None:
        return ()
    array, _, _ = read_nifti(subject.predicted, ndim=4)
    if array.shape != (*mask.shape[1:], len(mask)):
        raise UserError(f"{subject.predicted} has the shape {array.shape}, which is not that of its cine; delete it and fit again")
    frames = [t for t in range(len(mask)) if t not in labelled]
    mask[frames] = np.moveaxis(array[..., frames], -1, 0)
    return tuple(t for t in frames if mask[t].any())  # where the network saw no heart that can be one, there is no mask


def write_cohort(folder: Path, subjects: Seq[Subject], source: dict[str, Any] | None = None, notes: Seq[str] = ()) -> None:
    """Write ``cohort.json`` and ``priors.csv`` of a dataset whose files lie under ``folder``.

    Args:
        folder: the nnU-Net raw dataset.
        subjects: every path in them must be inside ``folder``; it is stored relative to it.
        source: where the data come from; any JSON value.
        notes: sentences a user should be able to look up later (what was left out, and why).
    """
    rows = [{"patient": subject.patient, **{name: subject.priors.specified().get(name) for name in VARIABLES}} for subject in subjects]
    # dtype object: a column of integers with a gap would otherwise turn into floats.
    table = pd.DataFrame(rows, columns=["patient", *VARIABLES], dtype=object)
    with atomic_path(folder / PRIORS) as temporary:
        quoted_table(table).to_csv(temporary, index=False)
    records = {kind: [_record(subject, folder) for subject in subjects if subject.test == kind] for kind in (False, True)}
    test = {"test": records[True]} if records[True] else {}
    write_json(folder / COHORT, {"format": 1, "source": source or {}, "notes": list(notes), "subjects": records[False], **test})


def read_notes(folder: Path, most: int = 10) -> list[str]:
    """The notes of a dataset for a screen: one line for each text, with the patients whom it is about.

    Args:
        folder: the nnU-Net raw dataset.
        most: patients that a line names; the file names all, and has what stands in brackets at the end for each.
    """
    content = read_json(folder / COHORT)
    patients = {record["patient"] for record in [*content["subjects"], *content.get("test", [])]}
    lines: dict[str, list[tuple[str, str]]] = {}
    for note in content["notes"]:
        patient, _, text = note.partition(": ")
        if patient not in patients:
            patient, text = "", note
        own = re.search(r" \([^()]*\)$", text)
        lines.setdefault(text[: own.start()] if own else text, []).append((patient, own[0] if own else ""))
    return [_line(text, about, most) for text, about in lines.items()]


def _line(text: str, about: list[tuple[str, str]], most: int) -> str:
    (first, own), *others = about
    if not others:
        return f"{first}: {text}{own}" if first else f"{text}{own}"
    more = f" and {len(about) - most} more (see {COHORT})" if len(about) > most else ""
    return f"{', '.join(patient for patient, _ in about[:most])}{more}: {text}"


def read_cohort(folder: Path) -> tuple[Subject, ...]:
    """The subjects of a dataset folder; see :meth:`Cohort.load`."""
    path = folder / COHORT
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, so this dataset was not made by 'synthaug import'; import it (see 'synthaug import --help')"
        )
    records, test = cohort_records(path), cohort_records(path, "test")
    try:
        subjects = [_subject(record, folder) for record in records]
        tested = [str(record["patient"]) for record in test]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); import the dataset again") from error
    named_patients(folder)  # one case of two patients, or a patients.csv that says otherwise, ends here
    if not subjects:
        raise UserError(f"{path} lists no subject; import the dataset again")
    for subject in subjects:
        if missing := [file for file in _paths(subject) if not file.is_file()]:
            raise UserError(
                f"{missing[0]}, which {path.name} lists for {subject.patient}, does not exist; restore it or import the dataset again"
            )
    priors = _read_priors(folder / PRIORS, [subject.patient for subject in subjects] + tested)
    return tuple(replace(subject, priors=priors[subject.patient]) for subject in subjects)


def _read_priors(path: Path, patients: list[str]) -> dict[str, Priors]:
    if not path.is_file():
        raise UserError(f"{path} does not exist; restore it or import the dataset again")
    names, rows = read_table(path)
    if foreign := [name for name in names if name and name.casefold() not in ("patient", *VARIABLES)]:
        raise UserError(f"{path} has the unknown column {foreign[0]!r}; allowed are patient, {', '.join(VARIABLES)}")
    if "patient" not in [name.casefold() for name in names]:
        raise UserError(f"{path} has no column 'patient'; add it with the patient names of {COHORT}")
    found: dict[str, Priors] = {}
    for number, row in rows.items():
        values = {name.casefold(): value for name, value in row.items()}
        patient = values.pop("patient")
        if patient in found or patient not in patients:
            raise UserError(
                f"{path}, row {number}: patient {patient!r} is {'there twice' if patient in found else f'not in {COHORT}'}; remove the row"
            )
        found[patient] = Priors.from_mapping({k: plain_number(v) for k, v in values.items()}, f"{path}, row {number} ({patient})")
    if missing := [patient for patient in patients if patient not in found]:
        raise UserError(f"{path} has no row for {missing[0]}; add it (values may stay empty)")
    return found


def _paths(subject: Subject) -> list[Path]:
    return [*([subject.cine] if subject.cine else []), *subject.images.values(), *subject.masks.values()]


def _record(subject: Subject, folder: Path) -> dict[str, Any]:
    """A subject as JSON, without its priors."""

    def relative(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    return {
        "patient": subject.patient,
        "spacing_mm": list(subject.spacing),
        "n_frames": subject.n_frames,
        "ed": subject.ed,
        "es": subject.es,
        "frame_seconds": subject.frame_seconds,
        "annotated": [name for name, label in STRUCTURES.items() if label in subject.annotated],
        "cine": None if subject.cine is None else relative(subject.cine),
        "images": {phase: relative(path) for phase, path in subject.images.items()},
        "masks": {phase: relative(path) for phase, path in subject.masks.items()},
        "cases": subject.cases,
        **({"centre": subject.centre} if subject.centre else {}),
    }


def _subject(record: dict[str, Any], folder: Path) -> Subject:
    """The subject of a record; its priors are in the table. KeyError, TypeError or ValueError if the record is damaged."""
    x, y, z = record["spacing_mm"]
    subject = Subject(
        patient=record["patient"],
        spacing=(float(x), float(y), float(z)),
        priors=Priors(),
        cine=None if record["cine"] is None else folder / record["cine"],
        n_frames=int(record["n_frames"]),
        ed=int(record["ed"]),
        es=int(record["es"]),
        images={phase: folder / path for phase, path in record["images"].items()},
        masks={phase: folder / path for phase, path in record["masks"].items()},
        cases=dict(record["cases"]),
        annotated=frozenset(STRUCTURES[name] for name in record["annotated"]),
        frame_seconds=float(record["frame_seconds"]),
        centre=str(record.get("centre") or ""),
    )
    if not (0 <= subject.ed < subject.n_frames and 0 <= subject.es < subject.n_frames):
        raise ValueError(f"the frames of {subject.patient} are beyond its {subject.n_frames}")
    if subject.cine is None and not set(PHASES[: subject.n_frames]) <= subject.images.keys():
        raise ValueError(f"{subject.patient} has neither a cine nor both {' and '.join(PHASES)} images")
    return subject
