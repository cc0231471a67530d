"""What a study file says: data, plans, generator, arms, folds, seeds, test sets, and how to run them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from nnunet_synth_aug.core import bank_sources as sources
from nnunet_synth_aug.core.choices import Protocols
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, VENDORS
from nnunet_synth_aug.core.settings import Amount, Autocast, BesidePath, Distinct, FileName, FromZero, Number, OneOf, Positive

SOURCES = ("nnunet", "acdc", "mnms", "mnms2", "phantom")
TEST_SOURCES = (*SOURCES, "sunnybrook")
EXECUTORS = ("local", "slurm", "submitit-local")
#: The validation cases of each fold: a test set that every study has.
VALIDATION = "validation"
#: What arms call their sources: mixNN draws from the generator.
_KINDS = {source.arm: name for name, source in sources.REGISTRY.items()}
_ARM = re.compile(
    rf"(?P<kinds>({'|'.join(_KINDS)})(\+({'|'.join(_KINDS)}))*)(_(?P<render>donor|decoder|painter))?(_(?P<looks>[1-9])(?P<whose>looks|unlabelled))?(?P<percent>\d\d|100)(to(?P<until>\d\d|100))?"
    r"(_(?P<base>(?!donor|decoder|painter)[A-Za-z]\w*))?"
)
_REAL = re.compile(r"real_(?P<base>[A-Za-z]\w*)")
Vendor = Annotated[str, OneOf(*VENDORS)]
Device = Literal["cpu", "cuda", "mps"]
Several = Annotated[int, Ge(2)]
#: As the commands take them, and as nnU-Net's random numbers do.
Hearts = Annotated[int, Interval(ge=2, le=10_000)]
Folds = Annotated[int, Interval(ge=2, le=1000)]
Sequences = Annotated[int, Interval(ge=1, le=100_000)]
RandomSeed = Annotated[int, Interval(ge=0, le=2**32 - 1)]


@dataclass(frozen=True)
class Data:
    """The dataset that is trained on, and which of its patients."""

    source: Annotated[str, OneOf(*SOURCES)]
    dataset: str | int | None = None  # of source nnunet: number or name
    folder: BesidePath | None = None  # of an import
    hearts: Hearts | None = None  # of source phantom
    seed: FromZero = 0  # of the phantom cohort
    prior: Distinct[str] | None = None  # what its hearts have, as 'synthaug phantom --prior'
    splits: Folds = 5  # folds that an import makes
    vendors: Distinct[Vendor] = ()  # only these train
    diagnoses: Distinct[Annotated[str, OneOf(*DIAGNOSES)]] = ()  # only these train
    per_group: Positive | None = None  # training patients per diagnosis; those of 2 are among those of 4
    subset_seed: FromZero = 0  # who they are
    unlabelled: Positive | None = None  # patients per diagnosis, of those left out, that the generator sees without masks
    unlabelled_folder: BesidePath | None = None  # volumes of other patients without contours, as 'synthaug import --unlabelled'
    test_unused: bool = False  # whether the other patients left out of training are validated on

    @property
    def restricted(self) -> bool:
        """Whether only some of the patients train."""
        return bool(self.vendors) or bool(self.diagnoses) or self.per_group is not None


@dataclass(frozen=True)
class TestSet:
    """Patients of another dataset, predicted by every trained network."""

    name: FileName
    source: Annotated[str, OneOf(*TEST_SOURCES)]
    dataset: str | int | None = None
    folder: BesidePath | None = None
    hearts: Hearts | None = None
    seed: FromZero = 0
    protocols: Protocols | None = None  # of source phantom, as 'synthaug phantom --protocols'
    vendors: Distinct[Vendor] = ()


@dataclass(frozen=True)
class PlansSettings:
    """nnU-Net's plans, and the changes that make them small: see ``synthaug plans``."""

    base: FileName = "nnUNetPlans"
    configuration: FileName = "2d"
    spacing: Annotated[Number, Ge(0.1)] | None = None
    patch: Annotated[int, Interval(ge=8, le=4096)] | None = None
    batch: Several | None = None
    stages: Several | None = None
    features: Positive | None = None


@dataclass(frozen=True)
class Training:
    """Length of every training, and its numbers; what is left out is nnU-Net's own."""

    epochs: Positive | None = None
    iterations: Positive | None = None
    val_iterations: Positive | None = None
    autocast: Autocast | None = None  # as 'synthaug plans --autocast'


@dataclass(frozen=True)
class GeneratorSettings:
    """How the generator of each fold is trained, or where trained ones are."""

    name: FileName = "generator"  # another name in the same folder adds a generator and shares the other runs
    preset: Literal["tiny", "small", "base"] = "tiny"
    pretrain: Literal["none", "phantom"] = "none"
    seed: FromZero = 0
    set_: Distinct[str] = ()  # as 'synthaug fit --set'
    segmenter: bool = False  # whether the real-only training of the fold's first seed contours frames that have no contours
    contoured_only: bool = False  # as 'synthaug fit --contoured-only'
    folder: BesidePath | None = None  # holds fold_0, fold_1 ... that were trained before


@dataclass(frozen=True)
class BankSettings:
    """Size of every bank."""

    sequences: Sequences = 200
    frames: Several = 4
    seed: FromZero = 0
    segmenter: bool = False  # whether the real-only training of the fold's first seed rejects hearts whose mask it disputes
    strength: Annotated[Number, Interval(ge=0.05, le=1)] = 0.5  # of variationsNN, as 'synthaug bank --strength'
    vendors: str = "all"  # of phantoms, as 'synthaug bank --vendors'


