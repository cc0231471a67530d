"""The bank against nnU-Net's own preprocessing, kills in the middle, and bad input."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nnunet_fixture import DATASET, LABELS, PATIENTS, PLANS, SPACING, Project, sequence, write_sequences
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, read_nifti, write_json
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.bank.manifest import bank_status, manifest_path, read_manifest
from nnunet_synth_aug.nnunet.bank.preprocess import preprocess_frame, save_case
from nnunet_synth_aug.nnunet.plans import write_small_plans
from nnunet_synth_aug.nnunet.target import label_lookup, load_target
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence

ACDC = Path(__file__).resolve().parents[2] / "shared" / "data" / "acdc_edes"


def arrays(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray, dict]]:
    dataset = nnUNetDatasetBlosc2(str(folder))
    loaded = {case: dataset.load_case(case) for case in dataset.identifiers}
    return {case: (np.asarray(data[:]), np.asarray(seg[:]), properties) for case, (data, seg, _, properties) in loaded.items()}


def assert_same_bank(one: Path, other: Path) -> None:
    a, b = arrays(one), arrays(other)
    assert a.keys() == b.keys()
    for case in a:
        np.testing.assert_array_equal(a[case][0], b[case][0])
        np.testing.assert_array_equal(a[case][1], b[case][1])
        for label, voxels in a[case][2]["class_locations"].items():
            np.testing.assert_array_equal(voxels, b[case][2]["class_locations"][label])


@pytest.fixture
def fold1(project: Project) -> Iterator[Path]:
    """The bank folder of fold 1, empty before and after."""
    folder = project.preprocessed / "synth_aug" / "fold_1"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_real_case_equals_nnunets_own_preprocessing(project: Project, tmp_path: Path, configuration: str) -> None:
    """nnU-Net's way from file to .b2nd and ours give the same arrays, sampling locations and storage layout."""
    target = load_target(731, configuration, PLANS if configuration == "2d" else "nnUNetPlans")
    case = "patient003_ES"
    image_path, mask_path = project.raw / "imagesTr" / f"{case}_0000.nii.gz", project.raw / "labelsTr" / f"{case}.nii.gz"
    own = target.folder / target.data_identifier
    if configuration != "2d":
        own = tmp_path / "own"
        own.mkdir()
        manager = target.configuration_manager
        manager.preprocessor_class(verbose=False).run_case_save(
            str(own / case), [str(image_path)], str(mask_path), target.plans_manager, manager, target.dataset_json
        )
    ours = tmp_path / "ours"
    ours.mkdir()
    image, spacing, _ = read_nifti(image_path)
    mask, _, _ = read_nifti(mask_path)
    save_case(ours, case, *preprocess_frame(image, mask, spacing, target), target)

    (data, seg, _, properties), (data2, seg2, _, properties2) = (nnUNetDatasetBlosc2(str(f)).load_case(case) for f in (own, ours))
    assert (data.dtype, seg.dtype, data.chunks, data.blocks) == (data2.dtype, seg2.dtype, data2.chunks, data2.blocks)
    np.testing.assert_array_equal(data[:], data2[:])
    np.testing.assert_array_equal(seg[:], seg2[:])
    assert properties.keys() - {"sitk_stuff"} == properties2.keys() - {"sitk_stuff"}
    for label, voxels in properties["class_locations"].items():
        np.testing.assert_array_equal(voxels, properties2["class_locations"][label])


@pytest.mark.skipif(not ACDC.is_dir(), reason="needs the ACDC patients in shared/data beside the repository")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_real_patient_equals_nnunets_own_preprocessing(project: Project, tmp_path: Path, configuration: str) -> None:
    """A scanner's orientation, spacing and number type, resampled to the plans' spacing."""
    target = load_target(731, configuration, PLANS if configuration == "2d" else "nnUNetPlans")
    image_path = sorted(ACDC.glob("patient*/patient*_frame*[0-9].nii.gz"))[0]
    mask_path = image_path.with_name(image_path.name.replace(".nii.gz", "_gt.nii.gz"))
    manager = target.configuration_manager
    data, seg, _ = manager.preprocessor_class(verbose=False).run_case(
        [str(image_path)], str(mask_path), target.plans_manager, manager, target.dataset_json
    )
    image, spacing, _ = read_nifti(image_path)
    mask, _, _ = read_nifti(mask_path)
    ours, our_seg, _ = preprocess_frame(image, mask, spacing, target)
    assert set(np.unique(our_seg)) >= {1, 2, 3}
    np.testing.assert_array_equal(our_seg, seg)
    np.testing.assert_array_equal(ours, data)


