"""A real case pushed through our bank ends as nnU-Net's own preprocessing leaves it: both readers, 2d and 3d, uneven spacing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nnunet_fixture import DATASET, PATIENTS, Project, heart
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_synth_aug.core.cases import SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.bank.manifest import manifest_path
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence

PLANS = "parityPlans"
OWN = np.array([0, 3, 2, 1], np.uint8)  # this package's labels -> the fixture's
#: Spacing of the files (x, y, z) and what it is resampled to; 1.37 and 1.62 are no float32 numbers.
ANISOTROPIC, TARGETS = (1.37, 1.62, 9.3), {"2d": [1.5, 1.5], "3d_fullres": [5.0, 1.5, 1.5]}


def scanner_affine(spacing: tuple[float, float, float]) -> np.ndarray:
    """A short-axis plane of a scanner: oblique, and left-handed in its first axes."""
    a, b = np.deg2rad(35), np.deg2rad(-50)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = turn @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]) @ np.diag([-1, -1, 1])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = (12.5, -80.25, 33.0)
    return affine


@pytest.fixture
def plans(project: Project) -> Iterator[Path]:
    """A plans file of its own, removed afterwards with all that was preprocessed by it."""
    path = project.preprocessed / f"{PLANS}.json"
    yield path
    path.unlink()
    for configuration in TARGETS:
        shutil.rmtree(project.preprocessed / f"{PLANS}_{configuration}", ignore_errors=True)
        shutil.rmtree(project.preprocessed / "synth_aug" / "fold_0" / f"{PLANS}_{configuration}", ignore_errors=True)
        manifest_path(DATASET, 0, f"{PLANS}_{configuration}").unlink(missing_ok=True)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("transpose", [[0, 1, 2], [1, 2, 0]], ids=["as read", "transposed"])
def test_a_real_case_comes_out_of_the_bank_as_nnunet_preprocesses_it(
    project: Project, plans: Path, tmp_path: Path, reader: str, configuration: str, transpose: list[int]
) -> None:
    content = read_json(project.preprocessed / "nnUNetPlans.json")
    content |= {"plans_name": PLANS, "image_reader_writer": reader, "transpose_forward": transpose}
    content["transpose_backward"] = [int(i) for i in np.argsort(transpose)]
    settings = content["configurations"][configuration]
    wanted = TARGETS[configuration]
    # The plans' spacing is in the order after the transpose; 2d has no spacing for its first axis.
    whole = [ANISOTROPIC[2], *wanted] if configuration == "2d" else wanted
    moved = [whole[axis] for axis in transpose]
    settings |= {"spacing": moved[-len(wanted) :], "data_identifier": f"{PLANS}_{configuration}"}
    write_json(plans, content)
    target = load_target(DATASET, configuration, PLANS)

    # A patient as a scanner leaves them, with a border of exact zeros that nnU-Net crops.
    pairs = [heart(np.random.default_rng(11), squeeze) for squeeze in (1.0, 0.7)]
    for image, mask in pairs:
        image[:5], image[:, -3:], mask[:5], mask[:, -3:] = 0, 0, 0, 0
    own = target.folder / target.data_identifier
    own.mkdir()
    names = [f"{PATIENTS[2]}_ED", f"{PATIENTS[2]}_ES"]
    for name, (image, mask) in zip(names, pairs, strict=True):
        for ending, array in (("_0000", np.round(image).astype(np.int16)), ("", OWN[mask])):
            file = nib.Nifti1Image(array, scanner_affine(ANISOTROPIC))
            file.set_qform(file.affine, 1)
            nib.save(file, tmp_path / f"{name}{ending}.nii.gz")
        files = [str(tmp_path / f"{name}_0000.nii.gz")], str(tmp_path / f"{name}.nii.gz")
        preprocessor = target.configuration_manager.preprocessor_class(verbose=False)
        preprocessor.run_case_save(str(own / name), *files, target.plans_manager, target.configuration_manager, target.dataset_json)

    # The fold's other cases only have to be there.
    for patient in PATIENTS:
        for phase in ("ED", "ES"):
            for file in own.glob(f"{names[0]}*"):
                if not (other := own / file.name.replace(names[0], f"{patient}_{phase}")).exists():
                    other.hardlink_to(file)

    # The same files through our reader, a sequence on disk, and the bank.
    read = [read_nifti(tmp_path / f"{name}_0000.nii.gz") for name in names]
    masks = [np.argsort(OWN)[read_nifti(tmp_path / f"{name}.nii.gz")[0]] for name in names]
    sequence = SyntheticSequence(
        id="synth_00000",
        image=np.stack([image for image, _, _ in read]).astype(np.float32),
        mask=np.stack(masks).astype(np.uint8),
        spacing=read[0][1],
        ed=0,
        es=1,
        frame_seconds=0.4,
        seed=0,
        requested=Priors(),
        measured=Priors(),
    )
    write_sequence(tmp_path / "sequences", sequence)
    provenance = {"dataset": DATASET, "fold": 0, "generator_hash": "x", "preset": "none", "patients": list(PATIENTS[:4])}
    write_index(tmp_path / "sequences", ["synth_00000"], provenance)
    build_bank_cases(tmp_path / "sequences", DATASET, 0, configuration, PLANS, frames=2)

    theirs = nnUNetDatasetBlosc2(str(own))
    ours = nnUNetDatasetBlosc2(str(project.preprocessed / "synth_aug" / "fold_0" / target.data_identifier))
    for name, case in zip(names, ("synth_00000_t00", "synth_00000_t01"), strict=True):
        (data, seg, _, properties), (data2, seg2, _, properties2) = theirs.load_case(name), ours.load_case(case)
        assert (data.shape, data.dtype, data.chunks, data.blocks) == (data2.shape, data2.dtype, data2.chunks, data2.blocks)
        assert (seg.dtype, seg.chunks, seg.blocks) == (seg2.dtype, seg2.chunks, seg2.blocks)
        np.testing.assert_array_equal(seg[:], seg2[:])
        np.testing.assert_array_equal(data[:], data2[:])
        np.testing.assert_allclose(properties["spacing"], ANISOTROPIC[::-1], rtol=1e-6)  # (z, y, x) from both readers
        np.testing.assert_allclose(properties2["spacing"], ANISOTROPIC[::-1], rtol=1e-6)
        for key in ("shape_before_cropping", "bbox_used_for_cropping", "shape_after_cropping_and_before_resampling"):
            assert [*map(list, np.atleast_2d(properties[key]))] == [*map(list, np.atleast_2d(properties2[key]))], key
        assert properties["class_locations"].keys() == properties2["class_locations"].keys()
        for label, voxels in properties["class_locations"].items():
            np.testing.assert_array_equal(voxels, properties2["class_locations"][label])
    assert {1, 2, 3} <= set(np.unique(seg2[:]))


def test_a_reader_that_turns_images_is_refused(project: Project, plans: Path) -> None:
    """It would show the network real hearts in one orientation and synthetic ones in another."""
    content = read_json(project.preprocessed / "nnUNetPlans.json")
    write_json(plans, content | {"plans_name": PLANS, "image_reader_writer": "NibabelIOWithReorient"})
    with pytest.raises(UserError, match="overwrite_image_reader_writer"):
        load_target(DATASET, "2d", PLANS)
