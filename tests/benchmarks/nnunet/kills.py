"""kill -9 at random moments: nnU-Net's training with --c afterwards, and bank building by the same command again.

    python tests/benchmarks/nnunet/kills.py --out kills_run --matrix matrix_run [--json docs/nnunet/kills.json] [--kills 20]

Training: a command is killed with all its processes at a random moment, started again with --c, killed again, four times
per training; then it may finish, and what it left is checked. Bank: every kill hits a bank begun from nothing; the same
command again completes it, and the result is compared with an undisturbed one file by file.

What has been done is in the JSON, and the same command goes on from there. The killed processes are forks of one that has
imported nnU-Net already, which saves minutes and changes nothing else: they run the commands' own entry points.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from workspace import DOCS, HEARTS, SEQUENCES, Workspace, stamp, training_patients

from nnunet_synth_aug.core.files import read_json, sha256, write_json

PLANS = "shortPlans"
EPOCHS, KILLS_PER_TRAINING = 8, 4
TRAINER = f"nnUNetTrainerSynthAug_mix50_{EPOCHS}epochs"
RESULTS = "nnUNet_kill_results"


def forked(work: Callable[[], Any], log: Path, kill_when: Callable[[float], bool] | None = None) -> tuple[int | None, float]:
    """Run ``work`` in a fork with a process group of its own; its exit code (None: killed by us) and seconds.

    ``kill_when`` is asked all the time, with the seconds since the start.
    """
    log.parent.mkdir(exist_ok=True)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            # As after a fresh start: other random numbers in every attempt.
            np.random.seed(None)
            torch.seed()
            work()
            code = 0
        except SystemExit as error:
            print(error, flush=True)
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    while True:
        time.sleep(0.01)
        done, status = os.waitpid(child, os.WNOHANG)
        seconds = time.monotonic() - start
        if done:
            return os.waitstatus_to_exitcode(status), seconds
        if kill_when is not None and kill_when(seconds):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, seconds


# ---------------------------------------------------------------------- training


def train(*options: str) -> Callable[[], None]:
    """nnUNetv2_train's entry point."""

    def work() -> None:
        from nnunetv2.run.run_training import run_training_entry

        sys.argv = ["nnUNetv2_train", str(HEARTS.number), "2d", "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu", *options]
        run_training_entry()

    return work


def reached(log: Path) -> str:
    """Where a killed training was, by its log."""
    text = log.read_text(errors="replace")
    epochs = re.findall(r"Epoch (\d+)", text)
    if "Training done." in text:
        return "validation"
    return f"epoch {epochs[-1]}" if epochs else "before the first step"


def epochs_begun(log: Path) -> list[int]:
    return [int(n) for n in re.findall(r"Epoch (\d+)", log.read_text(errors="replace"))] if log.is_file() else []


def blow(log: Path, rng: random.Random, epoch: int) -> Callable[[float], bool]:
    """A moment at random: by progress and not by the clock, because the machine does other work, too.

    Before the first step, or from the epoch ``epoch`` on within any one, or in the final validation; and in there after a random
    share of what the last epoch took.
    """
    place, share = rng.randint(epoch - 1, EPOCHS), rng.random()
    since: list[float] = []

    def now(seconds: float) -> bool:
        text = log.read_text(errors="replace") if log.is_file() else ""
        there = place < epoch or ("Training done." in text if place == EPOCHS else place in epochs_begun(log))
        if there:
            since.append(seconds)
        took = re.findall(r"Epoch time: ([\d.]+) s", text)
        return bool(since) and seconds - since[0] > share * float(took[-1] if took else 2)

    return now


def broken_checkpoints(folder: Path) -> list[str]:
    """Checkpoints that cannot be read."""
    bad = []
    for path in sorted(folder.glob("checkpoint_*.pth")):
        try:
            torch.load(path, map_location="cpu", weights_only=False)
        except Exception:  # a cut-off file fails in many ways
            bad.append(path.name)
    return bad


