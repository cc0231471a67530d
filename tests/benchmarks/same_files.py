"""Do two versions of this package write the same files? A cohort, a tiny generator, a bank of every source and the reports, hashed.

Run it with each version and compare the two tables (the last line is one JSON object):

    python tests/benchmarks/same_files.py before -o before.json
    python tests/benchmarks/same_files.py after  -o after.json --against before.json --trained before

Times, versions, paths and pictures' metadata are left out of the hashes. About 12 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

D, PLANS = "951", "samePlans"
SOURCES = ("phantom", "copies", "bent", "reconstructions", "variations", "generator", "copies+phantom", "pseudolabels")
#: From the shipped generator, so that hearts pass the quality control after a few steps.
SHORT = ["pretrain.finetune_steps=0.05", "latents.copies=24"]
#: Keys whose values are no result.
NOT_RESULTS = {"seconds", "version", "versions", "date", "created", "host", "machine", "command", "time", "minutes", "code"}
SKIP_PARTS = {"logs", "progress.png", "debug.json"}


def run(root: Path, *words: str) -> None:
    paths = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    limits = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "nnUNet_compile": "f", "OMP_NUM_THREADS": "1"}
    print("+", *words, flush=True)
    with (root / "log.txt").open("a") as log:
        script = Path(sys.executable).parent / words[0]
        done = subprocess.run([str(script), *words[1:]], env=os.environ | paths | limits, stdout=log, stderr=log, cwd=root, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}; see {root / 'log.txt'}")


def train(root: Path, trainer: str, trained: Path | None) -> Path:
    """A training of nnU-Net, whose random order no seed fixes: taken from another run, so that what follows can be compared."""
    (dataset,) = (root / "nnUNet_results").iterdir()
    folder = dataset / f"{trainer}__{PLANS}__2d"
    if trained is None:
        run(root, "nnUNetv2_train", D, "2d", "0", "-tr", trainer, "-p", PLANS, "-device", "cpu")
    else:
        shutil.copytree(trained / folder.relative_to(root), folder)
    return folder


def make(root: Path, trained: Path | None) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir(parents=True)
    run(root, "synthaug", "phantom", "-d", D, "-n", "6", "--folds", "2", "--seed", "3")
    run(root, "nnUNetv2_extract_fingerprint", "-d", D, "-np", "1")
    run(root, "nnUNetv2_plan_experiment", "-d", D)
    small = ["--spacing", "3", "--patch", "64", "--batch", "4", "--stages", "3", "--features", "8", "--epochs", "1", "--iterations", "20"]
    run(root, "synthaug", "plans", "-d", D, "--name", PLANS, *small, "--val-iterations", "1")
    run(root, "nnUNetv2_preprocess", "-d", D, "-plans_name", PLANS, "-c", "2d", "-np", "1")
    settings = [word for setting in SHORT for word in ("--set", setting)]
    run(root, "synthaug", "fit", "-d", D, "-f", "0", "--preset", "tiny", "--pretrain", "phantom", *settings, "--no-report")
    real = train(root, "nnUNetTrainerSynthAug_mix00", trained)
    help_ = subprocess.run([str(Path(sys.executable).parent / "synthaug"), "sample", "--help"], capture_output=True, text=True, check=True)
    new = "--prior" in help_.stdout
    priors = ["--prior", "lv_ef=35", "--prior", "lv_edv=190"] if new else ["--ef", "35", "--edv", "190"]
    run(root, "synthaug", "sample", "-d", D, "-n", "2", "--no-check", *priors, "-o", str(root / "sample"))
    bank = root / "nnUNet_preprocessed" / real.parent.name / "synth_aug"
    for source in SOURCES:
        extra = ["--segmenter", str(real)] if source == "pseudolabels" else []
        run(root, "synthaug", "bank", "-d", D, "-p", PLANS, "-n", "4", "--source", source, "--gif", "1", *extra)
        if bank.is_dir():
            shutil.move(bank, root / f"bank_{source.replace('+', '_')}")
    shutil.copytree(root / "bank_copies", bank)
    mixed = train(root, "nnUNetTrainerSynthAug_mix50", trained)
    run(root, "synthaug", "compare", "--baseline", str(real), "--augmented", str(mixed), "-o", str(root / "compare"))
    run(root, "synthaug", "evaluate", "--pred", str(real), "-o", str(root / "evaluate"))
    run(root, "synthaug", "report", "-d", D, "-f", "0", "-n", "4", "-o", str(root / "report"))


def plain(value: Any, root: str) -> Any:
    """JSON content without times, versions and paths."""
    if isinstance(value, dict):
        return {k: plain(v, root) for k, v in value.items() if k not in NOT_RESULTS}
    if isinstance(value, list):
        return [plain(v, root) for v in value]
    return value.replace(root, "ROOT") if isinstance(value, str) else value


def content(path: Path, root: str) -> bytes:
    data = path.read_bytes()
    match path.suffix:
        case ".gz":
            return gzip.decompress(data)
        case ".json":
            return json.dumps(plain(json.loads(data), root), sort_keys=True).encode()
        case ".pkl":
            return repr(pickle.loads(data)).encode()  # our own files
        case ".npz":
            import numpy as np

            with np.load(io.BytesIO(data)) as arrays:
                return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))
        case ".safetensors":
            size = int.from_bytes(data[:8], "little")
            return data[8 + size :]
    return data.replace(root.encode(), b"ROOT")


def hashes(root: Path) -> dict[str, str]:
    kept = (".nii.gz", ".json", ".csv", ".npz", ".b2nd", ".pkl", ".gif", ".safetensors", ".md")
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and name.endswith(kept) and not SKIP_PARTS & set(path.parts) and "losses" not in name:
            found[name] = hashlib.sha256(content(path, str(root))).hexdigest()[:16]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="table of another version")
    parser.add_argument("--trained", type=Path, help="folder of another run, from which nnU-Net's trainings are taken")
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    if not root.exists():
        make(root, arguments.trained)
    now = hashes(root)
    arguments.out.write_text(json.dumps(now, indent=1) + "\n")
    result: dict[str, Any] = {"files": len(now)}
    if arguments.against:
        then = json.loads(arguments.against.read_text())
        result["same"] = sum(then.get(k) == v for k, v in now.items())
        result["changed"] = sorted(k for k in now.keys() & then.keys() if now[k] != then[k])
        result["gone"], result["new"] = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
