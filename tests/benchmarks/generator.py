"""Generators side by side, each trained on the same fold and judged in the same way; docs/results/generator.md shows the figures.

    python tests/benchmarks/generator.py --out RUN --hearts 64 --preset tiny --json docs/generator/NAME.json \\
        --arm "framewise=--set latents.motion=framewise"
    python tests/benchmarks/generator.py --out RUN --source /data/ACDC --preset small --json docs/generator/NAME.json
    python tests/benchmarks/generator.py --out RUN --dataset 901 --judge RESULTS --label TEXT --json docs/generator/NAME.json

Every step is a command that a user could type (`synthaug fit`, `synthaug report`, ...) and is skipped when its product is there, so a
killed run goes on when started again. The arm "default" is always there; --arm adds one with other options of `synthaug fit`, which
changes nothing else. --dataset judges generators of a dataset that is there already, such as the utility probe's, with an nnU-Net
results folder as segmenter.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import dataset_name, nnunet_folder, preprocessed_folder, program
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.synthesis.folder import read_index
from nnunet_synth_aug.synthesis.requests import RequestPlan
from nnunet_synth_aug.synthesis.sample import sample_to_folder

D, F = "921", "0"
SEGMENTER, SMALL_PLANS = "nnUNetTrainerSynthAug_mix00", "nnUNetPlansSmall"
EF_SWEEP = (20, 30, 40, 50, 60, 70)
#: Entries that name patients or list every heart: not for the repository.
PRIVATE = {"pairs", "left_out", "segmenter", "generator"}


def call(command: list[str]) -> tuple[float, float]:
    """Run a command, which must end well; its seconds and its peak memory in GiB."""
    print("$", " ".join(command), flush=True)
    start = time.monotonic()
    process = subprocess.Popen([program(command[0]), *command[1:]])
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(command[:3])} ended with exit code {code}")
    return round(time.monotonic() - start, 1), round(usage.ru_maxrss / 2**20, 2)


def nnunet_folders(out: Path) -> None:
    """Set nnU-Net's folders to those inside ``out``."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (out / "nnunet" / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str((out / "nnunet" / name).resolve())


def cohort(out: Path, source: str, hearts: int, folds: int, seed: int) -> None:
    """The dataset, once."""
    nnunet_folders(out)
    if list((out / "nnunet" / "nnUNet_raw").glob(f"Dataset{D}_*")):
        return
    if source == "phantom":
        call(["synthaug", "phantom", "-d", D, "-n", str(hearts), "--folds", str(folds), "--seed", str(seed)])
    else:
        call(["synthaug", "import", "acdc", source, "-d", D, "--folds", str(folds)])