def finished(folder: Path) -> list[str]:
    """What is wrong with a finished training; nothing, one hopes."""
    wrong = []
    record = read_json(folder / "synth_aug.json")
    epochs = [epoch["epoch"] for epoch in record["epochs"]]
    if epochs != list(range(EPOCHS)):
        wrong.append(f"epochs on record: {epochs}")
    samples = {epoch["samples"] for epoch in record["epochs"]}
    if len(samples) != 1:
        wrong.append(f"samples per epoch: {sorted(samples)}")
    if abs(record["synthetic_samples"] - record["ratio"] * record["samples"]) > 2 * (KILLS_PER_TRAINING + 1):
        wrong.append(f"share {record['share']}")
    for name in ("checkpoint_final.pth", "validation/summary.json"):
        if not (folder / name).is_file():
            wrong.append(f"{name} is missing")
    left = [path.name for path in folder.iterdir() if "partial" in path.name]
    return wrong + broken_checkpoints(folder) + left


def kill_trainings(workspace: Workspace, kills: int, state: dict[str, Any], keep: Callable[[], None], rng: random.Random) -> None:
    folder = workspace.folder(RESULTS, HEARTS.folder, f"{TRAINER}__{PLANS}__2d", "fold_0")
    logs = workspace.root / "logs"
    if "undisturbed_seconds" not in state:
        shutil.rmtree(folder, ignore_errors=True)
        code, seconds = forked(train(), logs / "training.log")
        state |= {
            "undisturbed_exit_code": code,
            "undisturbed_seconds": round(seconds, 1),
            "undisturbed_wrong": finished(folder),
            "kills": [],
            "trainings": [],
        }
        keep()
    while len(state["kills"]) < kills or (folder.is_dir() and state.get("open")):
        if not state.get("open"):
            shutil.rmtree(folder, ignore_errors=True)
            state["open"] = {"kills": 0, "epoch": 0}
        run = state["open"]
        more = run["kills"] < KILLS_PER_TRAINING and len(state["kills"]) < kills
        log = logs / f"training_{len(state['trainings'])}_{run['kills']}.log"
        options = ("--c",) if run["kills"] else ()
        log.unlink(missing_ok=True)
        code, seconds = forked(train(*options), log, blow(log, rng, run["epoch"]) if more else None)
        run["epoch"] = max([run["epoch"], *epochs_begun(log)])
        if code is None:
            broken = broken_checkpoints(folder) if folder.is_dir() else []
            state["kills"].append(
                {"training": len(state["trainings"]), "after_seconds": round(seconds, 2), "in": reached(log), "broken_checkpoints": broken}
            )
            run["kills"] += 1
        else:
            text = log.read_text(errors="replace").strip().splitlines()
            wrong = finished(folder) if code == 0 else [f"exit code {code}: {text[-1] if text else ''}"]
            state["trainings"].append({"kills": run["kills"], "exit_code": code, "wrong": wrong})
            state["open"] = None
            print(f"training {len(state['trainings'])}: {state['trainings'][-1]}", flush=True)
        keep()


# ---------------------------------------------------------------------- bank


def prepare_bank(workspace: Workspace) -> Callable[[], None]:
    """A generator for the hearts' fold 0, and what ``synthaug bank`` does with it.

    The generator has random weights, so its samples would never pass the quality control, which is left out.
    """
    from untrained import untrained

    from nnunet_synth_aug.core.paths import bank_folder
    from nnunet_synth_aug.model.config import GeneratorConfig, GridConfig, LatentConfig, LDMConfig, VAEConfig
    from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
    from nnunet_synth_aug.synthesis.requests import RequestPlan
    from nnunet_synth_aug.synthesis.sample import UNCHECKED, sample_to_folder

    torch.manual_seed(1)
    config = GeneratorConfig(
        preset="micro",
        grid=GridConfig(size=(48, 48, 4)),
        vae=VAEConfig(channels=(4, 8), latent_channels=4),
        latents=LatentConfig(copies=8, max_frames=6, harmonics=2, components=8),
        static=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2),
        motion=LDMConfig(channels=(8, 16), embedding=16, sampler_steps=2),
    )
    generator = untrained(config, torch.device("cpu"))
    generator.provenance.update(dataset=HEARTS.folder, fold=0, generator_hash="untrained", preset="micro", patients=training_patients(0))

    def work() -> None:
        folder = bank_folder(HEARTS.folder, 0)
        sample_to_folder(generator, RequestPlan().requests(generator, SEQUENCES), folder / "sequences", UNCHECKED)
        print("sampled", flush=True)
        build_bank_cases(folder / "sequences", HEARTS.folder, 0, "2d", PLANS, frames=3)

    return work


