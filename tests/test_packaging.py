"""What is installed is what was meant: three packages, one command, one start-up file, true documents."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
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
    assert tops == {"nnunet_synth_aug", "trainers", "evaluation", "nnunet_synth_aug.pth"}
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
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_repository_names_no_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\0")
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".cff", ".yml"} and path.is_file():
            found = re.search(r"(?<![\w.])/(home|root|work|Users)/[a-z]", path.read_text(errors="replace"))
            assert found is None, f"{name}: {found}"
