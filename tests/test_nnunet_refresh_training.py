"""Live refresh with a real generator's process: beside a training in this process, killed, continued, and with its parent killed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_fixture import DATASET, PLANS, Project
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint
from refresh_fixture import alive, write_generator

from nnunet_synth_aug.cli.nnunet import plans as plans_command
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet.bank.manifest import read_manifest
from nnunet_synth_aug.nnunet.refresh.cases import JOURNAL, VERSION, live_folder, read_case, read_journal
from nnunet_synth_aug.nnunet.refresh.trainer_side import JOB, LOG, STATE, Refresher, RefreshSettings
from nnunet_synth_aug.nnunet.target import load_target

TRAINER = "nnUNetTrainerSynthAug_mix50"
LIVE = "livePlans"


@pytest.fixture
def live_plans(project: Project, refreshable: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Five epochs of three iterations; two of the bank's three hearts are replaced after each."""
    monkeypatch.setenv("nnUNet_extTrainer", str(Path(__file__).resolve().parents[1] / "trainers"))
    content = read_json(project.preprocessed / f"{PLANS}.json")
    run = {"epochs": 5, "iterations_per_epoch": 3, "val_iterations_per_epoch": 1, "refresh": {"per_epoch": 6}}
    path = project.preprocessed / f"{LIVE}.json"
    write_json(path, {**content, "plans_name": LIVE, "synth_aug": run})
    results = project.results / f"{TRAINER}__{LIVE}__2d"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield LIVE
    torch.set_num_threads(threads)
    path.unlink()
    shutil.rmtree(results, ignore_errors=True)


def make(plans: str, resume: bool = False) -> Any:
    """As nnUNetv2_train does it."""
    made = get_trainer_from_args(DATASET, "2d", 0, TRAINER, plans, resume, device=torch.device("cpu"))
    maybe_load_checkpoint(made, resume, False)
    return made


def generator_of(trainer: Any) -> int:
    return int(trainer._refresher._process.pid)


