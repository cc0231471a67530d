"""The command that fills a bank: sequences of one or several sources, preprocessed as nnU-Net's own cases are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    Seed,
    fold_of,
    generator_at,
    quality_control,
    real_only_network,
    say,
    torch_device,
)
from nnunet_synth_aug.core.errors import UserError

if TYPE_CHECKING:
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.model.generator import Generator
    from nnunet_synth_aug.nnunet.target import Target


def bank(
    dataset: Dataset,
    fold: Fold = "0",
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Number of sequences.")] = 200,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Frames taken from each: ED, ES and others spread over the cycle.")] = 4,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            help="generator; variations (of training patients, see --strength); or what needs no diffusion model: copies (training "
            "patients, bent and remodelled), bent (the same, not remodelled), reconstructions (training patients through the VAE), "
            "phantom, or pseudolabels (real cines as --segmenter contours them). Several, as many sequences of each: copies+phantom.",
        ),
    ] = "generator",
    strength: Annotated[
        float | None,
        typer.Option("--strength", min=0.05, max=1, help="How much variations vary: 1 makes new hearts in old chests. [default: 0.5]"),
    ] = None,
    segmenter: CheckedBy = None,
    min_agreement: MinAgreement = None,
    generator: GeneratorFolder = None,
    gif: Annotated[int, typer.Option("--gif", min=0, help="Beating-heart GIFs of each source's first N sequences, beside them.")] = 3,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Make sequences for one fold and preprocess them like nnU-Net's own cases. The same command resumes after a kill."""
    from nnunet_synth_aug.core.bank_sources import PLAIN, SAMPLED, shared_out, sources_of
    from nnunet_synth_aug.core.paths import bank_folder
    from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
    from nnunet_synth_aug.nnunet.patients import ABOUT_ALL
    from nnunet_synth_aug.nnunet.target import label_lookup, load_target
    from nnunet_synth_aug.synthesis.folder import read_index
    from nnunet_synth_aug.synthesis.pictures import write_gifs

    target = load_target(dataset, configuration, plans)  # this and the other checks before minutes of sampling
    label_lookup(target)
    parts = sources_of(source)
    numbers = shared_out(n, len(parts))
    if strength is not None and "variations" not in parts:
        raise UserError(f"--strength is of --source variations, and this bank is of {source}; leave one of them out")
    if segmenter is not None and not {*SAMPLED, "pseudolabels"} & set(parts):
        raise UserError(f"--segmenter checks sampled hearts, and {source} are not sampled; leave it out")
    if min_agreement is not None and segmenter is None:
        raise UserError("--min-agreement is of no use without --segmenter; name a real-only nnU-Net training of the fold")
    if generator is not None and set(parts) <= set(PLAIN):
        raise UserError(f"--source {source} needs no generator; leave out --generator")
    if fold == "all":
        say(ABOUT_ALL)
    maker = _Maker(target, fold, segmenter, min_agreement, generator, device, seed)
    top = bank_folder(target.dataset, fold_of(fold)) / "sequences"
    folders = {part: top if len(parts) == 1 else top / part for part in parts}
    for part, number in zip(parts, numbers, strict=True):
        if part in SAMPLED:
            maker.sample(part, folders[part], number, strength)
        else:
            maker.control(part, folders[part], number)
    for folder in folders.values() if gif else ():
        write_gifs(folder, read_index(folder)[0][:gif])
        say(f"hearts to look at: {folder / '*.gif'}")
    made = top if len(parts) == 1 else folders
    say(f"bank: {build_bank_cases(made, dataset, fold_of(fold), configuration, plans, frames)}")


