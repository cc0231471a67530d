"""The command that fills a bank: sequences of one or several sources, preprocessed as nnU-Net's own cases are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nnunet_synth_aug.cli.options import (
    CheckedBy,
    Configuration,
    Dataset,
    Device,
    Fold,
    GeneratorFolder,
    MinAgreement,
    Plans,
    PriorTexts,
    Seed,
    fold_of,
    generator_at,
    quality_control,
    real_only_network,
    say,
    torch_device,
)
from nnunet_synth_aug.core.bank_sources import REGISTRY, Source, shared_out, sources_of
from nnunet_synth_aug.core.errors import IncompleteError, OtherSequencesError, UserError
from nnunet_synth_aug.core.labels import VENDORS

if TYPE_CHECKING:
    from nnunet_synth_aug.core.prior_request import PriorRequest
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.model.generator import Generator
    from nnunet_synth_aug.nnunet.segmenter import Segmenter
    from nnunet_synth_aug.nnunet.target import Target
    from nnunet_synth_aug.synthesis.painting import PaintedLooks
    from nnunet_synth_aug.synthesis.quality.control import QualityControl
    from nnunet_synth_aug.synthesis.sample import Show
    from nnunet_synth_aug.synthesis.sources.copies import Original
    from nnunet_synth_aug.synthesis.sources.job import Job, RealOnlyNetwork

#: Of other scanners, in which a bank shows each heart.
LOOKS = 3
_SOURCES = "; ".join(f"{source.name}: {source.about}" for source in REGISTRY.values())


def bank(
    dataset: Dataset,
    fold: Fold = "0",
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of sequences.")] = 200,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames taken from each: ED, ES and others spread over the cycle.")] = 4,
    source: Annotated[str, typer.Option("--source", help=f"{_SOURCES}. Several, as many sequences of each: copies+phantom.")] = "generator",
    prior: PriorTexts = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="patients|clinic|DATASET",
            help="Of --source generator: hearts like the fold's training patients', like those of a clinic with all diagnoses, or like "
            "those of another imported dataset. [default: clinic with --render donor, else patients]",
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option("--strength", min=0.05, max=1, help="How much variations vary: 1 makes new hearts in old chests. [default: 0.5]"),
    ] = None,
    appearance: Annotated[
        Literal["scanners", "own", "unlabelled"],
        typer.Option(
            "--appearance",
            help="scanners: hearts look as on other scanners, with the same contours. own: as their source gives them. unlabelled: "
            "painted as the fold's patients look whom nobody has contoured; needs --contoured-by.",
        ),
    ] = "scanners",
    looks: Annotated[
        int | None,
        typer.Option(
            "--looks", min=1, max=9, help="Of --appearance scanners or unlabelled: in how many looks a heart is shown. [default: 3]"
        ),
    ] = None,
    contoured_by: Annotated[
        Path | None,
        typer.Option(
            "--contoured-by",
            help="Of --appearance unlabelled: nnU-Net results folder of a real-only training of this fold, which contours these patients.",
        ),
    ] = None,
    render: Annotated[
        Literal["donor", "painter", "decoder"] | None,
        typer.Option(
            "--render",
            help="Of --source generator: hearts in the pixels of a training patient, the donor, warped to them; painted around their "
            "contours; or in decoded pixels. [default: donor]",
        ),
    ] = None,
    vendors: Annotated[
        str | None,
        typer.Option(
            "--vendors",
            metavar="all|own|NAME,...",
            help=f"Of --source phantom: their scanners. own: the training patients'; or {', '.join(VENDORS)}. [default: all]",
        ),
    ] = None,
    segmenter: CheckedBy = None,
    min_agreement: MinAgreement = None,
    generator: GeneratorFolder = None,
    gif: Annotated[
        int, typer.Option("--gif", min=0, help="Beating-heart GIFs of the first N sequences of each source. 0: no pictures.")
    ] = 3,
    device: Device = "cpu",
    seed: Seed = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the fold's sequences that were made otherwise, instead of refusing to mix.")
    ] = False,
    allow_fewer: Annotated[
        bool, typer.Option("--allow-fewer", help="End well though some sequences could not be made; without it the exit code is then 3.")
    ] = False,
) -> None:
    """Make sequences for one fold and preprocess them like nnU-Net's own cases. The same command resumes after a kill."""
    from nnunet_synth_aug.core.paths import bank_folder
    from nnunet_synth_aug.core.patients import ungrouped
    from nnunet_synth_aug.core.prior_request import parse_priors
    from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
    from nnunet_synth_aug.nnunet.bank.lock import bank_lock
    from nnunet_synth_aug.nnunet.bank.sheet import SHEET, write_bank_sheet
    from nnunet_synth_aug.nnunet.patients import ABOUT_ALL, case_patients, fold_cases
    from nnunet_synth_aug.nnunet.sizes import refuse_other_sizes
    from nnunet_synth_aug.nnunet.target import label_lookup, load_target
    from nnunet_synth_aug.reports.cards.write import renew_card
    from nnunet_synth_aug.synthesis.folder import read_index, refuse_other_sources, remove_other_sources, shortfall
    from nnunet_synth_aug.synthesis.pictures import write_gifs
    from nnunet_synth_aug.synthesis.requests import priors_like

    target = load_target(dataset, configuration, plans)  # this and the other checks before minutes of sampling
    label_lookup(target)
    fold_cases(target.dataset, fold_of(fold), target.cases())
    refuse_other_sizes(target)
    parts = sources_of(source)
    numbers = shared_out(n, len(parts))
    asked = parse_priors(prior or [])
    if looks is not None and appearance == "own":
        raise UserError("--looks is of --appearance scanners or unlabelled, and this bank shows hearts in their own look; leave it out")
    own = (
        ("generator", "--render", render is not None),
        ("generator", "--like", like is not None),
        ("variations", "--strength", strength is not None),
        ("phantom", "--vendors", vendors is not None),
    )
    for owner, option, given in own:
        if given and owner not in parts:
            raise UserError(f"{option} is of --source {owner}, and this bank is of {source}; leave it out")
    named = _named_vendors(vendors or "all")
    _refuse_unused([REGISTRY[part] for part in parts], source, asked, segmenter, min_agreement, generator)
    if (contoured_by is None) != (appearance != "unlabelled"):
        raise UserError(
            "--appearance unlabelled needs --contoured-by, the results folder of an nnU-Net trained on this fold's real cases"
            if contoured_by is None
            else "--contoured-by is of --appearance unlabelled; add it, or leave out --contoured-by"
        )
    if note := ABOUT_ALL if fold == "all" else ungrouped(case_patients(target.dataset, target.cases())):
        say(note)
    render = render or "donor"
    like = like or ("clinic" if render == "donor" else "patients")
    priors_like(like, target.dataset)  # refused before anything is deleted
    shelf = _Shelf(target, fold, segmenter, min_agreement, generator, device, asked, like, render, named, contoured_by)
    paint = None if contoured_by is None else shelf.paint()
    top = bank_folder(target.dataset, fold_of(fold)) / "sequences"
    folders = {part: top if len(parts) == 1 else top / part for part in parts}
    with bank_lock(target.dataset, fold_of(fold)):
        (remove_other_sources if replace else refuse_other_sources)(top, folders)
        for part, number in zip(parts, numbers, strict=True):
            for line in _made(shelf.job(part, folders[part], number, seed, strength), replace):
                say(line)
        for folder in folders.values() if gif else ():
            write_gifs(folder, read_index(folder)[0][:gif])
            say(f"hearts to look at: {folder / '*.gif'}")
        number_of_looks = 0 if appearance == "own" else LOOKS if looks is None else looks
        made = top if len(parts) == 1 else folders
        say(f"bank: {build_bank_cases(made, dataset, fold_of(fold), configuration, plans, frames, number_of_looks, paint)}")
        say(renew_card(top.parent))
        if gif:
            write_bank_sheet(top.parent / SHEET, folders, shelf.originals, number_of_looks, paint)
            say(f"its hearts beside training patients: {top.parent / SHEET}")
    if lost := "; ".join(filter(None, (shortfall(folder) for folder in folders.values()))):
        if not allow_fewer:
            raise IncompleteError(f"{lost}; the bank holds the others: train with them, or say --allow-fewer if they are enough")
        say(lost)


