"""Checks of an installation and of one training about to start. Each says what is wrong and what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nnunet_synth_aug._startup import SHIM, SWITCH, VARIABLE, trainers_folder
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.paths import nnunet_folder
from nnunet_synth_aug.core.patients import ungrouped
from nnunet_synth_aug.nnunet.install import installed_shim, is_current

_TRAINER = "nnUNetTrainerSynthAug_mix50"
_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
#: nnU-Net's checkpoints of one fold (three of up to 250 MB each) with room for predictions; a bank of 800 cases takes less.
_NEEDED_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One finding; ``remedy`` is empty when all is well."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


def run_checks(
    dataset: str | int | None = None, fold: int | str | None = None, configuration: str = "2d", plans: str = "nnUNetPlans"
) -> list[Check]:
    """Check the installation, and with ``dataset`` (and ``fold``) what a training of it needs.

    Never raises for a broken installation: whatever is wrong is in the list.
    """
    checks = [_nnunet_version(), _torch_pair(), *(_folder(name) for name in _FOLDERS), _trainer()]
    if dataset is None:
        return checks
    again = f"-d {dataset} -c {configuration}"
    checks.append(_guarded("plans", lambda: _plans(dataset, configuration, plans), f"run 'nnUNetv2_plan_and_preprocess {again}'"))
    checks.append(_guarded("images", lambda: _images(dataset, configuration, plans), "copy the image again from its source"))
    if fold is not None:
        splits = f"run 'synthaug split -d {dataset}', which writes a split by patient"
        checks.append(_guarded("fold", lambda: _fold(dataset, fold, configuration, plans), splits))
        command = f"run 'synthaug bank {again} -p {plans} -f {fold}'"
        checks.append(_guarded("bank", lambda: _bank(dataset, fold, configuration, plans), command))
    checks.append(_guarded("disk", _disk, "choose folders that can be read"))
    return checks


def _guarded(name: str, check: Callable[[], str], otherwise: str) -> Check:
    """A UserError's sentence ends, after its last semicolon, with what to do; where it has none, ``otherwise`` is."""
    try:
        return Check(name, True, check())
    except UserError as error:
        message, _, remedy = str(error).rpartition("; ")
        return Check(name, False, message or str(error), remedy if message else otherwise)
    except Exception as error:  # a broken installation fails in any way; the check must still be printed
        return Check(name, False, f"{type(error).__name__}: {error}", f"mend the checks above; if all are sound, {otherwise}")


def _nnunet_version() -> Check:
    try:
        version = importlib.metadata.version("nnunetv2")
    except importlib.metadata.PackageNotFoundError:
        return Check("nnU-Net", False, "nnunetv2 is not installed", "pip install 'nnunetv2>=2.8,<3'")
    ok = (2, 8) <= tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < (3,)
    return Check("nnU-Net", ok, f"nnunetv2 {version}", "" if ok else "pip install 'nnunetv2>=2.8,<3'")


def _torch_pair() -> Check:
    # In a subprocess: a mismatched pair fails on import, and only the first time.
    code = "import torch, torchvision; print(torch.__version__, torchvision.__version__, torch.cuda.is_available())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        torch, torchvision, cuda = result.stdout.split()
        device = "" if cuda == "True" else "; no CUDA device, so nnU-Net's commands need -device cpu (or mps)"
        return Check("torch", True, f"torch {torch}, torchvision {torchvision}{device}")
    last = (result.stderr.strip().splitlines() or ["no message"])[-1]
    if "torchvision" in last and "nms" in last:
        last = f"torch and torchvision come from different builds ({last}), and with that nnU-Net finds no trainer but its default"
    return Check("torch", False, last, "install both from one index: pip install --force-reinstall torch torchvision")


