"""The end metric in miniature: does nnU-Net segment unseen patients better with synthetic data, when it has ten patients?

    python tests/benchmarks/utility_probe.py --data ACDC --sunnybrook FOLDER --out probe --generator small --label "small, seed 0"
    python tests/benchmarks/utility_probe.py --write          # docs/utility.md from docs/utility/*.json

nnU-Net 2d of CPU size is trained on ten ACDC patients (two per group, out of fold 0's training patients), with real data only
and with mixes, for the same number of iterations, and tested on all other patients of the folder and on the Sunnybrook LV. The
generator sees the same ten patients and no other. A killed probe goes on where it stopped when started again; another
--label in the same --out adds a generator and shares the real-only runs. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from utility_page import write_page
from utility_scores import append_result, averages, compared, score
from utility_workspace import ID, NAME, PLANS, TEST_ID, TEST_NAME, Probe, Run

from nnunet_synth_aug import __version__
from nnunet_synth_aug.config import PRESETS
from nnunet_synth_aug.data.acdc import list_acdc, read_acdc
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.dataset import write_dataset
from nnunet_synth_aug.data.splits import SPLITS, fold_patients
from nnunet_synth_aug.data.sunnybrook import list_sunnybrook, read_sunnybrook
from nnunet_synth_aug.data.test_set import write_test_set
from nnunet_synth_aug.demo import program
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import read_json, write_json
from nnunet_synth_aug.labels import DIAGNOSES, LV, STRUCTURES

PER_GROUP = 2
SMALL = ["--spacing", "2", "--patch", "96", "--batch", "8", "--stages", "4", "--features", "12"]
DOCS = Path(__file__).resolve().parents[2] / "docs"
#: nnU-Net has no seed: this sets the one of initial weights and patches before its own entry point takes over.
SEEDED = (
    "import random, sys, numpy, torch; seed = int(sys.argv.pop(1)); random.seed(seed); numpy.random.seed(seed); torch.manual_seed(seed); "
    "from nnunetv2.run.run_training import run_training_entry; run_training_entry()"
)


def chosen_patients(cohort: Cohort) -> list[str]:
    """The first two patients, by name, of each diagnosis among fold 0's training patients."""
    train = set(fold_patients(cohort, 0).train)
    groups = {group: [s.patient for s in cohort.subjects if s.patient in train and s.priors.diagnosis == group] for group in DIAGNOSES}
    if short := [group for group, members in groups.items() if len(members) < PER_GROUP]:
        raise UserError(f"fold 0 of {cohort.folder} has fewer than {PER_GROUP} training patients of {', '.join(short)}; give more patients")
    return sorted(patient for members in groups.values() for patient in sorted(members)[:PER_GROUP])


