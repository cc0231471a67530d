"""``synthaug try``: what it sees, proposes, estimates, refuses and says; its trainings are in test_benchmark_end_to_end.py."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shared_folders import set_folders
from trial_dataset import NAME, PACE, SIZE, write_case, write_dataset

from evaluation.analysis.paired import BETTER, NO_EVIDENCE, WORSE
from evaluation.benchmark.clock import on_the_clock
from evaluation.benchmark.reading import read_study
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import dry_run
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.steps import Step
from evaluation.benchmark.study import Study
from evaluation.benchmark.workspace import Workspace
from evaluation.trial import run as running
from evaluation.trial.estimate import estimate
from evaluation.trial.facts import Facts, missing, read_facts, told
from evaluation.trial.proposal import FULL_ITERATIONS, SHORT, length_of, propose
from evaluation.trial.verdict import ROW, judge
from evaluation.trial.verdict import told as said
from nnunet_synth_aug.cli import app, trial
from nnunet_synth_aug.core.bank_sources import REGISTRY
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.labels import DIAGNOSES
from nnunet_synth_aug.core.patients import Fold
from nnunet_synth_aug.nnunet.patients import split_by_patient

MEASURE = trial._pace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's folders, the working folder beside them, and a machine that is not measured."""
    set_folders(monkeypatch, tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(trial, "_pace", lambda *_: PACE)
    return tmp_path


@pytest.fixture
def synthaug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["synthaug", "try", *words])
        capsys.readouterr()
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


def facts_of(raw: Path, fold: int = 0) -> Facts:
    split = split_by_patient(NAME, 5, 12345)[0][fold]
    return read_facts(NAME, fold, Fold(tuple(split["train"]), tuple(split["val"])), raw, own_split=True, planned=False)


# ------------------------------------------------------------------ what it sees


def test_a_plain_dataset(root: Path) -> None:
    facts = facts_of(write_dataset(root))
    assert (len(facts.train.patients), len(facts.train.cases), len(facts.val.patients)) == (8, 16, 2)
    assert dict(facts.train.phases) == {"ED": 8, "ES": 8}
    assert facts.tested is facts.val
    lines = told(facts)
    assert lines[1] == "  training    8 patients, 16 contoured volumes (8 ED, 8 ES)"
    assert lines[3] == "  images      48 x 40 pixels, 5 slices; pixels of 1.50 mm, slices 8 mm apart"
    assert [what.split()[0] for what in missing(facts)] == ["folds", "plans", "cines", "diagnoses", "scanner", "test"]


def test_an_imported_dataset_with_a_test_set(root: Path) -> None:
    facts = facts_of(write_dataset(root, n_test=4, cines=10, vendors=("Siemens", "GE")))
    assert facts.train.cines == 8
    assert facts.test is not None
    assert (len(facts.test.patients), len(facts.test.cases)) == (4, 8)
    assert facts.tested is facts.test
    assert "8 Siemens" in told(facts)[1]
    assert "4 DCM, 4 NOR" in told(facts)[1]
    assert "4 GE" in told(facts)[3]


# ------------------------------------------------------------------ what it proposes


def test_the_plain_sources_in_looks_and_where_there_are_cines_rendered_hearts_beside_them(root: Path) -> None:
    plain = propose(facts_of(write_dataset(root)))
    assert (plain.arm, plain.instead) == ("copies+phantom_3looks50to00", "")
    assert "Without looks" in plain.rests_on and "All training patients are normal" not in plain.why
    with_cines = propose(facts_of(write_dataset(root, cines=10)))
    assert (with_cines.arm, with_cines.instead) == (plain.arm, "mix_donor_3looks50to00")


def test_normal_hearts_alone_let_one_expect_more(root: Path) -> None:
    facts = facts_of(write_dataset(root))
    for groups, helped in (({"NOR": 8}, True), ({"NOR": 4, "": 4}, False), (dict.fromkeys(DIAGNOSES, 2), False)):
        why = propose(replace(facts, train=replace(facts.train, diagnoses=groups))).why
        assert ("there copies and phantoms helped without looks, too" in why) == helped


