"""Several processes, as with nnU-Net's -num_gpus: one quota, one record, and every process opens and checks the bank."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nnunet_ddp_worker as worker
import pytest
import torch
from nnunet_fixture import VALIDATION, Project

from nnunet_synth_aug.core.files import read_json, write_json


def two_processes(project: Project, folder: Path, plans: list[str]) -> list[list[dict[str, Any]]]:
    """What each process noted of each training, processes first."""
    trainers = str(Path(__file__).resolve().parents[1] / "trainers")
    environment = project.environment | {"nnUNet_n_proc_DA": "0", "nnUNet_extTrainer": trainers, "PYTHONPATH": str(Path(__file__).parent)}
    started = []
    for rank in range(2):
        with (folder / f"rank{rank}.log").open("w") as log:
            command = [sys.executable, worker.__file__, str(rank), str(folder), *plans]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=project.root))
    try:
        codes = [process.wait(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, 0], "\n".join((folder / f"rank{rank}.log").read_text()[-3000:] for rank in range(2))
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_share_one_quota_and_one_record(project: Project, plans_with: Any, tmp_path: Path) -> None:
    """Each joint batch holds the share rounded down or up, whichever process has the samples; of 5, one process has 3.

    nnU-Net's batch Dice gathers one array per process, all of which must be of one size, so 5 goes without it, as its 3d_fullres does.
    Both trainings run in one start of the two processes.
    """
    batches = {"ddp4Plans": 4, "ddp5Plans": 5}
    settings = {"epochs": 2, "iterations_per_epoch": 5, "schedule": {"to": 0.9}}
    for name, batch in batches.items():
        plans_with(name, ratio=0.4, **settings)
        path = project.preprocessed / f"{name}.json"
        path.rename(tmp_path / f"{name}_changed.json")
        plans_with(name, ratio=0.3, **settings)
        for written in (path, tmp_path / f"{name}_changed.json"):
            content = read_json(written)
            content["configurations"]["2d"] |= {"batch_size": batch, "batch_dice": batch == 4}
            write_json(written, content)
    try:
        for (name, batch), ranks in zip(batches.items(), zip(*two_processes(project, tmp_path, list(batches)), strict=True), strict=True):
            check(ranks, batch, project.results / f"{worker.TRAINER}__{name}__2d" / "fold_0")
    finally:
        shutil.rmtree(project.results, ignore_errors=True)


def check(ranks: tuple[dict[str, Any], ...], batch: int, folder: Path) -> None:
    joint = [[*a, *b] for a, b in zip(ranks[0]["keys"], ranks[1]["keys"], strict=True)]
    assert {len(keys) for keys in ranks[0]["keys"]} == {(batch + 1) // 2}
    assert {len(keys) for keys in ranks[1]["keys"]} == {batch // 2}
    counts = [sum(key.startswith("synth_") for key in keys) for keys in joint]
    for ratio, drawn in ((0.3, counts[:5]), (0.9, counts[5:])):
        assert set(drawn) <= {math.floor(ratio * batch), math.ceil(ratio * batch)}
        assert abs(sum(drawn) - 5 * ratio * batch) < 1
    assert sum(counts) == 5 * batch * 1.2
    assert ranks[0]["keys"] != ranks[1]["keys"]
    assert ranks[0]["weights"] == ranks[1]["weights"]  # one network, synchronised
    assert all("ratio was 0.3 and is 0.4" in rank["refused"] for rank in ranks)

    record = read_json(folder / "synth_aug.json")
    seen = {key for keys in joint for key in keys if key.startswith("synth_")}
    recorded = [(e["batches"], e["samples"], e["synthetic_samples"]) for e in record["epochs"]]
    assert recorded == [(5, 5 * batch, sum(counts[:5])), (5, 5 * batch, sum(counts[5:]))]
    assert record["distinct_synthetic_cases"] == len(seen)
    checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["init_args"]["plans"]["synth_aug"]["manifest_hash"] == record["manifest_hash"]
    if batch == 5:  # validates as the other does
        return
    # The processes share the validation cases, which are real.
    validated = sorted(file.name.removesuffix(".nii.gz") for file in (folder / "validation").glob("*.nii.gz"))
    assert validated == [f"{patient}_{phase}" for patient in VALIDATION[0] for phase in ("ED", "ES")]
    assert len(read_json(folder / "validation" / "summary.json")["metric_per_case"]) == 4
