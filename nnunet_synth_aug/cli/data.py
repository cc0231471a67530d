"""Commands that make nnU-Net datasets: ``phantom``, ``import`` and ``split``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnunet_synth_aug.cli.options import Dataset, Folds, PriorTexts, Seed, say
from nnunet_synth_aug.core.choices import Protocols
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.paths import folder_to_write

if TYPE_CHECKING:
    from nnunet_synth_aug.data.importers.subject import SourceSubject

Unlabelled = Annotated[
    Path | None,
    typer.Option("--unlabelled", help="Folder of volumes that nobody has contoured, NAME_ED.nii.gz and NAME_ES.nii.gz, for the generator."),
]

importers = typer.Typer(
    no_args_is_help=True, help="Turn a cine data set into an nnU-Net dataset with cines, priors and patient-grouped folds."
)


def phantom(
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "Phantom",
    n: Annotated[int, typer.Option("-n", min=2, max=10_000, help="Number of hearts.")] = 40,
    folds: Folds = 5,
    seed: Seed = 0,
    prior: PriorTexts = None,
    protocols: Annotated[
        Protocols,
        typer.Option(
            "--protocols",
            help="usual: as vendors propose them. varied: as hospitals differ, with other flip angles, contrast agent, noise, shading.",
        ),
    ] = "usual",
    stills: Annotated[bool, typer.Option("--stills", help="ED and ES alone, no cines: faster, and as most public datasets are.")] = False,
) -> None:
    """Make a digital beating-heart cohort: exact masks, exact priors, three vendors or more, five diagnoses."""
    from nnunet_synth_aug.core.prior_request import parse_priors
    from nnunet_synth_aug.data.phantom import phantom_cohort
    from nnunet_synth_aug.data.raw_dataset import write_dataset

    _refuse_mistyped()
    asked = parse_priors(prior or [])
    if n < folds:
        raise UserError(f"-n {n} hearts cannot be split into {folds} folds; make at least {folds}, or add --folds {n}")
    source: dict[str, Any] = {"source": "phantom", "n": n, "seed": seed} | ({"priors": asked.to_json()} if asked else {})
    source |= ({"protocols": protocols} if protocols != "usual" else {}) | ({"stills": True} if stills else {})
    hearts = phantom_cohort(n, seed, min(n, os.cpu_count() or 1), asked, protocols, stills)
    _tell(write_dataset(hearts, dataset_id, name, folds=folds, total=n, source=source))


def split(
    dataset: Dataset,
    folds: Folds = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same folds; the default is the import's.")] = 12345,
) -> None:
    """Write splits_final.json with all cases of a patient on one side, for any nnU-Net dataset; one that is there is never replaced."""
    from nnunet_synth_aug.nnunet.patients import write_split

    for line in write_split(dataset, folds, seed):
        say(line)


@dataclass(frozen=True)
class _Source:
    """A data set that an importer reads."""

    title: str
    folder: Path
    subjects: Iterator[SourceSubject]
    total: int
    notes: list[str]


def _import(source: _Source, dataset_id: int, name: str, folds: int, unlabelled: Path | None) -> None:
    """Write what an importer reads as a dataset, with the patients whom nobody has contoured, and say where it is."""
    from nnunet_synth_aug.data.importers.unlabelled import list_unlabelled, read_unlabelled, volume_folders
    from nnunet_synth_aug.data.raw_dataset import write_dataset

    _refuse_mistyped()
    folders = dict.fromkeys(volume_folders(source.folder), False) | ({} if unlabelled is None else {unlabelled: True})
    total = source.total + sum(len(list_unlabelled(*one)) for one in folders.items())
    subjects = chain(source.subjects, *(read_unlabelled(*one) for one in folders.items()))
    about = {"source": source.title}
    _tell(write_dataset(subjects, dataset_id, name, folds=folds, total=total, source=about, source_notes=source.notes))


def _refuse_mistyped() -> None:
    """nnU-Net's folders have to be there: one that is not may be a slip in its name."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        folder_to_write(name)


def _tell(folder: Path) -> None:
    """Print what the notes of a new dataset say, equal notes of several patients as one, and where it is."""
    from nnunet_synth_aug.data.cohort import read_notes

    for note in read_notes(folder):
        say(note)
    say(f"dataset: {folder}")


