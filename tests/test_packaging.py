"""What is installed is what was meant: three packages, one command, one start-up file, true documents."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import nnunet_synth_aug

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation: hatchling is a test dependency, and no index is asked.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_three_packages_and_the_start_up_file(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"nnunet_synth_aug", "trainers", "evaluation", "nnunet_synth_aug.pth", "nnunet_synth_aug.start"}
    for source in [*ROOT.glob("nnunet_synth_aug/**/*.py"), *ROOT.glob("evaluation/**/*.py"), *ROOT.glob("trainers/*.py")]:
        assert str(source.relative_to(ROOT)) in names, f"{source} is missing from the wheel"
    assert not [
        name
        for name in names
        if name.endswith((".nii.gz", ".pkl", ".pth")) and name not in {"nnunet_synth_aug.pth", "nnunet_synth_aug/_startup.pth"}
    ]
    line = zipfile.ZipFile(wheel).read("nnunet_synth_aug.pth").decode().strip()
    assert line.startswith("import ")
    assert "\n" not in line
    assert zipfile.ZipFile(wheel).read("nnunet_synth_aug.start").decode().split() == ["nnunet_synth_aug._startup:register"]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment that sees this one's packages, but runs none of its start-up files."""
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages") if os.name != "nt" else [tmp_path / "venv" / "Lib" / "site-packages"]
    # Paths named in a .pth come last on sys.path, and start-up files in them are not run.
    (site / "zz_others.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    return tmp_path / "venv"


def pip(environment: Path, *words: str) -> None:
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [sys.executable, "-m", "pip", "--python", str(python), *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def fresh(environment: Path, code: str, elsewhere: Path) -> list[str]:
    """Lines that a fresh interpreter of the environment prints."""
    kept = {k: v for k, v in os.environ.items() if k not in ("nnUNet_extTrainer", "NNUNET_SYNTH_AUG_AUTOREGISTER", "PYTHONPATH")}
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return subprocess.run([python, "-c", code], env=kept, cwd=elsewhere, capture_output=True, text=True, check=True).stdout.splitlines()


def search_path(environment: Path, elsewhere: Path) -> str:
    return fresh(environment, "import os; print(os.environ.get('nnUNet_extTrainer', ''))", elsewhere)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_installing_registers_and_uninstalling_leaves_nothing(kind, wheel, environment, tmp_path):
    files = {path for path in environment.rglob("*") if path.is_file()}
    assert search_path(environment, tmp_path) == ""
    what = [str(wheel)] if kind == "wheel" else ["--no-build-isolation", "-e", str(ROOT)]
    pip(environment, "install", "--no-deps", "--no-index", "--ignore-installed", *what)
    folder = Path(search_path(environment, tmp_path))
    assert folder == (ROOT / "trainers" if kind == "editable" else next(environment.rglob("trainers")))
    installed = {path.name for path in environment.rglob("*") if path.is_file()} - {path.name for path in files}
    assert {"nnunet_synth_aug.pth", "nnunet_synth_aug.start", "synthaug"} <= {name.removesuffix(".exe") for name in installed}

    # A fresh interpreter elsewhere imports this installation; the wheel's trainer is looked up as nnU-Net's commands do it.
    code = "import nnunet_synth_aug; print(nnunet_synth_aug.__file__)"
    if kind == "wheel":
        code += "; from nnunetv2.run.run_training import recursive_find_trainer_class_by_name as find"
        code += "; print(find('nnUNetTrainerSynthAug_mix20').__name__)"
    lines = fresh(environment, code, tmp_path)
    assert lines[0] == str(folder.parent / "nnunet_synth_aug" / "__init__.py")
    assert kind == "editable" or lines[-1] == "nnUNetTrainerSynthAug_mix20"

    pip(environment, "uninstall", "-y", "nnunet-synth-aug")
    assert search_path(environment, tmp_path) == ""
    assert {path for path in environment.rglob("*") if path.is_file() and path.suffix != ".pyc"} == files


@pytest.mark.skipif("SYNTHAUG_TEST_INSTALLED" not in os.environ, reason="set by CI, which tests the installed wheel")
def test_the_tested_package_is_the_installed_wheel():
    for name in ("nnunet_synth_aug", "evaluation", "trainers"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert "site-packages" in str(spec.origin)


def test_metadata_and_documents_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = nnunet_synth_aug.__version__
    assert importlib.metadata.version("nnunet-synth-aug") == version
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
    assert "nnunetv2>=2.8,<3" in project["dependencies"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_pinned_set_lies_within_the_ranges():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text} excludes the pinned {version}"


def test_links_in_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_repository_names_no_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\0")
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".cff", ".yml"} and path.is_file():
            found = re.search(r"(?<![\w.])/(home|root|work|Users)/[a-z]", path.read_text(errors="replace"))
            assert found is None, f"{name}: {found}"