def independent_segmenter(iterations: int, device: str) -> Path:
    """nnU-Net 2d of CPU size, trained on the fold's real cases alone; its results folder."""
    dataset = dataset_name(D)
    preprocessed = preprocessed_folder(dataset)
    trained = nnunet_folder("nnUNet_results") / dataset / f"{SEGMENTER}__{SMALL_PLANS}__2d"
    fold = trained / f"fold_{F}"
    if (fold / "validation" / "summary.json").is_file():
        return trained
    if not (preprocessed / "nnUNetPlans.json").is_file():
        call(["nnUNetv2_extract_fingerprint", "-d", D, "-np", "1"])
        call(["nnUNetv2_plan_experiment", "-d", D])
    if not (preprocessed / f"{SMALL_PLANS}.json").is_file():
        size = ["--spacing", "2", "--patch", "96", "--batch", "8", "--stages", "4", "--features", "12"]
        length = ["--epochs", str(iterations // 50), "--iterations", "50", "--val-iterations", "1"]
        call(["synthaug", "plans", "-d", D, "--name", SMALL_PLANS, *size, *length])
        call(["nnUNetv2_preprocess", "-d", D, "-plans_name", SMALL_PLANS, "-c", "2d", "-np", "1"])
    resume = ["--c"] if list(fold.glob("checkpoint_*.pth")) else []
    call(["nnUNetv2_train", D, "2d", F, "-tr", SEGMENTER, "-p", SMALL_PLANS, "-device", device, *resume])
    return trained


def segmenter_dice(trained: Path) -> dict[str, float]:
    """Mean Dice of the segmenter on the fold's real validation cases: how much its word is worth."""
    summary = read_json(trained / f"fold_{F}" / "validation" / "summary.json")["mean"]
    labels = read_json(trained / "dataset.json")["labels"]
    return {name: round(summary[str(value)]["Dice"], 4) for name, value in labels.items() if str(value) in summary}


def arm(folder: Path, changes: list[str], options: argparse.Namespace, segmenter: Path | None) -> dict[str, Any]:
    """Fit, judge, time and sample one generator; its figures, without closed loop, acceptance and sweep if ``options.brief``."""
    generator = folder / "generator"
    place = ["-d", options.dataset or D, "-f", F, "--generator", str(generator), "-device", options.device]
    reuse = ["--reuse", str(folder.parent / f"{options.preset}_default" / "generator")]  # what an arm does not change is trained once
    call(["synthaug", "fit", *place, "--preset", options.preset, "--seed", str(options.seed), "--no-report", *reuse, *changes])
    report = folder / ("report_open_loop" if options.brief else "report")
    if not (report / "done").is_file():
        witness = [] if segmenter is None else ["--segmenter", str(segmenter)]
        loop = [] if options.brief else ["--closed-loop"]
        call(["synthaug", "report", *place, "-n", str(options.n), "-o", str(report), *loop, *witness])
        (report / "done").touch()
    meta = read_json(generator / "generator.json")
    figures = {
        "options": changes,
        "fit_seconds": {stage: done["seconds"] for stage, done in meta["finished"].items()},
        "pretraining": None if meta["pretraining"] is None else meta["pretraining"]["dataset"],
        "training_patients": len(meta["patients"]),
        "report": public(read_json(report / "report.json")["reports"]),
    }
    cost = folder / "cost.json"
    if not cost.is_file():
        case = ["--frames", "30", "--no-check", "--no-gif", "--open-loop"]
        one, _ = call(["synthaug", "sample", *place, *case, "-n", "1", "-o", str(folder / "cost_one")])
        four, peak = call(["synthaug", "sample", *place, *case, "-n", "4", "-o", str(folder / "cost")])
        write_json(cost, {"seconds_per_case": round((four - one) / 3, 2), "peak_gib": peak})
    figures["cost"] = read_json(cost)
    if not options.brief:
        figures["acceptance"] = acceptance(generator, folder / "accepted", options.device)
        figures["ef_sweep"] = ef_sweep(place, folder / "sweep")
    return figures


def acceptance(generator: Path, folder: Path, device: str, n: int = 40) -> dict[str, Any]:
    """Quality control as in a bank: closed loop, priors near the training patients'."""
    if not (folder / "index.json").is_file():
        cascade = load_generator(generator, torch.device(device))
        sample_to_folder(cascade, RequestPlan().requests(cascade, n), folder, skip_impossible=True)
    quality = read_index(folder)[1]["quality"]
    kept = ("requests", "first_try", "tries", "accepted", "acceptance_rate", "reasons", "by_diagnosis")
    return {k: quality[k] for k in kept} | {"given_up": len(quality["given_up"])}


def ef_sweep(place: list[str], folder: Path) -> dict[str, float]:
    """Mean EF measured in the open loop where only EF and EDV are asked for; the same five seeds for every EF."""
    asked = ["--prior", "lv_edv=150", "-n", "5", "--frames", "20", "--free", "--no-check", "--no-gif", "--open-loop"]
    found = {}
    for ef in EF_SWEEP:
        target = folder / f"ef{ef}"
        if not (target / "figures.json").is_file():
            call(["synthaug", "sample", *place, *asked, "--prior", f"lv_ef={ef}", "-o", str(target)])
        found[str(ef)] = round(read_json(target / "figures.json")["priors"]["lv_ef_percent"]["mean_measured"], 1)
    return found


def public(value: Any) -> Any:
    """The figures of a report without patients' names and long lists."""
    if isinstance(value, dict):
        return {k: public(v) for k, v in value.items() if k not in PRIVATE and not (isinstance(v, list) and len(v) > 20)}
    if isinstance(value, list):
        return [public(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="work folder")
    parser.add_argument("--source", default="phantom", help="phantom, or a folder of ACDC patients")
    parser.add_argument("--dataset", help="judge generators of this dataset of nnU-Net's folders, fold 0, instead of making one")
    parser.add_argument("--judge", type=Path, help="with --dataset: nnU-Net results folder of a real-only training of the fold")
    parser.add_argument("--hearts", type=int, default=64, help="size of a phantom cohort")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME=OPTIONS", help="another arm, and its options of synthaug fit")
    parser.add_argument("-n", type=int, default=64, help="hearts to judge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--brief", action="store_true", help="no closed loop, acceptance or EF sweep: for arms that are slow to sample")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--segmenter", type=int, default=0, metavar="ITERATIONS", help="train an nnU-Net as an independent judge")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--label", help="a sentence on --dataset: cohort, fold, patients, segmenter")
    options = parser.parse_args()
    arms = {"default": ""} | {name: changes for name, _, changes in (text.partition("=") for text in options.arm)}
    if options.dataset is not None and not (options.label and options.judge):
        parser.error("--dataset needs --label, because nothing else tells what it is, and --judge")
    study: dict[str, Any] = {"about": options.label}
    segmenter = options.judge
    if options.dataset is None:
        cohort(options.out, options.source, options.hearts, options.folds, options.seed)
        segmenter = independent_segmenter(options.segmenter, options.device) if options.segmenter else None
        study = {"source": "phantom" if options.source == "phantom" else "ACDC", "hearts": options.hearts, "folds": options.folds}
    study |= {
        "preset": options.preset,
        "n": options.n,
        "seed": options.seed,
        "segmenter_dice": None if segmenter is None else segmenter_dice(segmenter),
        "machine": f"{os.cpu_count()} CPU cores, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}",
        "date": time.strftime("%Y-%m-%d"),
        "version": __version__,
        "arms": {},
    }
    for name, changes in arms.items():
        folder = options.out / "arms" / f"{options.preset}_{name.replace(' ', '_')}"
        study["arms"][name] = arm(folder, shlex.split(changes), options, segmenter)
        write_json(options.json, study)
    print(f"figures: {options.json}")


if __name__ == "__main__":
    main()
