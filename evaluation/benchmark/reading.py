"""A study file read, and refused where it cannot run: before anything is made, and not after hours."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files
from pathlib import Path

from evaluation.benchmark.study import REAL, VALIDATION, Data, Study, TestSet, parse_arm
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import VENDORS
from nnunet_synth_aug.core.prior_request import parse_priors
from nnunet_synth_aug.core.settings import read, read_yaml
from nnunet_synth_aug.core.tables import read_words

_VENDOR = re.compile(r"^\s*vendor\s*[:=]\s*(\w+)", re.MULTILINE | re.IGNORECASE)
#: Parameters of submitit that are counts.
_COUNTS = ("timeout_min", "nodes", "cpus_per_task", "tasks_per_node")


def ready_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    return {path.stem: path for path in sorted(Path(str(files("evaluation"))).joinpath("studies").glob("*.yaml"))}


def read_study(path: Path) -> Study:
    """Read and check a study file, or a ready study by its name.

    Raises:
        UserError: one sentence per mistake, naming file and key.
    """
    if not path.is_file() and str(path) in ready_studies():
        path = ready_studies()[str(path)]
    if not path.is_file():
        raise UserError(f"there is no study file {path}; give a file, or a ready study: {', '.join(ready_studies())}")
    return checked(read(Study, read_yaml(path), str(path), folder=path.resolve().parent), str(path))


def checked(study: Study, where: str) -> Study:
    """Refuse what no single value tells: things that do not go together."""
    for name in study.arms:
        try:
            parse_arm(name)
        except UserError as error:
            raise UserError(f"{where}: arms: {error}") from None
    arms = study.all_arms
    if len(arms) < 2:
        raise UserError(f"{where}: arms: only {REAL.name} is there; name at least one arm to compare with it, e.g. mix50")
    if same := [a.name for a in arms if [vars(b) | {"name": ""} for b in arms].count(vars(a) | {"name": ""}) > 1]:
        raise UserError(f"{where}: arms: {' and '.join(same)} are the same arm; name one of them")
    for key in ("folds", "seeds"):
        if not getattr(study, key):
            raise UserError(f"{where}: {key} is empty; name at least one, e.g. [0]")
    if study.data.source != "nnunet" and (beyond := [f for f in study.folds if f >= study.data.splits]):
        raise UserError(
            f"{where}: folds: {beyond[0]} is out of range; data.splits is {study.data.splits}, so folds are 0 to {study.data.splits - 1}"
        )
    _check_source(study.data, f"{where}: data")
    if study.data.hearts is not None and study.data.hearts < study.data.splits:
        raise UserError(f"{where}: data.hearts is {study.data.hearts}, too few for data.splits, {study.data.splits}; give more hearts")
    if study.generator.segmenter and study.generator.folder is not None:
        raise UserError(f"{where}: generator.segmenter is of no use to generators that were trained before; leave out folder or segmenter")
    if study.data.unlabelled is not None and study.data.per_group is None:
        raise UserError(f"{where}: data.unlabelled takes from the patients that per_group leaves out; give per_group, too")
    if study.data.unlabelled_folder is not None:
        _check_unlabelled(study.data, f"{where}: data")
    lacking = not (study.data.unlabelled or study.data.unlabelled_folder) and (study.data.restricted or study.data.source == "phantom")
    if lacking and (imitating := [arm.name for arm in arms if arm.looks_of == "unlabelled"]):
        raise UserError(f"{where}: arms: {imitating[0]} needs patients without contours; give data.unlabelled_folder, or data.unlabelled")
    _check_bank_vendors(study.bank.vendors, f"{where}: bank.vendors")
    for setting in study.generator.set_:
        if not re.fullmatch(r"[\w.]+=.+", setting, re.DOTALL):
            raise UserError(f"{where}: generator.set: {setting!r} is not of the form NAME=VALUE, such as vae.train.steps=400; correct it")
    names = [VALIDATION, *(test.name.casefold() for test in study.tests)]  # some disks take a and A for one folder
    for number, test in enumerate(study.tests):
        if names.index(test.name.casefold()) != number + 1:
            raise UserError(f"{where}: tests[{number}].name: the name {test.name} is taken; give every test set its own")
        _check_source(test, f"{where}: tests[{number}]")
        _refuse_trained(study.data, test, f"{where}: tests[{number}]")
    if study.executor == "slurm" and "timeout_min" not in study.slurm:
        raise UserError(
            f"{where}: slurm lacks the key 'timeout_min', minutes after which the cluster ends a step; give more than the longest takes"
        )
    _check_slurm(study, f"{where}: slurm")
    return study


def _check_source(data: Data | TestSet, where: str) -> None:
    needed = {"nnunet": "dataset", "phantom": "hearts"}.get(data.source, "folder")
    if getattr(data, needed) is None:
        raise UserError(f"{where}.source is {data.source}, which needs the key {needed!r}")
    if other := [k for k in ("dataset", "hearts", "folder") if k != needed and getattr(data, k) is not None]:
        raise UserError(f"{where}.source is {data.source}, which has no use for the key {other[0]!r}; leave it out")
    if isinstance(data, Data) and data.prior:
        if data.source != "phantom":
            raise UserError(f"{where}.source is {data.source}, which has no use for the key 'prior'; leave it out")
        parse_priors(data.prior, f"{where}.prior")
    if isinstance(data, TestSet) and data.protocols and data.source != "phantom":
        raise UserError(f"{where}.source is {data.source}, which has no use for the key 'protocols'; leave it out")
    if data.folder is not None and not data.folder.is_dir():
        raise UserError(f"{where}.folder: {data.folder} is not a folder; give the one with the downloaded data")
    if data.vendors and (known := _vendors_of(data)) and not known.intersection(data.vendors):
        asked, only = " or ".join(data.vendors), " and ".join(sorted(known))
        raise UserError(f"{where}.vendors: {data.source} has no patient of {asked}, only of {only}; correct it")


def _check_unlabelled(data: Data, where: str) -> None:
    """Refuse a folder of volumes that the import would not take."""
    if data.source in ("nnunet", "phantom"):
        raise UserError(f"{where}.unlabelled_folder goes into an import, and {where}.source is {data.source}; leave it out")
    assert data.unlabelled_folder is not None
    if not data.unlabelled_folder.is_dir() or not any(data.unlabelled_folder.glob("**/*.nii*")):
        raise UserError(
            f"{where}.unlabelled_folder: {data.unlabelled_folder} is no folder with NIfTI files; give one with NAME_ED.nii.gz ..."
        )


def _vendors_of(data: Data | TestSet) -> set[str]:
    """Who built the scanners of a source, where that is known without reading a table; else nothing."""
    if data.source == "sunnybrook":
        return {"GE"}
    if data.source != "acdc" or data.folder is None:
        return set()
    named = (_VENDOR.search(read_words(path)) for path in data.folder.glob("**/Info.cfg"))
    words = {one[1].casefold() for one in named if one}
    return {vendor for vendor in VENDORS if vendor == "Siemens" or vendor.casefold() in words}


def _check_bank_vendors(text: str, where: str) -> None:
    """Refuse what 'synthaug bank --vendors' would."""
    unknown = [name for name in (part.strip() for part in text.split(",")) if name not in VENDORS]
    if text not in ("all", "own") and unknown:
        raise UserError(f"{where}: there is no {unknown[0]!r}; give all, own, or some of {', '.join(VENDORS)} with commas between")


def _refuse_trained(data: Data, test: TestSet, where: str) -> None:
    """Refuse a test set of the patients who are trained on, unless scanners tell them apart or the source keeps some for testing."""
    if data.source != test.source or (data.vendors and test.vendors and not set(data.vendors).intersection(test.vendors)):
        return
    if data.folder is not None and test.folder is not None:
        ours, theirs = data.folder.resolve(), test.folder.resolve()
        same = (ours == theirs or ours in theirs.parents or theirs in ours.parents) and not _keeps_some_for_testing(ours, theirs)
        key = "folder"
    else:
        same, key = data.source == "phantom" and data.seed == test.seed, "seed"
    if same:
        raise UserError(
            f"{where}.{key} leads to the patients of data, so the networks would be tested on whom they learnt from; leave this test set "
            "out (a study validates on each fold's patients anyway), or give data and test set different vendors"
        )


def _keeps_some_for_testing(*folders: Path) -> bool:
    """Whether there is a folder of test patients as ACDC and M&Ms have it, or a test patient of M&Ms-2, which are those from 201 on."""
    below = (path for one in folders for path in (one, *one.glob("*"), *one.glob("*/*")) if path.is_dir())
    return any(path.name.casefold() == "testing" or (path.name.isdecimal() and int(path.name) > 200) for path in below)


def _check_slurm(study: Study, where: str) -> None:
    """Refuse parameters that submitit does not know, before a study waits in a queue; without submitit only those that it always has."""
    for name, value in study.slurm.items():
        if name in _COUNTS and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UserError(f"{where}.{name} is {value!r}; it must be a whole number of at least 1")
    if study.executor == "local" or importlib.util.find_spec("submitit") is None:
        return  # the start says how to install it
    import submitit

    try:  # the executor "debug" needs no cluster and makes no folder
        submitit.AutoExecutor("jobs", cluster="debug").update_parameters(**study.slurm)
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{where}: submitit does not take this ({' '.join(str(error).split())[:200]}); correct it there") from None
