"""Where things are: nnU-Net's three folders and this package's places inside them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import refuse_read_only

#: In the folder of a generator: what it is, and which of its stages are finished.
GENERATOR_META = "generator.json"


def nnunet_folder(name: str) -> Path:
    """One of nnUNet_raw, nnUNet_preprocessed, nnUNet_results, from the environment."""
    value = os.environ.get(name)
    if not value:
        raise UserError(f"the environment variable {name} is not set; export it as for any nnU-Net run, e.g. export {name}=/data/{name}")
    if value[0] in "~'\"" or value[-1] in "'\"" or value != value.strip():  # nnU-Net would look for a folder of that very name
        raise UserError(
            f"the environment variable {name} is {value!r}, which nnU-Net does not understand; "
            f"export it without quotes inside, spaces around and ~, e.g. export {name}=$HOME/{name}"
        )
    return Path(value)


def folder_to_write(name: str) -> Path:
    """One of nnU-Net's folders, into which something is about to be written.

    Raises:
        UserError: it does not exist, which may be a slip in its name, or it cannot be written.
    """
    folder = nnunet_folder(name)
    if not folder.is_dir():
        raise UserError(f"{name} is {folder}, which is no folder; correct the variable, or make the folder with mkdir -p '{folder}'")
    refuse_read_only(folder)
    return folder


def dataset_name(dataset: str | int) -> str:
    """Resolve ``27``, ``027`` or ``Dataset027_ACDC`` to the folder name in nnUNet_raw or nnUNet_preprocessed."""
    text = str(dataset)
    folders = [nnunet_folder("nnUNet_raw"), nnunet_folder("nnUNet_preprocessed")]
    names = {p.name for f in folders if f.is_dir() for p in f.iterdir() if p.is_dir() and re.fullmatch(r"Dataset\d{3}_.+", p.name)}
    if text in names:
        return text
    if text.isdigit():
        found = sorted(n for n in names if int(n[7:10]) == int(text))
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise UserError(f"dataset id {text} is used by {' and '.join(found)}; give the whole name")
    raise UserError(f"there is no dataset {text} in {folders[0]}; import one with 'synthaug import' or check nnUNet_raw")


def raw_folder(name: str) -> Path:
    """A dataset in nnUNet_raw, by its whole name."""
    return nnunet_folder("nnUNet_raw") / name


def preprocessed_folder(name: str) -> Path:
    """A dataset in nnUNet_preprocessed, by its whole name."""
    return nnunet_folder("nnUNet_preprocessed") / name


def generator_folder(name: str, fold: int | str) -> Path:
    """The trained generator of one fold."""
    return nnunet_folder("nnUNet_results") / name / "synth_aug_generator" / f"fold_{fold}"


def painter_file(name: str, fold: int | str, identity: str) -> Path:
    """A painter of one fold; its identity tells whom it learnt from and how."""
    return nnunet_folder("nnUNet_results") / name / "synth_aug_painter" / f"fold_{fold}" / identity[:8] / "painter.safetensors"


def pretraining_folder(name: str) -> Path:
    """A generator trained on phantoms, from which those of real cohorts start; shared by all data sets and folds."""
    return nnunet_folder("nnUNet_results") / "synth_aug_pretraining" / name


def bank_folder(name: str, fold: int | str) -> Path:
    """The bank of one fold: ``sequences/`` (NIfTI) and one folder of preprocessed cases per data identifier.

    Beside nnU-Net's configuration folders, never inside: nnU-Net empties those when it preprocesses and
    takes every case in them for a training case.
    """
    return preprocessed_folder(name) / "synth_aug" / f"fold_{fold}"


def program(name: str) -> str:
    """A console script of this environment, also when its folder is not on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise UserError(f"the command {name} is not installed in this environment; install nnunet-synth-aug with pip as the README says")
    return found