def test_what_the_user_wants_instead(root: Path) -> None:
    facts = facts_of(write_dataset(root))
    assert propose(facts, "bent25").arm == "bent25"
    for arm, sentence in (
        ("real_DA5", "mixes nothing in"),
        ("mix50", "needs a generator, which learns from imported datasets"),
        ("pseudolabels50", "contours cines, and .* has none"),
        ("hearts50", "there is no arm 'hearts50'"),
    ):
        with pytest.raises(UserError, match=sentence):
            propose(facts, arm)


@given(st.integers(10, 1_000_000), st.booleans())
def test_lengths_are_as_asked_for_or_rounded_up(iterations: int, on_cpu: bool) -> None:
    found = length_of(iterations, on_cpu)
    assert iterations <= found.total < iterations + found.epochs
    assert 10 <= found.epochs <= 1000
    assert found.full == (found.total >= FULL_ITERATIONS)


def test_the_usual_lengths() -> None:
    assert (length_of(None, False).epochs, length_of(None, False).iterations) == (1000, 250)
    assert (length_of(None, True).epochs, length_of(None, True).iterations) == (100, 50)
    with pytest.raises(UserError, match="--iterations 9 is too short"):
        length_of(9, True)


# ------------------------------------------------------------------ what it estimates


def steps_of(durations: list[int], needs: list[int]) -> list[Step]:
    return [Step(str(i), "", {}, lambda: True, (str(need % i),) if i and need else ()) for i, need in enumerate(needs[: len(durations)])]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.lists(st.integers(0, 9), min_size=12, max_size=12), st.integers(1, 4))
def test_the_clock_lies_between_the_longest_chain_and_everything_in_a_row(durations: list[int], needs: list[int], workers: int) -> None:
    steps = steps_of(durations, needs)
    seconds = {step.id: float(durations[int(step.id)]) for step in steps}
    chains: dict[str, float] = {}
    for step in steps:
        chains[step.id] = seconds[step.id] + max((chains[need] for need in step.needs), default=0.0)
    clock = on_the_clock(steps, seconds, workers)
    assert max(*chains.values(), sum(seconds.values()) / workers, 0) - 1e-6 <= clock <= sum(seconds.values()) + 1e-6
    assert workers > 1 or clock == pytest.approx(sum(seconds.values()))


def minutes(root: Path, iterations: int, device: str = "cpu") -> float:
    found = trial._trial("27", "0", "2d", "nnUNetPlans", iterations, None, root / "out", "cpu")
    return estimate(found.study, Workspace(root / "out", found.study), found.facts, PACE).total


def test_the_estimate_follows_from_what_was_measured(root: Path) -> None:
    write_dataset(root)
    [short, long] = [minutes(root, n) for n in (1000, 5000)]
    # Both arms train at the same time: 4000 iterations more of half a second, with their epochs' ends.
    assert 4000 * 0.5 / 60 < long - short < 1.2 * 4000 * 0.5 / 60


# ------------------------------------------------------------------ the study that it makes


def test_the_study_file_is_printed_and_is_one_that_the_engine_runs(root: Path, synthaug: Any) -> None:
    write_dataset(root, n_test=4)
    ended = synthaug("-d", "27", "--iterations", "200", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"# {NAME}, fold 0\n")
    file = root / "study.yaml"
    file.write_text(ended.out)
    study = read_study(file)
    assert [arm.name for arm in study.all_arms] == ["real", "copies+phantom_3looks50to00"]
    assert (study.training.epochs, study.training.iterations, study.seeds) == (10, 20, (0,))
    assert study.minutes.train is not None
    steps = build_steps(study, Workspace(root / "out", study))
    commands = [line for line in dry_run(steps, Stamps(root / "out" / "steps")) if not line.startswith(("#", "export"))]
    assert [line.split()[0] for line in commands][:5] == [
        "synthaug",
        "nnUNetv2_extract_fingerprint",
        "nnUNetv2_plan_experiment",
        "synthaug",
        "nnUNetv2_preprocess",
    ]
    assert commands[0] == "synthaug split -d 27 --folds 5"
    trained = [line.split() for line in commands if ".seeded" in line]
    assert [line[line.index("-tr") + 1] for line in trained] == ["nnUNetTrainerSynthAug_mix00", "nnUNetTrainerSynthAug_mix50to00"]
    assert [line[3] for line in trained] == ["0", "0"], "both arms have one seed"
    assert sum(line.startswith("nnUNetv2_predict") for line in commands) == 2
    assert list((root / "here").iterdir()) == [], "nothing is written"