@dataclass(frozen=True)
class Minutes:
    """What a step of each kind takes: the estimate of the time left until one has been run. It changes no result."""

    dataset: Amount | None = None
    tests: Amount | None = None  # the import of a test set
    fingerprint: Amount | None = None
    plan: Amount | None = None
    plans: Amount | None = None
    preprocess: Amount | None = None
    generator: Amount | None = None
    bank: Amount | None = None
    train: Amount | None = None
    predict: Amount | None = None


@dataclass(frozen=True)
class Arm:
    """What a training mixes in: ``real``, ``synthetic``, ``mixNN``, or another source with NN per cent, such as ``copiesNN``.

    ``mixNNtoMM`` begins with NN per cent and ends with MM, linearly over the epochs; likewise for the others. ``copies+phantomNN``
    draws from a bank that holds as many copies as phantoms, and ``copies_3looksNN`` from one that shows each copy in three looks of other
    scanners, ``copies_3unlabelledNN`` in those of three patients without contours. ``mix_donorNN`` shows generated hearts in training
    patients' pixels, as 'synthaug bank --render donor', and ``mix_painterNN`` paints them. ``copiesNN_DA5`` and ``real_DA5`` train on top
    of ``nnUNetTrainerDA5``.
    """

    name: str
    source: str  # "" for real only, else as 'synthaug bank --source'
    percent: int
    until: int | None = None
    looks: int = 0  # in which the bank shows each heart; 0: its own
    appearance: str = "scanners"  # whose looks, as 'synthaug bank --appearance'
    render: str = "decoder"  # of generated hearts
    base: str = ""  # the trainer underneath, as the end of a trainer's name says it

    @property
    def trainer(self) -> str:
        """The name of its trainer."""
        share = f"{self.percent:02d}{'' if self.until is None else f'to{self.until:02d}'}"
        return f"nnUNetTrainerSynthAug_mix{share}{f'_{self.base}' if self.base else ''}"

    @property
    def looks_of(self) -> str:
        """What its name calls its looks."""
        return "unlabelled" if self.appearance == "unlabelled" else "looks"

    @property
    def painted(self) -> str:
        """Whose slices teach its painter: patients with contours, or those without as well; "" without a painter."""
        return "unlabelled" if self.appearance == "unlabelled" else "contoured" if self.render == "painter" else ""

    @property
    def needs_generator(self) -> bool:
        """Whether one of its sources needs a trained generator."""
        return any(sources.REGISTRY[part].needs_generator for part in self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """Its sources."""
        return tuple(self.source.split("+")) if self.source else ()

    @property
    def is_sampled(self) -> bool:
        """Whether the diffusion models make hearts of it."""
        return any(sources.REGISTRY[part].sampled for part in self.parts)

    def checked_by_segmenter(self, bank: BankSettings) -> bool:
        """Only sampled hearts are: the masks of controls are a patient's or a phantom's own, or the segmenter's."""
        return self.is_sampled and bank.segmenter

    def needs_segmenter(self, bank: BankSettings) -> bool:
        """Whether the bank waits for the real-only training of the fold's first seed."""
        return any(sources.REGISTRY[part].needs_segmenter for part in self.parts) or self.checked_by_segmenter(bank)


REAL = Arm("real", "", 0)


@dataclass(frozen=True)
class Study:
    """One study file. ``executor`` and what follows decide where things run, never what comes out."""

    title: str
    data: Data
    arms: Distinct[str]
    plans: PlansSettings = field(default_factory=PlansSettings)
    training: Training = field(default_factory=Training)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    bank: BankSettings = field(default_factory=BankSettings)
    folds: Distinct[FromZero] = (0,)
    seeds: Distinct[RandomSeed] = (0,)
    largest_heart: bool = False  # of scoring, as 'synthaug compare --largest-heart'; may be changed when everything is trained
    device: Device = "cpu"
    workers: Positive = 1
    gpus: Distinct[FromZero] = ()  # shared out among local workers
    executor: Annotated[str, OneOf(*EXECUTORS)] = "local"
    slurm: dict[str, Any] = field(default_factory=dict)  # parameters of submitit's executor
    tests: tuple[TestSet, ...] = ()
    minutes: Minutes = field(default_factory=Minutes)

    @property
    def all_arms(self) -> list[Arm]:
        """Every arm, real-only first."""
        return [REAL, *(parse_arm(name) for name in self.arms if name != REAL.name)]


def parse_arm(name: str) -> Arm:
    """The arm of that name."""
    if name == REAL.name:
        return REAL
    if real := _REAL.fullmatch(name):
        return Arm(name, "", 0, base=real["base"])
    if name == "synthetic":
        return Arm(name, "generator", 100)
    match = _ARM.fullmatch(name)
    if match is None or int(match["percent"]) == 0:
        raise UserError(
            f"there is no arm {name!r}; write real, or sources and their per cent, such as copies+phantom50to00 or mix_donor_3looks50 "
            f"(sources: {', '.join(_KINDS)}; all endings: docs, Studies, Arms)"
        )
    until = None if match["until"] is None else int(match["until"])
    if until == int(match["percent"]):
        raise UserError(f"arm {name}: {until} to {until} per cent is no change; for a constant share write {name.rpartition('to')[0]}")
    source = "+".join(sources.sources_of("+".join(_KINDS[kind] for kind in match["kinds"].split("+"))))
    if match["render"] and "generator" not in source.split("+"):
        raise UserError(f"arm {name}: only generated hearts (mix) are rendered; leave out _{match['render']}")
    whose = "unlabelled" if match["whose"] == "unlabelled" else "scanners"
    return Arm(
        name, source, int(match["percent"]), until, int(match["looks"] or 0), whose, match["render"] or "decoder", match["base"] or ""
    )