def prepare(probe: Probe, data: Path, sunnybrook: Path | None, iterations: int) -> None:
    """Dataset, split, plans and preprocessed cases, each only where it is missing."""
    os.environ.update(probe.base)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        Path(probe.base[name]).mkdir(parents=True, exist_ok=True)
    if not probe.raw(NAME).is_dir():
        write_dataset(read_acdc(data), ID, "ACDC", total=len(list_acdc(data)), source={"source": "ACDC"})
    splits = read_json(probe.preprocessed / SPLITS)
    if len(splits) > 1:  # still the five folds of the import
        cohort = Cohort.load(NAME)
        train = set(chosen_patients(cohort))
        sides: dict[str, list[str]] = {"train": [], "val": []}
        for subject in cohort.subjects:
            sides["train" if subject.patient in train else "val"] += subject.cases.values()
        write_json(probe.preprocessed / SPLITS, [sides])
    if sunnybrook is not None and not probe.raw(TEST_NAME).is_dir():
        write_test_set(read_sunnybrook(sunnybrook), TEST_ID, "Sunnybrook", total=len(list_sunnybrook(sunnybrook)))
    per_epoch = math.gcd(iterations, 50)
    counts = ["--epochs", str(iterations // per_epoch), "--iterations", str(per_epoch), "--val-iterations", "1"]
    d = str(ID)
    done = probe.preprocessed / "probe_preprocessed.json"
    steps = [
        ("fingerprint", ["nnUNetv2_extract_fingerprint", "-d", d, "-np", "2"], probe.preprocessed / "dataset_fingerprint.json"),
        ("plan", ["nnUNetv2_plan_experiment", "-d", d], probe.preprocessed / "nnUNetPlans.json"),
        ("small plans", ["synthaug", "plans", "-d", d, "--name", PLANS, *SMALL, *counts], probe.preprocessed / f"{PLANS}.json"),
        ("preprocess", ["nnUNetv2_preprocess", "-d", d, "-plans_name", PLANS, "-c", "2d", "-np", "2"], done),
    ]
    for title, command, product in steps:
        if not product.is_file():
            probe.call(title, [program(command[0]), *command[1:]], probe.base)
    write_json(done, {})  # its folder exists long before it is complete


def make_bank(probe: Probe, label: str, generator: str, fit: list[str], sequences: int, frames: int) -> dict[str, Any]:
    """Fit the generator on the ten patients (or take a fitted one) and build its bank; returns what is to be reported of it."""
    environment = probe.environment(label)
    recipe = {"generator": generator, "fit": fit, "sequences": sequences, "frames": frames}
    record = probe.generator(label) / "recipe.json"
    if record.is_file() and read_json(record) != recipe:
        raise UserError(f"{record.parent} holds a generator made otherwise ({read_json(record)}); choose another --label")
    write_json(record, recipe)
    fitted = Path(environment["nnUNet_results"], NAME, "synth_aug_generator", "fold_0")
    if generator in PRESETS:
        command = ["fit", "-d", str(ID), "-f", "0", "--preset", generator, *fit]
        probe.call(f"fit {label}", [program("synthaug"), *command], environment)
    elif not (fitted / "generator.json").is_file():
        if not Path(generator, "generator.json").is_file():
            raise UserError(f"--generator {generator} is neither a preset ({', '.join(PRESETS)}) nor a folder with a generator.json")
        shutil.copytree(generator, fitted, dirs_exist_ok=True)
    meta = read_json(fitted / "generator.json")
    allowed = set(fold_patients(Cohort.load(NAME), 0).train)
    if foreign := sorted(set(meta["patients"]) - allowed):
        raise UserError(
            f"the generator in {fitted} saw {foreign[0]}, who is not one of the probe's training patients; fit it on those alone"
        )
    bank = Path(environment["nnUNet_preprocessed"], NAME, "synth_aug", "fold_0")
    if not (bank / f"manifest_{PLANS}_2d.json").is_file():
        command = ["bank", "-d", str(ID), "-f", "0", "-p", PLANS, "-n", str(sequences), "--frames", str(frames)]
        probe.call(f"bank {label}", [program("synthaug"), *command], environment)
    stages = {stage: entry["seconds"] for stage, entry in meta["finished"].items()}
    hearts = read_json(bank / "sequences" / "figures.json")
    return {"label": label, **recipe, "generator": Path(generator).name, "fit_seconds": stages, "bank": hearts}


def train(probe: Probe, run: Run) -> Path:
    """Train and validate; returns nnU-Net's fold folder."""
    results = probe.folder(run)
    fold = results / NAME / f"{run.trainer}__{PLANS}__2d" / "fold_0"
    if not (fold / "validation" / "summary.json").is_file():
        resume = ["--c"] if any((fold / f"checkpoint_{which}.pth").is_file() for which in ("latest", "final")) else []
        options = [str(ID), "2d", "0", "-tr", run.trainer, "-p", PLANS, "-device", "cpu", *resume]
        command = [sys.executable, "-c", SEEDED, str(run.seed), *options]
        probe.call(f"train {run.title}", command, probe.environment(run.generator, results))
    return fold


def predict(probe: Probe, run: Run) -> Path:
    """Predict the external test set; returns the folder of masks."""
    results = probe.folder(run)
    folder = results / "sunnybrook"
    done = results / "predicted.json"  # a killed prediction may leave half a file
    if not done.is_file():
        where = ["-i", str(probe.raw(TEST_NAME) / "imagesTs"), "-o", str(folder)]
        model = ["-d", str(ID), "-c", "2d", "-f", "0", "-tr", run.trainer, "-p", PLANS, "-device", "cpu", "-npp", "1", "-nps", "1"]
        probe.call(f"predict {run.title}", [program("nnUNetv2_predict"), *where, *model], probe.environment(run.generator, results))
        write_json(done, {})
    return folder


def probe_all(a: argparse.Namespace) -> dict[str, Any]:
    """Every step of the probe; returns its figures."""
    probe = Probe(a.out)
    arms = list(dict.fromkeys(["real", *a.arms.split(",")]))
    if bad := [arm for arm in arms if arm != "real" and not re.fullmatch(r"mix(\d\d|100)", arm)]:
        raise UserError(f"--arms has {bad[0]!r}; give real and mixes such as mix50, separated by commas")
    if len(arms) > 1 and a.generator is None:
        raise UserError("a mix needs --generator: a preset or the folder of a generator that was fitted on the probe's patients")
    label = a.label or Path(a.generator or "").name  # never a path: tables are published
    folders = {name: None if path is None else str(path.resolve()) for name, path in (("data", a.data), ("sunnybrook", a.sunnybrook))}
    settings = {**folders, "iterations": a.iterations}
    asked = probe.out / "probe.json"
    if asked.is_file() and read_json(asked) != settings:
        raise UserError(f"{a.out} holds a probe with other settings ({read_json(asked)}); choose another --out or delete that folder")
    write_json(asked, settings)
    prepare(probe, a.data, a.sunnybrook, a.iterations)
    split = fold_patients(Cohort.load(NAME), 0)
    made = make_bank(probe, label, a.generator, shlex.split(a.fit), a.sequences, a.frames) if len(arms) > 1 else None
    tables: dict[str, dict[str, list[pd.DataFrame]]] = {}
    rows = []
    for seed in map(int, a.seeds.split(",")):
        for arm in arms:
            run = Run(arm, seed, "" if arm == "real" else label)
            start = time.monotonic()
            found = {"ACDC": score(probe, run, train(probe, run) / "validation", NAME, STRUCTURES)}
            if a.sunnybrook is not None:
                found["Sunnybrook"] = score(probe, run, predict(probe, run), TEST_NAME, {"LV": LV})
            for test, table in found.items():
                tables.setdefault(test, {}).setdefault(arm, []).append(table)
            row = {"arm": arm, "seed": seed, "generator": run.generator, "iterations": a.iterations}
            rows.append(row | {f"{test} {key}": value for test, table in found.items() for key, value in averages(table).items()})
            print(f"{run.title}: {json.dumps(rows[-1])} ({time.monotonic() - start:.0f} s)", flush=True)
            append_result(probe.out / "results.csv", rows[-1])
    comparisons = {arm: {test: compared(by_arm, arm) for test, by_arm in tables.items()} for arm in arms[1:]}
    return {
        "format": 1,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "settings": {"iterations": a.iterations, "seeds": [int(s) for s in a.seeds.split(",")], "arms": arms},
        "patients": {"train": len(split.train), "test": len(split.val), "split_hash": split.hash},
        "generator": made,
        "runs": rows,
        "comparisons": comparisons,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of ACDC patients with cines")
    parser.add_argument("--sunnybrook", type=Path, help="folder of Sunnybrook NIfTI files; without it only ACDC is tested")
    parser.add_argument("--out", type=Path, help="work folder; the same command resumes")
    parser.add_argument("--arms", default="real,mix50", help="real and mixes, e.g. real,mix25,mix50")
    parser.add_argument("--generator", help="preset to fit on the ten patients, or the folder of a generator fitted on them")
    parser.add_argument("--fit", default="", help="more options for 'synthaug fit', in one string")
    parser.add_argument("--label", help="what tables call the generator; default its preset or folder")
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--seeds", default="0", help="e.g. 0,1")
    parser.add_argument("--sequences", type=int, default=40, help="of the bank")
    parser.add_argument("--frames", type=int, default=6, help="of each sequence in the bank")
    parser.add_argument("--json", type=Path, help="where the figures go besides OUT, e.g. docs/utility/NAME.json")
    parser.add_argument("--write", action="store_true", help="write docs/utility.md from docs/utility/*.json and stop")
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, which ends the command at hand, too
    try:
        if a.write:
            print(json.dumps({"page": write_page(DOCS / "utility", DOCS / "utility.md").name}))
            return
        if a.data is None or a.out is None:
            raise UserError("--data and --out are needed (or --write alone)")
        figures = probe_all(a)
        for path in filter(None, (a.out / "utility.json", a.json)):
            write_json(path, figures)
        print(json.dumps(read_json(a.out / "utility.json")))
    except UserError as error:
        print(f"utility_probe: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