def test_without_go_nothing_starts(root: Path, synthaug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(root)
    monkeypatch.setattr(running, "run_study", lambda *_: pytest.fail("it started"))
    ended = synthaug("-d", "27")
    assert ended.code == 0
    assert "a quick answer, not what a full training of 250000 iterations would say" in ended.out
    assert "2 tested patients: no difference can be told from chance, whatever its size. 8 are needed" in ended.out
    assert ended.out.splitlines()[-1] == "nothing was started; add --go to run it"
    assert list((root / "here").iterdir()) == []
    before = sorted(root.glob("nnUNet_*/**/*"))
    assert all("nnUNet_raw" in str(path) for path in before)


def finished(study: Study, out: Path, verdicts: dict[str, str]) -> None:
    """What a study leaves behind, without its trainings."""
    at, stamps = Workspace(out, study), Stamps(out / "steps")
    for step in build_steps(study, at):
        stamps.start(step)
        stamps.finish(step, 30.0)
    rows = [row(*name.split(), verdict) for name, verdict in verdicts.items()]
    arm = study.all_arms[1].name
    write_json(out / "report" / "benchmark.json", {"comparisons": {"validation": {arm: {"headline": rows}}}})


def row(structure: str, metric: str, verdict: str, n: int = 10) -> dict[str, Any]:
    gain = 0.02 if verdict == BETTER else -0.02
    about = {"structure": structure, "metric": metric, "unit": "" if metric == "Dice" else "mm", "n": n, "verdict": verdict}
    return about | {
        "baseline_mean": 0.8,
        "augmented_mean": 0.8 + gain,
        "difference": gain,
        "ci_low": gain - 0.01,
        "ci_high": None,
        "p_holm": 0.5,
    }


def test_it_runs_ends_with_a_verdict_and_goes_on(root: Path, synthaug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(root)
    monkeypatch.setattr(running, "run_study", lambda study, out: finished(study, out, {"LV Dice": NO_EVIDENCE, "mean Dice": ""}))
    ended = synthaug("-d", "27", "--iterations", "100", "--go")
    assert ended.code == 0, ended.err
    out = root / "here" / "synthaug_try" / f"{NAME}_2d_fold_0_100_iterations"
    lines = ended.out.splitlines()
    assert "VERDICT: no difference that can be told, in a training too short to judge" in lines
    assert lines[-2:] == [f"report: {out / 'report' / 'validation' / 'report.html'}", f"the same for programs: {out / 'verdict.json'}"]
    answer = read_json(out / "verdict.json")
    assert {
        "format",
        "verdict",
        "quick",
        "too_short",
        "sentences",
        "limits",
        "results",
        "estimated",
        "took",
        "report",
        "study",
        "arm",
    } <= answer.keys()
    assert (answer["verdict"], answer["quick"], answer["tested_patients"]) == ("no_difference", True, 2)
    assert [set(one) for one in answer["results"]] == [set(ROW)] * 2
    assert answer["estimated"]["minutes"] > 0
    assert answer["took"]["minutes"] >= 0.5

    monkeypatch.setattr(trial, "_pace", lambda *_: pytest.fail("measured again"))
    again = synthaug("-d", "27", "--iterations", "100", "--go")
    assert f"going on with {out}" in again.out
    assert "VERDICT: no difference that can be told" in again.out
    assert read_json(out / "verdict.json")["took"] == answer["took"]
    other = synthaug("-d", "27", "--iterations", "200", "-o", str(out), "--go")
    assert other.code == 2
    assert "holds another try (training, iterations was 10 and is 20); choose another folder with -o" in other.err


# ------------------------------------------------------------------ the verdict


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ((BETTER, NO_EVIDENCE), "helps"),
        ((WORSE, NO_EVIDENCE), "harms"),
        ((BETTER, WORSE), "mixed"),
        ((NO_EVIDENCE, NO_EVIDENCE), "no_difference"),
    ],
)
def test_the_verdict_is_that_of_the_tests(root: Path, found: tuple[str, str], kind: str) -> None:
    facts = facts_of(write_dataset(root))
    rows = [row("LV", "Dice", found[0]), row("RV", "HD", found[1]), row("mean", "Dice", "")]
    verdict = judge(rows, facts, propose(facts), 5000, small=True)
    assert verdict.kind == kind
    text = " ".join(verdict.sentences)
    assert ("better than real patients alone in LV Dice +0.020" in text) == (found[0] == BETTER)
    assert ("No structure was" in text) == (kind in ("helps", "harms"))
    assert "Mean over the structures, mixed minus real only" in text
    assert any("a quick answer: 5000 iterations" in one for one in verdict.limits)
    assert any("one training per arm" in one for one in verdict.limits)
    assert math.isnan(verdict.rows[0]["ci_high"])


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("copies+phantom_3looks50to00", "changed copies of your patients and phantoms, in 3 looks of other scanners (copies+phantom"),
        ("bent25", "Mixing in bent copies of your patients (bent25) changed"),
        ("phantom_2unlabelled50", "in 2 looks of patients without contours (phantom_2unlabelled50) changed"),
    ],
)  # fmt: skip
def test_the_verdict_names_all_that_was_mixed_in(root: Path, arm: str, words: str) -> None:
    facts = facts_of(write_dataset(root))
    rows = [row("LV", "Dice", NO_EVIDENCE), row("mean", "Dice", "")]
    assert words in judge(rows, facts, propose(facts, arm), 5000, small=True).sentences[0]
    assert set(SHORT) == set(REGISTRY)


