"""The end metric in miniature: does nnU-Net segment unseen patients better with synthetic data, when it has ten patients?

    python tests/benchmarks/utility_probe.py --data ACDC --sunnybrook FOLDER --out probe --generator small --label "small, seed 0"
    python tests/benchmarks/utility_probe.py --write          # docs/utility.md from docs/utility/*.json

A study of ``synthaug benchmark`` with settings of CPU size: nnU-Net 2d is trained on ten ACDC patients (two per group, out of
fold 0's training patients), with real data only and with mixes, for the same number of iterations, and tested on all other patients of
the folder and on the Sunnybrook LV. The generator sees the same ten patients and no other, or with --unlabelled N also the cines of
N more per group, without their masks; those are not tested. With --diagnoses NOR --per-group 6 the healthy train, and the ill are tested.
A killed probe goes on where it stopped when started again; another --label in the same --out adds a generator and shares the real-only
runs. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from utility_page import write_page
from utility_scores import append_result, by_diagnosis, compared, run_scores

from evaluation.benchmark.conclude import FIGURES, conclude
from evaluation.benchmark.main import run_study
from evaluation.benchmark.patients import split_patients
from evaluation.benchmark.study import (
    VALIDATION,
    BankSettings,
    Data,
    GeneratorSettings,
    PlansSettings,
    Study,
    TestSet,
    Training,
    checked,
    parse_arm,
)
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug import __version__
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import hash_json, read_json, write_json
from nnunet_synth_aug.model.config import PRESETS

SMALL = PlansSettings(spacing=2, patch=96, batch=8, stages=4, features=12)
DOCS = Path(__file__).resolve().parents[2] / "docs"
#: What tables call the test sets.
TESTS = {VALIDATION: "ACDC", "Sunnybrook": "Sunnybrook"}


def fit_options(text: str) -> dict[str, Any]:
    """``--fit`` as settings of the generator."""
    parser = argparse.ArgumentParser(prog="--fit", exit_on_error=False, add_help=False)
    parser.add_argument("--pretrain", default="none", choices=("none", "phantom"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--segmenter", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    try:
        found, other = parser.parse_known_args(shlex.split(text))
    except (argparse.ArgumentError, ValueError) as error:
        raise UserError(f"--fit {text!r}: {error}") from error
    if other:
        raise UserError(f"--fit has {other[0]!r}; choose from --pretrain, --seed, --segmenter and --set")
    return {"pretrain": found.pretrain, "seed": found.seed, "segmenter": found.segmenter, "set_": tuple(found.set)}


def generator_settings(asked: str, label: str, fit: str) -> GeneratorSettings:
    """The generator under a name that tells labels apart which differ in any character."""
    name = f"{re.sub(r'[^A-Za-z0-9]+', '-', label).strip('-')[:40]}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
    if asked in PRESETS:
        return GeneratorSettings(name=name, preset=asked, **fit_options(fit))
    folder = Path(asked).resolve()
    if not (folder / "generator.json").is_file() or folder.name != "fold_0":
        raise UserError(f"--generator {asked} is neither a preset ({', '.join(PRESETS)}) nor a folder fold_0 with a generator.json")
    return GeneratorSettings(name=name, folder=folder.parent)


def make_study(a: argparse.Namespace, label: str) -> Study:
    """The probe as a study."""
    needed = any(parse_arm(name).needs_generator for name in a.arms.split(","))
    if needed and a.generator is None:
        raise UserError("--generator is needed: a preset or the folder of a generator that was fitted on the probe's patients")
    if not needed and (a.generator is not None or a.fit):
        raise UserError(f"no arm of {a.arms} needs a generator; leave out --generator and --fit")
    per_epoch = math.gcd(a.iterations, 50)
    tests = () if a.sunnybrook is None else (TestSet("Sunnybrook", "sunnybrook", folder=a.sunnybrook.resolve()),)
    study = Study(
        title="Utility probe",
        data=Data(
            "acdc",
            folder=a.data.resolve(),
            diagnoses=tuple(a.diagnoses.split(",")) if a.diagnoses else (),
            per_group=a.per_group,
            unlabelled=a.unlabelled,
            test_unused=True,
        ),
        arms=tuple(dict.fromkeys(["real", *a.arms.split(",")])),
        plans=SMALL,
        training=Training(a.iterations // per_epoch, per_epoch, 1),
        generator=generator_settings(a.generator, label, a.fit) if needed else GeneratorSettings(),
        bank=BankSettings(a.sequences, a.frames, segmenter=a.check_images),
        seeds=tuple(int(seed) for seed in a.seeds.split(",")),
        tests=tests,
        device=a.device,
        workers=a.workers,
    )
    return checked(study, "the probe")


def probe_all(a: argparse.Namespace) -> dict[str, Any]:
    """Every step of the probe; returns its figures."""
    label = a.label or Path(a.generator or "none").name  # never a path: tables are published
    study = make_study(a, label)
    at = Workspace(a.out.resolve(), study)
    report = run_study(study, at.out).parent
    arms, seeds = [arm.name for arm in study.all_arms], list(study.seeds)
    scores = {test: run_scores(report / test, arms, seeds) for test in (VALIDATION, *(t.name for t in study.tests))}
    rows = []
    for seed in seeds:
        for arm in arms:
            row = {"arm": arm, "seed": seed, "generator": label if arm != "real" else "", "iterations": a.iterations}
            rows.append(row | {f"{TESTS[test]} {key}": value for test, found in scores.items() for key, value in found[arm, seed].items()})
            append_result(at.out / "results.csv", rows[-1])
    comparisons = read_json(report / FIGURES)["comparisons"]
    split = read_json(at.splits)[0]
    patients = split_patients(split, at.raw)
    heart = conclude(replace(study, largest_heart=True), at, "report_largest_heart").parent
    without_islands = read_json(heart / FIGURES)["comparisons"]
    return {
        "format": 1,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPU cores",
        "settings": {"iterations": a.iterations, "seeds": seeds, "arms": arms},
        "patients": {
            "train": len(patients["train"]),
            "diagnoses": list(at.study.data.diagnoses),
            "unlabelled": len(split.get("unlabelled", [])),
            "test": len(patients["val"]),
            "split_hash": hash_json(split),
        },
        "generator": about_generator(at, a, label),
        "runs": rows,
        "comparisons": {
            arm: {
                TESTS[test]: compared((report / found[arm]["report"]).with_name("comparison.json")) for test, found in comparisons.items()
            }
            for arm in arms[1:]
        },
        "largest_heart": {
            arm: {
                TESTS[test]: compared((heart / found[arm]["report"]).with_name("comparison.json"))
                for test, found in without_islands.items()
            }
            for arm in arms[1:]
        },
        "by_diagnosis": {
            arm: by_diagnosis((report / comparisons[VALIDATION][arm]["report"]).with_name("comparison.json")) for arm in arms[1:]
        },
    }


def about_generator(at: Workspace, a: argparse.Namespace, label: str) -> dict[str, Any]:
    """What is to be reported of the generator and its bank; without a generator, of the banks of the controls."""
    bank = {"label": label, "sequences": a.sequences, "frames": a.frames, "segmenter": a.check_images}
    if a.generator is None:
        return bank | {"generator": None, "fit": [], "fit_seconds": {}, "bank": None}
    meta = read_json(at.generator(0) / "generator.json")
    mix = next((arm for arm in (parse_arm(name) for name in at.study.arms) if arm.is_sampled), None)  # controls alone have none
    return bank | {
        "generator": Path(a.generator).name,
        "fit": shlex.split(a.fit),
        "fit_seconds": {stage: entry["seconds"] for stage, entry in meta["finished"].items()},
        "bank": None if mix is None else read_json(at.bank(mix, 0) / "sequences" / "figures.json"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of ACDC patients with cines")
    parser.add_argument("--sunnybrook", type=Path, help="folder of Sunnybrook NIfTI files; without it only ACDC is tested")
    parser.add_argument("--out", type=Path, help="work folder; the same command resumes")
    parser.add_argument("--arms", default="real,mix50", help="real and mixes, e.g. real,mix25,mix50")
    parser.add_argument(
        "--generator",
        help="preset to fit on the ten patients, or the folder fold_0 of a generator fitted on them; none for arms that need none",
    )
    parser.add_argument(
        "--fit",
        default="",
        help="more options for 'synthaug fit' in one string: --pretrain, --seed, --set, --segmenter (without a folder)",
    )
    parser.add_argument(
        "--unlabelled", type=int, help="patients per group whose cines the generator sees without their masks; none by default"
    )
    parser.add_argument("--per-group", type=int, default=2, help="patients per group that train (2)")
    parser.add_argument("--diagnoses", help="only patients of these groups train, e.g. NOR; all by default")
    parser.add_argument("--label", help="what tables call the generator; default its preset or folder")
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--seeds", default="0", help="e.g. 0,1")
    parser.add_argument("--sequences", type=int, default=40, help="of the bank")
    parser.add_argument("--frames", type=int, default=6, help="of each sequence in the bank")
    parser.add_argument("--check-images", action="store_true", help="the bank holds only hearts whose mask the real-only nnU-Net confirms")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=1, help="commands at a time")
    parser.add_argument("--json", type=Path, help="where the figures go besides OUT, e.g. docs/utility/NAME.json")
    parser.add_argument("--write", action="store_true", help="write docs/utility.md from docs/utility/*.json and stop")
    a = parser.parse_args()
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
