"""From synthetic sequences to preprocessed cases that nnU-Net's loader reads like its own."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.console import progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, sha256, write_json
from nnunet_synth_aug.core.paths import bank_folder
from nnunet_synth_aug.data import looks as scanners
from nnunet_synth_aug.nnunet.bank.files import DamagedError, read_properties, whole, write_sums
from nnunet_synth_aug.nnunet.bank.lock import bank_lock
from nnunet_synth_aug.nnunet.bank.manifest import FORMAT, check_leak, known_sums, manifest_path, together
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES, preprocess_frame, save_case
from nnunet_synth_aug.nnunet.patients import case_patients, fold_cases
from nnunet_synth_aug.nnunet.target import Target, label_lookup, load_target
from nnunet_synth_aug.synthesis import painting
from nnunet_synth_aug.synthesis.folder import Record, frames_within, read_index, read_record, read_sequence

_STAMP = "synth_aug_source"  # key in a case's properties: digest of what it was made from


def build_bank_cases(
    sequences: Path | Mapping[str, Path],
    dataset: str | int,
    fold: int | str,
    configuration: str,
    plans: str = "nnUNetPlans",
    frames: int = 4,
    looks: int = 0,
    paint: painting.PaintedLooks | None = None,
) -> Path:
    """Preprocess frames of synthetic sequences exactly like nnU-Net's own cases.

    A case is complete once its ``.pkl`` exists; a killed run goes on where it stopped, and ends with what an
    undisturbed one makes. A case whose sequence, plans or generator changed is made again.

    Args:
        sequences: a folder of sequences, see ``synthesis.sequences``; or several by the name of their source, which their cases then bear.
        dataset: id or name.
        fold: index in the splits, or "all".
        configuration: e.g. ``2d`` or ``3d_fullres``.
        plans: name of the plans.
        frames: cases per sequence and look: ED, ES and frames spread over the cycle.
        looks: in which every frame is shown: of other scanners, see ``data.looks``, or painted; 0: in its own.
        paint: shows each look of a heart as a patient without contours looks.

    Returns:
        path of the manifest, ``<bank>/manifest_<data identifier>.json``.

    Raises:
        UserError: missing plans, splits or sequences; unsupported configuration; or the generator saw a
            validation patient of the fold.
    """
    if frames < 2:
        raise UserError(f"--frames is {frames}; a sequence gives at least its ED and ES frames, so use 2 or more")
    target = load_target(dataset, configuration, plans)
    cases = target.cases()
    train, val = fold_cases(target.dataset, fold, cases)
    ids, provenance = _listed(sequences, target, fold)
    provenance |= {"styles": sorted({*provenance.get("styles", ()), *paint.patients})} if paint else {}
    if str(fold) != "all":
        check_leak(provenance, target, fold, train, val)
    lookup = label_lookup(target)

    folder = bank_folder(target.dataset, fold) / target.data_identifier
    manifest = manifest_path(target.dataset, fold, target.data_identifier)
    # Nothing that changes when a bank grows (ids, frame count, quality counts in the provenance): its cases are kept.
    # The names of the labels count, too: nnU-Net notes where to sample for each of its regions, and for the ignore label.
    names = target.dataset_json["labels"]
    recipe = hash_json({"format": FORMAT, "plans": target.preprocessing_hash(), "labels": lookup, "names": names})
    imitated = paint.about if paint else {}
    shown_as = {"looks": looks, "version": painting.VERSION if paint else scanners.VERSION, **imitated}
    appearance = {"appearance": shown_as} if looks else {}
    if looks:
        recipe = hash_json([recipe, imitated, painting.VERSION] if paint else [recipe, scanners.VERSION])
    listed: list[dict[str, Any]] = []
    before = known_sums(manifest)
    with (
        bank_lock(target.dataset, fold),
        progress(f"bank {target.data_identifier}", len(ids)) as bar,
        _workshop(folder) as workshop,
    ):
        for done, (name, (where, source)) in enumerate(ids.items()):
            bar.advance(done, name)
            sequence_id = where.name
            record = read_record(where.parent, sequence_id)
            trusted = frames_within(record.n_frames, record.sound_slices)
            chosen = choose_frames(record.n_frames, record.ed, record.es, frames, trusted)
            stamp = _stamp(where.parent, sequence_id, recipe)
            sequence: SyntheticSequence | None = None
            for look in range(1, looks + 1) if looks else (0,):
                wanted = {f"{name}{f'_look{look}' if look else ''}_t{frame:02d}": frame for frame in chosen}
                open_cases = {case: frame for case, frame in wanted.items() if not _is_done(folder, case, stamp, before.get(case))}
                if open_cases:
                    manifest.unlink(missing_ok=True)  # it promises a complete bank
                    sequence = sequence or read_sequence(where.parent, sequence_id)
                    shown = in_look(sequence, name, look, chosen, paint)
                    for case, frame in open_cases.items():
                        _make_case(shown, frame, lookup, target, workshop, folder, case, stamp)
                about = {"look": look} if look else {}
                listed += [
                    _entry(case, name, record, frame) | about | source | {"sha256": sha256(folder / f"{case}.pkl")}
                    for case, frame in wanted.items()
                ]
        _remove_strangers(folder, {entry["id"] for entry in listed})
        bar.advance(len(ids))
    write_json(
        manifest,
        {
            "format": FORMAT,
            "dataset": target.dataset,
            "fold": fold,
            "configuration": configuration,
            "plans": plans,
            "plans_hash": target.preprocessing_hash(),
            "data_identifier": target.data_identifier,
            "labels": target.dataset_json["labels"],
            "generator": provenance,
            "frames_per_sequence": frames,
            **appearance,
            "cases": listed,
            "case_patients": case_patients(target.dataset, cases),
        },
    )
    return manifest


def _listed(
    sequences: Path | Mapping[str, Path], target: Target, fold: int | str
) -> tuple[dict[str, tuple[Path, dict[str, str]]], dict[str, Any]]:
    """By the name of every sequence where its files begin and, where there are several, its ``source``; and who made them."""
    folders = {"": sequences} if isinstance(sequences, Path) else sequences
    found: dict[str, tuple[Path, dict[str, str]]] = {}
    makers: dict[str, dict[str, Any]] = {}
    for source, folder in folders.items():
        ids, makers[source] = read_index(folder)
        if not ids:
            raise UserError(f"{folder} lists no sequences; run '{target.bank_command} -f {fold}' first")
        about = {"source": source} if source else {}
        found |= {f"{source}_{one}" if source else one: (folder / one, about) for one in ids}
    return found, makers[""] if isinstance(sequences, Path) else together(makers)


def in_look(
    sequence: SyntheticSequence, heart: str, look: int, frames: Iterable[int], paint: painting.PaintedLooks | None = None
) -> SyntheticSequence:
    """These frames of a heart in look number ``look``, of other scanners or painted; 0 is its own."""
    if look and paint:
        return paint.shown(sequence, heart, look, frames)
    return scanners.looked(sequence, scanners.look_of(heart, look, sequence.vendor), frames) if look else sequence


def choose_frames(n_frames: int, ed: int, es: int, count: int, within: Collection[int]) -> list[int]:
    """ED, ES, and then always the frame farthest in the cycle from those chosen (the earliest of equals).

    Args:
        n_frames: of the cycle.
        ed, es: frames; always chosen.
        count: how many are wanted.
        within: which others may be chosen.

    Returns:
        frames in time order, fewer than ``count`` if there are no more.
    """
    chosen = [ed] if es == ed else [ed, es]
    while len(chosen) < count and (rest := [f for f in within if f not in chosen]):
        # The cycle closes, so frame 0 and the last frame are neighbours.
        chosen.append(max(rest, key=lambda f: (min(min(abs(f - c), n_frames - abs(f - c)) for c in chosen), -f)))
    return sorted(chosen)


def write_case(
    sequence: SyntheticSequence, frame: int, lookup: np.ndarray, target: Target, folder: Path, case: str, notes: dict[str, Any]
) -> None:
    """Preprocess one frame and write the case's three files.

    Args:
        sequence: where the frame is from.
        frame: its number.
        lookup: of ``label_lookup``.
        target: plans and configuration.
        folder: where to.
        case: id.
        notes: added to nnU-Net's properties of the case.

    Raises:
        UserError: an empty frame, or an unknown label.
    """
    try:
        image, mask = sequence.trusted(frame)
        data, seg, properties = preprocess_frame(image, lookup[mask], sequence.spacing, target, sequence.context)
    except IndexError as error:
        raise UserError(f"{sequence.id}: its mask holds a label above {len(lookup) - 1}; delete the sequence and sample again") from error
    with _writing(folder / case):
        save_case(folder, case, data, seg, properties | notes, target)
        write_sums(folder, case, properties | notes)


@contextmanager
def _writing(case: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # blosc2 reports a full disk as RuntimeError
        raise UserError(f"cannot write {case}: {error}; free some space and run the command again to go on") from error


def _make_case(
    sequence: SyntheticSequence, frame: int, lookup: np.ndarray, target: Target, workshop: Path, folder: Path, case: str, stamp: str
) -> None:
    write_case(sequence, frame, lookup, target, workshop, case, {_STAMP: stamp})
    with _writing(folder / case):
        # What is replaced loses its proof of completeness first.
        (folder / f"{case}.pkl").unlink(missing_ok=True)
        for ending in CASE_FILES:
            (workshop / f"{case}{ending}").replace(folder / f"{case}{ending}")


def _entry(case: str, sequence: str, record: Record, frame: int) -> dict[str, Any]:
    return {
        "id": case,
        "sequence": sequence,
        "frame": frame,
        "seed": record.seed,
        "requested": record.requested,
        "measured": record.measured,
    }


def _stamp(sequences: Path, sequence_id: str, recipe: str) -> str:
    files = [sequences / f"{sequence_id}{ending}" for ending in (".json", "_image.nii.gz", "_mask.nii.gz")]
    for path in files:
        if not path.is_file():
            raise UserError(f"{path} does not exist, though the index lists it; run 'synthaug sample' again to make it")
    return hash_json([recipe, *(sha256(path) for path in files)])


def _is_done(folder: Path, case: str, stamp: str, known: str | None) -> bool:
    """Whether a case is there, whole, and made from what the stamp stands for; ``known`` is its sum by an earlier manifest."""
    path = folder / f"{case}.pkl"
    if not path.is_file() or known not in (None, sha256(path)):
        return False
    try:
        properties = read_properties(path)
    except DamagedError:
        return False
    return properties.get(_STAMP) == stamp and whole(folder, case, properties)


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder on the same disk for half-written cases; remains of a killed run are cleared."""
    workshop = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(workshop, ignore_errors=True)
    try:
        workshop.mkdir(parents=True)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; choose another nnUNet_preprocessed") from error
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _remove_strangers(folder: Path, ids: set[str]) -> None:
    """Delete cases of sequences that are no longer listed."""
    for path in folder.iterdir():
        if path.name.removesuffix(".pkl").removesuffix(".b2nd").removesuffix("_seg") not in ids:
            path.unlink()
