"""All reports on one generator: ``report.json``, ``report.md`` and figures in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import make_folder, write_json, write_text
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.model.generator import Generator
from nnunet_synth_aug.nnunet.segmenter import Segmenter
from nnunet_synth_aug.reports.hearts import HEARTS, write_hearts
from nnunet_synth_aug.reports.markdown import render
from nnunet_synth_aug.reports.reference_patients import reference_patients, reference_requests
from nnunet_synth_aug.synthesis.painting import PaintedHearts
from nnunet_synth_aug.synthesis.quality.control import UNCHECKED
from nnunet_synth_aug.synthesis.sample import sample_to_folder

REPORTS = ("controllability", "reconstruction", "realism", "two_sample", "memorisation")
#: Those that look at generated hearts.
SAMPLED = ("controllability", "realism", "two_sample", "memorisation")


def run_reports(
    generator: Generator,
    cohort: Cohort,
    out: Path,
    n: int = 64,
    *,
    segmenter: Segmenter | None = None,
    fvd_weights: Path | None = None,
    only: Sequence[str] = (),
    closed_loop: bool = False,
    seed: int = 0,
    show: PaintedHearts | None = None,
) -> dict[str, Any]:
    """All reports on a generator, which is asked for hearts with the priors of its fold's held-out patients.

    Hearts are sampled in the open loop and without quality control, into ``out/sequences``; a killed run goes on there.

    Args:
        generator: a trained one.
        cohort: its dataset.
        out: folder for everything.
        n: hearts to sample.
        segmenter: an independent nnU-Net, see :func:`nnunet.segmenter.load_segmenter`.
        fvd_weights: TorchScript I3D, for the FVD.
        only: some of :data:`REPORTS`; default all.
        closed_loop: sample the same requests with calibration, too, and report their controllability apart.
        seed: of the sampled hearts and of bootstrap and permutations.
        show: paints the hearts; None: they are judged as they are decoded.

    Returns:
        what ``report.json`` holds.

    Raises:
        UserError: an unknown report, no such weights, or one of ``only`` that cannot be made; others that cannot are left out, saying why.
    """
    chosen = _chosen(only)
    if fvd_weights is not None and not fvd_weights.is_file():  # before minutes of sampling
        raise UserError(f"{fvd_weights} does not exist; give the TorchScript file of I3D, or leave out --fvd-weights")
    sequences, calibrated = out / "sequences", out / "sequences_closed_loop"
    if any(name in SAMPLED for name in chosen):
        sample_to_folder(generator, reference_requests(generator, cohort, n, seed), sequences, UNCHECKED, show=show)
    if closed_loop and "controllability" in chosen:
        sample_to_folder(generator, reference_requests(generator, cohort, n, seed, calibrate=True), calibrated, UNCHECKED, show=show)

    def controllability() -> dict[str, Any]:
        from nnunet_synth_aug.reports.controllability.section import controllability_report

        return controllability_report(sequences, out, segmenter, calibrated if closed_loop else None, seed)

    def reconstruction() -> dict[str, Any]:
        from nnunet_synth_aug.reports.reconstruction import reconstruction_report

        return reconstruction_report(generator, cohort, out)

    def realism() -> dict[str, Any]:
        from nnunet_synth_aug.reports.realism.section import realism_report

        return realism_report(generator, cohort, sequences, out, segmenter, fvd_weights)

    def two_sample() -> dict[str, Any]:
        from nnunet_synth_aug.reports.two_sample import two_sample_report

        return two_sample_report(generator, cohort, sequences, out, seed)

    def memorisation() -> dict[str, Any]:
        from nnunet_synth_aug.reports.memorisation.section import memorisation_report

        return memorisation_report(generator, cohort, sequences, out, None if show is None else show.painter)

    made: dict[str, Callable[[], dict[str, Any]]] = {
        "controllability": controllability,
        "reconstruction": reconstruction,
        "realism": realism,
        "two_sample": two_sample,
        "memorisation": memorisation,
    }
    make_folder(out)
    references = reference_patients(generator, cohort)
    report: dict[str, Any] = {
        "generator": {k: v for k, v in generator.provenance.items() if k != "patients"},
        "reference_patients": asdict(references) | {"words": references.words},
        "seed": seed,
        **({} if show is None else {"painter": show.identity}),
        "reports": {},
    }
    if any(name in SAMPLED for name in chosen):
        write_hearts(cohort, references, sequences, out / HEARTS)
        report["picture"] = HEARTS
    for name in chosen:
        try:
            report["reports"][name] = made[name]()
        except UserError as error:
            if only:
                raise
            report["reports"][name] = {"refused": str(error)}  # e.g. too few patients for one report, not for the others
            console.print(f"{name}: {error}")
        # After each: an hour of sampling should not be lost to the last report's refusal.
        write_json(out / "report.json", report)
        write_text(out / "report.md", render(report))
    return report


def _chosen(only: Sequence[str]) -> list[str]:
    if unknown := [name for name in only if name not in REPORTS]:
        raise UserError(f"--only {unknown[0]} is no report; choose from {', '.join(REPORTS)}")
    return [name for name in REPORTS if not only or name in only]
