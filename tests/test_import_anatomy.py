"""Hearts that cannot be: what is certain to be wrong is refused, what may be is left out and counted; and ACDC's test patients."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from input_cases import SPACING, cine, heart, make_acdc
from nifti_files import voxels
from shared_folders import set_folders

from evaluation.inputs.dataset import cases_in, find_dataset
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.patients import named_patients
from nnunet_synth_aug.data.anatomy_check import checked_anatomy
from nnunet_synth_aug.data.cohort import Cohort, load_sequence, read_notes
from nnunet_synth_aug.data.importers.acdc import notes_acdc, read_acdc
from nnunet_synth_aug.data.importers.subject import SourceSubject
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.data.splits import fold_patients

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "acdc_edes").is_dir(), reason=f"the real masks are not in {DATA}")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    set_folders(monkeypatch, tmp_path)
    return tmp_path


def subject(patient: str = "p1", ed: np.ndarray | None = None, es: np.ndarray | None = None, **more: object) -> SourceSubject:
    masks = {"ED": heart() if ed is None else ed, "ES": heart(es=True) if es is None else es}
    return SourceSubject(patient, np.moveaxis(cine(), -1, 0), True, SPACING, 0, 2, masks, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [one for one in permutations((1, 2, 3)) if one != (1, 2, 3)])
def test_structures_in_any_other_order_are_refused(labels: tuple[int, ...]) -> None:
    exchanged = np.array([0, *labels], np.uint8)[heart()]
    names = {(3, 2, 1): "LV and RV", (2, 1, 3): "MYO and RV", (1, 3, 2): "LV and MYO"}.get(labels, "LV, MYO and RV")
    with pytest.raises(UserError, match=f"p1: {names} are exchanged in /data/p1_gt.nii.gz: .*; correct the labels in the file"):
        checked_anatomy(subject(ed=exchanged, files={"ED": Path("/data/p1_gt.nii.gz")}))


def test_a_heart_as_it_is_passes_unchanged() -> None:
    one = subject()
    assert checked_anatomy(one) == (one, [])
    for part in ({"ED"}, {"ES"}, set()):
        alone = subject()
        for phase in {"ED", "ES"} - part:
            del alone.masks[phase]
        assert checked_anatomy(alone) == (alone, [])


@needs_data
@pytest.mark.parametrize("folder", ["acdc_edes", "mnms_edes"])
def test_no_real_heart_is_refused_or_left_out(folder: str) -> None:
    place = DATA / folder
    if folder == "acdc_edes":
        pairs = [[voxels(path) for path in sorted(one.glob("*_gt.nii.gz"))] for one in sorted(place.iterdir())[::3]]
    else:
        first = sorted((place / "labelsTr").glob("*_ED.nii.gz"))[::3]
        pairs = [[voxels(path), voxels(Path(str(path).replace("_ED", "_ES")))] for path in first]
    assert len(pairs) >= 14
    for ed, es in pairs:
        assert checked_anatomy(subject(ed=ed, es=es))[1] == []


def test_an_ef_below_zero_is_refused_and_one_of_zero_is_not() -> None:
    swapped = {"ed": heart(es=True), "es": heart()}
    with pytest.raises(UserError, match=r"p1: the LV is larger at ES \(39.6 mL\) than at ED \(19.8 mL\); exchange ED and ES in /a"):
        checked_anatomy(subject(**swapped, files={"frames": Path("/a")}))
    with pytest.raises(UserError, match="exchange ED and ES in the source"):
        checked_anatomy(subject(**{phase: np.where(mask == LV, mask, 0) for phase, mask in swapped.items()}, annotated=frozenset({LV})))
    assert checked_anatomy(subject(ed=heart(), es=heart()))[1] == []


@pytest.mark.parametrize(
    ("lost", "finding"),
    [
        ((RV,), "the ES mask has no RV"),
        ((LV,), "the ES mask has no LV"),
        ((MYO,), "the ES mask has no MYO"),
        ((RV, MYO), "the ES mask has no RV and no MYO"),
        ((RV, MYO, LV), "the ES mask is empty"),
    ],
)
def test_what_a_mask_lacks_is_named_and_the_mask_left_out(lost: tuple[int, ...], finding: str) -> None:
    mask = heart(es=True)
    mask[np.isin(mask, lost)] = 0
    kept, findings = checked_anatomy(subject(es=mask))
    assert findings == [f"{finding}; this mask is left out"]
    assert list(kept.masks) == ["ED"]


def test_what_was_not_contoured_is_not_missed() -> None:
    only = {"ed": np.where(heart() == LV, LV, 0), "es": np.where(heart(es=True) == LV, LV, 0)}
    assert checked_anatomy(subject(**only, annotated=frozenset({LV})))[1] == []
    assert checked_anatomy(subject(**{**only, "es": 0 * heart()}, annotated=frozenset({LV})))[1] == [
        "the ES mask is empty; this mask is left out"
    ]


def test_masks_left_out_are_counted_and_nothing_learns_from_them(folders: Path) -> None:
    empty, no_rv = 0 * heart(), np.where(heart() == RV, 0, heart())
    folder = write_dataset([subject("p1"), subject("p2"), subject("p3", ed=no_rv), subject("p4", ed=empty, es=empty)], 5, "Toy", folds=2)
    cohort = Cohort.load(5)
    assert {s.patient: sorted(s.cases) for s in cohort.subjects} == {"p1": ["ED", "ES"], "p2": ["ED", "ES"], "p3": ["ES"], "p4": []}
    for patient, labelled in (("p3", (2,)), ("p4", ())):
        sequence = load_sequence(cohort.subject(patient))
        assert sequence.labelled == labelled
        assert not sequence.mask[0].any()
        assert cohort.subject(patient).priors.lv_ef is None
    assert not (folder / "labelsTr" / "p3_ED.nii.gz").exists()
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 5
    lines = read_notes(folder)
    assert "p3: the ED mask has no RV; this mask is left out" in lines
    assert "p4: the ED mask is empty; this mask is left out" in lines
    assert "3 of 8 masks are left out: no case is made of them, and nothing is trained on them" in lines


def test_equal_notes_are_one_line_and_all_are_in_the_file(folders: Path) -> None:
    many = [subject(f"p{i:02d}", notes=("a word",) if i else ("a word", f"its own (that of {i})")) for i in range(13)]
    folder = write_dataset(many, 5, "Toy", folds=2)
    names = ", ".join(f"p{i:02d}" for i in range(10))
    assert read_notes(folder)[:2] == [f"{names} and 3 more (see cohort.json): a word", "p00: its own (that of 0)"]
    assert json.loads((folder / "cohort.json").read_text())["notes"].count("p12: a word") == 1


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """ACDC's database with two patients for training and one for testing."""
    make_acdc(tmp_path / "database")
    for place, name in (("training", "patient001"), ("training", "patient002"), ("testing", "patient003")):
        (tmp_path / "database" / place).mkdir(exist_ok=True)
        (tmp_path / "database" / name).rename(tmp_path / "database" / place / name)
    (tmp_path / "database" / "testing" / "patient003" / "Info.cfg").write_text("ED: 1\nES: 3\nGroup: DCM\nHeight: 180\nWeight: 90\n")
    return tmp_path / "database"


