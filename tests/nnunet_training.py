"""What tests of the trainer share: nnU-Net's way to make one, plans with other settings, and no traces for the next test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_fixture import DATASET, PLANS, Project
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.bank.manifest import manifest_path


@pytest.fixture
def trained_here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registered as the start-up hook does it, one torch thread, no results left for the next test."""
    monkeypatch.setenv("nnUNet_extTrainer", str(Path(__file__).resolve().parents[1] / "trainers"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    shutil.rmtree(project.results, ignore_errors=True)


def make(name: str, plans: str = PLANS, fold: Any = 0, resume: bool = False, configuration: str = "2d") -> Any:
    """As nnUNetv2_train does it."""
    made = get_trainer_from_args(DATASET, configuration, fold, name, plans, resume, device=torch.device("cpu"))
    maybe_load_checkpoint(made, resume, False)
    return made


@pytest.fixture
def plans_with(project: Project) -> Iterator[Any]:
    """Writes plans copies with other synth_aug settings."""
    written: list[Path] = []

    def write(name: str, **settings: Any) -> str:
        content = read_json(project.preprocessed / f"{PLANS}.json")
        path = project.preprocessed / f"{name}.json"
        write_json(path, {**content, "plans_name": name, "synth_aug": {**content["synth_aug"], **settings}})
        written.append(path)
        return name

    yield write
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture
def manifest(project: Project) -> Iterator[Path]:
    """Fold 0's manifest, restored afterwards."""
    path = manifest_path(DATASET, 0, f"{PLANS}_2d")
    good = path.read_text()
    yield path
    path.write_text(good)
