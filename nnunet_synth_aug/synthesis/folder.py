"""A folder of synthetic sequences: 4D NIfTI pairs, one JSON each, and one index with provenance.

    sequences/
      index.json                    provenance of the generator, and the ids in order
      synth_00000_image.nii.gz      (X, Y, Z, T) int16
      synth_00000_mask.nii.gz       (X, Y, Z, T) uint8
      synth_00000.json              seed, requested and measured priors (closed loop: of the open loop, too), ED/ES frame,
                                    context, slices whose contours can be trusted

The JSON of a sequence is written last: a sequence without it does not exist, so a killed run resumes
at the first missing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnunet_synth_aug.core.bank_sources import REGISTRY
from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json, write_nifti
from nnunet_synth_aug.core.priors import VARIABLES, Priors
from nnunet_synth_aug.core.settings import Distinct, FromZero, Number, PlainName, Positive, read

INDEX = "index.json"
#: Grey values are rounded where their range is at least so wide.
FEWEST_STEPS = 255


@dataclass(frozen=True)
class Record:
    """The JSON of one sequence, as far as it is read back."""

    seed: int
    motion_seed: int
    frame_seconds: Number
    n_frames: Positive
    ed: FromZero
    es: FromZero
    requested: dict[str, Any]
    measured: dict[str, Any]
    context: tuple[Number, Number] | None
    calibration: tuple[Number, Number] | None
    open_loop: dict[str, Any] | None
    sound: dict[str, tuple[FromZero, FromZero]] | None = None  # folders of earlier versions lack it
    donor: str | None = None
    painted_as: str | None = None

    @property
    def sound_slices(self) -> dict[int, tuple[int, int]] | None:
        """As ``SyntheticSequence.sound``."""
        return None if self.sound is None else {int(frame): slices for frame, slices in self.sound.items()}


@dataclass(frozen=True)
class _Index:
    sequences: Distinct[PlainName]
    provenance: dict[str, Any]
    format: Literal[1] = 1


def stored(image: np.ndarray) -> np.ndarray:
    """Grey values as a file holds them: whole numbers (int16) where they fit and their range is wide, else float32."""
    low, high, limits = float(image.min()), float(image.max()), np.iinfo(np.int16)
    if high - low < FEWEST_STEPS or low < limits.min or high > limits.max:
        return image.astype(np.float32)
    return np.round(image).astype(np.int16)


def write_sequence(folder: Path, sequence: SyntheticSequence) -> None:
    """Write image, mask and JSON of one sequence."""
    image = np.moveaxis(stored(sequence.image), 0, -1)
    write_nifti(folder / f"{sequence.id}_image.nii.gz", image, sequence.spacing, sequence.frame_seconds)
    write_nifti(
        folder / f"{sequence.id}_mask.nii.gz", np.moveaxis(sequence.mask, 0, -1).astype(np.uint8), sequence.spacing, sequence.frame_seconds
    )
    write_json(
        folder / f"{sequence.id}.json",
        {
            "id": sequence.id,
            "seed": sequence.seed,
            "motion_seed": sequence.motion_seed,
            "spacing_mm": sequence.spacing,
            "frame_seconds": sequence.frame_seconds,
            "n_frames": sequence.image.shape[0],
            "ed": sequence.ed,
            "es": sequence.es,
            "requested": sequence.requested.specified(),
            "measured": sequence.measured.specified(),
            "context": sequence.context,
            "calibration": sequence.calibration,
            "open_loop": None if sequence.open_loop is None else sequence.open_loop.specified(),
            "sound": None if sequence.sound is None else {str(frame): slices for frame, slices in sequence.sound.items()},
        }
        | sequence.looks_like,
    )


def sequence_exists(folder: Path, sequence_id: str) -> bool:
    """Whether a sequence is complete."""
    return (folder / f"{sequence_id}.json").is_file()


def read_record(folder: Path, sequence_id: str) -> Record:
    """What the JSON of one sequence says.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / f"{sequence_id}.json"
    return read(Record, read_json(path), str(path), remedy="delete this file and sample again", others=True)


