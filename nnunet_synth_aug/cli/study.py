"""Commands that compare: ``compare``, ``benchmark`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnunet_synth_aug.cli import scoring as how
from nnunet_synth_aug.cli.options import Device, Seed, say
from nnunet_synth_aug.core.errors import UserError

if TYPE_CHECKING:
    from evaluation.benchmark.study import Study


def compare(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report and tables.")],
    baseline: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline",
            help="Results folder of nnU-Net, folder of predictions or metrics.csv of the real-only arm; repeat it for several seeds.",
        ),
    ] = None,
    augmented: Annotated[list[Path] | None, typer.Option("--augmented", help="The same of the augmented arm.")] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            metavar="NAME=FOLDER",
            help="Instead of both: two or more named arms, the baseline first; repeat a name for several seeds.",
        ),
    ] = None,
    gt: how.GroundTruth = None,
    labels: how.Labels = None,
    prediction_labels: how.PredictionLabels = None,
    reference_labels: how.ReferenceLabels = None,
    dataset: how.DatasetFolder = None,
    engine: how.Engine = "native",
    empty: how.Empty = "penalty",
    tolerance: how.Tolerance = None,
    largest_heart: how.LargestHeart = False,
    allow_missing: how.AllowMissing = False,
    processes: how.Processes = None,
    margin: Annotated[
        str,
        typer.Option("--margin", metavar="METRIC=VALUE,...", help="Non-inferiority: the largest loss to accept, e.g. Dice=0.01,HD=2 (mm)."),
    ] = "",
    tie: Annotated[
        str,
        typer.Option("--tie", metavar="METRIC=VALUE,...", help="Differences of a patient up to this are ties, e.g. Dice=0.005,HD=0.5."),
    ] = "",
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Pictures of the worst and most changed patients in the report, or none of any.")
    ] = True,
) -> None:
    """Dice, HD, HD95 and ASSD per structure and patient, paired statistics, one self-contained HTML report, also as Markdown and figures.

    More than two arms are each compared with the first one, and ranked.
    """
    from evaluation.analysis.paired import Margins
    from evaluation.compare import compare as run
    from evaluation.compare import compare_arms
    from evaluation.report.writing import headline_long

    margins = Margins(ties=limits("--tie", tie), noninferiority=limits("--margin", margin))
    arms = named_arms(arm or [], baseline or [], augmented or [])
    sides = (labels, prediction_labels, reference_labels)
    rules, where = how.scoring(gt, dataset, *sides, engine, empty, tolerance, largest_heart, allow_missing, processes)
    if len(arms) == 2:
        first, second = arms
        found = {second: run(arms[first], arms[second], out, names=(first, second), rules=rules, margins=margins, images=images, **where)}
        report = found[second].report
    else:
        overview = compare_arms(arms, out, rules=rules, margins=margins, images=images, **where)
        found, report = overview.comparisons, overview.report
    for name, result in found.items():
        if len(found) > 1:
            say(f"{name}:")
        shown = headline_long(result.summary).drop(columns=["verdict", "noninferiority"]).dropna(axis="columns", how="all")
        say(shown.round(3).to_string(index=False))
        for sentence in result.conclusion:
            say(sentence)
    if len(found) > 1:
        say(overview.ranking.round(3).to_string(index=False))
    say(next(iter(found.values())).definitions)
    say(f"report: {report}")


def named_arms(named: list[str], baseline: list[Path], augmented: list[Path]) -> dict[str, list[Path]]:
    """The arms of ``compare`` with their folders, the baseline first."""
    if named and (baseline or augmented):
        raise UserError("give either --baseline and --augmented, or --arm NAME=FOLDER for every arm")
    if not named:
        if not (baseline and augmented):
            raise UserError("give --baseline and --augmented, or --arm NAME=FOLDER at least twice")
        return {"baseline": baseline, "augmented": augmented}
    arms: dict[str, list[Path]] = {}
    for text in named:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(f"--arm {text} is not of the form NAME=FOLDER")
        arms.setdefault(name, []).append(Path(folder))
    if len(arms) < 2:
        raise UserError(f"--arm names only {next(iter(arms))}; name at least two arms, the baseline first")
    return arms


def limits(option: str, text: str) -> dict[str, float]:
    """``Dice=0.01,HD=2`` as a dictionary; the metrics themselves are checked by ``evaluation``."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        metric, _, value = part.partition("=")
        try:
            found[metric.strip()] = float(value)
        except ValueError as error:
            raise UserError(f"{option} {text} is not of the form Dice=0.01,HD=2") from error
    return found


def benchmark(
    study: Annotated[Path, typer.Argument(help="Study file, or the name of a ready study such as smoke.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Everything goes here; default benchmark_NAME.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print every command in order and stop.")] = False,
) -> None:
    """Arms x folds x seeds x test sets with nnU-Net's own commands, up to the report. The same command resumes after a kill."""
    from evaluation.benchmark.main import benchmark as run

    page = run(study, out, dry_run, _refuse_settings)
    if page is not None:
        say(page.read_text(encoding="utf-8"))
        say(f"report: {page}")


def _refuse_settings(study: Study) -> None:
    """What 'synthaug phantom' would refuse after minutes, and 'synthaug fit' after hours."""
    from nnunet_synth_aug.core.prior_request import parse_priors
    from nnunet_synth_aug.data.phantom import refuse_what_no_phantom_has
    from nnunet_synth_aug.model.config import overridden, preset, pretrained_on

    refuse_what_no_phantom_has(parse_priors(study.data.prior or [], "data.prior"), "data.prior")
    try:
        overridden(pretrained_on(preset(study.generator.preset), study.generator.pretrain), list(study.generator.set_))
    except UserError as error:
        raise UserError(f"generator.set: {error}") from None


def demo(
    source: Annotated[Path | None, typer.Option("--source", help="An ACDC folder; default the phantom cohort.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Everything goes here; the same command resumes.")] = Path("synthaug_demo"),
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """The whole loop, small: cohort, generator, nnU-Net trained on real only and on a mix, report. Minutes on 2 CPU cores."""
    from evaluation.benchmark.demo import run_demo

    say(run_demo(source, out, device, seed))
