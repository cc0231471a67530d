"""The bank's manifest: who made the cases, for which fold and plans; and the checks before they are trained on.

It lies beside the folder of cases (nnU-Net infers a folder's format from its file endings) and is written last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json
from nnunet_synth_aug.core.paths import bank_folder
from nnunet_synth_aug.core.patients import refuse_shared
from nnunet_synth_aug.core.settings import PlainName, Rule, read
from nnunet_synth_aug.nnunet.bank.files import refuse_other_files
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES
from nnunet_synth_aug.nnunet.patients import case_patients, fold_cases, leaked_patients, refuse_leak, splits_file
from nnunet_synth_aug.nnunet.target import Target

FORMAT = 2  # 2: the sum of every case


_SUM = Rule("the sum of the case's files, 64 digits from 0 to f", re.compile("[0-9a-f]{64}").fullmatch)


@dataclass(frozen=True)
class _Case:
    id: PlainName
    sequence: str
    requested: dict[str, Any]
    sha256: Annotated[str, _SUM]


@dataclass(frozen=True)
class _Content:
    """What every manifest says; more is there for people."""

    format: Literal[2]
    dataset: str
    fold: str | int
    data_identifier: str
    plans_hash: str
    labels: dict[str, Any]
    generator: dict[str, Any]
    cases: Annotated[tuple[_Case, ...], Rule("a list of at least one case", len)]
    case_patients: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Pretraining:
    patients: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Maker:
    """Who made the hearts of a bank, as far as the leak guard looks at it."""

    source: str | None = None
    dataset: str | None = None
    patients: tuple[str, ...] | None = None
    donors: tuple[str, ...] | None = None  # patients whose pixels show the hearts
    styles: tuple[str, ...] | None = None  # patients whose looks they are shown in
    phantoms: tuple[str, ...] | None = None
    pretraining: _Pretraining | None = None
    parts: dict[str, _Maker] | None = None


@dataclass(frozen=True)
class Manifest:
    """A bank as its manifest describes it."""

    content: dict[str, Any] = field(repr=False)
    folder: Path  # of the preprocessed cases

    @property
    def ids(self) -> list[str]:
        """Of its cases."""
        return [case["id"] for case in self.content["cases"]]

    @property
    def sequences(self) -> list[list[dict[str, Any]]]:
        """The entries of each sequence's cases, in time order."""
        cases: dict[str, list[dict[str, Any]]] = {}
        for case in self.content["cases"]:
            cases.setdefault(case["sequence"], []).append(case)
        return list(cases.values())

    @property
    def hash(self) -> str:
        """Of everything that the manifest says but the sums, whose bits depend on the release that compressed the files."""
        return hash_json(self.content | {"cases": [{k: v for k, v in c.items() if k != "sha256"} for c in self.content["cases"]]})

    @property
    def painted(self) -> dict[str, Any] | None:
        """What painted its hearts, see ``synthesis.painting.PaintedLooks.about``; None if nothing did."""
        appearance: dict[str, Any] = self.content.get("appearance", {})
        return appearance if "styles" in appearance else None

    @property
    def generator_hash(self) -> str | None:
        """Of the generator that made it; None without one."""
        return self.content["generator"].get("generator_hash")

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything but the long lists."""
        lists = ("cases", "case_patients")
        return {**{k: v for k, v in self.content.items() if k not in lists}, "n_cases": len(self.content["cases"])}


def manifest_path(dataset: str, fold: int | str, data_identifier: str) -> Path:
    """Where the manifest of a fold's bank is."""
    return bank_folder(dataset, fold) / f"manifest_{data_identifier}.json"


def read_manifest(target: Target, fold: int | str) -> Manifest:
    """Read the manifest of a fold's bank.

    Raises:
        UserError: there is no bank, or its manifest is damaged; naming the command that makes one.
    """
    path = manifest_path(target.dataset, fold, target.data_identifier)
    command = f"{target.bank_command} -f {fold}"
    if not path.is_file():
        raise UserError(f"there is no complete bank of synthetic cases for fold {fold} ({path} is missing); run '{command}' first")
    content = read_json(path)
    read(_Content, content, str(path), remedy=f"run '{command}' again", others=True)
    return Manifest(content, path.parent / target.data_identifier)


def known_sums(path: Path) -> dict[str, str]:
    """Case id -> sum, by the manifest of a bank that is about to be made again; empty where none is or it cannot be read."""
    try:
        content = read_json(path)
        return {case.id: case.sha256 for case in read(_Content, content, str(path), remedy="-", others=True).cases}
    except UserError:
        return {}


