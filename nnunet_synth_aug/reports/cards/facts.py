"""What the files of a bank or a generator say of it, as far as a card tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json
from nnunet_synth_aug.core.paths import GENERATOR_META, generator_folder, raw_folder
from nnunet_synth_aug.core.patients import COHORT
from nnunet_synth_aug.core.settings import read
from nnunet_synth_aug.reports.cards.audit import Audit, kept_audit

_PHANTOM = re.compile(r"phantom\d+_\d+")
#: Sources that show patients' own pixels, changed or as a network gives them back.
PIXELS = ("copies", "bent", "pseudolabels", "variations", "reconstructions")


class Leave(Enum):
    """Whether something may leave the site, the strictest first."""

    NO = "no"
    AFTER_AUDIT = "after the audit and with the ethics board"
    YES = "yes"


@dataclass(frozen=True)
class Part:
    """The hearts of one source."""

    source: str  # as in --source
    folder: str  # of its sequences, below the bank's
    rendered: bool  # in the pixels of a donor
    painter: str  # the network that painted it; "" if none did
    silent: bool  # patients without contours taught that network, too
    people: tuple[str, ...]  # training patients who taught it, or whose pixels it shows
    phantoms: int  # digital hearts that taught it or are shown
    hearts: int
    about: dict[str, Any] = field(repr=False)  # its provenance
    audit: Audit | None = None  # of its generator and painter

    @property
    def name(self) -> str:
        """For tables and sentences."""
        return f"{self.source}{', in pixels of training hearts' if self.rendered else ', painted' if self.painter else ''}"

    @property
    def leave(self) -> Leave:
        """Whether these hearts may leave the site."""
        if not self.people:
            return Leave.YES
        if self.rendered or self.silent or self.source in PIXELS or (self.audit is not None and self.audit.flagged):
            return Leave.NO
        return Leave.AFTER_AUDIT


@dataclass(frozen=True)
class Facts:
    """What a card tells of a bank or of a generator."""

    kind: str  # "bank" or "generator"
    folder: Path
    dataset: str
    fold: str
    version: str
    parts: tuple[Part, ...]  # of a bank
    people: tuple[str, ...]  # training patients
    phantoms: int
    pretrained_on: str  # "" if on nothing
    generator_hash: str | None
    audit: Audit | None = None  # of a generator
    cases: dict[str, int] = field(default_factory=dict)  # of a bank: data identifier -> number
    looks: int = 0
    imitated: int = 0  # patients without contours whose looks they are
    imitates_people: bool = False  # they are patients, and no phantoms
    frames: int = 0
    named: int = 0  # of a bank: patients whom its manifest names, though its hearts may be nobody's
    measured: dict[str, list[float]] = field(default_factory=dict)  # of a bank's hearts: variable -> values
    asked: dict[str, int] = field(default_factory=dict)  # diagnosis -> hearts
    settings: dict[str, Any] = field(default_factory=dict)  # of a generator: its config
    weights: dict[str, str] = field(default_factory=dict)  # of a generator: file -> sha256

    @property
    def leave(self) -> Leave:
        """Whether all of it may leave the site: the strictest of its parts."""
        if self.kind == "bank":
            told = [part.leave for part in self.parts] + ([Leave.NO] if self.imitates_people else [])
            return next(one for one in Leave if one in told)
        if not self.people:
            return Leave.YES
        return Leave.NO if self.audit is not None and self.audit.flagged else Leave.AFTER_AUDIT

    @property
    def audits(self) -> tuple[Audit, ...]:
        """Of a generator, or of all that made a bank's hearts."""
        found = [part.audit for part in self.parts] if self.kind == "bank" else [self.audit]
        return tuple(dict.fromkeys(one for one in found if one is not None))

    @property
    def unaudited(self) -> tuple[str, ...]:
        """Painters of hearts that wait for an audit; "" stands for hearts that nobody painted."""
        if self.kind == "generator":
            return () if self.audit else ("",)
        return tuple(dict.fromkeys(part.painter for part in self.parts if part.leave is Leave.AFTER_AUDIT and part.audit is None))


@dataclass(frozen=True)
class _Case:
    sequence: str
    requested: dict[str, Any]
    measured: dict[str, Any]
    source: str | None = None


@dataclass(frozen=True)
class _Appearance:
    looks: int = 0
    styles: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class _Manifest:
    dataset: str
    fold: str | int
    data_identifier: str
    generator: dict[str, Any]
    cases: tuple[_Case, ...]
    case_patients: dict[str, str] = field(default_factory=dict)
    frames_per_sequence: int = 0
    appearance: _Appearance = _Appearance()


@dataclass(frozen=True)
class _Stage:
    sha256: str


@dataclass(frozen=True)
class _Pretraining:
    dataset: str


@dataclass(frozen=True)
class _Generator:
    dataset: str
    fold: str | int
    patients: tuple[str, ...]
    version: str
    config: dict[str, Any]
    finished: dict[str, _Stage]
    pretraining: _Pretraining | None = None


def facts_of(folder: Path) -> Facts:
    """What a folder is.

    Raises:
        UserError: it holds neither a complete bank nor a complete generator, or one of its files is damaged.
    """
    if (folder / GENERATOR_META).is_file():
        return _generator(folder)
    if manifests := sorted(folder.glob("manifest_*.json")):
        return _bank(folder, manifests)
    raise UserError(f"{folder} holds neither a complete bank (manifest_*.json) nor a generator ({GENERATOR_META}); give the folder of one")


