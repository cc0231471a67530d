"""The whole loop, small: every step is a command that a user could type, run in its own process and skipped when done.

cohort -> nnU-Net's plans and preprocessing -> generator -> bank -> two trainings -> report
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_synth_aug.core.console import console
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import program

DATASET_ID, FOLD, PLANS = 901, 0, "nnUNetPlansDemo"
#: Half of the patients train, half test: the scarce-data setting, and enough test patients for a paired test.
FOLDS, HEARTS = 2, 32
SEQUENCES, FRAMES = 24, 6
ITERATIONS = {"epochs": 12, "iterations": 50, "val_iterations": 5}
BASELINE, AUGMENTED = "nnUNetTrainerSynthAug_mix00", "nnUNetTrainerSynthAug_mix50"


@dataclass(frozen=True)
class Step:
    """One command."""

    title: str
    command: list[str]
    done: Callable[[], bool]  # whether its product exists already
    minutes: float  # what it took on 2 CPU cores, for the estimate of the time left


@dataclass(frozen=True)
class Folders:
    """Where the demo keeps what: nnU-Net's three folders, logs and the report."""

    out: Path
    dataset: str

    @property
    def environment(self) -> dict[str, str]:
        """nnU-Net's folders, and process counts that suit a small machine (none changes a result)."""
        root = self.out / "nnunet"
        paths = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        return os.environ | paths | {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "1", "nnUNet_compile": "f"}

    def preprocessed(self, *parts: str) -> Path:
        return Path(self.environment["nnUNet_preprocessed"], self.dataset, *parts)

    def results(self, *parts: str) -> Path:
        return Path(self.environment["nnUNet_results"], self.dataset, *parts)

    def trained(self, trainer: str) -> Path:
        return self.results(f"{trainer}__{PLANS}__2d")


def steps(folders: Folders, source: Path | None, device: str, seed: int) -> list[Step]:
    """The demo's commands in order."""
    d, f = str(DATASET_ID), str(FOLD)
    raw = Path(folders.environment["nnUNet_raw"], folders.dataset)
    if source is None:
        make = ["synthaug", "phantom", "-d", d, "-n", str(HEARTS), "--folds", str(FOLDS), "--seed", str(seed)]
    else:
        make = ["synthaug", "import", "acdc", str(source.resolve()), "-d", d, "--folds", str(FOLDS)]
    small = ["--spacing", "2", "--patch", "96", "--batch", "8", "--stages", "4", "--features", "12"]
    counts = [part for name, n in ITERATIONS.items() for part in (f"--{name.replace('_', '-')}", str(n))]
    # From the generator of phantoms that ships with the package: minutes are too few to begin with random weights. For other
    # phantoms a short training on from there will do, and leaves the time to nnU-Net.
    start = ["--preset", "tiny", "--pretrain", "phantom"]
    if source is None:
        start += ["--set", "pretrain.finetune_steps=0.2", "--set", "latents.copies=96"]
    bank = folders.preprocessed("synth_aug", f"fold_{FOLD}", f"manifest_{PLANS}_2d.json")

    def train(trainer: str) -> Step:
        fold = folders.trained(trainer) / f"fold_{FOLD}"
        resume = ["--c"] if (fold / "checkpoint_latest.pth").is_file() or (fold / "checkpoint_final.pth").is_file() else []
        command = ["nnUNetv2_train", d, "2d", f, "-tr", trainer, "-p", PLANS, "-device", device, *resume]
        return Step(f"nnU-Net, {trainer}", command, (fold / "validation" / "summary.json").is_file, 2.8)

    report = folders.out / "report"
    arms = ["--baseline", str(folders.trained(BASELINE)), "--augmented", str(folders.trained(AUGMENTED))]
    return [
        Step("cohort", make, (raw / "cohort.json").is_file, 0.8),
        Step(
            "fingerprint",
            ["nnUNetv2_extract_fingerprint", "-d", d, "-np", "2"],
            folders.preprocessed("dataset_fingerprint.json").is_file,
            0.4,
        ),
        Step("plan", ["nnUNetv2_plan_experiment", "-d", d], folders.preprocessed("nnUNetPlans.json").is_file, 0.2),
        Step(
            "small plans",
            ["synthaug", "plans", "-d", d, "--name", PLANS, *small, *counts],
            folders.preprocessed(f"{PLANS}.json").is_file,
            0.1,
        ),
        Step(
            "preprocess",
            ["nnUNetv2_preprocess", "-d", d, "-plans_name", PLANS, "-c", "2d", "-np", "2"],
            lambda: "preprocess" in _seconds(folders.out),  # its folder exists long before it is complete
            0.4,
        ),
        Step(
            "generator",
            ["synthaug", "fit", "-d", d, "-f", f, *start, "--no-report", "-device", device, "--seed", str(seed)],
            _finished(folders),
            2.0 if source is None else 5.5,
        ),
        Step(
            "bank",
            ["synthaug", "bank", "-d", d, "-f", f, "-p", PLANS, "-n", str(SEQUENCES), "--frames", str(FRAMES), "-device", device],
            bank.is_file,
            3.2,
        ),
        train(BASELINE),
        train(AUGMENTED),
        Step("report", ["synthaug", "compare", *arms, "-o", str(report)], (report / "report.html").is_file, 0.3),
    ]


