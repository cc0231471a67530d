"""The dataset that nnU-Net gets, the cohort read back from it, and its patient-grouped split."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES, LV, MYO
from nnunet_synth_aug.core.priors import VARIABLES, Priors, measure
from nnunet_synth_aug.data.cohort import SAME_SCALE, Cohort, load_sequence, on_one_scale
from nnunet_synth_aug.data.importers.acdc import read_acdc
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.data.splits import fold_patients, make_splits

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "acdc_cine").is_dir(), reason=f"the real ACDC copies are not in {DATA}")
REAL = ["patient001", "patient003", "patient006"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def heart(patient: str, **changes: object) -> SourceSubject:
    """A made-up subject of 5 frames whose LV shrinks to one half (EF 50 %)."""
    rng = np.random.default_rng(int(patient[-1]))
    ed = np.zeros((40, 40, 6), np.uint8)
    ed[2:10, 8:32], ed[10:32, 8:32], ed[13:29, 11:29] = 1, 2, 3
    es = ed.copy()
    es[13:21, 11:29] = 2
    image = rng.integers(0, 500, (5, 40, 40, 6)).astype(np.int16)
    subject = SourceSubject(patient, image, True, (1.5, 1.5, 8.0), 0, 3, {"ED": ed, "ES": es}, Priors(diagnosis="NOR"), frame_seconds=0.04)
    return replace(subject, **changes)  # type: ignore[arg-type]


SHEARED = np.array([[1.5, 0.6, 0, 10], [0, math.sqrt(1.5**2 - 0.6**2), 0, 20], [0, 0, 8, 30], [0, 0, 0, 1]])  # ITK refuses to read it


def hearts(n: int = 4) -> Iterator[SourceSubject]:
    return (heart(f"p{i}") for i in range(n))


def opened(path: Path) -> Any:
    return nib.load(path)


def voxels(path: Path) -> np.ndarray:
    return np.asanyarray(opened(path).dataobj)


@needs_data
@pytest.mark.parametrize(("copy", "is_cine"), [("acdc_cine", True), ("acdc_edes", False)])
def test_real_patients_survive_the_round_trip(copy: str, is_cine: bool, folders: Path) -> None:
    folder = write_dataset(read_acdc(DATA / copy, REAL), 27, "ACDC", folds=3, source={"name": copy})
    cohort = Cohort.load(27)
    assert [subject.patient for subject in cohort.subjects] == REAL
    assert (folder / "cine").exists() == is_cine
    for original in read_acdc(DATA / copy, REAL):
        subject = cohort.subject(original.patient)
        sequence = load_sequence(subject)
        assert sequence.image.dtype == np.float32
        np.testing.assert_array_equal(sequence.image[sequence.ed], original.image[original.ed])
        if is_cine:
            np.testing.assert_array_equal(sequence.image, original.image)
        blood = [np.median(sequence.image[t][sequence.mask[t] == LV]) for t in (sequence.ed, sequence.es)]
        assert blood[1] == pytest.approx(blood[0], rel=0.15)
        assert (sequence.ed, sequence.es) == (original.ed, original.es)
        assert sequence.labelled == (original.ed, original.es)
        np.testing.assert_array_equal(sequence.mask[sequence.ed], original.masks["ED"])
        np.testing.assert_array_equal(sequence.mask[sequence.es], original.masks["ES"])
        assert sequence.mask.any(axis=(1, 2, 3)).sum() == 2
        assert subject.priors == measure(original.masks["ED"], original.masks["ES"], original.spacing).updated(original.priors)
        for phase, frame in (("ED", original.ed), ("ES", original.es)):
            image = folder / "imagesTr" / f"{original.patient}_{phase}_0000.nii.gz"
            assert opened(image).get_data_dtype() == np.int16
            np.testing.assert_array_equal(voxels(image), original.image[frame])
            np.testing.assert_array_equal(voxels(folder / "labelsTr" / f"{original.patient}_{phase}.nii.gz"), original.masks[phase])
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 6


@given(st.floats(-6, 6), st.integers(0, 2**31))
def test_es_gets_the_grey_values_of_ed_whatever_its_files_scale(exponent, seed):
    ed = np.random.default_rng(seed).gamma(1.0, 100.0, (12, 12, 4))
    scaled = on_one_scale(ed, ed * 10**exponent)
    np.testing.assert_allclose(scaled, ed, rtol=SAME_SCALE - 1)
    np.testing.assert_array_equal(on_one_scale(ed, ed * 1.05), ed * 1.05)  # a scan of one scale is left as it is
    np.testing.assert_array_equal(on_one_scale(ed, ed * 1.24), ed * 1.24)  # the most that one scan's ED and ES differed by
    np.testing.assert_array_equal(on_one_scale(ed, np.zeros_like(ed)), np.zeros_like(ed))


def test_stills_are_read_on_one_scale(folders: Path) -> None:
    def pair(patient: str, factor: int) -> SourceSubject:
        one = heart(patient)
        return replace(one, image=np.stack([one.image[0], one.image[0] * factor]), is_cine=False, es=1, frame_seconds=0.0)

    write_dataset((pair(f"p{n}", factor) for n, factor in enumerate((1, 17, 1, 1))), 6, "Scales", folds=2)
    sequence = load_sequence(Cohort.load(6).subject("p1"))
    np.testing.assert_allclose(sequence.image[1], sequence.image[0], rtol=1e-5)


@needs_data
def test_nnunet_accepts_the_dataset(folders: Path) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    folder = write_dataset(read_acdc(DATA / "acdc_edes", REAL), 27, "ACDC", folds=3)
    verify_dataset_integrity(str(folder), 1)


def test_dataset_json_is_what_nnunet_reads(folders: Path) -> None:
    folder = write_dataset(hearts(), 5, "Toy", folds=2, source={"name": "made up"})
    document = json.loads((folder / "dataset.json").read_text())
    assert folder.name == document["name"] == "Dataset005_Toy"
    assert document["channel_names"] == {"0": "cineMRI"}
    assert document["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    assert document["numTraining"] == 8
    assert document["file_ending"] == ".nii.gz"
    assert document["synth_aug"]["source"] == {"name": "made up"}
    images = {path.name.removesuffix("_0000.nii.gz") for path in (folder / "imagesTr").iterdir()}
    labels = {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()}
    assert images == labels == {f"p{i}_{phase}" for i in range(4) for phase in ("ED", "ES")}


def test_cine_geometry_and_number_types(folders: Path) -> None:
    whole = heart("p1")
    real = heart("p2", image=whole.image.astype(np.float64) / 7)
    large = heart("p3", image=whole.image.astype(np.int32) * 200)
    turned = np.array([[0, -1.5, 0, 10], [1.5, 0, 0, 20], [0, 0, 8, 30], [0, 0, 0, 1]])
    folder = write_dataset([replace(whole, affine=turned), real, large], 5, "Toy", folds=2)
    cine = opened(folder / "cine" / "p1_4d.nii.gz")
    assert cine.shape == (40, 40, 6, 5)
    assert cine.get_data_dtype() == np.int16
    np.testing.assert_allclose(cine.header.get_zooms(), (1.5, 1.5, 8.0, 0.04))
    np.testing.assert_allclose(cine.affine, turned)
    np.testing.assert_allclose(opened(folder / "labelsTr" / "p1_ES.nii.gz").affine, turned)
    second, third = opened(folder / "cine" / "p2_4d.nii.gz"), opened(folder / "cine" / "p3_4d.nii.gz")
    assert second.get_data_dtype() == np.float32
    np.testing.assert_allclose(second.affine, np.diag([1.5, 1.5, 8, 1]))
    assert third.get_data_dtype() == np.float32  # 100000 does not fit into int16
    np.testing.assert_array_equal(voxels(folder / "cine" / "p3_4d.nii.gz"), np.moveaxis(large.image, 0, -1))
    assert Cohort.load(5).subject("p1").frame_seconds == 0.04


def test_priors_stated_measured_and_edited(folders: Path) -> None:
    folder = write_dataset([heart("p1"), heart("p2", priors=Priors(lv_edv=123.0, sex="F", age=50.0))], 5, "Toy", folds=2)
    table = pd.read_csv(folder / "priors.csv", index_col="patient")
    assert list(table.columns) == list(VARIABLES)
    edv = 16 * 18 * 6 * 1.5 * 1.5 * 8 / 1000
    first, second = (Cohort.load(5).subject(name).priors for name in ("p1", "p2"))
    assert first.lv_edv == pytest.approx(edv)
    assert first.lv_ef == pytest.approx(50)
    assert (first.n_slices, first.slice_thickness, first.diagnosis) == (6, 8.0, "NOR")
    assert second.lv_edv == 123.0
    assert (second.sex, second.age, second.diagnosis) == ("F", 50.0, None)

    before = Cohort.load(5).hash()
    table.loc["p1", "weight"] = 81.5
    table.to_csv(folder / "priors.csv")
    assert Cohort.load(5).subject("p1").priors.weight == 81.5
    assert Cohort.load(5).hash() != before


def test_implausible_measurement_is_left_out_and_noted(folders: Path) -> None:
    odd = heart("p1")
    odd.masks["ES"][:] = odd.masks["ED"]  # EF 0: nobody's
    folder = write_dataset([odd, heart("p2")], 5, "Toy", folds=2)
    assert Cohort.load(5).subject("p1").priors.lv_ef is None
    assert Cohort.load(5).subject("p2").priors.lv_ef == pytest.approx(50)
    notes = json.loads((folder / "cohort.json").read_text())["notes"]
    assert "p1: lv_ef as the masks show it is outside 2 to 90 % and left unspecified (0 %)" in notes


def test_partly_contoured_subject_is_kept_but_no_case(folders: Path) -> None:
    lv_only = {phase: np.where(mask == LV, mask, 0) for phase, mask in heart("p3").masks.items()}
    partial = heart("p3", masks=lv_only, annotated=frozenset({LV}))
    still = replace(partial, patient="p4", image=partial.image[:2], es=1, is_cine=False)
    folder = write_dataset([heart("p1"), heart("p2"), partial, still], 5, "Toy", folds=2)
    assert {path.name[:2] for path in (folder / "labelsTr").iterdir()} == {"p1", "p2"}
    cohort = Cohort.load(5)
    for name in ("p3", "p4"):
        subject = cohort.subject(name)
        assert subject.cases == {}
        assert subject.annotated == {LV}
        assert subject.priors.lv_edv is not None
        assert subject.priors.rv_edv is subject.priors.lv_mass is None
        sequence = load_sequence(subject)
        np.testing.assert_array_equal(sequence.mask[sequence.es], lv_only["ES"])
    np.testing.assert_array_equal(load_sequence(cohort.subject("p4")).image, still.image)
    notes = json.loads((folder / "cohort.json").read_text())["notes"]
    assert "p3: no contours of RV and MYO, so its masks are kept in cine/ and are not nnU-Net cases" in notes
    for fold in (0, 1):
        patients = fold_patients(cohort, fold)
        assert {"p3", "p4"} <= set(patients.train)
        assert len(patients.val) == 1


def test_only_phases_with_a_mask_become_cases(folders: Path) -> None:
    one = heart("p1")
    unlabelled = heart("p3", masks={})
    folder = write_dataset([replace(one, masks={"ED": one.masks["ED"]}), heart("p2"), unlabelled], 5, "Toy", folds=2)
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == ["p1_ED.nii.gz", "p2_ED.nii.gz", "p2_ES.nii.gz"]
    cohort = Cohort.load(5)
    assert load_sequence(cohort.subject("p1")).labelled == (0,)
    assert load_sequence(cohort.subject("p3")).labelled == ()
    assert cohort.subject("p1").priors.lv_ef is None
    assert cohort.subject("p3").priors == Priors(diagnosis="NOR", slice_thickness=8.0, n_slices=6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"patient": "a__1"}, "'a__1' cannot be a patient name"),
        ({"patient": "../1"}, "cannot be a patient name"),
        ({"patient": "P1"}, "patient P1 comes twice"),
        ({"es": 5}, "must be two of the 5 frames"),
        ({"es": 0}, "must be two of the 5 frames"),
        ({"masks": {"ED": np.zeros((40, 40, 5), np.uint8)}}, r"ED mask has the shape \(40, 40, 5\)"),
        ({"masks": {"ED": np.full((40, 40, 6), 7, np.uint8)}}, "unknown label 7"),
        ({"image": np.full((5, 40, 40, 6), np.inf)}, "NaN or infinite"),
        ({"image": np.zeros((1, 40, 40, 6))}, "at least 2 frames"),
        ({"priors": Priors(age=400)}, "age 400 years is outside"),
        (
            {"affine": SHEARED},
            r"p3: the axes are not at right angles, .* would move a corner by \d\.\d voxels; resample",
        ),
        ({"affine": np.diag([2, 1.5, 8, 1])}, r"p3: the affine contradicts the spacing \(1.5, 1.5, 8.0\) mm"),
        ({"affine": np.full((4, 4), np.nan)}, "p3: the affine contradicts the spacing"),
    ],
)
def test_unusable_subject_is_refused(changes: dict[str, object], sentence: str, folders: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        write_dataset([heart("p1"), heart("p2"), replace(heart("p3"), **changes)], 5, "Toy", folds=2)  # type: ignore[arg-type]
    assert not list(folders.glob("nnUNet_*/*"))


def test_no_case_at_all_is_refused(folders: Path) -> None:
    with pytest.raises(UserError, match="would have no training case"):
        write_dataset([heart("p1", annotated=frozenset({MYO, LV}))], 5, "Toy", folds=2)


def test_cohort_lookups(folders: Path) -> None:
    write_dataset(hearts(), 5, "Toy", folds=2)
    cohort = Cohort.load("Dataset005_Toy")
    assert cohort.patient_of("p2_ES") == "p2"
    assert [subject.patient for subject in cohort.select(["p3", "p0"]).subjects] == ["p0", "p3"]
    assert cohort.select(["p0"]).hash() != cohort.hash() == Cohort.load(5).hash()
    for lookup in (lambda: cohort.subject("p9"), lambda: cohort.patient_of("p9_ED"), lambda: cohort.select(["p9"])):
        with pytest.raises(UserError, match="p9"):
            lookup()


def test_hash_sees_contents_and_not_the_place(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(hearts(), 5, "Toy", folds=2)
    before = Cohort.load(5).hash()
    (tmp_path / "moved").mkdir()
    (folders / "nnUNet_raw").rename(tmp_path / "moved" / "raw")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "moved" / "raw"))
    assert Cohort.load(5).hash() == before
    image = tmp_path / "moved" / "raw" / folder.name / "imagesTr" / "p1_ED_0000.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 6), np.int16), np.eye(4)), image)
    assert Cohort.load(5).hash() != before


def test_a_patient_without_masks_keeps_the_images_and_nothing_that_a_mask_told(folders: Path) -> None:
    write_dataset(hearts(), 5, "Toy", folds=2)
    cohort = Cohort.load(5)
    other = cohort.without_masks(["p1"])
    before, after = (c.subject("p1") for c in (cohort, other))
    assert before.priors.lv_edv is not None
    assert (after.masks, after.cases) == ({}, {})
    assert not {"lv_edv", "lv_ef", "rv_edv", "rv_ef", "lv_mass"} & after.priors.specified().keys()
    assert (after.priors.slice_thickness, after.cine, after.images) == (before.priors.slice_thickness, before.cine, before.images)
    sequence = load_sequence(after)
    assert not sequence.labelled and not sequence.mask.any() and sequence.image.any()
    assert [s for s in other.subjects if s.patient != "p1"] == [s for s in cohort.subjects if s.patient != "p1"]
    assert other.hash() != cohort.hash()


def test_folds_come_from_the_split_file(folders: Path) -> None:
    write_dataset(hearts(), 5, "Toy", folds=2)
    cohort = Cohort.load(5)
    halves = [fold_patients(cohort, fold) for fold in ("0", 1)]
    assert set(halves[0].val) == set(halves[1].train)
    assert halves[0].hash != halves[1].hash
    everyone = fold_patients(cohort, "all")
    assert (everyone.train, everyone.val) == (("p0", "p1", "p2", "p3"), ())
    for wrong in (2, -1, "third"):
        with pytest.raises(UserError, match="0, 1 or all"):
            fold_patients(cohort, wrong)

    path = folders / "nnUNet_preprocessed" / "Dataset005_Toy" / "splits_final.json"
    path.write_text(json.dumps([{"train": ["p0_ED", "p1_ED"], "val": ["p2_ED", "p2_ES"]}]))
    assert fold_patients(cohort, 0).train == ("p0", "p1")  # p3 is left out by the user: a test patient perhaps
    without = fold_patients(cohort, 0)
    path.write_text(json.dumps([{"train": ["p0_ED", "p1_ED"], "val": ["p2_ED", "p2_ES"], "unlabelled": ["p3"]}]))
    split = fold_patients(cohort, 0)
    assert (split.train, split.val, split.unlabelled) == (("p0", "p1", "p3"), ("p2",), ("p3",))
    assert split.hash != without.hash
    path.write_text(json.dumps([{"train": ["p0_ED", "p1_ED"], "val": ["p2_ED"], "unlabelled": ["p1"]}]))
    with pytest.raises(UserError, match="lists p1 as unlabelled in fold 0 but has their cases in training or validation"):
        fold_patients(cohort, 0)
    path.write_text(json.dumps([{"train": ["p0_ED", "p1_ED"], "val": ["p2_ED"], "unlabelled": ["p9"]}]))
    with pytest.raises(UserError, match="lists p9 as unlabelled in fold 0, whom"):
        fold_patients(cohort, 0)
    path.write_text(json.dumps([{"train": ["p0_ED", "p1_ED"], "val": ["p0_ES"]}]))
    with pytest.raises(UserError, match="puts p0 into both training and validation of fold 0"):
        fold_patients(cohort, 0)
    path.write_text(json.dumps([{"train": ["p0_ED", "other_ED"], "val": ["p1_ED"]}]))
    with pytest.raises(UserError, match="names the case other_ED"):
        fold_patients(cohort, 0)
    path.write_text(json.dumps({"train": []}))
    with pytest.raises(UserError, match="is not a list of folds"):
        fold_patients(cohort, 0)
    path.unlink()
    with pytest.raises(UserError, match="would separate ED and ES of one patient"):
        fold_patients(cohort, 0)


def test_split_depends_on_the_seed_alone(folders: Path) -> None:
    cases = {f"patient{i:03d}": (f"patient{i:03d}_ED", f"patient{i:03d}_ES") for i in range(30)}
    groups = {patient: DIAGNOSES[i % 5] for i, patient in enumerate(cases)}
    splits = make_splits(cases, groups)
    assert splits == make_splits(dict(reversed(cases.items())), groups)
    assert splits != make_splits(cases, groups, seed=1)
    assert splits[0]["val"][:3] == ["patient012_ED", "patient012_ES", "patient015_ED"]  # the same on every machine


@given(
    groups=st.lists(st.sampled_from([*DIAGNOSES, None]), min_size=2, max_size=60),
    phases=st.integers(1, 2),
    folds=st.integers(2, 7),
    seed=st.integers(0, 2**32),
)
def test_patients_never_straddle_and_groups_are_spread(groups: list[str | None], phases: int, folds: int, seed: int) -> None:
    cases = {f"p{i}": tuple(f"p{i}_{phase}" for phase in ("ED", "ES")[:phases]) for i in range(len(groups))}
    group_of = dict(zip(cases, groups, strict=True))
    if len(cases) < folds:
        with pytest.raises(UserError, match=f"cannot be split into {folds} folds"):
            make_splits(cases, group_of, folds, seed)
        return
    splits = make_splits(cases, group_of, folds, seed)
    every_case = {case for ids in cases.values() for case in ids}
    assert sorted(case for split in splits for case in split["val"]) == sorted(every_case)
    for split in splits:
        assert set(split["train"]) | set(split["val"]) == every_case
        assert not {c.split("_")[0] for c in split["train"]} & {c.split("_")[0] for c in split["val"]}
    for members in ([p for p in cases if group_of[p] == group] for group in {*groups}):
        counts = [len({c for c in split["val"] if c.split("_")[0] in members}) // phases for split in splits]
        assert max(counts) - min(counts) <= 1
    sizes = [len(split["val"]) // phases for split in splits]
    assert max(sizes) - min(sizes) <= 1
