"""The `base` preset from cohort to reports on one GPU, in steps that fit into short sessions.

    python tests/benchmarks/gpu/base.py --work WORK --out RESULTS [--limit-seconds 540]

Every step runs in a process of its own. When the limit is reached it is interrupted, the script says what is left and exits with 0;
the same command goes on where it stopped, at most one checkpoint interval (60 s) earlier. Steps:

    cohort   200 phantom hearts, made on all cores (with --dataset: an existing one in nnUNet_raw, nothing to make)
    fit      VAE, static LDM, motion LDM on the fold's training patients
    cost     seconds and peak memory of one 30-frame case, alone and eight together
    report   200 cases with the priors of held-out patients, open loop, and every report on them: JSON, tables, PNG
    accept   64 cases with priors near the training patients', with quality control: how many samples it accepts, and why not

WORK holds everything (gigabytes), RESULTS only what is worth keeping: base.json with the figures of every step, and the reports.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deadline import run_within

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json

if TYPE_CHECKING:
    import torch

    from nnunet_synth_aug.model.config import GeneratorConfig

PHANTOM_ID, PHANTOM = 902, "Dataset902_Phantom"
NNUNET_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
#: A step is not started with less than this left: importing torch and reading a checkpoint take that long.
LEAST_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    work: Path
    out: Path
    preset: str
    device: str
    dataset: str | None
    fold: str
    hearts: int
    cases: int
    checked: int
    train_steps: int | None
    copies: int | None
    seed: int
    segmenter: Path | None
    fvd_weights: Path | None

    @property
    def name(self) -> str:
        return self.dataset or PHANTOM

    @property
    def environment(self) -> dict[str, str]:
        """nnU-Net's folders: the user's own for an existing dataset, else inside the work folder."""
        own = {} if self.dataset is not None else {name: str(self.work / name) for name in NNUNET_FOLDERS}
        return os.environ | own

    @property
    def generator(self) -> Path:
        return self.work / f"generator_{self.preset}"

    @property
    def sequences(self) -> Path:
        return self.work / f"sequences_{self.preset}"

    def config(self) -> GeneratorConfig:
        """The preset, shortened where a smoke test asks for it."""
        from nnunet_synth_aug.model.config import preset

        config = dataclasses.replace(preset(self.preset), seed=self.seed)
        if self.copies is not None:
            config = dataclasses.replace(config, latents=dataclasses.replace(config.latents, copies=self.copies))
        if self.train_steps is not None:
            for stage in ("vae", "static", "motion"):
                settings = getattr(config, stage)
                train = dataclasses.replace(settings.train, steps=self.train_steps)
                config = dataclasses.replace(config, **{stage: dataclasses.replace(settings, train=train)})
        return config


def make_cohort(options: Options) -> dict[str, Any]:
    from nnunet_synth_aug.data.cohort import COHORT, Cohort
    from nnunet_synth_aug.data.phantom import phantom_cohort
    from nnunet_synth_aug.data.raw_dataset import write_dataset

    if options.dataset is None and not (options.work / "nnUNet_raw" / PHANTOM / COHORT).is_file():
        source = {"source": "phantom", "n": options.hearts, "seed": options.seed}
        hearts = phantom_cohort(options.hearts, options.seed, os.cpu_count() or 1)
        write_dataset(hearts, PHANTOM_ID, PHANTOM.split("_")[1], folds=5, total=options.hearts, source=source)
    return {"dataset": options.name, "patients": len(Cohort.load(options.name).subjects)}


def fit(options: Options) -> dict[str, Any]:
    from nnunet_synth_aug.core.paths import GENERATOR_META
    from nnunet_synth_aug.model.fit import fit_generator

    config = options.config()
    fit_generator(options.name, options.fold, config, _device(options), options.generator)
    meta = read_json(options.generator / GENERATOR_META)
    return {
        "training_patients": len(meta["patients"]),
        # A stage that was interrupted counts its last process only.
        "stage_seconds_of_last_process": {stage: done["seconds"] for stage, done in meta["finished"].items()},
        "config": config.to_json(),
    }


def cost(options: Options) -> dict[str, Any]:
    script = Path(__file__).resolve().parents[1] / "compute.py"
    command = [sys.executable, str(script), "--preset", options.preset, "--time", "--device", options.device, "--batch", "1", "8"]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(shown.splitlines()[-1])
    return {"timings": found["timings"], "case_tflop": found["counts"][options.preset]["case_tflop"]}


def report(options: Options) -> dict[str, Any]:
    from nnunet_synth_aug.data.cohort import Cohort
    from nnunet_synth_aug.model.generator import load_generator
    from nnunet_synth_aug.nnunet.segmenter import load_segmenter
    from nnunet_synth_aug.reports.run import run_reports

    device = _device(options)
    generator, cohort = load_generator(options.generator, device), Cohort.load(options.name)
    segmenter = None if options.segmenter is None else load_segmenter(options.segmenter, generator, device)
    made, kept = options.work / f"report_{options.preset}", options.out / "report"
    run_reports(generator, cohort, made, options.cases, segmenter=segmenter, fvd_weights=options.fvd_weights, seed=options.seed)
    kept.mkdir(parents=True, exist_ok=True)
    files = [path for path in made.iterdir() if path.is_file()]  # the sequences in their folder stay where they are
    for path in files:
        shutil.copyfile(path, kept / path.name)
    return {"files": sorted(path.name for path in files)}


def accept(options: Options) -> dict[str, Any]:
    from nnunet_synth_aug.model.generator import load_generator
    from nnunet_synth_aug.synthesis.folder import read_index
    from nnunet_synth_aug.synthesis.requests import RequestPlan
    from nnunet_synth_aug.synthesis.sample import sample_to_folder

    if not options.checked:
        return {"asked": 0}
    generator = load_generator(options.generator, _device(options))
    asked = RequestPlan(options.seed).requests(generator, options.checked)
    sample_to_folder(generator, asked, options.sequences, skip_impossible=True)
    ids, provenance = read_index(options.sequences)
    return {"asked": options.checked, "made": len(ids), "quality": provenance["quality"]}


STEPS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "cohort": make_cohort,
    "fit": fit,
    "cost": cost,
    "report": report,
    "accept": accept,
}


def _device(options: Options) -> torch.device:
    import torch

    return torch.device(options.device)


def machine(device: str) -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return {
        "gpu": gpu,
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "version": __version__,
    }


def run_step(name: str, options: Options, figures: Path) -> None:
    """One step in this process; its figures are written when it is complete."""
    found = STEPS[name](options)
    known = read_json(figures)
    known["machine"] = machine(options.device)
    known["steps"][name] = known["steps"].get(name, {}) | found | {"finished": time.strftime("%Y-%m-%d %H:%M")}
    write_json(figures, known)


def run_all(options: Options, limit: float | None, command: list[str]) -> list[str]:
    """Run what is not finished; returns the names of the steps that are left when the limit is reached."""
    start = time.monotonic()
    figures = options.out / "base.json"
    asked = {k: v for k, v in vars(options).items() if k not in ("work", "out")}
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in asked.items()}
    known = read_json(figures) if figures.is_file() else {"settings": asked, "steps": {}}
    if known["settings"] != asked:
        raise UserError(f"{figures} is of other settings ({known['settings']}); choose another --out and --work, or delete both")
    for name in NNUNET_FOLDERS if options.dataset is None else ():
        (options.work / name).mkdir(parents=True, exist_ok=True)
    write_json(figures, known)
    for name in STEPS:
        known = read_json(figures)
        if "finished" in known["steps"].get(name, {}):
            continue
        left = None if limit is None else limit - (time.monotonic() - start)
        if left is not None and left < LEAST_SECONDS:
            break
        print(f"== {name}", flush=True)
        began = time.monotonic()
        complete = run_within([*command, "--step", name], options.environment, left)
        known = read_json(figures)
        step = known["steps"].setdefault(name, {})
        step["seconds"] = round(step.get("seconds", 0.0) + time.monotonic() - began, 1)
        step["processes"] = step.get("processes", 0) + 1
        write_json(figures, known)
        if not complete:
            break
    return [name for name in STEPS if "finished" not in read_json(figures)["steps"].get(name, {})]


def parse(arguments: list[str]) -> tuple[Options, float | None, str | None]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="everything that is made on the way")
    parser.add_argument("--out", type=Path, required=True, help="figures and reports")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dataset", help="name of an existing dataset in nnUNet_raw; default a phantom cohort")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--hearts", type=int, default=200, help="of the phantom cohort")
    parser.add_argument("--cases", type=int, default=200, help="cases to sample for the reports")
    parser.add_argument("--checked", type=int, default=64, help="cases to sample with quality control; 0 for none")
    parser.add_argument("--train-steps", type=int, help="of every stage instead of the preset's, for a smoke test")
    parser.add_argument("--copies", type=int, help="augmented copies instead of the preset's, for a smoke test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--segmenter", type=Path, help="results folder of a real-only nnU-Net, for the reports")
    parser.add_argument("--fvd-weights", type=Path, help="I3D TorchScript file, for the reports")
    parser.add_argument("--limit-seconds", type=float, help="stop cleanly after this long; the same command goes on")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)  # what a process of one step is asked
    given = vars(parser.parse_args(arguments))
    limit, step = given.pop("limit_seconds"), given.pop("step")
    given["work"], given["out"] = given["work"].resolve(), given["out"].resolve()
    return Options(**given), limit, step


def main() -> None:
    arguments = sys.argv[1:]
    options, limit, step = parse(arguments)
    try:
        if step is not None:
            run_step(step, options, options.out / "base.json")
            return
        left = run_all(options, limit, [sys.executable, str(Path(__file__).resolve()), *arguments])
    except UserError as error:
        print(f"base.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(f"left: {', '.join(left)}; run the same command again" if left else f"complete: {options.out / 'base.json'}")


if __name__ == "__main__":
    main()