def test_a_full_training_is_not_called_quick_and_few_patients_are_told(root: Path) -> None:
    facts = facts_of(write_dataset(root))
    rows = [row("LV", "Dice", NO_EVIDENCE, n=2)]
    limits = judge(rows, facts, propose(facts), FULL_ITERATIONS, small=False).limits
    assert not any("quick" in one for one in limits)
    assert any("with 2 patients no difference can be told" in one for one in limits)


@pytest.mark.parametrize(("iterations", "short"), [(4999, True), (5000, False)])
def test_a_training_too_short_to_judge_says_so_with_its_verdict(root: Path, iterations: int, short: bool) -> None:
    facts = facts_of(write_dataset(root))
    verdict = judge([row("LV", "Dice", WORSE), row("mean", "Dice", "")], facts, propose(facts), iterations, small=True)
    assert verdict.too_short == short
    assert said(verdict)[0] == f"VERDICT: it harms here{', in a training too short to judge' if short else ''}"
    assert any("too short to judge" in one for one in verdict.limits) == short


# ------------------------------------------------------------------ what it refuses


def refused(ended: SimpleNamespace) -> str:
    assert ended.code == 2
    assert "Traceback" not in ended.err
    [line] = [one for one in ended.err.splitlines() if one.startswith("synthaug: ")]
    return str(line)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-d", "99"), "there is no dataset 99"),
        (("-d", "27", "-f", "7"), "has no folds yet, and would get 5; choose -f 0 to 4"),
        (("-d", "27", "-f", "all"), "-f all has no patients to compare on"),
        (("-d", "27", "-device", "gpu"), "-device gpu is nothing that nnU-Net's commands take; choose one of cpu, cuda, mps"),
        (("-d", "27", "-p", "mine"), "mine.json does not exist; plan the dataset with nnU-Net first, or leave out -p"),
        (("-d", "27", "-c", "3d_cascade_fullres"), "-c 3d_cascade_fullres is nothing that nnU-Net would plan"),
        (("-d", "27", "--arm", "hearts50"), "there is no arm 'hearts50'"),
        (("-d", "27", "-o", "taken"), "taken is there and holds something else; choose another folder with -o"),
    ],
)
def test_one_sentence_for_what_cannot_be(root: Path, synthaug: Any, words: tuple[str, ...], sentence: str) -> None:
    write_dataset(root)
    (root / "here" / "taken").mkdir()
    (root / "here" / "taken" / "mine.txt").touch()
    assert sentence in refused(synthaug(*words, "--go"))
    assert [path.name for path in (root / "here").iterdir()] == ["taken"]
    assert not list((root / "nnUNet_preprocessed").iterdir())


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"background": 0, "liver": 1, "tumour": 2}, "does not tell which value is"),
        ({"background": 0, "RV": 1, "MYO": 2, "LV": 3, "scar": 4}, "has labels besides RV, MYO and LV"),
    ],
)
def test_labels_that_are_no_hearts(root: Path, synthaug: Any, labels: dict[str, int], sentence: str) -> None:
    write_dataset(root, n=5, labels=labels)
    assert sentence in refused(synthaug("-d", "27", "--go"))