def test_bank_holds_ed_es_and_more_with_the_datasets_labels(project: Project) -> None:
    manifest = bank_status(load_target(731, "2d", PLANS), 0)
    assert manifest.ids == [f"synth_{n:05d}_t{t:02d}" for n in range(3) for t in (0, 1, 3)]
    assert manifest.content["generator"]["patients"] == list(PATIENTS[:4])
    assert manifest.content["cases"][0]["requested"] == {"lv_ef": 55.0}
    stored = arrays(manifest.folder)
    assert set(stored) == set(manifest.ids)
    data, seg, properties = stored["synth_00000_t00"]
    assert data.shape == (1, 4, 48, 51)  # 60 x 64 pixels of 2 mm -> 2.5 mm
    assert abs(data.mean()) < 0.02
    voxels = {name: (seg == value).sum() for name, value in LABELS.items()}
    mask = sequence(0).mask[0]
    for name, value in {"RV": 1, "myo": 2, "LV": 3}.items():
        assert voxels[name] == pytest.approx((mask == value).sum() * (2 / 2.5) ** 2, rel=0.1)
    assert len(properties["class_locations"][LABELS["LV"]]) == voxels["LV"]


def test_context_replaces_the_own_z_score(project: Project) -> None:
    target = load_target(731, "2d", PLANS)
    frame = sequence(1)
    image, mask = frame.image[2], label_lookup(target)[frame.mask[2]]
    plain, seg, _ = preprocess_frame(image, mask, SPACING, target)
    renormalised, seg2, _ = preprocess_frame(image, mask, SPACING, target, context=(310.0, 42.0))
    np.testing.assert_array_equal(seg, seg2)
    np.testing.assert_allclose(renormalised, (plain * image.std() + image.mean() - 310.0) / 42.0, atol=2e-4)
    # The statement itself: the same heart in a larger field of view. 60 and 80 pixels of 2 mm are whole numbers of 2.5 mm.
    image, mask = image[:60], mask[:60]
    # Padded with the minimum: the resampling clips to an image's range, which is thus the same in both.
    wide_image = np.pad(image, ((10, 10), (10, 10), (0, 0)), constant_values=image.min())
    wide, _, _ = preprocess_frame(wide_image, np.pad(mask, ((10, 10), (10, 10), (0, 0))), SPACING, target)
    narrow, _, _ = preprocess_frame(image, mask, SPACING, target, context=(float(wide_image.mean()), float(wide_image.std())))
    np.testing.assert_allclose(narrow[:, :, 8:-8, 8:-8], wide[:, :, 16:-16, 16:-16], atol=2e-3)


def test_context_respects_the_nonzero_mask(project: Project) -> None:
    target = load_target(731, "2d", PLANS)
    target.configuration_manager.configuration["use_mask_for_norm"] = [True]
    image = sequence(1).image[0].copy()
    image[:12] = 0.0
    image[40:44, :3] = 0.0  # touches the border, so it stays "outside" after the crop
    mask = np.zeros(image.shape, np.int16)
    mask[20:30, 20:30] = 1
    plain, seg, _ = preprocess_frame(image, mask, SPACING, target)
    out, _, _ = preprocess_frame(image, mask, SPACING, target, context=(200.0, 50.0))
    assert (seg < 0).any()
    np.testing.assert_array_equal(out[seg < 0], plain[seg < 0])
    inside = image[image > 0]
    np.testing.assert_allclose(out[seg >= 0], (plain[seg >= 0] * inside.std() + inside.mean() - 200.0) / 50.0, atol=1e-3)


