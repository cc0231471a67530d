"""Who is whose patient: names, cohort.json, patients.csv; and splits, of which no fold may have one heart on both sides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from evaluation.inputs.dataset import find_dataset
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.patients import (
    Fold,
    Name,
    named_patients,
    patients_of,
    read_fold,
    read_members,
    read_name,
    read_splits,
    refuse_shared,
    ungrouped,
)
from nnunet_synth_aug.data.splits import make_splits
from nnunet_synth_aug.nnunet.patients import case_patients, fold_cases

NAME = "Dataset027_Own"


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The raw folder of a dataset that nobody imported."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        (tmp_path / variable / NAME).mkdir(parents=True)
    return tmp_path / "nnUNet_raw" / NAME


def write(path: Path, value: Any) -> None:
    path.write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("patient001_ED", Name("patient001", "ED")),
        ("patient001-es", Name("patient001", "ES")),
        ("ED_patient001", Name("patient001", "ED")),
        ("patient001_frame12", Name("patient001", "frame12")),
        ("patient001_frame_01", Name("patient001", "frame_01")),
        ("patient001_t00", Name("patient001", "t00")),
        ("sub-01_ses-1", Name("sub-01", "", "ses-1")),
        ("sub-01_ses-1_ED", Name("sub-01", "ED", "ses-1")),
        ("001_ED_SA", Name("001_SA", "ED")),
        ("SITE_A_07_es", Name("SITE_A_07", "ES")),
        ("patient001", Name("patient001")),
        ("A0S9V9", Name("A0S9V9")),
        ("SC-HF-I-01", Name("SC-HF-I-01")),
        ("Tessa_Edwards", Name("Tessa_Edwards")),
        ("session_3", Name("session_3")),
        ("a__b", Name("a__b")),  # no moment in it: as it is
        ("ED", Name("ED", "ED")),
    ],
)
def test_what_a_name_says(case: str, expected: Name) -> None:
    assert read_name(case) == expected


@pytest.mark.parametrize(
    "pair",
    [
        ("p1ED", "p1ES"),
        ("EDp1", "ESp1"),
        ("p1ed", "p1es"),
        ("p1_diastole", "p1_systole"),
        ("p1_end-diastolic", "p1_end-systolic"),
        ("p1_dia", "p1_sys"),
        ("p1_phase0", "p1_phase1"),
        ("p1frame01", "p1frame09"),
        ("p1_ED", "p1ES"),
        ("P1_ED", "p1_ES"),
        ("ED", "ES"),
        ("t01", "t02"),
    ],
)
def test_moments_that_the_rule_cannot_group_are_refused(pair: tuple[str, str], dataset: Path) -> None:
    with pytest.raises(UserError, match=r"look like two moments of one heart.*patients\.csv") as caught:
        patients_of([*pair, "other"])
    assert all(case in str(caught.value) for case in pair)
    write(dataset / "patients.csv", "case,patient\n" + "".join(f"{case},Alice\n" for case in pair) + "other,Bob\n")
    assert case_patients(NAME, [*pair, "other"]) == {pair[0]: "Alice", pair[1]: "Alice", "other": "Bob"}


def test_names_of_different_people_are_not_refused() -> None:
    cases = ["p1", "p12", "p1_2", "a-b", "a_b", "center1_001", "center1_002", "united", "unites", "MED1", "MES1", "001", "002"]
    assert patients_of(cases) == {case: case for case in cases}
    assert "every case counts as a patient of its own" in ungrouped(patients_of(cases))
    assert ungrouped(patients_of(["p1_ED", "p2_ED"])) == ungrouped(patients_of(["p1_ED", "p1_ES"])) == ungrouped({"a": "a"}) == ""


def test_the_table_and_the_cohort_come_before_names(dataset: Path) -> None:
    write(dataset / "patients.csv", "\ufeffpatient, case,note\nAlice, x_ED,first visit\nAlice,y_ED,\nBob,z_ED,\n")
    cases = ["x_ED", "y_ED", "z_ED"]
    assert case_patients(NAME, cases) == {"x_ED": "Alice", "y_ED": "Alice", "z_ED": "Bob"}
    with pytest.raises(UserError, match=r"patients\.csv does not name the case x_ES; add a row for every case"):
        case_patients(NAME, ["x_ES"])
    assert case_patients(NAME, ["x_ES"], {"x_ES": "Alice"}) == {"x_ES": "Alice"}  # as the bank's manifest remembers
    subjects = [{"patient": "Alice", "cases": {"ED": "x_ED", "ES": "y_ED"}}]
    write(dataset / "cohort.json", {"format": 1, "subjects": subjects})
    assert case_patients(NAME, cases)["y_ED"] == "Alice"
    subjects[0]["patient"] = "Carol"
    write(dataset / "cohort.json", {"format": 1, "subjects": subjects})
    with pytest.raises(UserError, match=r"gives x_ED to Alice, but cohort\.json gives it to Carol; correct the table"):
        case_patients(NAME, cases)


def test_ids_may_be_written_as_file_names(dataset: Path) -> None:
    write(dataset / "patients.csv", "case,patient\na1.nii.gz,A\nb.1.mha,A\nc,B\n")
    assert case_patients(NAME, ["a1", "b.1", "c"]) == {"a1": "A", "b.1": "A", "c": "B"}
    write(dataset / "patients.csv", "case,patient\na1_0000.nii.gz,A\n")
    with pytest.raises(UserError, match=r"does not name the case a1; .*without _0000 and \.nii\.gz"):
        case_patients(NAME, ["a1"])


def test_patients_who_differ_in_capitals_alone_are_refused(dataset: Path) -> None:
    write(dataset / "patients.csv", "case,patient\na,P01\nb,p01\n")
    with pytest.raises(
        UserError, match="names the patients P01 and p01, which differ in capitals alone; write one person's name in one way"
    ):
        case_patients(NAME, ["a", "b"])
    write(dataset / "patients.csv", "case,patient\na,P01\nb,P01\nc,p02\n")
    assert case_patients(NAME, ["a", "b", "c"])["b"] == "P01"


@pytest.mark.parametrize("cases", [["x_ED", "x_ES"], ["x-t00", "x-t01", "y"], ["x_ses-1_ED", "x_ses-2_ED"]])
def test_a_table_that_parts_one_heart_is_named(cases: list[str], dataset: Path) -> None:
    write(dataset / "patients.csv", "case,patient\n" + "".join(f"{case},{case}\n" for case in cases))
    note = ungrouped(case_patients(NAME, cases))
    assert note == (
        f"{cases[0]} and {cases[1]} are of two patients by patients.csv, though their names say one heart; if they are one person, "
        "give them one patient there"
    )
    write(dataset / "patients.csv", "case,patient\n" + "".join(f"{case},Alice\n" for case in cases))
    assert ungrouped(case_patients(NAME, cases)) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; restore it"),
        ("case,patient\n", "no rows"),
        ("case;patient\na;b;c\n", "row 2 has 3 cells for 2 columns"),
        ("name,patient\na,A\nb,A\n", "no rows with the columns"),
        ("case,patient\na\n", "row 2 lacks its case or its patient"),
        ("case,patient\na,A\na,B\n", "row 3: the case a is there twice"),
        ('case,patient\n"a,A\n', "is not a table"),
    ],
)
def test_damaged_tables_are_one_sentence(text: str, message: str, dataset: Path) -> None:
    write(dataset / "patients.csv", text)
    with pytest.raises(UserError, match=message):
        named_patients(dataset)


def test_a_table_about_patients_groups_no_cases(dataset: Path) -> None:
    """M&Ms and others bring a patients.csv of their own, one row a patient."""
    write(dataset / "patients.csv", "patient,vendor\nA1,Siemens\nB2,Philips\n")
    assert case_patients(NAME, ["A1_ED", "A1_ES", "B2_ED"]) == {"A1_ED": "A1", "A1_ES": "A1", "B2_ED": "B2"}


@pytest.mark.parametrize(("separator", "coding"), [(",", "utf-8"), (";", "latin-1"), ("\t", "utf-16"), ("|", "utf-16-le")])
def test_a_table_may_come_from_any_program(separator: str, coding: str, dataset: Path) -> None:
    (dataset / "patients.csv").write_bytes("Case,Patient\nä,A\nb,A\n".replace(",", separator).encode(coding))
    assert named_patients(dataset) == {"ä": "A", "b": "A"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no list of subjects"),
        ({"subjects": {}}, "no list of subjects"),
        ({"subjects": [1]}, "no list of subjects"),
        ({"format": 2, "subjects": []}, "has the format 2"),
        ({"subjects": [{"patient": "a"}]}, "without 'patient' or 'cases'"),
        ({"subjects": [{"patient": 7, "cases": {}}]}, "without 'patient' or 'cases'"),
        ({"subjects": [{"patient": "a", "cases": {"ED": None}}]}, "without 'patient' or 'cases'"),
        ({"subjects": [{"patient": "a", "cases": {}, "annotated": 3}]}, "'annotated' of a"),
        ({"subjects": [{"patient": p, "cases": {"ED": "x"}} for p in "ab"]}, "gives the case x to a and to b"),
    ],
)
def test_damaged_cohorts_are_one_sentence(content: Any, message: str, dataset: Path) -> None:
    write(dataset / "cohort.json", content)
    with pytest.raises(UserError, match=message):
        read_members(dataset)


GOOD = {"train": ["a_ED"], "val": ["b_ED"]}


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        [],
        None,
        7,
        "a",
        [None],
        [7],
        [[]],
        [GOOD, {}],
        [{"training": ["a"], "validation": ["b"]}],
        [{"train": ["a"], "val": None}],
        [{"train": ["a"], "val": "b"}],
        [{"train": ["a"], "val": [1]}],
        [{"train": {"a": 1}, "val": ["b"]}],
        [{**GOOD, "unlabelled": None}],
    ],
)
def test_damaged_splits_are_one_sentence(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    write(path, json.dumps(content))
    with pytest.raises(UserError, match="is not a list of folds with 'train' and 'val' case ids"):
        read_splits(path)


def test_splits_and_their_folds(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    with pytest.raises(UserError, match="does not exist, and nnU-Net's own split would separate ED and ES of one patient"):
        read_splits(path)
    write(path, "[{")
    with pytest.raises(UserError, match="not readable JSON"):
        read_splits(path)
    for side in ("train", "val"):
        write(path, [GOOD, {**GOOD, side: []}])
        with pytest.raises(UserError, match=f"has no case in '{side}' of fold 1"):
            read_splits(path)
    folds = [GOOD, {"train": ["b_ED"], "val": ["a_ED"], "unlabelled": ["c"]}]
    write(path, folds)
    assert [fold.to_json() for fold in read_splits(path)] == folds
    assert read_fold(path, "1") == Fold(("b_ED",), ("a_ED",), ("c",))
    for wrong in (2, -1, "x", "0.5", "²"):
        with pytest.raises(UserError, match="choose 0, 1 or all"):
            read_fold(path, wrong)


# ------------------------------------------------------------------ no heart on both sides

HEARTS = st.from_regex(r"[A-Za-z0-9]{1,6}([_-][A-Za-z0-9]{1,4}){0,2}", fullmatch=True)
MOMENTS = st.one_of(
    st.sampled_from(["ED", "ES", "ed", "es", "Es"]),
    st.integers(0, 40).map("frame{:02d}".format),
    st.integers(0, 40).map("t{:02d}".format),
    st.integers(0, 9).map("ses-{}".format),
)
SEPARATORS = st.sampled_from("_-.")


@st.composite
def cases_of(draw: st.DrawFn, heart: str) -> list[str]:
    """Names of some moments of one heart, each in a way of its own."""
    found = set()
    for moment in draw(st.lists(MOMENTS, min_size=1, max_size=4)):
        separator = draw(SEPARATORS)
        name = f"{moment}{separator}{heart}" if draw(st.booleans()) else f"{heart}{separator}{moment}"
        found.add(name + draw(SEPARATORS) + draw(MOMENTS) if draw(st.booleans()) else name)
    return sorted(found)


@given(st.data())
def test_all_moments_of_a_heart_are_of_one_patient(data: st.DataObject) -> None:
    """Whatever the heart is called, and however its cases spell the moment."""
    cases = data.draw(cases_of(data.draw(HEARTS)))
    try:
        patients = patients_of(cases)
    except UserError as error:  # a heart called "t1" or "x_ED" is refused where its cases cannot be told from other moments
        if "look like two moments of one heart" not in str(error):
            raise
        return
    assert len(set(patients.values())) == 1


@given(st.data())
def test_no_split_has_one_heart_on_both_sides(data: st.DataObject) -> None:
    """Of any split of any cases the guard lets through only those that part hearts; a grouped one always passes."""
    hearts = data.draw(st.lists(HEARTS, min_size=2, max_size=5, unique_by=str.casefold))
    owner = {case: heart for heart in hearts for case in data.draw(cases_of(heart))}
    sides = {case: data.draw(st.sampled_from(("train", "val"))) for case in owner}
    train, val = ([case for case in owner if sides[case] == side] for side in ("train", "val"))
    assume(train and val)
    straddling = {owner[case] for case in train} & {owner[case] for case in val}
    try:
        patients = patients_of(owner)
        refuse_shared("splits", 0, train, val, patients)
    except UserError as error:
        if "look like two moments of one heart" not in str(error) and "into both training and validation" not in str(error):
            raise
    else:
        assert not straddling
        grouped: dict[str, list[str]] = {}
        for case, patient in patients.items():
            grouped.setdefault(patient, []).append(case)
        for split in make_splits(grouped, {}, folds=2):
            refuse_shared("splits", 0, split["train"], split["val"], patients)
            assert not {owner[case] for case in split["train"]} & {owner[case] for case in split["val"]}


@given(st.text(min_size=1, max_size=20))
@example("_-._ED")
@example("frame1_")
def test_any_name_has_a_patient(case: str) -> None:
    assert read_name(case).patient
    assert patients_of([case]) == {case: read_name(case).patient}


def test_every_user_refuses_a_heart_on_both_sides(dataset: Path) -> None:
    """fold_cases stands before bank, doctor and trainer; evaluation reads the same patients."""
    splits = dataset.parents[1] / "nnUNet_preprocessed" / NAME / "splits_final.json"
    cases = ["patient001-ED", "ES_patient001", "patient002_t00", "patient002_t07"]
    write(splits, [{"train": cases[:1] + cases[2:], "val": cases[1:2]}, {"train": cases[:2], "val": cases[2:]}])
    with pytest.raises(UserError, match="puts patient001 into both training and validation of fold 0"):
        fold_cases(NAME, 0, cases)
    assert fold_cases(NAME, 1, cases) == (cases[:2], cases[2:])
    assert fold_cases(NAME, "all", cases) == (cases, cases)

    (dataset / "labelsTr").mkdir()
    for case in cases:
        (dataset / "labelsTr" / f"{case}.nii.gz").touch()
    found = find_dataset(frozenset(cases), [dataset], dataset=dataset).cases
    assert {case: (info.patient, info.phase) for case, info in found.items()} == {
        "patient001-ED": ("patient001", "ED"),
        "ES_patient001": ("patient001", "ES"),
        "patient002_t00": ("patient002", "t00"),
        "patient002_t07": ("patient002", "t07"),
    }


def test_cases_of_a_patient_are_told_apart_in_the_evaluation(dataset: Path) -> None:
    """By session where there are several, and by number where a table groups names without a phase."""
    (dataset / "labelsTr").mkdir()

    def phases(*cases: str) -> dict[str, tuple[str, str]]:
        for case in cases:
            (dataset / "labelsTr" / f"{case}.nii.gz").touch()
        found = find_dataset(frozenset(cases), [dataset], dataset=dataset).cases
        return {case: (found[case].patient, found[case].phase) for case in cases}

    sessions = ("a_ses-1_ED", "a_ses-2_ED", "a_ses-2_ES")
    assert list(phases(*sessions).values()) == [("a", "ses-1 ED"), ("a", "ses-2 ED"), ("a", "ses-2 ES")]
    assert list(phases("b_ses-1_ED", "b_ses-1_ES").values()) == [("b", "ED"), ("b", "ES")]
    write(dataset / "patients.csv", "case,patient\nx,Alice\ny,Alice\nz,Bob\n")
    assert phases("x", "y", "z") == {"x": ("Alice", "image 1"), "y": ("Alice", "image 2"), "z": ("Bob", "")}


def test_the_module_needs_no_torch() -> None:
    code = "import sys, nnunet_synth_aug.core.patients; print({'torch', 'pandas', 'nnunetv2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_split_that_names_a_case_that_is_not_there_is_refused(dataset: Path, side: str) -> None:
    cases = ["patient001_ED", "patient001_ES", "patient002_ED", "patient002_ES"]
    fold = {"train": cases[:2], "val": cases[2:]}
    write(dataset.parents[1] / "nnUNet_preprocessed" / NAME / "splits_final.json", [fold | {side: [*fold[side], "patient003_ED"]}])
    with pytest.raises(UserError, match="names 1 cases in fold 0 that are not preprocessed, such as patient003_ED; correct the name there"):
        fold_cases(NAME, 0, cases)
