"""Damaged files through the commands that read them: each is understood or refused in one sentence, and nothing is written elsewhere.

``SYNTHAUG_FUZZ=400 pytest tests/test_fuzz.py tests/test_bank_guard.py`` tries 400 of each kind instead of a few: 2 000 with manifests.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from damage import damaged, places
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from input_cases import AFFINE, INFO, MNMS_HEADER, cine, heart
from nifti_files import saved
from typer.testing import CliRunner

from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.nnunet.patients import fold_cases

few = settings(
    max_examples=int(os.environ.get("SYNTHAUG_FUZZ", "15")),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take longer than it helps
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Put in place of any value of a JSON or YAML file.
OTHERS = st.one_of(
    st.sampled_from(["../../x", "/x", "~", "a/b", "..", "", "\n", "ä\0", "=1+1", None, True, -1, 0, 7, 10**30, 1e300, float("nan")]),
    st.sampled_from([[], {}, [[]], [1, "a"], {"a": 1}, {"../x": {}}]),
    st.text(max_size=5),
)
#: Bytes in place of others: where, as a share of the length, and what.
NEW = st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"../", b"\n", b",", b'"']))
BYTES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), NEW), min_size=1, max_size=4)

_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None or any(isinstance(one, int) and one >= 0 for one in arguments[1:] if event in ("os.remove", "os.rmdir")):
        return  # what is given by an open folder is inside a tree that is deleted, of which the top is seen
    written = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    paths = 2 if event in ("os.rename", "os.symlink", "os.link") else 1
    if written or paths == 2 or event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"):
        _watched.extend(os.fsdecode(one) for one in arguments[:paths] if isinstance(one, str | bytes))


@contextmanager
def writes() -> Iterator[list[str]]:
    """Every path that Python writes to, meanwhile."""
    global _watched
    if not getattr(sys, "_synthaug_watched", False):
        sys.addaudithook(_watch)  # it cannot be taken away again
        sys._synthaug_watched = True  # type: ignore[attr-defined]
    found: list[str] = []
    _watched = found
    try:
        yield found
    finally:
        _watched = None


def tried(words: list[str], own: Path) -> str:
    """The sentence with which a command refuses, "" if it does not; it writes to ``own`` alone."""
    with writes() as paths:
        ended = CliRunner().invoke(app, words)
    outside = [p for p in paths if not Path(p).resolve().is_relative_to(own.resolve()) and p != os.devnull and "__pycache__" not in p]
    assert not outside, (words, outside)
    if ended.exception is None or isinstance(ended.exception, SystemExit):
        return "" if ended.exit_code == 0 else "refused by the command line"
    if not isinstance(ended.exception, UserError):
        raise AssertionError(f"{words}: {ended.exception!r}") from ended.exception
    assert "\n" not in str(ended.exception)
    return str(ended.exception)


def changed(data: st.DataObject, whole: Any) -> Any:
    """A JSON value with something in it replaced, or a key renamed."""

    whole = copy.deepcopy(whole)
    place = data.draw(st.sampled_from(places(whole)))
    if not place:
        return data.draw(OTHERS)
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        inner[data.draw(st.text(max_size=4))] = inner.pop(place[-1])
    else:
        inner[place[-1]] = data.draw(OTHERS)
    return whole


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Sets nnU-Net's folders to those of one try, and stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def use(root: Path) -> None:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (root / name).mkdir(parents=True)
            monkeypatch.setenv(name, str(root / name))

    return use


def acdc(source: Path) -> Path:
    """One patient as ACDC stores it; returns its folder."""
    folder = source / "patient001"
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(INFO)
    saved(folder / "patient001_4d.nii.gz", cine(), AFFINE)
    for frame, es in ((1, False), (3, True)):
        saved(folder / f"patient001_frame{frame:02d}.nii.gz", cine()[..., frame - 1], AFFINE)
        saved(folder / f"patient001_frame{frame:02d}_gt.nii.gz", heart(es=es), AFFINE)
    return folder


@few
@given(damage=BYTES, which=st.sampled_from(["4d", "frame01", "frame01_gt", "frame03_gt"]), header=st.booleans())
def test_headers(folders: Callable[[Path], None], damage: list[tuple[float, bytes]], which: str, header: bool) -> None:
    with TemporaryDirectory() as name:
        folders(Path(name) / "nnunet")
        folder = acdc(Path(name) / "source")
        path = folder / f"patient001_{which}.nii.gz"
        plain = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(damaged(plain[:352], damage) + plain[352:], 1) if header else damaged(path.read_bytes(), damage))
        tried(["import", "acdc", str(folder.parent), "-d", "27"], Path(name) / "nnunet")


@few
@given(damage=BYTES, place=st.integers(0, 150), marks=st.text("\r\n\"';,\t|=../", max_size=4))
def test_tables(folders: Callable[[Path], None], damage: list[tuple[float, bytes]], place: int, marks: str) -> None:
    with TemporaryDirectory() as name:
        folders(Path(name) / "nnunet")
        source = Path(name) / "source"
        (source / "A1A1A1").mkdir(parents=True)
        saved(source / "A1A1A1" / "A1A1A1_sa.nii.gz", cine(), AFFINE)
        labels = np.stack([heart(), heart(), heart(es=True), heart(es=True)], axis=-1)
        saved(source / "A1A1A1" / "A1A1A1_sa_gt.nii.gz", labels, AFFINE)
        text = f"{MNMS_HEADER}\nA1A1A1,HCM,Siemens,0,2,50,F,170.5,70.5\n"
        content = (text[:place] + marks + text[place:]).encode()
        (source / "t.csv").write_bytes(damaged(content, damage) if place % 2 else content)
        tried(["import", "mnms", str(source), "-d", "27"], Path(name) / "nnunet")


@few
@given(data=st.data())
def test_study_files(folders: Callable[[Path], None], data: st.DataObject) -> None:
    study = {
        "title": "A study",
        "data": {"source": "phantom", "hearts": 20, "splits": 2, "per_group": 1, "vendors": ["GE"]},
        "plans": {"spacing": 2.0, "patch": 48, "batch": 4, "stages": 3, "features": 8},
        "training": {"epochs": 2, "iterations": 5},
        "generator": {"name": "mine", "preset": "tiny", "set": ["latents.copies=20"]},
        "bank": {"sequences": 4, "frames": 2, "vendors": "all"},
        "arms": ["mix50", "copies+phantom_3looks50to00"],
        "folds": [0, 1],
        "seeds": [0],
        "tests": [{"name": "others", "source": "phantom", "hearts": 5, "vendors": ["GE"]}],
        "minutes": {"train": 3},
    }
    with TemporaryDirectory() as name:
        folders(Path(name) / "nnunet")
        file = Path(name) / "study.yaml"
        file.write_text(yaml.safe_dump(changed(data, study), allow_unicode=True))
        tried(["benchmark", str(file), "-o", str(Path(name) / "out"), "--dry-run"], Path(name) / "out")


@few
@given(data=st.data())
def test_splits(folders: Callable[[Path], None], data: st.DataObject) -> None:
    """What is read is a split with no patient on both sides."""
    with TemporaryDirectory() as name:
        folders(Path(name))
        cases = [f"{patient}_{phase}" for patient in ("p1", "p2") for phase in ("ED", "ES")]
        path = Path(name) / "nnUNet_preprocessed" / "Dataset027_Hearts" / "splits_final.json"
        path.parent.mkdir()
        splits = changed(data, [{"train": cases[:2], "val": cases[2:]}, {"train": cases[2:], "val": cases[:2]}])
        text = json.dumps(splits).encode()
        path.write_bytes(damaged(text, data.draw(BYTES)) if data.draw(st.booleans()) else text)
        try:
            train, val = fold_cases(path.parent.name, 0, cases)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert train and val and all(isinstance(case, str) for case in (*train, *val))
            assert not {case[:2] for case in train} & {case[:2] for case in val}
