"""The command line in a terminal: -h, python -m, completion, Ctrl-C, and terminals that know ASCII alone. All are real processes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shared_folders import set_folders

from nnunet_synth_aug.core.paths import program


def run(*words, **options):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=120, **options)


def test_the_module_is_the_command_and_h_is_help():
    shown = run(sys.executable, "-m", "nnunet_synth_aug", "-h")
    assert shown.returncode == 0
    assert "Usage: python -m nnunet_synth_aug" in shown.stdout
    assert "benchmark" in shown.stdout
    short, long = (run(program("synthaug"), "import", "acdc", letter) for letter in ("-h", "--help"))
    assert short.returncode == long.returncode == 0
    assert short.stdout == long.stdout
    assert "Usage: synthaug import acdc" in short.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash completes here")
def test_bash_completes_commands_and_options_once_it_is_installed(tmp_path):
    folder = Path(program("synthaug")).parent
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    assert run("bash", "-c", "synthaug --install-completion; exit $?", env=environment).returncode == 0
    pressed_tab = """
    source ~/.bashrc
    COMP_WORDS=(synthaug comp); COMP_CWORD=1; _synthaug_completion synthaug; echo "${COMPREPLY[@]}"
    COMP_WORDS=(synthaug bank --so); COMP_CWORD=2; _synthaug_completion synthaug; echo "${COMPREPLY[@]}"
    """
    assert run("bash", "-c", pressed_tab, env=environment).stdout.split("\n")[:2] == ["compare", "--source"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path, monkeypatch):
    set_folders(monkeypatch, tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so do its children
    try:
        process = subprocess.Popen(
            [program("synthaug"), "phantom", "-d", "9", "-n", "500"], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    assert "/500" in process.stderr.readline()  # it is at work
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all processes of the command
    said = process.stderr.read()
    assert process.wait() == 130
    assert said.strip().splitlines()[-1] == "synthaug: interrupted; the same command goes on from here"
    assert "Traceback" not in said
    assert not list((tmp_path / "nnUNet_raw").iterdir())  # nothing half-written


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
def test_a_dumb_terminal_gets_lines_instead_of_bars():
    code = "from nnunet_synth_aug.core.console import console, progress\nassert console.is_terminal\n"
    code += "with progress('work', 2) as bar:\n    bar.advance(1, 'one')\n    bar.advance(2, 'two')"
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "dumb"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=120, env=environment)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert [line.split(" ", 2)[1].rstrip(",") for line in said.splitlines()] == ["1/2", "2/2"]
    assert "\x1b" not in said


def test_a_terminal_that_knows_ascii_alone_shows_what_it_can():
    words = [program("synthaug"), "compare", "--baseline", "Zürich", "--augmented", "b", "-o", "c"]
    refused = run(*words, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert refused.returncode == 2
    assert refused.stderr.strip() == "synthaug: the results folder Z?rich of baseline does not exist"