def test_the_challenges_test_patients_are_in_no_fold(challenge: Path, folders: Path) -> None:
    folder = write_dataset(read_acdc(challenge), 27, "ACDC", folds=2, source_notes=notes_acdc(challenge))
    assert {path.name for path in (folder / "labelsTs").iterdir()} == {"patient003_ED.nii.gz", "patient003_ES.nii.gz"}
    assert {path.name for path in (folder / "imagesTs").iterdir()} == {"patient003_ED_0000.nii.gz", "patient003_ES_0000.nii.gz"}
    np.testing.assert_array_equal(voxels(folder / "imagesTs" / "patient003_ES_0000.nii.gz"), cine(3)[..., 2])
    np.testing.assert_array_equal(voxels(folder / "labelsTs" / "patient003_ES.nii.gz"), heart(es=True))
    assert not [path for path in folder.rglob("*patient003*") if path.parent.name not in ("imagesTs", "labelsTs")]
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 4
    assert "patient003" not in (folders / "nnUNet_preprocessed" / folder.name / "splits_final.json").read_text()
    cohort = Cohort.load(27)
    assert [one.patient for one in cohort.subjects] == ["patient001", "patient002"]
    assert "patient003" not in str([fold_patients(cohort, fold) for fold in (0, 1, "all")])
    assert "patient003: kept for testing, as in testing/: in imagesTs and labelsTs, and in no fold" in read_notes(folder)
    # the evaluation knows whose they are, and what ails them
    found = find_dataset(frozenset(cases_in(folder / "labelsTs")), [folders], dataset=folder)
    assert {(info.patient, info.phase, info.diagnosis) for info in found.cases.values()} == {("patient003", p, "DCM") for p in ("ED", "ES")}
    assert named_patients(folder)["patient003_ES"] == "patient003"


def test_test_patients_without_masks_are_images_alone(challenge: Path, folders: Path) -> None:
    """As the challenge gave them out at first."""
    for path in (challenge / "testing" / "patient003").glob("*_gt.nii.gz"):
        path.unlink()
    (challenge / "testing" / "patient003" / "Info.cfg").write_text("ED: 1\nES: 3\n")
    folder = write_dataset(read_acdc(challenge), 27, "ACDC", folds=2)
    assert len(list((folder / "imagesTs").iterdir())) == 2
    assert not (folder / "labelsTs").exists()
    assert len(Cohort.load(27).subjects) == 2


def test_testing_alone_is_no_training_set(challenge: Path, folders: Path) -> None:
    (challenge / "training").rename(folders / "elsewhere")
    with pytest.raises(UserError, match="has patients in testing/ alone, and nothing would be trained on; add training/, or give"):
        read_acdc(challenge)
    (challenge / "testing" / "patient003").rename(challenge / "testing" / "patient103")
    for path in (challenge / "testing" / "patient103").iterdir():
        path.rename(path.with_name(path.name.replace("patient003", "patient103")))
    (one,) = read_acdc(challenge / "testing")  # a user who gives it means it, and is told
    assert not one.test
    assert one.notes == ("has the number of a test patient of the challenge, but is trained on, since it is not in testing/",)


def test_every_folder_that_is_passed_over_is_named(challenge: Path) -> None:
    for name in ("training/patient_004", "training/more/patient005", "old/backup", ".hidden"):
        (challenge / name).mkdir(parents=True)
    note = "passed over, as no patient was found there: old, training/more, training/patient_004"
    assert notes_acdc(challenge) == [note]