def wait_until(condition: Any, seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.slow
def test_training_refreshes_stops_continues_and_outlives_its_generator(
    project: Project, live_plans: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs 0 to 2, an interruption in epoch 2; --c; the generator is killed in epoch 3; the training ends."""
    made = make(live_plans)
    made.save_every = 1
    folder = Path(made.output_folder)
    live = live_folder(project.preprocessed / "synth_aug" / "fold_0", folder)
    versions: list[tuple[str, int]] = []  # what the batches carried, beside what is recorded

    def watch(trainer: Any, epoch: int, act: Any) -> None:
        step, begin = trainer.train_step, trainer.on_train_epoch_start

        def watched(batch: dict) -> dict:
            versions.extend((str(k), int(v)) for k, v in zip(batch["keys"], batch["versions"], strict=True) if k.startswith("synth_"))
            return step(batch)

        monkeypatch.setattr(trainer, "train_step", watched)
        monkeypatch.setattr(trainer, "on_train_epoch_start", lambda: (begin(), trainer.current_epoch == epoch and act()))

    def interrupt() -> None:
        raise KeyboardInterrupt

    watch(made, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        made.run_training()
    first = generator_of(made)
    assert alive(first)
    assert [entry["version"] for entry in read_journal(folder / JOURNAL)] == [1, 1, 1, 2]
    monkeypatch.undo()
    del made
    gc.collect()
    assert wait_until(lambda: not alive(first), 20)

    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(project.root / name))
    again = make(live_plans, resume=True)
    assert again.current_epoch == 2
    watch(again, 3, lambda: os.kill(generator_of(again), signal.SIGKILL))
    again.run_training()
    second = generator_of(again)
    assert not alive(second)
    assert not live.exists()  # the journal holds what makes its cases again

    journal = read_journal(folder / JOURNAL)
    assert [entry["heart"] for entry in journal] == [0, 1, 2, 3, 4, 5]
    assert [entry["version"] for entry in journal] == [1, 1, 1, 2, 2, 2]
    record = read_json(folder / "synth_aug.json")
    assert [(epoch["epoch"], epoch["replaced"]) for epoch in record["epochs"]] == [(0, 0), (1, 6), (2, 12), (3, 18), (4, 18)]
    refreshed = record["refresh"]
    assert {k: refreshed[k] for k in ("per_epoch", "device", "between_epochs", "replaced", "hearts", "given_up", "journal")} == {
        "per_epoch": 6,
        "device": "cpu",
        "between_epochs": True,
        "replaced": 18,
        "hearts": 6,
        "given_up": 0,
        "journal": JOURNAL,
    }
    assert refreshed["waited_seconds"] > 0
    seen = {f"{case}@{number}" if number else case for case, number in versions}
    assert set(record["first_seen"]) == seen
    assert record["distinct_synthetic_cases"] == len(seen)
    assert {number for _, number in versions} == {0, 1, 2}
    possible = {(case, entry["version"]) for entry in journal for case in entry["cases"]}
    assert {pair for pair in versions if pair[1]} <= possible
    # The samples of epoch 4: two rounds are complete, and without a generator it stays like that.
    assert {number for _, number in versions[-6:]} == {2}
    log = "".join(path.read_text() for path in sorted(folder.glob("training_log*.txt")))
    assert log.count("WARNING: the generator of the live refresh was killed (SIGKILL)") == 1
    assert "18 cases replaced; see" in log
    assert f"distinct synthetic cases seen (in 9 places, {18} replaced so far)" in log
    assert (folder / LOG).is_file()
    stored = torch.load(folder / "checkpoint_final.pth", weights_only=False)["init_args"]["plans"]["synth_aug"]
    assert stored["refresh"] == {"per_epoch": 6}


@pytest.mark.slow
def test_another_generator_is_refused_before_the_first_step(project: Project, live_plans: str, refreshable: Path) -> None:
    write_generator(refreshable, seed=1)
    made = make(live_plans)
    with pytest.raises(SystemExit, match=r"did not start: the generator in .* is not the one that made the bank of fold 0") as caught:
        made.run_training()
    assert len(str(caught.value).strip().splitlines()) == 1
    assert not list(Path(made.output_folder).glob("*.pth"))
    assert not live_folder(project.preprocessed / "synth_aug" / "fold_0", Path(made.output_folder)).exists()


@pytest.mark.slow
def test_the_generator_ends_with_its_parent_even_if_the_pipe_stays_open(project: Project, refreshable: Path, tmp_path: Path) -> None:
    """Loader workers that outlive a killed trainer hold copies of its end of the pipe: here this process does."""
    manifest = read_manifest(load_target(731, "2d", PLANS), 0)
    output = tmp_path / "trainer__plans__2d" / "fold_0"
    output.mkdir(parents=True)
    refresher = Refresher(RefreshSettings(3, "cpu"), manifest, output, "cuda")
    assert not refresher.together
    live = live_folder(manifest.folder.parent, output)
    live.mkdir(parents=True)
    code = 'exec 3<&0; while [ ! -f "$1" ]; do sleep 0.05; done; "$2" -m nnunet_synth_aug.nnunet.refresh.process "$1" <&3 & echo $!; wait'
    parent = subprocess.Popen(
        ["sh", "-c", code, "sh", str(live / JOB), sys.executable],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    write_json(live / JOB, refresher._job)
    child = int(parent.stdout.readline())
    try:
        parent.stdin.write("3\n")
        parent.stdin.flush()
        assert wait_until(lambda: (live / STATE).is_file() and read_json(live / STATE)["turns"] == 1)
        replaced = [read_case(live, case) for case in manifest.ids]
        assert [None if case is None else case[3][VERSION] for case in replaced] == [1, 1, 1, None, None, None, None, None, None]
        assert all(np.isfinite(case[0][:]).all() for case in replaced if case is not None)
        assert alive(child)
        parent.kill()
        parent.wait()
        assert wait_until(lambda: not alive(child), 20)
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)
        shutil.rmtree(live)


def test_plans_command_writes_the_settings(project: Project, tmp_path: Path) -> None:
    path = project.preprocessed / "askedPlans.json"
    try:
        plans_command("731", "askedPlans", refresh_per_epoch=8, refresh_device="cuda:1", refresh_generator=tmp_path)
        assert read_json(path)["synth_aug"]["refresh"] == {"per_epoch": 8, "device": "cuda:1", "generator": str(tmp_path)}
        plans_command("731", "askedPlans", epochs=3)
        assert read_json(path)["synth_aug"] == {"epochs": 3}
        with pytest.raises(UserError, match="refresh lacks the key 'per_epoch'"):
            plans_command("731", "askedPlans", refresh_device="cpu")
    finally:
        path.unlink()
