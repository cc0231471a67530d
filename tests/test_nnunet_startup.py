"""The start-up hook and the doctor, in fresh interpreters as a user has them."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, built_project, project

from nnunet_synth_aug import _startup
from nnunet_synth_aug.errors import UserError
from nnunet_synth_aug.files import read_json, write_json
from nnunet_synth_aug.nnunet import doctor, install
from nnunet_synth_aug.nnunet.doctor import Check, run_checks
from nnunet_synth_aug.nnunet.manifest import manifest_path

__all__ = ["built_project", "project"]
HOOK = Path(__file__).resolve().parents[1] / "nnunet_synth_aug" / "_startup.pth"  # the wheel holds it at its root only
START = HOOK.with_suffix(".start")
SHOW = "import os; print(os.environ.get('nnUNet_extTrainer', ''))"


def fresh(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("nnUNet_extTrainer", _startup.SWITCH)}
    return subprocess.run([sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, check=True)


def test_the_hook_registers_in_every_interpreter() -> None:
    folder = _startup.trainers_folder()
    assert (Path(folder) / _startup.SHIM).is_file()
    assert fresh(SHOW).stdout.strip() == folder
    own = os.pathsep.join(["/my/trainers", "/other"])
    assert fresh(SHOW, nnUNet_extTrainer=own).stdout.strip() == own + os.pathsep + folder
    assert fresh(SHOW, nnUNet_extTrainer=folder).stdout.strip() == folder  # nothing twice, as in a child process
    assert fresh(SHOW, NNUNET_SYNTH_AUG_AUTOREGISTER="0").stdout.strip() == ""


def test_the_hook_imports_nothing_heavy() -> None:
    code = "import sys; print(sorted({'numpy', 'torch', 'nnunetv2', 'nibabel', 'pathlib'} & set(sys.modules)))"
    assert fresh(code).stdout.strip() == "[]"
    assert fresh("import sys; print('nnunet_synth_aug._startup' in sys.modules)").stdout.strip() == "True"


def test_the_hook_survives_a_missing_package(tmp_path: Path) -> None:
    """After a half-done uninstall the .pth may be left: the interpreter must start without a word."""
    text = HOOK.read_text()
    assert text.startswith("import ")
    assert len(text.strip().splitlines()) == 1
    (tmp_path / HOOK.name).write_text(text)
    code = f"import site; site.addsitedir({str(tmp_path)!r}); print('fine')"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("fine", "")


def test_the_start_file_names_what_the_hook_calls() -> None:
    """Python 3.15 resolves each line with pkgutil.resolve_name and calls it; a matching .pth is then ignored (PEP 829)."""
    (line,) = START.read_text().split()
    assert ":" in line
    assert pkgutil.resolve_name(line) is _startup.register


def test_register_without_the_shim_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.delenv(_startup.SWITCH, raising=False)
    monkeypatch.setattr(_startup, "trainers_folder", lambda: str(tmp_path))
    _startup.register()
    assert "nnUNet_extTrainer" not in os.environ


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_doctor_on_a_sound_project(project: Project) -> None:
    checks = by_name(run_checks(731, 0, "2d", PLANS))
    assert [c.name for c in checks.values() if not c.ok] == []
    assert "nnunet_synth_aug.nnunet.trainer.nnUNetTrainerSynthAug_mix50" in checks["trainer"].message
    assert "8 training and 4 validation cases, no patient in both" in checks["fold"].message
    assert "9 synthetic cases, complete" in checks["bank"].message


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks that start interpreters."""
    sound = Check("quick", True, "")
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor._trainer", lambda: sound)
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor._torch_pair", lambda: sound)


