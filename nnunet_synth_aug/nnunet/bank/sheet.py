"""The contact sheet of a bank: some of its hearts beside training patients of the fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nnunet_synth_aug.core.bank_sources import shared_out
from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.patients import read_name
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.nnunet.bank.build import in_look
from nnunet_synth_aug.synthesis.contact_sheet import FOOT, Column, Tile, in_short, measured_in_short, spread, write_sheet
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.painting import PaintedLooks
from nnunet_synth_aug.synthesis.sources.copies import Original

SHEET = "hearts.png"
#: Hearts on either side.
SHOWN = 8


def write_bank_sheet(
    path: Path, folders: Mapping[str, Path], originals: Callable[[], list[Original]], looks: int = 0, paint: PaintedLooks | None = None
) -> None:
    """Write the sheet of a bank.

    Args:
        path: of the PNG; it shows patients.
        folders: source -> folder of its sequences.
        originals: gives contoured frames of the training patients; where it raises UserError, none are shown.
        looks: in which the bank shows its hearts; each heart of the sheet is shown in one of them.
        paint: paints them; None: looks of other scanners.
    """
    tiles: list[Tile] = []
    for (source, folder), number in zip(folders.items(), shared_out(max(SHOWN, len(folders)), len(folders)), strict=True):
        for name in spread(read_index(folder)[0], number):
            tiles.append(_made(folder, name, source, len(folders) > 1, len(tiles) % looks + 1 if looks else 0, paint))
    try:
        real = [_real(one) for one in spread(_whole(originals()), SHOWN)]
        heading = "Training patients"
    except UserError as error:
        real, heading = [], f"Training patients: not shown ({error})"
    write_sheet(path, [Column(f"Hearts of the bank: {' + '.join(folders)}", tiles), Column(heading, real)], FOOT)


def _made(folder: Path, name: str, source: str, several: bool, look: int, paint: PaintedLooks | None) -> Tile:
    heart = read_sequence(folder, name)
    heart = in_look(heart, f"{source}_{name}" if several else name, look, sorted({heart.ed, heart.es}), paint)
    asked = heart.requested
    whose = f"look {look}" if look else next((f"as {patient}" for patient in heart.looks_like.values()), heart.vendor)
    title = ", ".join(part for part in (name, asked.diagnosis, whose) if part)
    wanted = in_short(asked)
    return Tile.of(heart, title, in_short(heart.measured), f"asked: {wanted}" if wanted else "")


def _real(original: Original) -> Tile:
    frames = original.load()
    title = ", ".join(part for part in (original.name, original.priors.diagnosis, original.priors.vendor) if part)
    return Tile.of(frames, title, measured_in_short(frames, original.annotated))


def _whole(originals: list[Original]) -> list[Original]:
    """One of each patient: cases of ED and ES, as a plain dataset has them, become one where their names say which is which."""
    by_patient: dict[str, list[Original]] = {}
    for one in originals:
        by_patient.setdefault(one.patient, []).append(one)
    return [_joined(patient, own) if len(own) > 1 else own[0] for patient, own in by_patient.items()]


def _joined(patient: str, own: list[Original]) -> Original:
    phases = {read_name(one.name).phase: one for one in own}
    if not {"ED", "ES"} <= phases.keys():
        return own[0]

    def load() -> Sequence:
        ed, es = phases["ED"].load(), phases["ES"].load()
        if ed.image.shape != es.image.shape:
            return ed
        image, mask = (np.concatenate(pair) for pair in ((ed.image, es.image), (ed.mask, es.mask)))
        return Sequence(image, mask, ed.spacing, ed=0, es=1, labelled=(0, 1))

    return Original(patient, patient, load, own[0].annotated, priors=Priors())
