"""Where voxels lie: headers understood or refused, and imports that keep every voxel's place for all 48 orientations."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti
from nnunet_synth_aug.core.geometry import Grid, read_grid, right_angled, turn, turned

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
SHAPE, SPACING = (7, 6, 4), (1.5, 1.25, 8.0)


def rotation(rng: np.random.Generator) -> np.ndarray:
    found, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return found


def oblique(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) * SPACING
    affine[:3, 3] = rng.normal(0, 50, 3)
    return affine


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_an_array_in_any_orientation_is_turned_back_by_its_affine(axes: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    own = Grid(SHAPE, oblique(), SPACING)
    other = own.moved(axes, flips)
    stored = turned(array, (axes, flips))
    assert other.shape == stored.shape
    for voxel in ((0, 0, 0), (6, 2, 3), (1, 5, 0)):
        (there,) = np.argwhere(stored == array[voxel])
        np.testing.assert_allclose(other.affine @ [*there, 1], own.affine @ [*voxel, 1])
    how = turn(other, own)
    assert how is not None
    np.testing.assert_array_equal(turned(stored, how), array)
    np.testing.assert_array_equal(turned(np.stack([stored, -stored], -1), how), np.stack([array, -array], -1))


def test_what_is_more_than_a_turn_is_none() -> None:
    own = Grid(SHAPE, oblique(), SPACING)
    shifted, tilted, nearly = own.affine.copy(), own.affine.copy(), own.affine.copy()
    shifted[:3, 3] += 0.2 * own.affine[:3, 0]  # a fifth of a voxel
    tilted[:3, :3] = rotation(np.random.default_rng(1)) * SPACING
    nearly[:3, 3] += 0.01 * own.affine[:3, 0]
    assert turn(Grid(SHAPE, shifted, SPACING), own) is None
    assert turn(Grid(SHAPE, tilted, SPACING), own) is None
    assert turn(Grid((6, 6, 4), own.affine, SPACING), own) is None
    assert turn(Grid(SHAPE, nearly, SPACING), own) == ((0, 1, 2), (False, False, False))


def saved(path: Path, sform: Any = None, qform: Any = None, pixdim: Any = None, units: str = "mm", array: Any = None) -> Path:
    """A NIfTI file whose header says exactly this."""
    array = np.zeros(SHAPE, np.int16) if array is None else array
    image: Any = Bare(array, None, nib.Nifti1Image(array, None).header)
    image.header.set_zooms((*SPACING, *([0.03] if image.ndim == 4 else [])))
    image.header.set_xyzt_units(units, "sec")
    if qform is not None:
        image.header.set_qform(np.asarray(qform, float), 1)
    if sform is not None:
        image.header.set_sform(np.asarray(sform, float), 1)
    if pixdim is not None:
        image.header["pixdim"][1:4] = pixdim
    image.to_filename(path)
    return path


class Bare(nib.Nifti1Image):
    """nibabel fills in places that were left out; here they stay as they are."""

    def update_header(self) -> None:
        pass


def grid(path: Path) -> Grid:
    return read_grid(path, opened(path).header)


def opened(path: Path) -> Any:
    return nib.load(path)


def test_sizes_said_once_or_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    turned_, plain = np.diag([-1.5, -1.25, 8, 1]), np.diag([*SPACING, 1.0])
    assert grid(saved(path, sform=oblique(), pixdim=SPACING)).notes == ()
    np.testing.assert_allclose(grid(path).affine, oblique(), atol=1e-4)
    np.testing.assert_allclose(grid(saved(path, qform=turned_)).affine, turned_, atol=1e-6)
    nowhere = grid(saved(path))
    assert not nowhere.oriented
    np.testing.assert_array_equal(nowhere.affine, plain)
    # as in ACDC's download: sform has directions alone, qform has everything
    acdc = grid(saved(path, sform=np.diag([-1, -1, 1, 1]), qform=turned_, pixdim=SPACING))
    np.testing.assert_allclose(acdc.affine, turned_, atol=1e-6)
    assert acdc.spacing == SPACING
    assert acdc.notes == ("sform says 1 x 1 x 1 mm; the sizes in pixdim were taken",)
    alone = grid(saved(path, sform=np.diag([-1, -1, 1, 1]), pixdim=SPACING))
    np.testing.assert_allclose(alone.affine, turned_, atol=1e-6)
    other = grid(saved(path, sform=oblique(), pixdim=(1, 1, 1)))
    np.testing.assert_allclose(other.affine, oblique(), atol=1e-4)
    assert other.spacing == pytest.approx(SPACING, abs=1e-5)
    assert other.notes == ("pixdim says 1 x 1 x 1 mm; the sizes in sform were taken",)
    metres = grid(saved(path, sform=np.diag([0.0015, 0.00125, 0.008, 1]), pixdim=(0.0015, 0.00125, 0.008), units="meter"))
    np.testing.assert_allclose(metres.affine, plain, atol=1e-6)
    assert (metres.spacing, metres.notes) == (SPACING, ("sizes in the header are in meters and were turned into mm",))


def test_headers_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nothing = np.diag([1.5, 1.25, 0, 1])
    broken = np.diag([1.5, 1.25, np.inf, 1])
    for sform, pixdim, sentence in [
        (np.diag([2, 2, 8, 1]), SPACING, "says 1.5 x 1.25 x 8 mm in pixdim but 2 x 2 x 8 mm in sform; correct the one that is wrong"),
        (nothing, SPACING, "has an sform that is no place in space"),
        (broken, SPACING, "has an sform that is no place in space"),
        (None, (1.5, 0, 8), r"has the spacing \[1.5, 0.0, 8.0\] mm in its header; every spacing must be positive"),
    ]:
        with pytest.raises(UserError, match=sentence) as caught:
            read_nifti(saved(path, sform=sform, pixdim=pixdim))
        assert str(path) in str(caught.value)
    np.testing.assert_allclose(grid(saved(path, sform=nothing, qform=np.diag([-1.5, 1.25, -8, 1]))).affine, np.diag([-1.5, 1.25, -8, 1]))


def test_right_angles_move_no_voxel_far() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = Grid((216, 256, 10), oblique(seed), SPACING)
        sheared = true.affine.copy()
        sheared[:3, :3] @= np.eye(3) + rng.uniform(-1e-3, 1e-3, (3, 3))
        lengths = np.linalg.norm(sheared[:3, :3], axis=0)
        found, moved = right_angled(Grid(true.shape, sheared, (float(lengths[0]), float(lengths[1]), float(lengths[2]))))
        axes = found[:3, :3] / lengths
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
        assert 0 < moved < 0.5
        far = np.abs(
            (Grid(true.shape, found, SPACING).corners() - Grid(true.shape, sheared, SPACING).corners()) @ np.linalg.inv(found[:3, :3]).T
        )
        assert far.max() == pytest.approx(moved)
    _, moved = right_angled(Grid((216, 256, 10), true.affine, SPACING))
    assert moved < 1e-9
