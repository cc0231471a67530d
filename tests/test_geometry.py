"""Where voxels lie: headers understood or refused, and imports that keep every voxel's place for all 48 orientations."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nifti_files
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from input_cases import INFO, cine, heart, make_acdc, make_mnms
from input_cases import SPACING as SPACING_OF_CASES
from nifti_files import opened
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_nifti
from nnunet_synth_aug.core.geometry import Grid, Turn, read_grid, right_angled, turn, turned
from nnunet_synth_aug.data.cohort import Cohort
from nnunet_synth_aug.data.importers.acdc import read_acdc
from nnunet_synth_aug.data.importers.mnms import read_mnms
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import write_dataset

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


def saved(path: Path, **header: Any) -> Path:
    """A file of zeros with this header."""
    return nifti_files.saved(path, np.zeros(SHAPE, np.int16), **header)


def grid(path: Path) -> Grid:
    return read_grid(path, opened(path).header)


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
    metres = grid(saved(path, sform=np.diag([0.0015, 0.00125, 0.008, 1]), pixdim=(0.0015, 0.00125, 0.008), units=("meter", "sec")))
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


SMALL = heart()[::2, ::2, ::2].shape
FRAMES = cine()[::2, ::2, ::2]  # (X, Y, Z, T)
MASKS = {"ED": heart()[::2, ::2, ::2], "ES": heart(es=True)[::2, ::2, ::2]}


def stored(path: Path, array: np.ndarray, how: Turn) -> None:
    """Save an array that lies on ``oblique()`` in other axes, with the affine that belongs to them."""
    place = Grid((SMALL[0], SMALL[1], SMALL[2]), oblique(), SPACING).moved(*how)
    nifti_files.saved(path, turned(array, how), place.affine, pixdim=place.spacing)


def read_by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array (X, Y, Z[, T]) and affine in NIfTI's world, from nnU-Net's reader of files."""
    image = SimpleITK.ReadImage(str(path))
    n = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(n, n) * image.GetSpacing())[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return SimpleITK.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


def assert_same_world(path: Path, array: np.ndarray, affine: np.ndarray, atol: float = 1e-3) -> None:
    """Every voxel of a written file has the value that the source has at this place; ``atol`` in voxels."""
    found, own = read_by_itk(path)
    places = np.argwhere(np.ones(found.shape[:3], bool))
    exact = (places @ own[:3, :3].T + own[:3, 3] - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    x, y, z = np.rint(exact).astype(int).T
    assert np.abs(exact - np.rint(exact)).max() < atol
    assert len({*zip(x, y, z, strict=True)}) == array[..., 0].size if array.ndim == 4 else array.size
    np.testing.assert_array_equal(found[tuple(places.T)], array[x, y, z])


def test_an_import_equals_its_source_in_the_world_in_all_48_orientations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_folders(monkeypatch, tmp_path)
    for number, how in enumerate(ORIENTATIONS):
        name = f"patient{number:03d}"
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(INFO)
        if number % 2:
            stored(folder / f"{name}_4d.nii.gz", FRAMES, how)
        else:
            for step, frame in enumerate((1, 3)):
                stored(folder / f"{name}_frame{frame:02d}.nii.gz", FRAMES[..., frame - 1], ORIENTATIONS[(number + 7 * step) % 48])
        for step, (frame, phase) in enumerate(((1, "ED"), (3, "ES"))):
            stored(folder / f"{name}_frame{frame:02d}_gt.nii.gz", MASKS[phase], ORIENTATIONS[(5 * number + 11 * step) % 48])
    folder = write_dataset(read_acdc(tmp_path / "source"), 5, "Turned")
    for number in range(48):
        name = f"patient{number:03d}"
        if number % 2:
            assert_same_world(folder / "cine" / f"{name}_4d.nii.gz", FRAMES, oblique())
        for frame, phase in ((1, "ED"), (3, "ES")):
            assert_same_world(folder / "imagesTr" / f"{name}_{phase}_0000.nii.gz", FRAMES[..., frame - 1], oblique())
            assert_same_world(folder / "labelsTr" / f"{name}_{phase}.nii.gz", MASKS[phase], oblique())
    assert {subject.spacing[2] for subject in Cohort.load(5).subjects} == {8.0}  # slices are always last
    assert len({str(subject.priors) for subject in Cohort.load(5).subjects}) == 1
    assert len(list(folder.rglob("*.nii.gz"))) == 24 + 2 * 2 * 48


@settings(max_examples=25)
@given(shear=st.lists(st.floats(-0.02, 0.02), min_size=9, max_size=9), seed=st.integers(0, 99), mirror=st.booleans())
def test_whatever_is_written_is_readable_by_itk_and_near_its_place(shear: list[float], seed: int, mirror: bool) -> None:
    affine = oblique(seed)
    affine[:3, :3] @= np.eye(3) + np.reshape(shear, (3, 3))
    affine[:3, 0] *= -1 if mirror else 1
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    subject = SourceSubject("p1", np.moveaxis(FRAMES, -1, 0), True, (x, y, z), 0, 2, MASKS, affine=affine)
    _, moved = right_angled(Grid((SMALL[0], SMALL[1], SMALL[2]), affine, (x, y, z)))
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        set_folders(patch, Path(name))
        if moved > 0.5:
            with pytest.raises(UserError, match="the axes are not at right angles"):
                write_dataset([subject, replace(subject, patient="p2")], 5, "Sheared", folds=2)
            assert not list(Path(name).glob("nnUNet_*/*"))
            return
        folder = write_dataset([subject, replace(subject, patient="p2")], 5, "Sheared", folds=2)
        files = list(folder.rglob("*.nii.gz"))
        assert len(files) == 10
        for path in files:
            array, own = read_by_itk(path)
            axes = own[:3, :3] / np.linalg.norm(own[:3, :3], axis=0)
            np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
            off = Grid(SMALL, own, (x, y, z)).corners() - Grid(SMALL, affine, (x, y, z)).corners()
            assert np.abs(off @ np.linalg.inv(affine[:3, :3]).T).max() < 0.55
            assert array.shape[:3] == SMALL


def test_masks_of_all_frames_are_turned_too(tmp_path: Path) -> None:
    make_mnms(tmp_path)
    folder = tmp_path / "Training" / "Labeled" / "B2B2B2"
    plain = next(subject for subject in read_mnms(tmp_path) if subject.patient == "B2B2B2")
    mask = folder / "B2B2B2_sa_gt.nii.gz"
    how = ((2, 0, 1), (True, False, True))
    array, place = nifti_files.voxels(mask), Grid((40, 36, 8), opened(mask).affine, SPACING_OF_CASES).moved(*how)
    nifti_files.saved(mask, turned(array, how), place.affine, pixdim=place.spacing)
    found = next(subject for subject in read_mnms(tmp_path) if subject.patient == "B2B2B2")
    for phase in ("ED", "ES"):
        np.testing.assert_array_equal(found.masks[phase], plain.masks[phase])
    assert found.notes == ("the mask is stored in other axes than the image; it was turned as its header says",)


def test_a_cine_with_another_header_takes_that_of_its_frames(tmp_path: Path) -> None:
    """Masks were drawn on the frames. Where these hold the cine's very voxels, its own header does not count."""
    make_acdc(tmp_path)
    folder = tmp_path / "patient002"
    path = folder / "patient002_4d.nii.gz"
    array, affine = nifti_files.voxels(path), opened(path).affine
    nifti_files.saved(path, array, np.diag([*SPACING_OF_CASES, 1]))
    with pytest.raises(UserError, match="lies elsewhere than its image"):
        list(read_acdc(tmp_path))
    for frame in (1, 3):
        nifti_files.saved(folder / f"patient002_frame{frame:02d}.nii.gz", array[..., frame - 1], affine)
    subject = list(read_acdc(tmp_path))[1]
    np.testing.assert_allclose(subject.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(subject.image, np.moveaxis(array, -1, 0))
    assert subject.notes == (
        "the header of the cine puts it elsewhere than its ED and ES frames, which have the same voxels; theirs was taken",
    )
    nifti_files.saved(folder / "patient002_frame03.nii.gz", array[..., 3], affine)  # another frame than Info.cfg says
    with pytest.raises(UserError, match="lies elsewhere than its image"):
        list(read_acdc(tmp_path))
