"""Several processes, as with nnU-Net's -num_gpus: one quota, one record, and every process opens and checks the bank."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nnunet_ddp_worker as worker
import pytest
import torch
from nnunet_fixture import Project, built_project, project
from nnunet_training import plans_with

from nnunet_synth_aug.files import read_json

__all__ = ["built_project", "plans_with", "project"]


def two_processes(project: Project, folder: Path, plans: str) -> list[dict[str, Any]]:
    trainers = str(Path(__file__).resolve().parents[1] / "trainers")
    environment = project.environment | {"nnUNet_n_proc_DA": "0", "nnUNet_extTrainer": trainers, "PYTHONPATH": str(Path(__file__).parent)}
    started = []
    for rank in range(2):
        with (folder / f"rank{rank}.log").open("w") as log:
            command = [sys.executable, worker.__file__, str(rank), str(folder), plans]
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
    """0.3 of a joint batch of 4: one or two synthetic samples per joint batch, never more, whichever process has them."""
    settings = {"epochs": 2, "iterations_per_epoch": 5, "schedule": {"to": 0.9}}
    name = plans_with("ddpPlans", ratio=0.4, **settings)
    (project.preprocessed / f"{name}.json").rename(tmp_path / "changed.json")
    plans_with("ddpPlans", ratio=0.3, **settings)
    folder = project.results / f"{worker.TRAINER}__{name}__2d" / "fold_0"
    try:
        ranks = two_processes(project, tmp_path, name)
        joint = [[*a, *b] for a, b in zip(ranks[0]["keys"], ranks[1]["keys"], strict=True)]
        assert [len(batch) for batch in joint] == [4] * 10
        counts = [sum(key.startswith("synth_") for key in batch) for batch in joint]
        assert set(counts[:5]) <= {1, 2}
        assert set(counts[5:]) <= {3, 4}
        assert (sum(counts[:5]), sum(counts[5:])) == (6, 18)
        assert ranks[0]["keys"] != ranks[1]["keys"]
        assert ranks[0]["weights"] == ranks[1]["weights"]  # one network, synchronised
        assert all("ratio was 0.3 and is 0.4" in rank["refused"] for rank in ranks)

        record = read_json(folder / "synth_aug.json")
        seen = {key for batch in joint for key in batch if key.startswith("synth_")}
        assert [(e["batches"], e["samples"], e["synthetic_samples"]) for e in record["epochs"]] == [(5, 20, 6), (5, 20, 18)]
        assert record["distinct_synthetic_cases"] == len(seen)
        checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False)
        assert checkpoint["init_args"]["plans"]["synth_aug"]["manifest_hash"] == record["manifest_hash"]
    finally:
        shutil.rmtree(project.results, ignore_errors=True)