def missing_cases(folder: Path, ids: Iterable[str]) -> list[str]:
    """Ids of which a file is missing, in their order."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [case for case in ids if not all(case + ending in present for ending in CASE_FILES)]


def open_bank(target: Target, fold: int | str, train_cases: list[str], val_cases: list[str]) -> Manifest:
    """Read the bank of a fold and check that it may be trained on.

    Args:
        target: the configuration that is about to be trained.
        fold: as given to nnU-Net.
        train_cases: real training cases of the fold.
        val_cases: its validation cases.

    Raises:
        UserError: no bank; made for another dataset, fold, preprocessing or labels; files missing or not its own; or its generator
            saw a validation patient (not checked for fold "all", whose validation is no validation anyway).
    """
    manifest = read_manifest(target, fold)
    command = f"{target.bank_command} -f {fold}"
    where = manifest_path(target.dataset, fold, target.data_identifier)
    expected = {
        "dataset": target.dataset,
        "fold": str(fold),
        "data_identifier": target.data_identifier,
        "plans_hash": target.preprocessing_hash(),
        "labels": target.dataset_json["labels"],
    }
    names = {"plans_hash": "preprocessing settings of the plans", "data_identifier": "data identifier"}
    for key, value in expected.items():
        found = str(manifest.content[key]) if key == "fold" else manifest.content[key]
        if found != value:
            detail = "" if key == "plans_hash" else f" ({found} instead of {value})"
            raise UserError(f"{where} was made for another {names.get(key, key)}{detail}; run '{command}' again")
    if missing := missing_cases(manifest.folder, manifest.ids):
        raise UserError(f"{manifest.folder} lacks {len(missing)} of {len(manifest.ids)} cases, such as {missing[0]}; run '{command}' again")
    refuse_other_files(manifest.folder, {case["id"]: case["sha256"] for case in manifest.content["cases"]}, command)
    if str(fold) != "all":
        check_leak(manifest.content["generator"], target, fold, train_cases, val_cases, manifest.content.get("case_patients", {}))
    return manifest


def check_leak(
    generator: dict[str, Any],
    target: Target,
    fold: int | str,
    train_cases: list[str],
    val_cases: list[str],
    known: dict[str, str] | None = None,
) -> None:
    """Raise UserError unless the generator demonstrably saw no validation patient of the fold.

    Args:
        generator: provenance with ``patients``, ``dataset`` and ``pretraining``; or ``parts``, each of which has to pass.
        target: the dataset.
        fold: index.
        train_cases, val_cases: of the fold.
        known: case -> patient as it was when the bank was made.
    """
    again = f"run 'synthaug bank' again for fold {fold} of {target.dataset}"
    maker = read(_Maker, generator, f"who made the bank of fold {fold}", remedy=again, others=True)
    _refuse_leak(maker, target, fold, train_cases, val_cases, known or {})


def _refuse_leak(
    maker: _Maker, target: Target, fold: int | str, train_cases: list[str], val_cases: list[str], known: dict[str, str]
) -> None:
    names = (case_patients(target.dataset, [*train_cases, *val_cases], known), known)
    refuse_shared(splits_file(target.dataset), fold, train_cases, val_cases, names[0])
    # Beside the generator's own: phantoms, which a cohort of phantoms may hold too, and those who lend their pixels or looks.
    others = [*(maker.pretraining.patients if maker.pretraining else ()), *(maker.donors or ()), *(maker.styles or ())]
    if maker.parts:
        for part in maker.parts.values():
            _refuse_leak(part, target, fold, train_cases, val_cases, known)
        # What it says of all together counts as well: parts cannot hide anybody.
        everyone = [*(maker.patients or ()), *(maker.phantoms or ()), *others]
        refuse_leak(leaked_patients(everyone, val_cases, *names), fold, target.dataset)
        return
    if maker.source == "phantom":
        _refuse_phantoms(maker, fold, val_cases, *names)
        refuse_leak(leaked_patients(others, val_cases, *names), fold, target.dataset)
        return
    patients = list(maker.patients or ())
    if not patients:
        raise UserError(
            f"the generator behind the bank of fold {fold} does not say which patients it was trained on, so a leak cannot be excluded; "
            f"train it again with 'synthaug fit -d {target.dataset} -f {fold}'"
        )
    refuse_leak(leaked_patients([*patients, *others], val_cases, *names), fold, target.dataset)
    if maker.dataset == target.dataset and not leaked_patients(patients, train_cases, *names):
        # Trained on this dataset, yet on none of its training patients: the names do not correspond.
        raise UserError(
            f"the generator's patients (such as {patients[0]}) match no patient of {target.dataset} (such as "
            f"{names[0][train_cases[0]]}), so a leak cannot be excluded; restore cohort.json in nnUNet_raw/{target.dataset}"
        )


def _refuse_phantoms(maker: _Maker, fold: int | str, val_cases: list[str], *names: dict[str, str]) -> None:
    """Raise UserError unless a bank of digital hearts names them and none of them is validated on."""
    phantoms = list(maker.phantoms or ())
    if not phantoms or maker.patients:
        raise UserError(f"the bank of fold {fold} calls itself a phantom's, but does not say which phantoms it holds; make it again")
    if leaked := leaked_patients(phantoms, val_cases, *names):
        raise UserError(f"the bank holds phantoms that fold {fold} validates on ({', '.join(leaked[:10])}); make it with another --seed")


def together(makers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The provenance of a bank of several sources: what each says of itself, and what all together saw.

    Args:
        makers: provenance by the source's name.
    """
    keys = ("patients", "phantoms", "donors", "styles")
    seen = {key: sorted({str(one) for maker in makers.values() for one in maker.get(key) or []}) for key in keys}
    seen = {key: names for key, names in seen.items() if names or key not in ("donors", "styles")}
    hashes = [maker["generator_hash"] for maker in makers.values() if "generator_hash" in maker]
    own = {"generator_hash": hashes[0]} if hashes else {}  # a fold has one generator
    return {"source": "+".join(makers), **seen, **own, "parts": dict(makers)}


def bank_status(target: Target, fold: int | str) -> Manifest:
    """The checked bank of a fold, by the splits file: for the doctor and for scripts.

    Raises:
        UserError: as :func:`open_bank`, or the splits lack the fold.
    """
    train, val = fold_cases(target.dataset, fold, target.cases())
    return open_bank(target, fold, train, val)