def _generator(folder: Path) -> Facts:
    path = folder / GENERATOR_META
    meta = read(_Generator, read_json(path), str(path), remedy=f"delete {folder} and run 'synthaug fit' again", others=True)
    if missing := [stage for stage in ("vae", "static", "motion") if stage not in meta.finished]:
        raise UserError(f"the generator in {folder} is not finished ({', '.join(missing)}); run the same 'synthaug fit' again to resume")
    people = _people(meta.dataset, meta.patients)
    digest = hash_json({stage: one.sha256 for stage, one in meta.finished.items()})
    return Facts(
        kind="generator",
        folder=folder,
        dataset=meta.dataset,
        fold=str(meta.fold),
        version=meta.version,
        parts=(),
        people=people,
        phantoms=len(meta.patients) - len(people),
        pretrained_on=meta.pretraining.dataset if meta.pretraining else "",
        generator_hash=digest,
        audit=kept_audit(folder, digest),
        settings=meta.config,
        weights={f"{stage}.safetensors": one.sha256 for stage, one in meta.finished.items()},
    )


def _bank(folder: Path, manifests: list[Path]) -> Facts:
    remedy = "run 'synthaug bank' again"
    read_ones = [read(_Manifest, read_json(path), str(path), remedy=remedy, others=True) for path in manifests]
    parts: dict[str, Part] = {}
    hearts: dict[str, _Case] = {}
    for one in read_ones:
        hearts |= {case.sequence: case for case in one.cases}
        for part in _parts(one, folder):
            parts.setdefault(hash_json([part.source, part.about]), part)
    first = read_ones[0]
    digest = next((str(d) for part in parts.values() if (d := part.about.get("generator_hash"))), None)
    people = sorted({name for part in parts.values() for name in part.people})
    measured: dict[str, list[float]] = {}
    asked: dict[str, int] = {}
    for case in hearts.values():
        for name, value in case.measured.items():
            if isinstance(value, (int, float)):
                measured.setdefault(name, []).append(float(value))
        diagnosis = str(case.requested.get("diagnosis") or "not asked for")
        asked[diagnosis] = asked.get(diagnosis, 0) + 1
    return Facts(
        kind="bank",
        folder=folder,
        dataset=first.dataset,
        fold=str(first.fold),
        version=str(next((v for part in parts.values() if (v := part.about.get("version"))), "")),
        parts=tuple(parts.values()),
        people=tuple(people),
        phantoms=sum(part.phantoms for part in parts.values()),
        pretrained_on="",
        generator_hash=digest,
        cases={one.data_identifier: len(one.cases) for one in read_ones},
        looks=max(one.appearance.looks for one in read_ones),
        imitated=max(len(one.appearance.styles) for one in read_ones),
        imitates_people=bool(_people(first.dataset, [str(style.get("patient")) for one in read_ones for style in one.appearance.styles])),
        frames=max(one.frames_per_sequence for one in read_ones),
        named=len(_people(first.dataset, [name for one in read_ones for name in one.case_patients.values()])),
        measured=measured,
        asked=asked,
    )


def _parts(manifest: _Manifest, folder: Path) -> list[Part]:
    """Of a bank of one source, or of several."""
    maker = manifest.generator
    several = maker.get("parts")
    makers = several if isinstance(several, dict) else {str(maker.get("source") or "generator"): maker}
    return [_part(source, about, manifest, f"sequences/{source}" if several else "sequences", folder) for source, about in makers.items()]


def _part(source: str, about: dict[str, Any], manifest: _Manifest, sequences: str, folder: Path) -> Part:
    names = [str(one) for key in ("patients", "donors") for one in about.get(key) or []]
    people = _people(manifest.dataset, names)
    painted = about.get("render") == "painter"
    taught = [str(one) for one in about.get("styles") or []] if painted else []
    painter = str(about.get("painter", "unknown")) if painted else ""
    silent = bool(_people(manifest.dataset, sorted({*taught} - {*map(str, about.get("shown_as") or taught)})))
    own = {case.sequence for case in manifest.cases if case.source in (None, source)}
    digital = len(about.get("phantoms") or []) + len(set(names)) - len(people)
    everybody = tuple(sorted({*people, *_people(manifest.dataset, taught)}))
    digest = about.get("generator_hash")
    audit = _audit(folder, manifest.dataset, str(manifest.fold), digest and str(digest), painter)
    return Part(source, sequences, bool(about.get("donors")), painter, silent, everybody, digital, len(own), about, audit)


def _people(dataset: str, names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Those of the names who are patients. Phantoms are none: those of a cohort that says so, and the shipped generator's."""
    unique = tuple(sorted(set(names)))
    if not all(_PHANTOM.fullmatch(name) for name in unique):
        return unique
    if not re.fullmatch(r"Dataset\d{3}_.+", dataset):
        return () if dataset.endswith("phantoms, shipped") else unique
    try:
        cohort = read_json(raw_folder(dataset) / COHORT)
    except UserError:  # a folder that was moved may have no raw dataset
        return unique
    source = cohort.get("source") if isinstance(cohort, dict) else None
    return () if isinstance(source, dict) and source.get("source") == "phantom" else unique


def is_usual(facts: Facts) -> bool:
    """Whether a generator lies where the commands look for it."""
    try:
        return facts.folder.resolve() == generator_folder(facts.dataset, facts.fold).resolve()
    except UserError:
        return False


def _audit(folder: Path, dataset: str, fold: str, generator_hash: str | None, painter: str) -> Audit | None:
    """The audit of the generator of a bank, and of its painter: beside the bank, or beside the generator."""
    try:
        places = [folder, generator_folder(dataset, fold)]
    except UserError:
        places = [folder]
    return next((found for place in places if (found := kept_audit(place, generator_hash, painter))), None)
