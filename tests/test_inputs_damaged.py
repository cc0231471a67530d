"""Damaged headers, tables and texts: whatever is in them, the import reads them or says one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from input_cases import AFFINE, INFO, MNMS_HEADER
from nifti_files import saved

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LABEL_MAPS
from nnunet_synth_aug.data.importers.info import read_info
from nnunet_synth_aug.data.importers.nifti import read_cine, read_mask
from nnunet_synth_aug.data.importers.table import find_table

ROW = "A1A1A1,HCM,Siemens,0,2,50,F,170.5,70.5"
#: Bytes that are put in place of others: position as a share of the length, and what.
DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4)
many = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What is read, or the one sentence; anything else fails the test."""
    try:
        return read()
    except UserError as error:
        sentence = str(error)
    assert "\n" not in sentence
    return None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, Path]:
    """A cine and a mask of 5 x 4 x 3 voxels, uncompressed, and the cine's path."""
    folder = tmp_path_factory.mktemp("files")
    cine = saved(folder / "cine.nii", np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2), AFFINE)
    mask = saved(folder / "mask.nii", (np.arange(60).reshape(5, 4, 3) % 4).astype(np.uint8), AFFINE)
    return cine.read_bytes(), mask.read_bytes(), cine


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@many
@given(damage=DAMAGE)
def test_damaged_headers(files: tuple[bytes, bytes, Path], damage: list[tuple[float, bytes]]) -> None:
    cine, mask, good = files
    with TemporaryDirectory() as name:
        path = Path(name) / "a.nii"
        path.write_bytes(damaged(cine, damage, 352))
        if (volume := read_or_refused(lambda: read_cine(path))) is not None:
            assert volume.array.shape[1:] == volume.grid.shape
            assert np.isfinite(volume.grid.affine).all()
            np.testing.assert_allclose(np.linalg.norm(volume.grid.affine[:3, :3], axis=0), volume.grid.spacing, rtol=2e-3)
        path.write_bytes(damaged(mask, damage, 352))
        image = read_cine(good)
        if (found := read_or_refused(lambda: read_mask(path, LABEL_MAPS["acdc"], image))) is not None:
            assert found.shape == (5, 4, 3)
            assert set(np.unique(found).tolist()) <= {0, 1, 2, 3}


@many
@given(damage=DAMAGE)
def test_damaged_texts(damage: list[tuple[float, bytes]]) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "Info.cfg"
        path.write_bytes(damaged(INFO.encode(), damage))
        if (info := read_or_refused(lambda: read_info(path))) is not None:
            assert all(frame is None or frame >= 1 for frame in (read_or_refused(lambda key=key: info.frame(key)) for key in ("ED", "ES")))
            read_or_refused(info.priors)


@many
@given(damage=DAMAGE, end=st.sampled_from(["\n", "\r\n", "\r"]), marks=st.text("\r\n\"';,\t|=", max_size=3), place=st.integers(0, 120))
def test_damaged_tables(damage: list[tuple[float, bytes]], end: str, marks: str, place: int) -> None:
    content = f"{MNMS_HEADER}{end}{ROW}{end}B2{ROW[2:]}{end}"
    with TemporaryDirectory() as name:
        (Path(name) / "t.csv").write_bytes(damaged((content[:place] + marks + content[place:]).encode(), damage if place % 2 else []))
        table = read_or_refused(lambda: find_table(Path(name), ("External code", "VendorName", "ED", "ES"), "External code"))
        if table is not None and "A1A1A1" in table.rows:
            assert all(frame is None or 0 <= frame < 4 for frame in [read_or_refused(lambda: table.frame("A1A1A1", "ED", 4))])
            assert isinstance(table.text("A1A1A1", "Height"), str)
