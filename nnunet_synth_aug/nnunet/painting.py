"""The painter of a fold: it learns from the training patients with contours, and from those without where a real-only nnU-Net is sure."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nnunet_synth_aug.core.cases import Sequence, Spacing, Subject
from nnunet_synth_aug.core.console import console, progress
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import STRUCTURES
from nnunet_synth_aug.core.lock import only_one
from nnunet_synth_aug.core.paths import painter_file
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.model.painter.painter import Painter, PainterConfig, load_painter, painter_identity, train_painter
from nnunet_synth_aug.model.painter.slices import PatientSlices
from nnunet_synth_aug.nnunet.bank.originals import is_imported, training_cohort
from nnunet_synth_aug.synthesis.painting import PaintedHearts, PaintedLooks

if TYPE_CHECKING:
    from nnunet_synth_aug.nnunet.segmenter import Segmenter

USUAL = PainterConfig()
#: Dice of a slice's contours with those found in the slice turned by 90 degrees, of each structure, from which on they are believed.
SURE = 0.8


def fold_looks(dataset: str, fold: int | str, network: Segmenter, device: torch.device, config: PainterConfig = USUAL) -> PaintedLooks:
    """The painter of a fold, in the styles of the patients whom nobody has contoured; trained now if it is not there.

    Args:
        dataset: whole name.
        fold: index in the splits, or "all".
        network: a real-only nnU-Net of the fold, which contours them.
        device: where to train and paint.
        config: settings.

    Raises:
        UserError: the dataset was not imported, has no such patient, or the network is sure about none of their slices.
    """
    wants = "--appearance unlabelled needs patients without contours, with ED and ES"
    pupils = _pupils(dataset, fold, f"{wants}, whom {dataset} lacks, as it was not imported", "synthaug import ... --unlabelled")
    if not pupils.silent:
        raise UserError(f"{wants}, which fold {fold} of {dataset} lacks; import them with 'synthaug import ... --unlabelled FOLDER'")
    painter = _load(_About(dataset, fold, pupils, network, config), device)
    return PaintedLooks(painter, tuple(sorted(set(painter.styles) & {s.patient for s in pupils.silent})))


def fold_hearts(
    dataset: str, fold: int | str, network: Segmenter | None, device: torch.device, config: PainterConfig = USUAL
) -> PaintedHearts:
    """The painter of a fold, in the styles of the patients with contours; trained when the first heart is shown, if it is not there.

    Args:
        dataset: whole name.
        fold: index in the splits, or "all".
        network: a real-only nnU-Net of the fold, if patients without contours are to teach the painter, too.
        device: where to train and paint.
        config: settings.

    Raises:
        UserError: the dataset was not imported, or nobody has contours.
    """
    pupils = _pupils(dataset, fold, f"--render painter needs an imported dataset, and {dataset} was not imported", "synthaug import")
    if not pupils.contoured:
        raise UserError(f"no training patient of fold {fold} of {dataset} has contours, so none shows how to paint; use --render decoder")
    about = _About(dataset, fold, pupils if network else replace(pupils, silent=()), network, config)
    contoured, silent = (tuple(s.patient for s in some) for some in (about.pupils.contoured, about.pupils.silent))
    return PaintedHearts(about.identity, contoured + silent, contoured, lambda: _load(about, device))


@dataclass(frozen=True)
class _Pupils:
    """Patients of the training from whom a painter may learn."""

    cohort: Cohort
    contoured: tuple[Subject, ...]
    silent: tuple[Subject, ...]  # without contours


def _pupils(dataset: str, fold: int | str, lacking: str, command: str) -> _Pupils:
    if not is_imported(dataset):
        raise UserError(f"{lacking}; import it with '{command}'")
    cohort, patients = training_cohort(dataset, fold)
    subjects = cohort.select(patients).subjects
    silent = tuple(subject for subject in subjects if not subject.masks and subject.n_frames > 1)
    return _Pupils(cohort, tuple(subject for subject in subjects if subject.masks), silent)


@dataclass(frozen=True)
class _About:
    """All that a painter depends on."""

    dataset: str
    fold: int | str
    pupils: _Pupils
    network: Segmenter | None
    config: PainterConfig

    @property
    def told(self) -> dict[str, Any]:
        """For its file, JSON."""
        return {
            "cohort": self.pupils.cohort.hash(),
            "contoured": [s.patient for s in self.pupils.contoured],
            "silent": [s.patient for s in self.pupils.silent],
            "segmenter": None if self.network is None else dict(self.network.provenance),
        }

    @property
    def identity(self) -> str:
        return painter_identity(self.config, self.told)


def _load(about: _About, device: torch.device) -> Painter:
    """The painter that these patients teach; trained now if it is not there."""
    path = painter_file(about.dataset, about.fold, about.identity)
    if path.is_file():
        return load_painter(path, device)
    does = f"trains this painter of fold {about.fold} of {about.dataset} now; wait for its end, or end it and run this command again"
    with only_one(path.with_name("painter.lock"), does):
        if path.is_file():
            return load_painter(path, device)
        pixel, network = about.config.pixel, about.network
        known = [PatientSlices.of(s.patient, load_sequence(s), pixel) for s in about.pupils.contoured]
        found = [one for one in known if one is not None]
        found += contoured(about.pupils.silent, network, pixel) if network is not None else []
        painter = train_painter(found, about.config, path, about.told, device)
        console.print(f"painter is complete: {path}")
        return painter


def known_looks(dataset: str, fold: int | str, about: dict[str, Any], device: torch.device) -> PaintedLooks:
    """The painter with which a bank's looks were made, as its manifest describes it.

    Raises:
        UserError: it is not there any more.
    """
    again = f"run 'synthaug bank -d {dataset} -f {fold} --appearance unlabelled ...' again"
    return PaintedLooks(_known(dataset, fold, about, device, again), tuple(style["patient"] for style in about["styles"]))


def known_hearts(dataset: str, fold: int | str, about: dict[str, Any], device: torch.device) -> PaintedHearts:
    """The painter with which a bank's hearts were made, as its provenance describes it.

    Raises:
        UserError: it is not there any more, or this version paints otherwise.
    """
    again = f"run 'synthaug bank -d {dataset} -f {fold} --render painter ...' again"
    painter = _known(dataset, fold, about, device, again)
    shown = PaintedHearts(painter.identity, tuple(about["styles"]), tuple(about["shown_as"]), lambda: painter)
    if shown.about["painting"] != about.get("painting"):
        raise UserError(f"the bank of fold {fold} was painted by another version; {again}")
    return shown


def _known(dataset: str, fold: int | str, about: dict[str, Any], device: torch.device, again: str) -> Painter:
    identity = str(about.get("painter", ""))
    path = painter_file(dataset, fold, identity)
    painter = load_painter(path, device) if path.is_file() else None
    if painter is None or painter.identity != identity:
        raise UserError(f"{path} is not the painter of the bank; {again}")
    return painter


def contoured(subjects: Seq[Subject], network: Segmenter, pixel: float) -> list[PatientSlices]:
    """Slices of ED and ES of patients without contours where the network is sure.

    Raises:
        UserError: it is sure about none.
    """
    found = []
    with progress("contouring", len(subjects)) as bar:
        for done, subject in enumerate(subjects, 1):
            if (of := _sure_slices(subject.patient, load_sequence(subject), network, pixel)) is not None:
                found.append(of)
            bar.advance(done, subject.patient)
    if not found:
        raise UserError(
            f"the network of --contoured-by is sure about no slice of the {len(subjects)} patients without contours; give a better one, "
            "or use --appearance scanners"
        )
    return found


def _sure_slices(patient: str, sequence: Sequence, network: Segmenter, pixel: float) -> PatientSlices | None:
    frames = tuple(dict.fromkeys((sequence.ed, sequence.es)))
    found = [sure_contours(network, sequence.image[t], sequence.spacing) for t in frames]
    mask = np.zeros(sequence.image.shape, np.uint8)
    for frame, (own, _) in zip(frames, found, strict=True):
        mask[frame] = own
    whole = PatientSlices.of(patient, replace(sequence, mask=mask, labelled=frames), pixel)
    if whole is None:
        return None
    sure = np.concatenate([alike for _, alike in found])
    kept = tuple(one for one, good in zip(whole.slices, sure, strict=True) if good)
    return replace(whole, slices=kept) if any(one.mask.any() for one in kept) else None


def sure_contours(network: Segmenter, image: np.ndarray, spacing: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Mask uint8 (X, Y, Z) that the network finds, and in which slices it finds the same when they are turned by 90 degrees: bool (Z,)."""
    found = network.segment(image, spacing)
    turned = network.segment(np.ascontiguousarray(np.rot90(image)), (spacing[1], spacing[0], spacing[2]))
    again = np.rot90(turned, -1)
    alike = [all(_alike(found[..., z] == k, again[..., z] == k) for k in STRUCTURES.values()) for z in range(found.shape[2])]
    return found, np.array(alike)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return bool(total == 0 or 2 * np.count_nonzero(one & other) >= SURE * total)