def _seconds(out: Path) -> dict[str, float]:
    return read_json(out / "demo.json")["seconds"]


def _finished(folders: Folders) -> Callable[[], bool]:
    meta = folders.results("synth_aug_generator", f"fold_{FOLD}", "generator.json")
    return lambda: meta.is_file() and len(read_json(meta)["finished"]) == 3


def run_demo(source: Path | None, out: Path, device: str = "cpu", seed: int = 0) -> Path:
    """Run the loop and return the path of the report.

    Args:
        source: an ACDC folder, or None for the phantom cohort.
        out: everything goes here; a killed demo goes on from its last finished command.
        device: of generator and nnU-Net.
        seed: of cohort and generator.
    """
    name = "Phantom" if source is None else "ACDC"  # what the importing commands call it
    folders = Folders(out.resolve(), f"Dataset{DATASET_ID}_{name}")
    settings = {"source": None if source is None else str(source.resolve()), "seed": seed}
    asked = out / "demo.json"
    figures: dict[str, Any] = read_json(asked) if asked.is_file() else {"settings": settings, "seconds": {}}
    if figures["settings"] != settings:
        raise UserError(f"{out} holds a demo with other settings ({figures['settings']}); choose another --out or delete that folder")
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        Path(folders.environment[folder]).mkdir(parents=True, exist_ok=True)
    write_json(asked, figures)
    plan = steps(folders, source, device, seed)
    print(f"{len(plan)} steps, about {sum(s.minutes for s in plan):.0f} minutes on 2 CPU cores; logs in {out / 'logs'}", flush=True)
    for number, step in enumerate(plan, 1):
        left = sum(s.minutes for s in plan[number - 1 :])
        if step.done():
            print(f"[{number}/{len(plan)}] {step.title}: done already", flush=True)
            continue
        print(f"[{number}/{len(plan)}] {step.title} (about {left:.0f} min left): {' '.join(step.command)}", flush=True)
        start = time.monotonic()
        _run(step, folders, out / "logs" / f"{number:02d}_{step.title.replace(' ', '_').replace(',', '')}.log")
        figures["seconds"][step.title] = round(time.monotonic() - start, 1)
        write_json(asked, figures)
    return _conclude(folders, figures, asked)


def _run(step: Step, folders: Folders, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [program(step.command[0]), *step.command[1:]]
    with log.open("w") as stream, console.status("") as status:
        process = subprocess.Popen(command, env=folders.environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            while (code := _wait(process)) is None:
                status.update(_last_line(log)[:120])  # the command's own progress
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code:
        raise UserError(
            f"the step '{step.title}' failed with exit code {code} ({_last_line(log)}); see {log}, then run the demo again to resume"
        )


def _wait(process: subprocess.Popen) -> int | None:
    try:
        return process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return None


def _last_line(log: Path) -> str:
    return next((line.strip() for line in reversed(log.read_text(errors="replace").splitlines()) if line.strip()), "")


def _conclude(folders: Folders, figures: dict[str, Any], path: Path) -> Path:
    """Headline table, the counted share and where everything is."""
    comparison = read_json(folders.out / "report" / "comparison.json")
    exposure = read_json(folders.trained(AUGMENTED) / f"fold_{FOLD}" / "synth_aug.json")
    hearts = read_json(folders.preprocessed("synth_aug", f"fold_{FOLD}", "sequences", "figures.json"))
    figures |= {
        "share": {k: exposure[k] for k in ("ratio", "share", "samples", "synthetic_samples", "distinct_synthetic_cases")},
        "bank": hearts,
        "headline": comparison["headline"],
        "conclusion": comparison["conclusion"],
        "total_seconds": round(sum(figures["seconds"].values()), 1),
    }
    write_json(path, figures)
    print(f"\n{'structure':<10}{'metric':<8}{'real only':>11}{'mix50':>9}{'difference [95 % CI]':>28}{'Holm p':>9}")
    for row in comparison["headline"]:
        interval = f"{_number(row['difference'], '+.3f')} [{_number(row['ci_low'], '.3f')}, {_number(row['ci_high'], '.3f')}]"
        print(
            f"{row['structure']:<10}{row['metric']:<8}{_number(row['baseline_mean'], '.3f'):>11}{_number(row['augmented_mean'], '.3f'):>9}"
            f"{interval:>28}{_number(row['p_holm'], '.3f'):>9}"
        )
    for sentence in comparison["conclusion"]:
        print(sentence)
    trained = ITERATIONS["epochs"] * ITERATIONS["iterations"]
    print(
        f"Both arms were trained once, for {trained} iterations, to show the loop. In most runs of this demo the mix costs Dice "
        "(docs/walkthrough.md). Whether synthetic hearts help, several trainings of nnU-Net's own length decide."
    )
    share = figures["share"]
    seen = f"{share['synthetic_samples']} of {share['samples']}"
    print(f"synthetic share seen by the optimiser: {seen} samples (asked for {share['ratio']:.2f})")
    report = folders.out / "report" / "report.html"
    sequences = folders.preprocessed("synth_aug", f"fold_{FOLD}", "sequences")
    print(f"generated hearts, beating: {sequences / '*.gif'}\nfigures: {path}\nreport: {report}")
    return report


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else format(value, pattern)
