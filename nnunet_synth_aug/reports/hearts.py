"""The picture that a report begins with: patients, and the hearts that were made with their priors."""

from __future__ import annotations

from pathlib import Path

from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.reports.reference_patients import ReferencePatients
from nnunet_synth_aug.synthesis.contact_sheet import FOOT, Column, Tile, in_short, measured_in_short, write_sheet
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence

HEARTS = "hearts.png"
#: Patients, and as many generated hearts.
SHOWN = 6


def write_hearts(cohort: Cohort, references: ReferencePatients, sequences: Path, path: Path) -> None:
    """Draw the first reference patients, and beside them the hearts that were asked for with their priors.

    Args:
        cohort: of the patients.
        references: patient i gave heart i its priors.
        sequences: the judged hearts.
        path: of the PNG. It shows patients; it must not leave the user's hands.
    """
    ids = set(read_index(sequences)[0])
    real, made = [], []
    for number, patient in enumerate(references.patients[:SHOWN]):
        if (name := f"synth_{number:05d}") not in ids:
            continue
        subject = cohort.subject(patient)
        own, heart = load_sequence(subject), read_sequence(sequences, name)
        about = [part for part in (subject.priors.diagnosis, subject.priors.vendor) if part]
        real.append(Tile.of(own, ", ".join([patient, *about]), measured_in_short(own, subject.annotated)))
        asked = in_short(heart.requested)
        made.append(Tile.of(heart, f"{name}, like {patient}", in_short(heart.measured), f"asked: {asked}" if asked else ""))
    heading = "Held-out patients, whom the generator never saw" if references.held_out else "Training patients (fold all holds nobody out)"
    columns = [Column(heading, real), Column("Hearts that the generator made with their priors, open loop", made)]
    if real:
        write_sheet(path, columns, FOOT)