def digest(folder: Path) -> dict[str, str]:
    """Hash of every file of a bank; arrays by their content, because a compressed file names its threads."""
    import blosc2

    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".b2nd":
            found[name] = hashlib.sha256(blosc2.open(str(path), mode="r")[:].tobytes()).hexdigest()
        else:
            found[name] = sha256(path)
    return found


def kill_banks(workspace: Workspace, kills: int, state: dict[str, Any], keep: Callable[[], None], rng: random.Random) -> None:
    bank = workspace.folder("nnUNet_preprocessed", HEARTS.folder, "synth_aug", "fold_0")
    log = workspace.root / "logs" / "bank.log"
    work = prepare_bank(workspace)
    shutil.rmtree(bank, ignore_errors=True)
    code, seconds = forked(work, log)
    if code:
        raise SystemExit(f"the undisturbed bank ended with exit code {code}, see {log}")
    reference = digest(bank)
    state.setdefault("kills", [])
    state |= {"undisturbed_exit_code": code, "undisturbed_seconds": round(seconds, 1), "files": len(reference)}
    keep()
    while len(state["kills"]) < kills:
        shutil.rmtree(bank, ignore_errors=True)
        blow = rng.uniform(0, state["undisturbed_seconds"])
        code, seconds = forked(work, log, lambda seconds, blow=blow: seconds > blow)
        if code is not None:
            continue  # it ended before the blow
        there = len([p for p in bank.rglob("*") if p.is_file()]) if bank.is_dir() else 0
        during = "preprocessing" if "sampled" in log.read_text(errors="replace") else "sampling"
        again, _ = forked(work, log)
        result = digest(bank)
        differing = sorted(name for name in reference.keys() | result.keys() if reference.get(name) != result.get(name))
        state["kills"].append(
            {"after_seconds": round(seconds, 2), "in": during, "files": there, "exit_code_again": again, "differing": differing}
        )
        print(f"bank kill {len(state['kills'])}: {state['kills'][-1]}", flush=True)
        keep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="working folder")
    parser.add_argument("--matrix", type=Path, required=True, help="working folder of matrix.py, for its planned and preprocessed hearts")
    parser.add_argument("--json", type=Path, default=DOCS / "kills.json")
    parser.add_argument("--kills", type=int, default=20, help="of training and of bank building each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    workspace = Workspace(arguments.out.resolve())
    workspace.enter()
    if not workspace.folder("nnUNet_raw", HEARTS.folder).is_dir():
        for name in ("nnUNet_preprocessed", "nnUNet_raw"):
            source = arguments.matrix.resolve() / name / HEARTS.folder
            shutil.copytree(
                source, workspace.folder(name, HEARTS.folder), ignore=shutil.ignore_patterns("nnUNetPlans_3d*", "lowres*", "short*_3d*")
            )
    os.environ |= {"nnUNet_results": str(workspace.folder(RESULTS)), "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1"}
    torch.set_num_threads(1)
    known = read_json(arguments.json) if arguments.json.is_file() else {}
    result: dict[str, Any] = {"training": known.get("training", {}), "bank": known.get("bank", {})}

    def keep() -> None:
        write_json(arguments.json, {**stamp(), "seed": arguments.seed, "epochs": EPOCHS, **result})

    # Everything that takes long to import, before the first fork.
    from nnunetv2.run.run_training import recursive_find_trainer_class_by_name

    recursive_find_trainer_class_by_name(TRAINER)
    # Seeded by what has been done, so that a run that goes on does not repeat the same moments.
    for part, kill in (("bank", kill_banks), ("training", kill_trainings)):
        done = len(result[part].get("kills", []))
        kill(workspace, arguments.kills, result[part], keep, random.Random(f"{arguments.seed} {part} {done}"))
    bad = [k for k in result["bank"]["kills"] if k["differing"] or k["exit_code_again"]]
    bad += [t for t in result["training"]["trainings"] if t["wrong"]]
    raise SystemExit(f"not as it should be: {bad}" if bad else 0)


if __name__ == "__main__":
    main()
