"""The start-up hook and the doctor, in fresh interpreters as a user has them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project

from nnunet_synth_aug import _startup
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.nnunet import doctor, install
from nnunet_synth_aug.nnunet.bank.manifest import manifest_path
from nnunet_synth_aug.nnunet.doctor import Check, run_checks

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


@pytest.mark.slow
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
    assert "puts patient001 into both training and validation of fold 0" in mixed.message

    monkeypatch.setenv("nnUNet_results", str(tmp_path / "none"))
    monkeypatch.delenv("nnUNet_raw")
    checks = by_name(run_checks())
    assert checks["nnUNet_results"].remedy == f"mkdir -p {tmp_path / 'none'}"
    assert not checks["nnUNet_raw"].ok
    assert checks["nnUNet_preprocessed"].ok


@pytest.mark.usefixtures("quick")
def test_every_finding_has_its_remedy(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each check, broken in the ways that it knows; what is whole stays sound."""

    def found(name: str, **given: Any) -> Check:
        checks = run_checks(**({"dataset": 731, "fold": 0, "plans": PLANS} | given))
        broken = by_name(checks)[name]
        assert not broken.ok
        assert all(check.remedy for check in checks if not check.ok), checks
        return broken

    plans, splits = project.preprocessed / f"{PLANS}.json", project.preprocessed / "splits_final.json"
    for path, content, name, message, remedy in (
        (plans, read_json(plans) | {"synth_aug": {"ration": 1}}, "plans", "unknown key 'ration'", "choose from ratio"),
        (plans, {"configurations": {"2d": {}}}, "plans", "KeyError", "if all are sound, run 'nnUNetv2_plan_and_preprocess -d 731 -c 2d'"),
        (plans, None, "plans", "does not exist", "run 'nnUNetv2_plan_and_preprocess -d 731' first or name other plans with -p"),
        (project.preprocessed / "dataset.json", None, "plans", "does not exist", "run 'nnUNetv2_plan_and_preprocess -d 731 -c 2d'"),
        (splits, None, "fold", "does not exist", f"write one with 'synthaug split -d {DATASET}'"),
        (
            splits,
            [{"train": ["patient009_ED"], "val": ["patient001_ED"]}],
            "fold",
            "names 1 cases in fold 0 that are not preprocessed",
            "nnUNetv2_preprocess -d 731",
        ),
        (
            splits,
            [{"train": []}],
            "fold",
            "is not a list of folds with 'train' and 'val' case ids",
            f"remove it and run 'synthaug split -d {DATASET}'",
        ),
        (manifest_path(DATASET, 0, f"{PLANS}_2d"), None, "bank", "no complete bank", f"synthaug bank -d {DATASET} -c 2d -p {PLANS} -f 0"),
    ):
        good = path.read_text()
        try:
            path.unlink() if content is None else write_json(path, content)
            check = found(name)
        finally:
            path.write_text(good)
        assert message in check.message
        assert remedy in check.remedy
    assert "choose one of" in found("plans", configuration="4d").remedy + found("plans", configuration="4d").message
    assert "import one with 'synthaug import'" in found("plans", dataset=999).remedy
    assert "cases; the validation of fold all is not one" in by_name(run_checks(731, "all", "2d", PLANS))["fold"].message

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(0.5e9)))
    assert (found("disk").message, found("disk").remedy) == (f"{project.results.parent} has 0.5 GB left", "free at least 2 GB")

    full = {str(project.preprocessed.parent): int(0.5e9)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=full.get(str(path), int(9e9))))
    assert (found("disk").message, found("disk").remedy) == (f"{project.preprocessed.parent} has 0.5 GB left", "free at least 2 GB")

    for value, message, remedy in (
        (
            "~/raw",
            "which nnU-Net does not understand",
            "export it without quotes inside, spaces around and ~, e.g. export nnUNet_raw=$HOME/nnUNet_raw",
        ),
        (None, "nnUNet_raw is not set", "export it as for any nnU-Net run, e.g. export nnUNet_raw=/data/nnUNet_raw"),
        (str(tmp_path / "none"), "does not exist", f"mkdir -p {tmp_path / 'none'}"),
    ):
        monkeypatch.delenv("nnUNet_raw") if value is None else monkeypatch.setenv("nnUNet_raw", value)
        check = doctor._folder("nnUNet_raw")
        assert not check.ok
        assert message in check.message
        assert check.remedy == remedy

    def refuse(**_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor.tempfile.TemporaryFile", refuse)  # root may write anywhere
    check = doctor._folder("nnUNet_raw")
    assert (check.ok, check.message) == (False, f"{tmp_path} is not writable (Permission denied)")
    assert "change its permissions" in check.remedy


@pytest.mark.parametrize(("version", "ok"), [("2.8.1", True), ("2.10.0", True), ("2.7.0", False), ("3.0.0", False), (None, False)])
def test_doctor_wants_an_nnunet_that_finds_external_trainers(monkeypatch: pytest.MonkeyPatch, version: str | None, ok: bool) -> None:
    def asked(_: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor.importlib.metadata.version", asked)
    check = doctor._nnunet_version()
    assert (check.ok, check.remedy) == (ok, "" if ok else "pip install 'nnunetv2>=2.8,<3'")


def test_doctor_names_a_torch_pair_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision of another index fails on import, in the subprocess that the doctor starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    check = doctor._torch_pair()
    assert not check.ok
    assert "torch and torchvision come from different builds" in check.message
    assert "finds no trainer but its default" in check.message
    assert check.remedy == "install both from one index: pip install --force-reinstall torch torchvision"
    (tmp_path / "torchvision.py").write_text("__version__ = '9'\n")
    (tmp_path / "torch.py").write_text(
        "class cuda:\n    is_available = staticmethod(lambda: False)\n__version__ = '8'\n",
    )
    assert doctor._torch_pair() == Check(
        "torch", True, "torch 8, torchvision 9; no CUDA device, so nnU-Net's commands need -device cpu (or mps)"
    )


@pytest.mark.parametrize(
    ("last", "message", "remedy"),
    [
        ("RuntimeError: operator torchvision::nms does not exist", "torchvision::nms", "install torch and torchvision from one index"),
        ("RuntimeError: Could not find requested nnunet trainer", "nnU-Net does not find", "export nnUNet_extTrainer="),
    ],
)
def test_doctor_tells_why_the_lookup_failed(monkeypatch: pytest.MonkeyPatch, last: str, message: str, remedy: str) -> None:
    answer = subprocess.CompletedProcess([], 1, "", f"Traceback\n{last}\n")
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor.subprocess.run", lambda *a, **k: answer)
    check = doctor._trainer()
    assert not check.ok
    assert message in check.message
    assert remedy in check.remedy
    monkeypatch.setattr("nnunet_synth_aug.nnunet.doctor.trainers_folder", lambda: "/nowhere")
    check = doctor._trainer()
    assert (check.message, check.remedy) == (f"/nowhere lacks {_startup.SHIM}", "install nnunet-synth-aug again")


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
