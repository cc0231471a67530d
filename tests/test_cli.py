"""The command line as a user meets it: help, sentences instead of tracebacks, exit codes, nothing half-written."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from shared_folders import set_folders

from nnunet_synth_aug.cli import app
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.paths import program

COMMANDS = [
    "doctor",
    "phantom",
    "import",
    "split",
    "fit",
    "sample",
    "explore",
    "report",
    "bank",
    "plans",
    "evaluate",
    "compare",
    "demo",
    "try",
]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    set_folders(monkeypatch, tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def synthaug(monkeypatch, capsys):
    """The command line in this process, from its words to its exit code."""

    def run(*words) -> Ended:
        monkeypatch.setattr(sys, "argv", ["synthaug", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.main()
        return Ended(end.value.code or 0, *capsys.readouterr())

    return run


def start(*words) -> Ended:
    """The command line in a process of its own."""
    ended = subprocess.run([program("synthaug"), *map(str, words)], capture_output=True, text=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def sentence(result: Ended) -> str:
    """That of a refused command."""
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("synthaug: ")
    return lines[-1]


@pytest.fixture
def refused(synthaug):
    """The sentence of a refused command."""
    return lambda *words: sentence(synthaug(*words))


def test_help_names_every_command_and_needs_no_torch():
    lines = [
        "import sys",
        "sys.argv = ['synthaug', '--help']",
        "from nnunet_synth_aug.cli.app import app",
        "try: app()",
        "except SystemExit: pass",
        "assert 'torch' not in sys.modules",
    ]
    code = "\n".join(lines)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sample", "-d", "9", "-o", "x", "--prior", "lv_ef=140"], "lv_ef 140 % is outside 2 to 90 %"),
        (["sample", "-d", "9", "-o", "x", "--prior", "diagnosis=FLU"], "NOR, MINF, DCM, HCM, RV"),
        (["sample", "-d", "9", "-o", "x", "--prior", "n_slices=99"], "n_slices 99"),
        (["fit", "-d", "9"], "there is no dataset 9"),
        (["fit", "-d", "9", "--preset", "huge"], "choose one of tiny"),
        (["import", "acdc", "nowhere", "-d", "9"], "nowhere"),
        (["bank", "-d", "9"], "there is no dataset 9"),
        (["compare", "--baseline", "a", "--augmented", "b", "-o", "c"], "the results folder a of baseline does not exist"),
    ],
)
def test_usage_errors_are_one_sentence(folders, refused, words, expected):
    assert expected in refused(*words)
    assert not list((folders / "nnUNet_raw").iterdir())


def test_unset_folders_are_named(monkeypatch, refused):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert "nnUNet_raw is not set" in refused("fit", "-d", "9")


@pytest.mark.slow
def test_phantom_then_fit_with_bad_fold_and_taken_id(folders, synthaug, refused):
    assert synthaug("phantom", "-d", 9, "-n", 3, "--folds", 3).returncode == 0
    raw = folders / "nnUNet_raw" / "Dataset009_Phantom"
    assert len(read_json(raw / "cohort.json")["subjects"]) == 3
    cine = nib.load(next((raw / "cine").glob("*_4d.nii.gz")))
    assert cine.ndim == 4
    assert np.asarray(cine.dataobj).max() > 0
    assert "Dataset009" in refused("phantom", "-d", 9, "-n", 3, "--folds", 3)
    assert "fold" in refused("fit", "-d", 9, "-f", 7)
    assert "fold" in refused("fit", "-d", 9, "-f", "x")
    assert "synthaug fit" in refused("sample", "-d", 9, "-o", folders / "hearts")
    assert not (folders / "hearts").exists()
    assert "-device" in refused("fit", "-d", 9, "-device", "cuda:77")


def test_the_demo_refuses_other_settings_in_the_same_folder(folders, refused):
    out = folders / "demo"
    (out / "steps").mkdir(parents=True)
    record = {"settings": {"data": {"source": "phantom", "seed": 1}}, "attempts": 1, "finished": True}
    (out / "steps" / "dataset.json").write_text(json.dumps(record))
    assert "data, seed was 1 and is 0" in refused("demo", "-o", out)
    assert not (out / "nnunet").exists()


def test_version_is_the_package_version():
    import nnunet_synth_aug

    assert start("--version").stdout.strip() == f"nnunet-synth-aug {nnunet_synth_aug.__version__}"
    assert Path(program("synthaug")).is_file()