@pytest.mark.usefixtures("quick")
def test_doctor_names_what_is_wrong(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "synthaug bank" in by_name(run_checks(731, 1, "2d", PLANS))["bank"].remedy
    assert "nnUNetv2_preprocess" in by_name(run_checks(731, 0, "3d_fullres"))["plans"].remedy
    assert "fold 9 is not in" in by_name(run_checks(731, 9, "2d", PLANS))["fold"].message

    path = manifest_path(DATASET, 0, f"{PLANS}_2d")
    good = path.read_text()
    try:
        content = read_json(path)
        content["generator"]["patients"] = list(PATIENTS)
        write_json(path, content)
        leak = by_name(run_checks(731, 0, "2d", PLANS))["bank"]
    finally:
        path.write_text(good)
    assert not leak.ok
    assert "patient005, patient006" in leak.message

    splits = project.preprocessed / "splits_final.json"
    good = splits.read_text()
    try:
        write_json(splits, [{"train": ["patient001_ED"], "val": ["patient001_ES"]}])
        mixed = by_name(run_checks(731, 0, "2d", PLANS))["fold"]
    finally:
        splits.write_text(good)
    assert not mixed.ok
    assert "same patients (patient001)" in mixed.message

    monkeypatch.setenv("nnUNet_results", str(tmp_path / "none"))
    monkeypatch.delenv("nnUNet_raw")
    checks = by_name(run_checks())
    assert checks["nnUNet_results"].remedy == f"mkdir -p {tmp_path / 'none'}"
    assert not checks["nnUNet_raw"].ok
    assert checks["nnUNet_preprocessed"].ok


@pytest.mark.slow
def test_doctor_names_a_missing_registration(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor._torch_pair", lambda: Check("torch", True, ""))
    monkeypatch.setenv(_startup.SWITCH, "0")
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    check = by_name(run_checks())["trainer"]
    assert not check.ok
    assert check.remedy == f"export nnUNet_extTrainer={_startup.trainers_folder()}, or 'synthaug install-trainers'"


# ------------------------------------------------------------------ the fallback inside nnU-Net's folder


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of nnU-Net's package, first on the path of this process and of those it starts."""
    site = tmp_path / "site"
    spec = importlib.util.find_spec("nnunetv2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    shutil.copytree(spec.submodule_search_locations[0], site / "nnunetv2", ignore=shutil.ignore_patterns("__pycache__"))
    folder = site / "nnunetv2" / "training" / "nnUNetTrainer"
    monkeypatch.setattr(install, "nnunet_trainers_folder", lambda: folder)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return folder


def lookup(*names: str) -> subprocess.CompletedProcess[str]:
    """nnU-Net's own lookup with the hook switched off; prints module and name of each class."""
    code = "from nnunetv2.run.run_training import recursive_find_trainer_class_by_name as find\n"
    code += "\n".join(f"c = find({name!r}); print('found', c.__module__, c.__name__)" for name in names)
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**{k: v for k, v in os.environ.items() if k != "nnUNet_extTrainer"}, _startup.SWITCH: "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_installed_trainers_are_found_and_undone_without_a_trace(host: Path) -> None:
    before = sorted(host.rglob("*"))
    install.install_trainers()
    # In nnU-Net's top folder, so that no other trainer is imported on the way (nor torchvision).
    found = lookup("nnUNetTrainerSynthAug_mix35_7epochs", "nnUNetTrainer")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "found nnunet_synth_aug.nnunet.trainer nnUNetTrainerSynthAug_mix35_7epochs",
        "found nnunetv2.training.nnUNetTrainer.nnUNetTrainer nnUNetTrainer",
    ]
    assert install.uninstall_trainers() == host / _startup.SHIM
    shutil.rmtree(host / "__pycache__", ignore_errors=True)
    assert [p for p in sorted(host.rglob("*")) if "__pycache__" not in p.parts] == before
    assert install.uninstall_trainers() is None


def test_a_forgotten_file_disturbs_no_other_trainer() -> None:
    """After an uninstall without --undo: other names pass it by, and ours are an import error that names the package."""
    shim = str(Path(_startup.trainers_folder()) / _startup.SHIM)
    code = f"import importlib.util as u; s = u.spec_from_file_location('shim', {shim!r})\n"
    code += "m = u.module_from_spec(s); s.loader.exec_module(m); print(hasattr(m, 'nnUNetTrainer_5epochs'))\n"
    code += "m.nnUNetTrainerSynthAug_mix50"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "False"
    assert "No module named 'nnunet_synth_aug'" in result.stderr


def test_a_file_of_another_version_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tmp_path
    monkeypatch.setattr(install, "nnunet_trainers_folder", lambda: host)
    (host / _startup.SHIM).write_text("# an older version\n")
    assert not install.is_current(host / _startup.SHIM)
    answer = subprocess.CompletedProcess([], 0, "found\n", "")
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor.subprocess.run", lambda *a, **k: answer)
    check = doctor._trainer()
    assert not check.ok
    assert "install-trainers" in check.remedy
    install.install_trainers()
    assert doctor._trainer().ok
    assert str(host) in doctor._trainer().message


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(install, "nnunet_trainers_folder", lambda: tmp_path / "file")  # root may write anywhere but below a file
    with pytest.raises(UserError, match="export nnUNet_extTrainer=") as caught:
        install.install_trainers()
    assert "\n" not in str(caught.value)