def read_sequence(folder: Path, sequence_id: str) -> SyntheticSequence:
    """Read one sequence back."""
    record = read_record(folder, sequence_id)
    image, spacing, _ = read_nifti(folder / f"{sequence_id}_image.nii.gz", ndim=4)
    mask, _, _ = read_nifti(folder / f"{sequence_id}_mask.nii.gz", ndim=4)
    if image.shape != mask.shape:
        raise UserError(f"{folder / sequence_id}: image {image.shape} and mask {mask.shape} differ; delete the sequence and sample again")
    return SyntheticSequence(
        id=sequence_id,
        image=np.moveaxis(image, -1, 0).astype(np.float32),
        mask=np.moveaxis(mask, -1, 0).astype(np.uint8),
        spacing=spacing,
        ed=record.ed,
        es=record.es,
        frame_seconds=record.frame_seconds,
        seed=record.seed,
        motion_seed=record.motion_seed,
        calibration=record.calibration,
        requested=Priors.from_mapping(record.requested, sequence_id),
        measured=_measured(record.measured),
        context=record.context,
        open_loop=None if record.open_loop is None else _measured(record.open_loop),
        sound=record.sound_slices,
        donor=record.donor,
        painted_as=record.painted_as,
    )


def frames_within(n_frames: int, sound: Mapping[int, tuple[int, int]] | None) -> list[int]:
    """Frames of a sequence that may become training cases: not those with torn slices in the middle."""
    return list(range(n_frames)) if sound is None else sorted(sound)


def _measured(values: dict[str, Any]) -> Priors:
    """Measured values, which may lie outside the ranges that a request must respect."""
    return Priors(**{k: v for k, v in values.items() if k in VARIABLES})


def write_index(folder: Path, ids: list[str], provenance: dict[str, Any]) -> None:
    """Write the index: which sequences belong to the folder, and who made them.

    ``provenance`` holds at least ``dataset``, ``fold``, ``generator_hash``, ``preset`` and ``patients``
    (every patient that any stage of the generator was trained on).
    """
    write_json(folder / INDEX, {"format": 1, "provenance": provenance, "sequences": ids})


def read_index(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Ids and provenance of a sequence folder.

    Raises:
        UserError: it holds no sequences, or its index is damaged.
    """
    if not (folder / INDEX).is_file():
        raise UserError(f"{folder} holds no synthetic sequences ({INDEX} is missing); run 'synthaug sample' or 'synthaug bank' first")
    path = folder / INDEX
    index = read(_Index, read_json(path), str(path), remedy="run 'synthaug sample' or 'synthaug bank' again", others=True)
    return list(index.sequences), index.provenance


def shortfall(folder: Path) -> str:
    """A sentence if fewer hearts are in a folder than were asked for; "" if all could be made."""
    quality = read_index(folder)[1].get("quality") or {}
    asked, made = quality.get("requests", 0), quality.get("accepted", 0)
    if made >= asked:
        return ""
    gone = [name for name, one in quality.get("by_diagnosis", {}).items() if one["requests"] and not one["accepted"]]
    return f"{made} of {asked} hearts in {folder} passed the quality control" + (f", and none with {', '.join(gone)}" if gone else "")


def remove_sequences(folder: Path) -> None:
    """Delete the sequences that this package wrote into a folder, and what it wrote about them; other files stay.

    Raises:
        UserError: a file cannot be deleted.
    """
    plan, index = folder / "plan.json", folder / INDEX
    known: set[str] = set()
    for path, key in ((plan, "requests"), (index, "sequences")):
        if path.is_file() and isinstance(content := read_json(path), dict) and isinstance(names := content.get(key), (dict, list)):
            known |= {name for name in names if isinstance(name, str) and Path(name).name == name}
    own = [name + ending for name in known for ending in (".json", "_image.nii.gz", "_mask.nii.gz", ".gif")]
    try:
        # The plan comes last: a kill in the middle leaves a folder that says what it held.
        for name in (INDEX, *own, "rejections.json", "priors.csv", "figures.json", plan.name):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be emptied ({error.strerror or error}); change its permissions") from error


def remove_other_sources(top: Path, wanted: Mapping[str, Path]) -> None:
    """Delete the sequences of a bank that lie where a bank of other sources has them.

    Args:
        top: the folder of all sequences of a bank; with several sources each has a folder in it.
        wanted: source -> folder, of the bank that is to be made.
    """
    for folder in _of_other_sources(top, wanted):
        remove_sequences(folder)
        if folder != top and not any(folder.iterdir()):
            folder.rmdir()


def refuse_other_sources(top: Path, wanted: Mapping[str, Path]) -> None:
    """Raise UserError if sequences of other sources lie there: the bank's card would not know of them. Arguments as above."""
    for folder in _of_other_sources(top, wanted):
        if any((folder / name).is_file() for name in ("plan.json", INDEX)):
            raise UserError(f"{folder} holds hearts of an earlier bank of this fold, of other sources; add --replace, which deletes them")


def _of_other_sources(top: Path, wanted: Mapping[str, Path]) -> list[Path]:
    found = (top, *(top / source for source in REGISTRY))
    return [folder for folder in found if folder.is_dir() and folder not in wanted.values()]
