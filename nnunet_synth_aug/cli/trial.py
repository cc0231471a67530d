"""The command that answers for one dataset: ``try``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from nnunet_synth_aug.cli.options import Configuration, Dataset, Device, Plans, fold_of, say, torch_device
from nnunet_synth_aug.core.errors import UserError

if TYPE_CHECKING:
    from evaluation.trial.facts import Facts
    from evaluation.trial.run import Trial

#: Seconds after which measuring this machine is given up.
PATIENCE_S = 1800.0
#: Configurations that nnU-Net plans by itself and that synthetic cases serve.
PLANNED = ("2d", "3d_fullres", "3d_lowres")


def try_(
    dataset: Dataset,
    fold: Annotated[str, typer.Option("-f", help="Fold.")] = "0",
    configuration: Configuration = "2d",
    plans: Plans = "nnUNetPlans",
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations", min=10, max=1_000_000, help="Of each training; few make a quick answer. [default: 250000; 5000 on a CPU]"
        ),
    ] = None,
    arm: Annotated[str | None, typer.Option("--arm", help="What to mix in instead of what is proposed, such as copies50to00.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Everything goes here. [default: synthaug_try/DATASET...]")] = None,
    device: Device = "cpu",
    go: Annotated[bool, typer.Option("--go", help="Run it; without, the command says what it would do, and asks on a terminal.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the study file and stop.")] = False,
) -> None:
    """Do synthetic hearts help this dataset? Looks at a fold, proposes, estimates, trains with and without them, gives a verdict."""
    from evaluation.trial.estimate import Estimate, estimate, minutes_of, roughly, size
    from evaluation.trial.facts import told
    from evaluation.trial.run import SAID, as_yaml, run_trial, write_trial

    trial = _trial(dataset, fold, configuration, plans, iterations, arm, out, device)
    going_on = trial.began()
    lines = [*told(trial.facts), *_proposed(trial)]
    if not dry_run:
        _print(lines)
    settings = {"configuration": configuration, "plans": plans, "device": device}
    if not going_on:
        from evaluation.benchmark.workspace import Workspace

        pace = _pace(trial, settings)
        found: Estimate = estimate(trial.study, Workspace(trial.out, trial.study), trial.facts, pace)
        free = shutil.disk_usage(next(one for one in (trial.out, *trial.out.parents) if one.exists())).free / 1e6
        if free < 1.2 * found.megabytes:
            raise UserError(
                f"{trial.out} needs about {size(found.megabytes)} of disk and {size(free)} are free; choose another folder with -o"
            )
        estimated = (
            f"estimate: about {roughly(found.total)} and {size(found.megabytes)} of disk, measured on this machine as busy as it is now"
        )
        if dry_run:
            print(as_yaml(trial.content | {"minutes": minutes_of(found)}, [*lines, estimated]), end="")
            return
        _print([estimated, f"everything goes to {trial.out}; nothing of yours in nnU-Net's folders is changed"])
        if not (go or _yes()):
            say("nothing was started; add --go to run it")
            return
        said = {"minutes": round(found.total, 2), "megabytes": round(found.megabytes, 1)}
        write_trial(trial, minutes_of(found), said, pace, [*lines, estimated, "written by 'synthaug try'"])
    else:
        assert (trial.out / SAID).is_file()
        if dry_run:
            print((trial.out / "study.yaml").read_text(encoding="utf-8"), end="")
            return
        _print([f"going on with {trial.out}"])
        if not (go or _yes()):
            say("nothing was started; add --go to go on")
            return
    _print(run_trial(trial, settings))


def _trial(
    dataset: str, fold: str, configuration: str, plans: str, iterations: int | None, arm: str | None, out: Path | None, device: str
) -> Trial:
    """What would be run, after all that can be refused at once."""
    from evaluation.benchmark import study as known
    from evaluation.benchmark.study import parse_arm
    from evaluation.trial import proposal as rules
    from evaluation.trial.run import Trial

    if device not in get_args(known.Device):
        raise UserError(f"-device {device} is nothing that nnU-Net's commands take; choose one of {', '.join(get_args(known.Device))}")
    number = fold_of(fold)
    if not isinstance(number, int):
        raise UserError("-f all has no patients to compare on; give the number of a fold, such as 0")
    facts = _facts(dataset, number, configuration, plans)
    torch_device(device)
    proposal = rules.propose(facts, arm)
    small = rules.is_small(configuration, device)
    length = rules.length_of(iterations, device == "cpu")
    content = rules.study_of(facts, parse_arm(proposal.arm), configuration, plans, device, length, os.cpu_count() or 1)
    ending = "" if iterations is None else f"_{iterations}_iterations"
    ending += "" if arm is None else f"_{arm}"
    folder = out or Path("synthaug_try") / f"{facts.dataset}_{configuration}_fold_{number}{ending}"
    return Trial(facts, proposal, content, folder.absolute(), small)


def _facts(dataset: str, fold: int, configuration: str, plans: str) -> Facts:
    """Look at the dataset, and refuse one that cannot be compared on."""
    from evaluation.trial.facts import read_dataset, read_facts
    from evaluation.trial.proposal import FOLDS
    from nnunet_synth_aug.core.paths import dataset_name, preprocessed_folder, raw_folder
    from nnunet_synth_aug.core.patients import Fold, read_fold, refuse_shared
    from nnunet_synth_aug.nnunet.patients import case_patients, split_by_patient, splits_file
    from nnunet_synth_aug.nnunet.sizes import refuse_sizes
    from nnunet_synth_aug.nnunet.target import label_table, load_target

    name = dataset_name(dataset)
    raw = raw_folder(name)
    about = read_dataset(raw)
    label_table(about["labels"], raw / "dataset.json")
    refuse_sizes(name, about)
    planned = (preprocessed_folder(name) / f"{plans}.json").is_file()
    if planned:
        load_target(name, configuration, plans)
    elif plans != "nnUNetPlans":
        raise UserError(f"{preprocessed_folder(name) / plans}.json does not exist; plan the dataset with nnU-Net first, or leave out -p")
    elif configuration not in PLANNED:
        raise UserError(f"-c {configuration} is nothing that nnU-Net would plan for {name}; choose one of {', '.join(PLANNED)}")
    splits = splits_file(name)
    own = not splits.is_file()
    if own:
        folds, _ = split_by_patient(name, FOLDS, 12345)  # the seed of 'synthaug split'
        if fold >= len(folds):
            raise UserError(f"{name} has no folds yet, and would get {FOLDS}; choose -f 0 to {len(folds) - 1}")
        split = Fold(tuple(folds[fold]["train"]), tuple(folds[fold]["val"]))
    else:
        split = read_fold(splits, fold)
    refuse_shared(splits, fold, split.train, split.val, case_patients(name, [*split.train, *split.val]))
    return read_facts(name, fold, split, raw, own_split=own, planned=planned)


def _proposed(trial: Trial) -> list[str]:
    from evaluation.analysis.statistics import patients_needed
    from evaluation.trial.facts import labelled
    from evaluation.trial.proposal import FULL_ITERATIONS
    from evaluation.trial.verdict import FAMILY

    proposal, n = trial.proposal, len(trial.facts.tested.patients)
    lines = ["proposal"]
    if n < (needed := patients_needed(FAMILY)):
        lines += labelled("beware", f"{n} tested patients: no difference can be told from chance, whatever its size. {needed} are needed")
    lines += [*labelled("mix in", f"{proposal.what} (arm {proposal.arm})"), *labelled("why", proposal.why)]
    lines += labelled("rests on", proposal.rests_on)
    if proposal.instead:
        lines += labelled("or", f"--arm {proposal.instead}: hearts of a generator in your patients' pixels; on patients no better so far")
    network = "a small 2d network for CPUs" if trial.small else f"nnU-Net's own {trial.content['plans']['configuration']} network"
    lines += labelled("trainings", f"real only, and mixed; {trial.iterations} iterations each, same seed, {network}")
    if trial.iterations < FULL_ITERATIONS or trial.small:
        lines += labelled("", f"a quick answer, not what a full training of {FULL_ITERATIONS} iterations would say")
    return lines


def _pace(trial: Trial, settings: dict[str, Any]) -> dict[str, float]:
    """Seconds of the parts of the study, measured with as many processes as it will run at a time."""
    from evaluation.benchmark.processes import last_line, launch, lock_path, share_of_cores, stop
    from nnunet_synth_aug.core.files import read_json, write_json
    from nnunet_synth_aug.core.paths import preprocessed_folder

    facts, study = trial.facts, trial.study
    size = facts.size
    base = preprocessed_folder(facts.dataset) / f"{settings['plans']}.json"
    request = {
        "dataset": facts.dataset,
        "configuration": settings["configuration"],
        "base": str(base) if base.is_file() else "",
        "autocast": trial.content["training"].get("autocast", "off"),
        "changes": {k: v for k, v in trial.content["plans"].items() if k not in ("base", "configuration")},
        "case": facts.median_case,
        "shape": list(size.median_shape),
        "spacing": list(size.median_spacing),
        "device": settings["device"],
        "sources": list(study.all_arms[1].parts),
        "frames": min(2, study.bank.frames),
    }
    print("measuring this machine, which takes a minute or a few ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="synthaug-try-") as root:
        running = []
        cpu = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"} if study.device == "cpu" else {}
        for slot in range(study.workers):
            folder = Path(root, str(slot))
            (folder / "results").mkdir(parents=True)
            write_json(folder / "request.json", request)
            words = ["python", "-m", "nnunet_synth_aug.nnunet.pace", str(folder / "request.json"), str(folder / "answer.json")]
            environment = {"nnUNet_preprocessed": str(folder), "nnUNet_results": str(folder / "results"), **cpu}
            cores = share_of_cores(slot, study.workers if study.device == "cpu" else 1)
            running.append(launch(words, environment, folder / "log", lock_path(folder, "pace"), cores))
        begin = time.monotonic()
        try:
            while any(process.poll() is None for process in running):
                if time.monotonic() - begin > PATIENCE_S:
                    raise UserError(
                        f"this machine needs over {PATIENCE_S / 60:.0f} minutes for a few steps of nnU-Net; free it, and try again"
                    )
                time.sleep(0.1)
        finally:
            for process in running:
                if process.poll() is None:
                    stop(process)
        answers = []
        for slot, process in enumerate(running):
            folder = Path(root, str(slot))
            if process.returncode or not (folder / "answer.json").is_file():
                raise UserError(f"nnU-Net cannot train on {facts.median_case} here ({last_line(folder / 'log')}); ask 'synthaug doctor'")
            answers.append(read_json(folder / "answer.json"))
            if error := answers[-1].get("error"):
                raise UserError(error.replace(f"{folder / facts.dataset}{os.sep}", ""))
    return {key: sum(one[key] for one in answers) / len(answers) for key in answers[0]}


def _yes() -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and typer.confirm("run it now?", default=False)


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)
