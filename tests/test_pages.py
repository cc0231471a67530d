"""Pages that scripts write from committed figures are what the scripts write: a page edited by hand would be lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRITE = {
    "nnunet": ("benchmarks/nnunet", "from page import write_page; write_page(Path(sys.argv[2]))"),
    "utility": ("benchmarks", "from utility_page import write_page; write_page(Path(sys.argv[1]), Path(sys.argv[2]))"),
    "generator": ("benchmarks", "from generator_page import write_page; write_page(Path(sys.argv[1]), Path(sys.argv[2]))"),
}


@pytest.mark.parametrize("name", WRITE)
def test_a_written_page_is_what_its_script_writes(name: str, tmp_path: Path) -> None:
    folder, code = WRITE[name]
    figures, written = tmp_path / name, tmp_path / f"{name}.md"
    shutil.copytree(ROOT / "docs" / name, figures)
    (tmp_path / "images").symlink_to(ROOT / "docs" / "images")
    # In a process of its own: these folders have modules whose names others use, too.
    run = [sys.executable, "-c", f"import sys; from pathlib import Path; {code}", str(figures), str(written)]
    ended = subprocess.run(run, cwd=ROOT / "tests" / folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert written.read_text() == (ROOT / "docs" / f"{name}.md").read_text()