@importers.command("acdc")
def import_acdc(
    folder: Annotated[Path, typer.Argument(help="database/ of the download, or a folder of patientNNN; testing/ becomes a test set.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "ACDC",
    folds: Folds = 5,
    unlabelled: Unlabelled = None,
) -> None:
    """Import ACDC: https://www.creatis.insa-lyon.fr/Challenge/acdc/."""
    from nnunet_synth_aug.data.importers.acdc import list_acdc, notes_acdc, read_acdc

    source = _Source("ACDC", folder, read_acdc(folder), len(list_acdc(folder)), notes_acdc(folder))
    _import(source, dataset_id, name, folds, unlabelled)


@importers.command("mnms")
def import_mnms(
    folder: Annotated[Path, typer.Argument(help="OpenDataset, the folder of the download; Testing/ becomes a test set.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "MNMs",
    folds: Folds = 5,
    unlabelled: Unlabelled = None,
) -> None:
    """Import M&Ms: https://www.ub.edu/mnms/."""
    from nnunet_synth_aug.data.importers.mnms import list_mnms, notes_mnms, read_mnms

    source = _Source("M&Ms", folder, read_mnms(folder), len(list_mnms(folder)), notes_mnms(folder))
    _import(source, dataset_id, name, folds, unlabelled)


@importers.command("mnms2")
def import_mnms2(
    folder: Annotated[Path, typer.Argument(help="MnM2, the folder of the download; the numbers from 201 on become a test set.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "MNMs2",
    folds: Folds = 5,
    unlabelled: Unlabelled = None,
) -> None:
    """Import the short axis of M&Ms-2: https://www.ub.edu/mnms-2/."""
    from nnunet_synth_aug.data.importers.mnms import list_mnms2, notes_mnms2, read_mnms2

    source = _Source("M&Ms-2", folder, read_mnms2(folder), len(list_mnms2(folder)), notes_mnms2(folder))
    _import(source, dataset_id, name, folds, unlabelled)


@importers.command("sunnybrook")
def import_sunnybrook(
    folder: Annotated[Path, typer.Argument(help="Folder of SCDnnnnnnn_4d.nii.gz and SCDnnnnnnn_frameNN_gt.nii.gz.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "Sunnybrook",
) -> None:
    """Import Sunnybrook (as NIfTI) as a test set of the LV: its other structures were not contoured at both ED and ES."""
    from nnunet_synth_aug.data.importers.sunnybrook import list_sunnybrook, notes_sunnybrook, read_sunnybrook
    from nnunet_synth_aug.data.test_set import write_test_set

    _refuse_mistyped()
    total, notes = len(list_sunnybrook(folder)), notes_sunnybrook(folder)
    source = {"source": "Sunnybrook"}
    _tell(write_test_set(read_sunnybrook(folder), dataset_id, name, total=total, source=source, source_notes=notes))


@importers.command("dicom")
def import_dicom(
    folder: Annotated[Path, typer.Argument(help="Any folder of DICOM files; the short-axis cines are found in it.")],
    dataset_id: Annotated[int, typer.Option("-d", help="A free dataset number.")],
    name: Annotated[str, typer.Option("--name", help="Name after the number.")] = "DICOM",
    folds: Folds = 5,
    masks: Annotated[Path | None, typer.Option("--masks", help="Folder of contours, such as patient001_frame01.nii.gz.")] = None,
    keep_ids: Annotated[bool, typer.Option("--keep-ids", help="Patients keep their PatientID, if a study gave it.")] = False,
    unlabelled: Unlabelled = None,
) -> None:
    """Import cines from the scanner; without masks, as a dataset that nnU-Net predicts."""
    from nnunet_synth_aug.data.importers.dicom import find_dicom, read_dicom
    from nnunet_synth_aug.data.raw_dataset import full_name, refuse_taken
    from nnunet_synth_aug.data.test_set import write_test_set

    _refuse_mistyped()
    if unlabelled is not None and masks is None:
        raise UserError("--unlabelled adds patients to a dataset that nnU-Net trains on, which needs --masks; leave it out")
    if masks is not None and not masks.is_dir():
        raise UserError(f"--masks {masks} does not exist or is not a folder; give the folder of the masks")
    full_name(dataset_id, name)
    refuse_taken(dataset_id)  # reading headers may take minutes
    found = find_dicom(folder, keep_ids)
    subjects, total, notes = read_dicom(found, masks), len(found.patients), list(found.notes)
    if masks is None:
        source = {"source": "DICOM"}
        _tell(write_test_set(subjects, dataset_id, name, total=total, source=source, source_notes=notes, contoured=False))
    else:
        _import(_Source("DICOM", folder, subjects, total, notes), dataset_id, name, folds, unlabelled)
