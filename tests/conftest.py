"""Fixtures that many test files share, each made once per run.

Plain ``pytest`` runs the fast tier on all cores; ``pytest -m slow`` the slow one. A run of named files or tests stays in one process.
"""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # the tests share the cores already; must be said before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from shared_folders import Shared, set_folders

settings.register_profile("shared cores", deadline=None)  # an example takes longer beside other tests
settings.load_profile("shared cores")

TRAINERS = Path(__file__).resolve().parents[1] / "trainers"
#: Processes of a run of all tests: each takes about 2 GB.
MOST_WORKERS = 8


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    named = config.args_source == pytest.Config.ArgsSource.ARGS and all(Path(word.partition("::")[0]).suffix for word in config.args)
    return 0 if named else min(os.cpu_count() or 1, MOST_WORKERS)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory)


@pytest.fixture(scope="session")
def phantoms(shared: Shared) -> list[Any]:
    """Seven phantom patients, drawn with seed 5."""

    def build(folder: Path) -> None:
        from nnunet_synth_aug.data.phantom import phantom_cohort

        (folder / "phantoms.pkl").write_bytes(pickle.dumps(list(phantom_cohort(7, seed=5))))

    return list(pickle.loads((shared.folder("phantoms", build) / "phantoms.pkl").read_bytes()))


@pytest.fixture
def masks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms without the seconds that their images take; every third frame of the cycle, and ES."""
    import numpy as np

    from nnunet_synth_aug.data.phantom import subject
    from nnunet_synth_aug.data.phantom.stack import label_frame

    def render(rng: Any, heart: Any, details: Any, thorax: Any, stack: Any, look: Any, activations: Any, shown: Any) -> Any:
        planes = stack.planes()
        frames = sorted({*shown[::3], int(np.argmax(activations))})
        mask = np.stack([label_frame(stack, planes, heart, float(activations[t])) for t in frames])
        return np.zeros(mask.shape, np.int16), mask

    monkeypatch.setattr(subject, "render", render)


@pytest.fixture(scope="session")
def phantom_dataset(shared: Shared, phantoms: list[Any]) -> Path:
    """nnU-Net's folders with data set 7, the first four phantoms in two folds; read only."""

    def build(folder: Path) -> None:
        from nnunet_synth_aug.data.raw_dataset import write_dataset

        with pytest.MonkeyPatch.context() as patch:
            set_folders(patch, folder)
            write_dataset(phantoms[:4], 7, "Phantom", folds=2)

    return shared.folder("dataset", build)


@pytest.fixture(scope="session")
def micro_generator(shared: Shared, phantom_dataset: Path) -> Path:
    """nnU-Net's folders as in ``phantom_dataset``, with a generator of ``micro.MICRO`` fitted on fold 0; read only."""

    def build(folder: Path) -> None:
        import torch
        from micro import MICRO

        from nnunet_synth_aug.model.fit import fit_generator

        shutil.copytree(phantom_dataset, folder, dirs_exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            set_folders(patch, folder)
            fit_generator("7", 0, MICRO, torch.device("cpu"))

    return shared.folder("generator", build)


@pytest.fixture(scope="session")
def world(shared: Shared, phantoms: list[Any]) -> Any:
    """The seven phantoms as a cohort, and an untrained generator that claims to have been trained on the first three."""
    import realism_fixture

    return realism_fixture.read_world(shared.folder("realism", lambda folder: realism_fixture.write(folder, phantoms)))


@pytest.fixture(scope="session")
def built_project(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small real nnU-Net project, planned and preprocessed once; each process works on its own copy."""
    import nnunet_fixture

    root = tmp_path_factory.mktemp("nnunet")
    shutil.copytree(shared.folder("nnunet", nnunet_fixture.build), root, dirs_exist_ok=True)
    return nnunet_fixture.Project(root)


@pytest.fixture(scope="session")
def trained_by_command(shared: Shared) -> Any:
    """The small project after nnU-Net's own command in a process of its own, with nothing set by hand but the three folders; read only."""
    import nnunet_fixture

    def train(folder: Path) -> None:
        shutil.copytree(shared.folder("nnunet", nnunet_fixture.build), folder, dirs_exist_ok=True)
        words = ("731", "2d", "0", "-tr", nnunet_fixture.TRAINED, "-p", nnunet_fixture.PLANS, "-device", "cpu", "--npz")
        # A worker process, so the loader travels.
        result = nnunet_fixture.command(nnunet_fixture.Project(folder), "nnUNetv2_train", *words, nnUNet_n_proc_DA="1")
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
        (folder / "training.log").write_text(result.stdout)

    return nnunet_fixture.Project(shared.folder("nnunet_trained", train))


@pytest.fixture
def project(built_project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The shared project with the environment set; a test that changes files must restore them or work on a copy."""
    set_folders(monkeypatch, built_project.root)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")  # loaders in this process; planning would not survive it
    return built_project


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks as small as these are slower with several threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def trained_here(project: Any, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registered as the start-up hook does it, one torch thread, no results left for the next test."""
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    yield
    shutil.rmtree(project.results, ignore_errors=True)


@pytest.fixture
def plans_with(project: Any) -> Iterator[Callable[..., str]]:
    """Writes plans copies with other synth_aug settings."""
    from nnunet_fixture import PLANS

    from nnunet_synth_aug.core.files import read_json, write_json

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
def manifest(project: Any) -> Iterator[Path]:
    """Fold 0's manifest, restored afterwards."""
    from nnunet_fixture import DATASET, PLANS

    from nnunet_synth_aug.nnunet.bank.manifest import manifest_path

    path = manifest_path(DATASET, 0, f"{PLANS}_2d")
    good = path.read_text()
    yield path
    path.write_text(good)


@pytest.fixture
def refreshable(project: Any) -> Iterator[Path]:
    """The folder of the generator that the manifest of fold 0 names; its hearts are noise, so the bank is one that was not checked."""
    from nnunet_fixture import DATASET, PLANS
    from refresh_fixture import write_generator

    from nnunet_synth_aug.core.files import read_json, write_json
    from nnunet_synth_aug.nnunet.bank.manifest import manifest_path

    folder: Path = project.results / "synth_aug_generator" / "fold_0"
    path = manifest_path(DATASET, 0, f"{PLANS}_2d")
    good = path.read_text()
    content = read_json(path)
    content["generator"] |= {"generator_hash": write_generator(folder), "quality": {"checked": False}}
    write_json(path, content)
    yield folder
    path.write_text(good)