def test_kill_in_the_middle_then_resume_equals_an_undisturbed_run(project: Project, fold1: Path, tmp_path: Path) -> None:
    """kill -9 after the first cases; the second run keeps them, completes the rest, and adds the manifest."""
    sequences = write_sequences(tmp_path / "sequences", count=8, patients=PATIENTS[2:])
    code = "import sys; from pathlib import Path; from nnunet_synth_aug.nnunet.bank.build import build_bank_cases as build"
    code += f"; build(Path({str(sequences)!r}), 731, 1, '2d', {PLANS!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=project.environment, stderr=subprocess.DEVNULL)
    cases = fold1 / f"{PLANS}_2d"
    deadline = time.monotonic() + 60
    while len(list(cases.glob("*.pkl"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    target = load_target(731, "2d", PLANS)
    before = {p.name: p.stat().st_mtime_ns for p in cases.glob("*.pkl")}
    assert 3 <= len(before) < 32
    with pytest.raises(UserError, match="synthaug bank"):
        read_manifest(target, 1)
    # Worse than the kill could be: a case without its .pkl, and one whose .pkl is cut off.
    names = sorted(before)
    (cases / names[0]).unlink()
    (cases / names[1]).write_bytes((cases / names[1]).read_bytes()[:50])

    manifest = build_bank_cases(sequences, 731, 1, "2d", PLANS)
    assert (cases / names[2]).stat().st_mtime_ns == before[names[2]]
    assert [p.name for p in fold1.iterdir() if p.name.startswith(".")] == []
    content = manifest.read_text()
    shutil.move(cases, tmp_path / "resumed")
    manifest.unlink()
    build_bank_cases(sequences, 731, 1, "2d", PLANS)
    assert manifest.read_text() == content
    assert_same_bank(tmp_path / "resumed", cases)


def test_growing_keeps_cases_and_changed_sequences_are_made_again(project: Project, fold1: Path, tmp_path: Path) -> None:
    sequences = write_sequences(tmp_path / "sequences", count=2, patients=PATIENTS[2:])
    manifest = build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    cases = fold1 / f"{PLANS}_2d"
    before = {p.name: p.stat().st_mtime_ns for p in cases.iterdir()}
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    assert {p.name: p.stat().st_mtime_ns for p in cases.iterdir()} == before  # nothing to do

    provenance = read_json(sequences / "index.json")["provenance"]
    write_sequence(sequences, sequence(2))  # more of the same generator: the cases that exist stay
    write_index(sequences, [f"synth_{n:05d}" for n in range(3)], provenance | {"quality": {"accepted": 3}})
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=3)
    grown = {p.name: p.stat().st_mtime_ns for p in cases.iterdir()}
    assert len(grown) == 3 * 3 * 3
    assert before.items() <= grown.items()
    assert read_json(manifest)["generator"]["quality"] == {"accepted": 3}

    write_sequence(sequences, dataclasses.replace(sequence(5), id="synth_00001"))
    write_index(sequences, ["synth_00001"], provenance)
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=2)
    assert {p.name.split("_t")[0] for p in cases.iterdir()} == {"synth_00001"}
    assert read_json(manifest)["cases"][0]["seed"] == 5
    np.testing.assert_allclose(arrays(cases)["synth_00001_t00"][0].std(), 1, atol=0.05)
    assert cases.joinpath("synth_00001_t00.pkl").stat().st_mtime_ns > before["synth_00001_t00.pkl"]


def test_torn_slices_stay_out_of_the_bank(project: Project, fold1: Path, tmp_path: Path) -> None:
    """Of ES only what can be trusted; of the other frames none whose middle is torn, but as many as asked for."""
    sequences = write_sequences(tmp_path / "sequences", count=1, patients=PATIENTS[2:])
    whole = sequence(0)
    depth = whole.mask.shape[-1]
    assert whole.es == 3
    sound = {0: (0, depth), 1: (0, depth), 3: (1, depth), 4: (0, depth - 2)}  # not 2 and 5
    write_sequence(sequences, dataclasses.replace(whole, sound=sound))
    manifest = build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=5)
    assert [case["frame"] for case in read_json(manifest)["cases"]] == [0, 1, 3, 4]
    cut = arrays(fold1 / f"{PLANS}_2d")
    assert [cut[f"synth_00000_t{t:02d}"][1].shape[1] for t in (0, 1, 3, 4)] == [depth, depth, depth - 1, depth - 2]
    write_sequence(sequences, whole)
    build_bank_cases(sequences, 731, 1, "2d", PLANS, frames=5)
    kept = arrays(fold1 / f"{PLANS}_2d")
    np.testing.assert_array_equal(cut["synth_00000_t03"][1][:, 0], kept["synth_00000_t03"][1][:, 1])


def test_generator_that_saw_validation_patients_is_refused(project: Project, fold1: Path) -> None:
    with pytest.raises(UserError, match=r"patient001, patient002.*synthaug fit"):
        build_bank_cases(project.sequences, 731, 1, "2d", PLANS)
    assert not fold1.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": 999}, "no dataset 999"),
        ({"plans": "otherPlans"}, "nnUNetv2_plan_and_preprocess -d 731"),
        ({"configuration": "2D"}, "no configuration 2D; choose one of 2d"),
        ({"plans": "nnUNetPlans"}, "nnUNetv2_preprocess -d 731 -plans_name nnUNetPlans -c 2d"),
        ({"fold": 7}, "fold 7 is not in .*; choose 0, 1 or all"),
        ({"fold": "x"}, "fold x is not in"),
        ({"frames": 1}, "--frames is 1"),
        ({"sequences": Path("nowhere")}, "nowhere holds no synthetic sequences"),
    ],
)
def test_bad_arguments_are_one_sentence(project: Project, arguments: dict, message: str) -> None:
    usual = {"sequences": project.sequences, "dataset": 731, "fold": 0, "configuration": "2d", "plans": PLANS}
    before = manifest_path(DATASET, 0, f"{PLANS}_2d").read_text()
    with pytest.raises(UserError, match=message) as caught:
        build_bank_cases(**{**usual, **arguments})
    assert "\n" not in str(caught.value)
    assert manifest_path(DATASET, 0, f"{PLANS}_2d").read_text() == before