def _named_vendors(text: str) -> tuple[str, ...] | None:
    """The vendors that ``--vendors`` names: none for all, None for the training patients'."""
    if text in ("all", "own"):
        return () if text == "all" else None
    names = tuple(part.strip() for part in text.split(","))
    if unknown := [name for name in names if name not in VENDORS]:
        raise UserError(f"--vendors {text}: there is no {unknown[0]!r}; give all, own, or some of {', '.join(VENDORS)} with commas between")
    return names


def _made(job: Job, replace: bool) -> list[str]:
    """Let a source fill its folder, in the place of what it holds from others if that is to be replaced."""
    from nnunet_synth_aug.synthesis.folder import remove_sequences
    from nnunet_synth_aug.synthesis.sources.job import make

    try:
        return make(job)
    except OtherSequencesError:
        if not replace:
            raise
        remove_sequences(job.folder)
        return make(job)


def _refuse_unused(
    sources: list[Source],
    text: str,
    asked: PriorRequest,
    segmenter: Path | None,
    min_agreement: float | None,
    generator: Path | None,
) -> None:
    """One sentence for an option that would change nothing, or that is lacking."""
    sampled = any(source.sampled for source in sources)
    if asked and not sampled:
        raise UserError(f"--prior asks the generator for hearts, and {text} are not sampled; leave it out")
    wanting = [source.name for source in sources if source.needs_segmenter]
    if segmenter is None and wanting:
        raise UserError(f"--source {wanting[0]} needs --segmenter, the results folder of an nnU-Net trained on this fold's real cases")
    if segmenter is not None and not (sampled or wanting):
        raise UserError(f"--segmenter checks sampled hearts, and {text} are not sampled; leave it out")
    if min_agreement is not None and segmenter is None:
        raise UserError("--min-agreement is of no use without --segmenter; name a real-only nnU-Net training of the fold")
    if generator is not None and not any(source.needs_generator for source in sources):
        raise UserError(f"--source {text} needs no generator; leave out --generator")