@dataclass(frozen=True)
class _Maker:
    """Makes the sequences of one fold."""

    target: Target
    fold: str
    segmenter: Path | None
    min_agreement: float | None
    generator: Path | None
    device: str
    seed: int

    def sample(self, source: str, folder: Path, n: int, strength: float | None) -> None:
        """Sequences that the diffusion models make."""
        from nnunet_synth_aug.core.priors import Priors
        from nnunet_synth_aug.nnunet.bank.manifest import check_leak
        from nnunet_synth_aug.nnunet.patients import fold_cases
        from nnunet_synth_aug.synthesis.requests import requests
        from nnunet_synth_aug.synthesis.sample import describe, sample_to_folder
        from nnunet_synth_aug.synthesis.sources.variations import STRENGTH, variations

        cascade = self._cascade()
        if self.fold != "all":
            check_leak(cascade.provenance, self.target, self.fold, *fold_cases(self.target.dataset, self.fold, self.target.cases()))
        judge = quality_control(cascade, self.segmenter, self.min_agreement)
        about: dict[str, Any] = {}
        if source == "variations":
            asked = variations(cascade, self._cohort()[0], n, self.seed, strength or STRENGTH)
            about = {"source": source, "strength": strength or STRENGTH}
        else:
            asked = requests(cascade, n, self.seed, Priors(), None, False)
        sample_to_folder(cascade, asked, folder, skip_impossible=True, judge=judge, about=about)
        for line in describe(folder, cascade):
            say(line)

    def control(self, source: str, folder: Path, n: int) -> None:
        """Sequences that no diffusion model makes."""
        from nnunet_synth_aug.nnunet.bank.originals import raw_originals
        from nnunet_synth_aug.synthesis.sources.copies import REMODEL, cohort_originals, copies_to_folder

        if source == "phantom":
            from nnunet_synth_aug.synthesis.sources.phantoms import phantoms_to_folder

            phantoms_to_folder(folder, n, self.seed, self._vendors(), min(n, os.cpu_count() or 1))
            return
        if source in REMODEL:
            originals = cohort_originals(*self._cohort()) if self._imported() else raw_originals(self.target, self.fold)
            copies_to_folder(originals, self.target.dataset, folder, n, self.seed, source)
            return
        cohort, patients = self._cohort()
        if source == "pseudolabels":
            from nnunet_synth_aug.synthesis.sources.pseudolabels import pseudolabels_to_folder

            if self.segmenter is None:
                raise UserError(
                    "--source pseudolabels needs --segmenter, the results folder of an nnU-Net trained on this fold's real cases"
                )
            judge = real_only_network(self.target.dataset, self.fold, self.segmenter, self.device)
            pseudolabels_to_folder(judge.segment, str(judge.provenance["checkpoint_sha256"]), cohort, patients, folder, n)
        else:
            from nnunet_synth_aug.synthesis.sources.reconstructions import reconstructions_to_folder

            reconstructions_to_folder(self._cascade(), cohort, patients, folder, n)

    def _cascade(self) -> Generator:
        from nnunet_synth_aug.model.generator import load_generator

        return load_generator(generator_at(self.target.dataset, self.fold, self.generator), torch_device(self.device))

    def _cohort(self) -> tuple[Cohort, tuple[str, ...]]:
        """The dataset, with no mask of those who are unlabelled in this fold, whatever lies in the folder; and the training patients."""
        from nnunet_synth_aug.data.cohort import Cohort
        from nnunet_synth_aug.data.splits import fold_patients

        split = fold_patients(cohort := Cohort.load(self.target.dataset), fold_of(self.fold))
        return cohort.without_masks(split.unlabelled), split.train

    def _imported(self) -> bool:
        """Whether the dataset says who its patients are. Copies and phantoms can do without."""
        from nnunet_synth_aug.core.paths import raw_folder
        from nnunet_synth_aug.data.cohort import COHORT

        return (raw_folder(self.target.dataset) / COHORT).is_file()

    def _vendors(self) -> set[str]:
        """Of the training patients: phantoms of other vendors would teach what none of them shows."""
        if not self._imported():
            return set()
        cohort, patients = self._cohort()
        return {vendor for s in cohort.select(patients).subjects if (vendor := s.priors.vendor) is not None}