def test_images_that_are_no_stacks(root: Path, synthaug: Any) -> None:
    raw = write_dataset(root)
    write_case(raw, "p03_ED", shape=(*SIZE, 3))
    assert "holds one cine in one file, where nnU-Net needs one stack of short-axis slices a file" in refused(synthaug("-d", "27", "--go"))


def test_too_few_patients(root: Path, synthaug: Any) -> None:
    write_dataset(root, n=5)
    assert "has 4 training and 1 validation patients; a comparison needs at least 3 and 2" in refused(synthaug("-d", "27", "--go"))


def test_a_patient_who_trains_and_tests(root: Path, synthaug: Any) -> None:
    raw = write_dataset(root, n_test=3)
    for number in range(10):  # in whichever fold
        write_case(raw, f"p{number:02d}_ED", "Ts")
    assert "who also train in fold 0, so the test would be worthless" in refused(synthaug("-d", "27", "--go"))


def test_a_split_that_tears_patients_apart_is_not_replaced(root: Path, synthaug: Any) -> None:
    write_dataset(root)
    splits = root / "nnUNet_preprocessed" / NAME / "splits_final.json"
    torn = [{"train": [f"p{i:02d}_ED" for i in range(10)], "val": [f"p{i:02d}_ES" for i in range(10)]}]
    write_json(splits, torn)
    assert "into both training and validation of fold 0" in refused(synthaug("-d", "27", "--go"))
    assert json.loads(splits.read_text()) == torn


def test_a_folder_that_cannot_be_written(root: Path, synthaug: Any) -> None:
    write_dataset(root)
    (root / "file").touch()
    assert "nothing can be written into" in refused(synthaug("-d", "27", "-o", str(root / "file" / "out"), "--go"))


def test_a_disk_that_is_too_small(root: Path, synthaug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(root)
    monkeypatch.setattr(trial.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e6))
    assert "of disk and 10 MB are free; choose another folder with -o" in refused(synthaug("-d", "27", "--go"))


def test_a_measurement_that_fails_is_a_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(root)
    found = trial._trial("27", "0", "2d", "nnUNetPlans", 100, None, root / "out", "cpu")

    def fail(words: list[str], environment: dict[str, str], log: Path, *_: Any) -> subprocess.Popen[bytes]:
        assert environment["nnUNet_preprocessed"] == str(log.parent), "the user's folder is not written to"
        log.write_text("Traceback\nno such thing\n")
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr("evaluation.benchmark.processes.launch", fail)
    with pytest.raises(UserError, match=r"nnU-Net cannot train on p\d\d_E[DS] here \(no such thing\); ask 'synthaug doctor'"):
        MEASURE(found, {"plans": "nnUNetPlans", "configuration": "2d", "device": "cpu"})


def test_what_is_printed_for_a_file_is_the_study_alone(root: Path, synthaug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*words: Any) -> Any:  # nnU-Net's steps are not waited for; all else is as users run it
        answer = Path(words[0][-1])
        answer.write_text(json.dumps(PACE))
        return SimpleNamespace(poll=lambda: 0, returncode=0)

    monkeypatch.setattr(trial, "_pace", MEASURE)
    monkeypatch.setattr("evaluation.benchmark.processes.launch", measured)
    write_dataset(root)
    ended = synthaug("-d", "27", "--dry-run")
    assert yaml.safe_load(ended.out)["arms"] == ["real", "copies+phantom_3looks50to00"]
    assert "measuring this machine" in ended.err


def test_the_study_file_holds_what_was_said(root: Path, synthaug: Any) -> None:
    write_dataset(root)
    content = yaml.safe_load(synthaug("-d", "27", "--dry-run").out)
    assert content["training"] == {"epochs": 100, "iterations": 50, "val_iterations": 1, "autocast": "auto"}
    assert content["bank"] == {"sequences": 40, "frames": 6}
    assert content["data"] == {"source": "nnunet", "dataset": NAME, "splits": 5}