def test_bad_sequences_are_one_sentence(project: Project, fold1: Path, tmp_path: Path) -> None:
    sequences = write_sequences(tmp_path / "sequences", count=1, patients=PATIENTS[2:])
    image = sequences / "synth_00000_image.nii.gz"
    good = image.read_bytes()
    image.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match=r"synth_00000_image\.nii\.gz is not a complete NIfTI"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS)
    image.unlink()
    with pytest.raises(UserError, match=r"synth_00000_image\.nii\.gz does not exist"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS)
    write_sequence(sequences, dataclasses.replace(sequence(0), mask=np.full((6, 64, 60, 4), 9, np.uint8)))
    with pytest.raises(UserError, match="holds a label above 3"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS)
    write_index(sequences, ["synth_00000"], {"dataset": DATASET, "fold": 1, "generator_hash": "x"})
    with pytest.raises(UserError, match="does not say which patients"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS)
    write_index(sequences, ["synth_00000"], {"dataset": DATASET, "fold": 1, "generator_hash": "x", "patients": ["p7", "p8"]})
    with pytest.raises(UserError, match=r"match no patient of Dataset731_Hearts.*cohort\.json"):
        build_bank_cases(sequences, 731, 1, "2d", PLANS)
    assert not manifest_path(DATASET, 1, f"{PLANS}_2d").exists()


def test_labels_are_matched_by_name(project: Project) -> None:
    target = load_target(731, "2d", PLANS)
    assert label_lookup(target).tolist() == [0, 3, 2, 1]
    target.dataset_json["labels"] = {"background": 0, "LV": 1, "MYO": 2}
    with pytest.raises(UserError, match="does not tell which value is RV"):
        label_lookup(target)


def test_plans_that_cannot_use_synthetic_cases_are_refused(project: Project, tmp_path: Path) -> None:
    dataset_json = project.preprocessed / "dataset.json"
    good = dataset_json.read_text()
    try:
        write_json(dataset_json, {**json.loads(good), "channel_names": {"0": "cine", "1": "lge"}})
        with pytest.raises(UserError, match="2 input channels"):
            load_target(731, "2d", PLANS)
    finally:
        dataset_json.write_text(good)


def test_small_plans(project: Project) -> None:
    path = project.preprocessed / f"{PLANS}.json"
    plans = read_json(path)
    configuration = plans["configurations"]["2d"]
    assert plans["plans_name"] == PLANS
    assert configuration["data_identifier"] == f"{PLANS}_2d"
    assert configuration["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16, 32]
    with pytest.raises(UserError, match="was not made by this command"):
        write_small_plans(731, PLANS, "nnUNetPlans", batch_size=2)
    with pytest.raises(UserError, match="divides by"):
        write_small_plans(731, "nnUNetPlans", "odd", patch_2d=(50, 50), n_stages=3)
    with pytest.raises(UserError, match="unknown key 'ration'"):
        write_small_plans(731, "nnUNetPlans", "odd", synth_aug={"ration": 1})
    assert not (project.preprocessed / "odd.json").exists()
    try:
        kept = read_json(write_small_plans(731, "nnUNetPlans", "odd", synth_aug={"ratio": 0.3}))
        assert set(kept["configurations"]) == {"2d", "3d_fullres"}
        assert kept["configurations"]["2d"]["data_identifier"] == "nnUNetPlans_2d"
    finally:
        (project.preprocessed / "odd.json").unlink()


def test_case_properties_hold_what_nnunet_reads(project: Project) -> None:
    manifest = read_manifest(load_target(731, "2d", PLANS), 0)
    with (manifest.folder / f"{manifest.ids[0]}.pkl").open("rb") as stream:
        properties = pickle.load(stream)
    with (project.preprocessed / f"{PLANS}_2d" / "patient001_ED.pkl").open("rb") as stream:
        real = pickle.load(stream)
    assert real.keys() - properties.keys() == {"sitk_stuff"}  # only needed to export predictions
    assert properties["class_locations"].keys() == real["class_locations"].keys()