def _folder(name: str) -> Check:
    try:
        folder = nnunet_folder(name)
    except UserError as error:
        message, _, remedy = str(error).rpartition("; ")
        return Check(name, False, f"{name} is not set" if name not in os.environ else message, remedy)
    if not folder.is_dir():
        return Check(name, False, f"{folder} does not exist", f"mkdir -p {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(name, False, f"{folder} is not writable ({error.strerror})", "choose a folder of yours or change its permissions")
    return Check(name, True, str(folder))


def _trainer() -> Check:
    """Run nnU-Net's own lookup as its commands do: in a fresh interpreter."""
    folder = trainers_folder()
    environment = dict(os.environ)
    if environment.get(SWITCH) != "0":
        # This process has run the start-up hook already; the fresh one must find the folder by itself.
        kept = [path for path in environment.pop(VARIABLE, "").split(os.pathsep) if path and path != folder]
        if kept:
            environment[VARIABLE] = os.pathsep.join(kept)
    code = (
        "from nnunetv2.run.run_training import recursive_find_trainer_class_by_name as find\n"
        f"found = find({_TRAINER!r})\nprint(found.__module__ + '.' + found.__qualname__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    lines = (result.stdout if result.returncode == 0 else result.stderr).strip().splitlines() or ["no message"]
    copied = installed_shim() if importlib.util.find_spec("nnunetv2") else None
    if copied is not None and not is_current(copied):
        remedy = "'synthaug install-trainers' to renew it, or with --undo to remove it"
        return Check("trainer", False, f"{copied} is of another version of this package", remedy)
    if result.returncode == 0:
        by = f"by {copied}" if copied is not None else f"by {VARIABLE}"
        return Check("trainer", True, f"nnU-Net resolves {_TRAINER} to {lines[-1]}, {by}")
    if not (Path(folder) / SHIM).is_file():
        return Check("trainer", False, f"{folder} lacks {SHIM}", "install nnunet-synth-aug again")
    if "torchvision" in lines[-1]:
        return Check("trainer", False, lines[-1], "install torch and torchvision from one index")
    remedy = f"export {VARIABLE}={folder}, or 'synthaug install-trainers'"
    return Check("trainer", False, f"nnU-Net does not find {_TRAINER}: {lines[-1]}", remedy)


def _plans(dataset: str | int, configuration: str, plans: str) -> str:
    from nnunet_synth_aug.nnunet.mixing.settings import resolve_settings
    from nnunet_synth_aug.nnunet.target import load_target

    target = load_target(dataset, configuration, plans)
    resolve_settings(target.plans_manager.plans, None, None)  # the trainer refuses the same
    return f"{target.dataset}: {plans} {configuration}, {len(target.cases())} preprocessed cases"


def _images(dataset: str | int, configuration: str, plans: str) -> str:
    from nnunet_synth_aug.nnunet.sizes import refuse_other_sizes
    from nnunet_synth_aug.nnunet.target import load_target

    seen = refuse_other_sizes(load_target(dataset, configuration, plans))
    return f"{seen} training images whose headers agree on the size of voxels" if seen else "no NIfTI images in nnUNet_raw to look at"


def _fold(dataset: str | int, fold: int | str, configuration: str, plans: str) -> str:
    from nnunet_synth_aug.nnunet.patients import case_patients, fold_cases
    from nnunet_synth_aug.nnunet.target import load_target

    target = load_target(dataset, configuration, plans)
    cases = target.cases()
    train, val = fold_cases(target.dataset, fold, cases)
    if str(fold) == "all":
        return f"all {len(cases)} cases; the validation of fold all is not one"
    note = ungrouped(case_patients(target.dataset, cases))
    return f"fold {fold}: {len(train)} training and {len(val)} validation cases, no patient in both" + (f"; {note}" if note else "")


def _bank(dataset: str | int, fold: int | str, configuration: str, plans: str) -> str:
    from nnunet_synth_aug.nnunet.bank.manifest import bank_status
    from nnunet_synth_aug.nnunet.target import load_target

    manifest = bank_status(load_target(dataset, configuration, plans), fold)
    return f"{len(manifest.ids)} synthetic cases, complete; the generator saw no validation patient of fold {fold}"


def _disk() -> str:
    """The disks that trainings and banks are written to."""
    free = {}
    for name, use in (("nnUNet_results", "results"), ("nnUNet_preprocessed", "banks")):
        folder = nnunet_folder(name)
        free[use] = shutil.disk_usage(folder if folder.is_dir() else Path.cwd()).free / 1e9
        if free[use] < _NEEDED_GB:
            raise UserError(f"{folder} has {free[use]:.1f} GB left; free at least {_NEEDED_GB:g} GB")
    return ", ".join(f"{gigabytes:.0f} GB free for {use}" for use, gigabytes in free.items())
