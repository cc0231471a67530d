"""Live refresh under load: 1 000 cases are replaced while two of nnU-Net's loader processes read, and again with the writer killed.

    python tests/benchmarks/refresh.py [--replacements 1000] [--bank 24] [--seed 0] [--write]

Made-up cases of 8 x 128 x 108 voxels; every version of a case carries a digest of its image, its segmentation and its version in its
properties. The readers are the worker processes of nnU-Net's augmenter on this package's loader and dataset; of every synthetic case
that they load they check the whole content against the digest, beside cutting nnU-Net's patch from it. The writer is
another process, which replaces cases as fast as it can with the functions that the generator's process uses. Three runs: to
the end; killed (SIGKILL) after half and continued by a second writer; and, to see that the check finds what it looks for, a quarter
as many in the naive way, which replaces nnU-Net's three files one after the other. The last line is one JSON object; ``--write``
puts it into docs/nnunet/refresh.json.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

from nnunet_synth_aug.core.files import write_json
from nnunet_synth_aug.nnunet.bank.preprocess import CASE_FILES
from nnunet_synth_aug.nnunet.mixing.dataset import LiveDataset, MixedDataset
from nnunet_synth_aug.nnunet.mixing.loader import MixedDataLoader
from nnunet_synth_aug.nnunet.mixing.mixture import Mix
from nnunet_synth_aug.nnunet.refresh.cases import VERSION, add_to_journal, mend_journal, publish, read_journal

OUT = Path(__file__).resolve().parents[2] / "docs" / "nnunet" / "refresh.json"
SHAPE, PATCH = (1, 8, 128, 108), (128, 112)
WORKERS, BATCH, REAL = 2, 4, 4
DIGEST = "digest"


def names(count: int) -> list[str]:
    return [f"synth_{i // 4:05d}_t{i % 4:02d}" for i in range(count)]


def digest(image: np.ndarray, seg: np.ndarray, number: int) -> str:
    return hashlib.sha256(image.tobytes() + seg.tobytes() + str(number).encode()).hexdigest()


def write_version(folder: Path, case: str, number: int, seed: int) -> None:
    """The three files of a made-up case; no two versions of any case are alike."""
    rng = np.random.default_rng([seed, number, int(hashlib.sha256(case.encode()).hexdigest()[:8], 16)])
    image = np.repeat(np.repeat(rng.normal(size=(1, 8, 32, 27)), 4, 2), 4, 3).astype(np.float32)
    seg = (image > 1).astype(np.int16)
    notes = {"class_locations": {1: np.argwhere(seg == 1)[:10000]}, VERSION: number, DIGEST: digest(image, seg, number)}
    blocks, chunks = comp_blosc2_params(SHAPE, PATCH, 4)
    blocks_seg, chunks_seg = comp_blosc2_params(SHAPE, PATCH, 2)
    nnUNetDatasetBlosc2.save_case(
        image, seg, notes, str(folder / case), chunks=chunks, blocks=blocks, chunks_seg=chunks_seg, blocks_seg=blocks_seg
    )


class Checked:
    """A dataset of synthetic cases, each checked as it is loaded; one line per load in a file of the process."""

    def __init__(self, cases: nnUNetDatasetBlosc2, reports: Path) -> None:
        self._cases, self._reports, self.identifiers = cases, reports, cases.identifiers
        self._newest: dict[str, int] = {}  # of this process

    def load_case(self, identifier: str) -> tuple[Any, Any, None, dict[str, Any]]:
        try:
            image, seg, _, properties = self._cases.load_case(identifier)
            number = properties[VERSION]
            found = "whole" if digest(image[:], seg[:], number) == properties[DIGEST] else "torn"
            if number < self._newest.get(identifier, 0):
                found = "older than before"
            self._newest[identifier] = number
        except Exception as error:  # any, for the report; the training would have ended here
            found, number = f"missing or unreadable: {type(error).__name__}", -1
            image, seg, properties = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.int16), {"class_locations": {}}
        with (self._reports / f"{os.getpid()}.jsonl").open("a") as stream:
            stream.write(json.dumps([identifier, number, found]) + "\n")
        return image, seg, None, properties


def writer(folder: Path, count: int, bank: int, seed: int, naive: bool) -> None:
    """Replace cases in turn until ``count`` are replaced, those of a killed writer included."""
    journal, cases = folder.parent / "journal.jsonl", names(bank)
    workshop = folder.parent / f".partial-{folder.name}"
    shutil.rmtree(workshop, ignore_errors=True)  # what a killed writer was at
    workshop.mkdir()
    noted = len(mend_journal(journal))
    for done in range(max(noted - 1, 0), count):  # a killed writer may have noted its last one and not published it
        case, number = cases[done % bank], 1 + done // bank
        write_version(workshop, case, number, seed)
        if done >= noted:
            add_to_journal(journal, {"case": case, "version": number})
        if naive:
            for ending in CASE_FILES:
                (workshop / f"{case}{ending}").replace(folder / f"{case}{ending}")
        else:
            publish(workshop, folder, case)


def run(root: Path, count: int, bank: int, seed: int, kill_after: int | None = None, naive: bool = False) -> dict[str, Any]:
    """Readers and a writer at once.

    Args:
        root: an empty folder.
        count: replacements.
        bank: synthetic cases.
        seed: of their content.
        kill_after: replacements after which the writer is killed; after two more seconds of reading another one goes on.
        naive: replace nnU-Net's three files one after the other.
    """
    cases = {kind: root / kind for kind in ("real", "bank", "live", "reports")}
    for folder in cases.values():
        folder.mkdir(parents=True)
    for i in range(REAL):
        write_version(cases["real"], f"patient{i:03d}", 0, seed)
    for case in names(bank):
        write_version(cases["bank"], case, 0, seed)
    plain = nnUNetDatasetBlosc2(str(cases["bank"]), names(bank))
    synthetic = Checked(plain if naive else LiveDataset(cases["bank"], names(bank), cases["live"]), cases["reports"])
    data = MixedDataset(nnUNetDatasetBlosc2(str(cases["real"])), synthetic)  # type: ignore[arg-type]
    labels: Any = SimpleNamespace(all_labels=[1], has_ignore_label=False)
    loader = MixedDataLoader(data, BATCH, PATCH, PATCH, labels, 0.33, mix=Mix((0.75,), 10**9))
    augmenter = NonDetMultiThreadedAugmenter(loader, None, WORKERS, num_cached=4)

    fork = multiprocessing.get_context("fork")  # a fresh interpreter would import nnU-Net for longer than it writes

    def start_writer() -> Any:
        process = fork.Process(target=writer, args=(cases["bank" if naive else "live"], count, bank, seed, naive), daemon=True)
        process.start()
        return process

    journal, batches, seen = root / "journal.jsonl", 0, set()

    def read() -> None:
        nonlocal batches
        batch = next(augmenter)
        batches += 1
        seen.update((str(k), int(v)) for k, v in zip(batch["keys"], batch["versions"], strict=True) if k.startswith("synth"))

    read()
    start = time.monotonic()
    process = start_writer()
    killed_at = None
    while process.is_alive():
        read()
        if kill_after is not None and killed_at is None and (done := len(read_journal(journal))) >= kill_after:
            process.kill()
            process.join()
            killed_at, pause = done, time.monotonic() + 2
            while time.monotonic() < pause:
                read()
            process = start_writer()
    seconds = time.monotonic() - start
    if process.exitcode != 0:
        raise SystemExit(f"the writer ended with code {process.exitcode}")
    for _ in range(bank):
        read()
    augmenter._finish()
    lines = [json.loads(line) for file in sorted(cases["reports"].iterdir()) for line in file.read_text().splitlines()]
    loads = Counter(found for _, _, found in lines)
    last = {entry["case"]: entry["version"] for entry in read_journal(journal)}
    stored = {case: synthetic.load_case(case)[3].get(VERSION, -1) for case in names(bank)}
    return {
        "replacements": count,
        "killed_after": killed_at,
        "seconds": round(seconds, 1),
        "replacements_per_second": round(count / seconds, 1),
        "readers": len({file.stem for file in cases["reports"].iterdir()} - {str(os.getpid())}),
        "batches": batches,
        "loads": len(lines),
        "whole": loads.pop("whole", 0),
        "wrong": dict(loads),
        "versions_read": len({(case, number) for case, number, _ in lines if number >= 0}),
        "versions_in_batches": len(seen),
        "last_version_on_disk_everywhere": stored == last,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replacements", type=int, default=1000)
    parser.add_argument("--bank", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"to {OUT.relative_to(OUT.parents[2])}")
    arguments = parser.parse_args()
    count, bank, seed = arguments.replacements, arguments.bank, arguments.seed
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        runs = {
            "undisturbed": run(Path(scratch, "a"), count, bank, seed),
            "writer_killed_half_way": run(Path(scratch, "b"), count, bank, seed, kill_after=count // 2),
            "naive_way_for_comparison": run(Path(scratch, "c"), count // 4, bank, seed, naive=True),
        }
        figures = {
            "data": f"{bank} made-up cases of {' x '.join(map(str, SHAPE[1:]))} voxels",
            "seed": seed,
            "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), shared with other work",
            "workers": WORKERS,
            **runs,
            "python": platform.python_version(),
            "nnunetv2": version("nnunetv2"),
            "blosc2": version("blosc2"),
            "date": time.strftime("%Y-%m-%d"),
        }
    if arguments.write:
        write_json(OUT, figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