@dataclass(frozen=True)
class _Shelf:
    """What sources may ask for: loaded when one does."""

    target: Target
    fold: str
    segmenter_folder: Path | None
    min_agreement: float | None
    generator_folder: Path | None
    device: str
    asked: PriorRequest
    like: str
    render: str
    named_vendors: tuple[str, ...] | None  # None: the training patients'
    contoured_by: Path | None  # the network that contours patients without contours for the painter
    _loaded: dict[str, Generator] = field(default_factory=dict)  # a bank of two sources loads its generator once

    def job(self, source: str, folder: Path, n: int, seed: int, strength: float | None) -> Job:
        from nnunet_synth_aug.synthesis.sources.job import Job

        return Job(
            source,
            folder,
            n,
            seed,
            self.target.dataset,
            cohort=self.cohort,
            originals=self.originals,
            generator=self.generator,
            segmenter=self.segmenter,
            quality_control=self.quality_control,
            show=self.show,
            priors=self.asked,
            strength=strength,
            like=self.like,
            vendors=self.vendors,
            field_of_view=self.field_of_view,
        )

    def generator(self) -> Generator:
        """The fold's, which has seen no validation patient."""
        from nnunet_synth_aug.model.generator import load_generator
        from nnunet_synth_aug.nnunet.bank.manifest import check_leak
        from nnunet_synth_aug.nnunet.patients import fold_cases
        from nnunet_synth_aug.synthesis.requests import beyond_training

        if (loaded := self._loaded.get("generator")) is not None:
            return loaded
        found = load_generator(generator_at(self.target.dataset, self.fold, self.generator_folder), torch_device(self.device))
        if self.fold != "all":
            check_leak(found.provenance, self.target, self.fold, *fold_cases(self.target.dataset, self.fold, self.target.cases()))
        for line in beyond_training(self.asked, found):
            say(line)
        return self._loaded.setdefault("generator", found)

    def quality_control(self, generator: Generator) -> QualityControl:
        return quality_control(generator, self.segmenter_folder, self.min_agreement)

    def segmenter(self) -> RealOnlyNetwork:
        assert self.segmenter_folder is not None  # refused before
        return real_only_network(self.target.dataset, self.fold, self.segmenter_folder, self.device)

    def paint(self) -> PaintedLooks:
        """The painter of the fold, in the styles of its patients without contours."""
        from nnunet_synth_aug.nnunet.painting import fold_looks

        network = self._contours()
        assert network is not None  # refused before
        return fold_looks(self.target.dataset, fold_of(self.fold), network, torch_device(self.device))

    def show(self) -> Show | None:
        """In what pixels the generator's hearts are shown; None: as they are decoded."""
        if self.render == "painter":
            from nnunet_synth_aug.nnunet.painting import fold_hearts

            return fold_hearts(self.target.dataset, fold_of(self.fold), self._contours(), torch_device(self.device))
        if self.render == "donor":
            from nnunet_synth_aug.synthesis.render import Renderer, donors_among

            return Renderer(donors_among(self.originals()))
        return None

    def _contours(self) -> Segmenter | None:
        if self.contoured_by is None:
            return None
        return real_only_network(self.target.dataset, self.fold, self.contoured_by, self.device)

    def cohort(self) -> tuple[Cohort, tuple[str, ...]]:
        from nnunet_synth_aug.nnunet.bank.originals import training_cohort

        return training_cohort(self.target.dataset, fold_of(self.fold))

    def originals(self) -> list[Original]:
        from nnunet_synth_aug.nnunet.bank.originals import training_originals

        return training_originals(self.target, fold_of(self.fold))

    def field_of_view(self) -> float | None:
        """Side of the field of view of the training images, mm; None if it is not known."""
        from nnunet_synth_aug.nnunet.bank.originals import field_of_view

        return field_of_view(self.target, fold_of(self.fold))

    def vendors(self) -> tuple[str, ...]:
        """Whose scanners phantoms imitate; none for all."""
        from nnunet_synth_aug.nnunet.bank.originals import is_imported

        if self.named_vendors is not None:
            return self.named_vendors
        if not is_imported(self.target.dataset):
            return ()
        cohort, patients = self.cohort()
        return tuple(sorted({vendor for s in cohort.select(patients).subjects if (vendor := s.priors.vendor) is not None}))
