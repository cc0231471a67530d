"""The painter of a fold: it learns from the training patients with contours, and from those without where a real-only nnU-Net is sure."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace
from pathlib import Path
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
from nnunet_synth_aug.nnunet.target import Target
from nnunet_synth_aug.synthesis.painting import Paint

if TYPE_CHECKING:
    from nnunet_synth_aug.nnunet.segmenter import Segmenter

USUAL = PainterConfig()
#: Dice of a slice's contours with those found in the slice turned by 90 degrees, of each structure, from which on they are believed.
SURE = 0.8
_NEEDED = "--appearance unlabelled needs patients without contours, with ED and ES"


def fold_paint(target: Target, fold: int | str, network: Segmenter, device: torch.device, config: PainterConfig = USUAL) -> Paint:
    """The painter of a fold, in the styles of the patients whom nobody has contoured; trained now if it is not there.

    Args:
        target: of nnU-Net.
        fold: index in the splits, or "all".
        network: a real-only nnU-Net of the fold, which contours them.
        device: where to train and paint.
        config: settings.

    Raises:
        UserError: the dataset was not imported, has no such patient, or the network is sure about none of their slices.
    """
    cohort, with_contours, silent = _patients(target, fold)
    names = {"contoured": [s.patient for s in with_contours], "silent": [s.patient for s in silent]}
    about: dict[str, Any] = {"cohort": cohort.hash(), **names, "segmenter": dict(network.provenance)}
    path = painter_file(target.dataset, fold)
    does = f"trains the painter of fold {fold} of {target.dataset} now; wait for its end, or end it and run this command again"
    with only_one(path.with_name("painter.lock"), does):
        painter = _trained(path, (with_contours, silent), network, device, config, about)
    return Paint(painter, tuple(sorted(set(painter.styles) & set(names["silent"]))))


def _trained(
    path: Path,
    patients: tuple[list[Subject], list[Subject]],
    network: Segmenter,
    device: torch.device,
    config: PainterConfig,
    about: dict[str, Any],
) -> Painter:
    """The painter at ``path`` if it is this one, else a new one; ``patients`` are those with contours and those without."""
    painter = load_painter(path, device) if path.is_file() else None
    if painter is None or painter.identity != painter_identity(config, about):
        with_contours, silent = patients
        known = [PatientSlices.of(s.patient, load_sequence(s), config.pixel) for s in with_contours]
        found = [one for one in known if one is not None] + contoured(silent, network, config.pixel)
        painter = train_painter(found, config, path, about, device)
        console.print(f"painter is complete: {path}")
    return painter


def known_paint(target: Target, fold: int | str, about: dict[str, Any], device: torch.device) -> Paint:
    """The painter with which a bank was made, as its manifest describes it.

    Raises:
        UserError: it is not there any more.
    """
    path = painter_file(target.dataset, fold)
    painter = load_painter(path, device) if path.is_file() else None
    if painter is None or painter.identity != about.get("painter"):
        raise UserError(f"{path} is not the painter of the bank; run '{target.bank_command} -f {fold} --appearance unlabelled ...' again")
    return Paint(painter, tuple(style["patient"] for style in about["styles"]))


def _patients(target: Target, fold: int | str) -> tuple[Cohort, list[Subject], list[Subject]]:
    """The cohort, its training patients with contours, and those without."""
    if not is_imported(target):
        raise UserError(
            f"{_NEEDED}, whom {target.dataset} lacks, as it was not imported; import it with 'synthaug import ... --unlabelled'"
        )
    cohort, patients = training_cohort(target, fold)
    subjects = cohort.select(patients).subjects
    silent = [subject for subject in subjects if not subject.masks and subject.n_frames > 1]
    if not silent:
        raise UserError(
            f"{_NEEDED}, which fold {fold} of {target.dataset} lacks; import them with 'synthaug import ... --unlabelled FOLDER'"
        )
    return cohort, [subject for subject in subjects if subject.masks], silent


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
