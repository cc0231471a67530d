"""Study files: every mistake gets one sentence, and a good file becomes the right commands in the right order."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmark.patients import link_test_cases, restricted, silent_patients
from evaluation.benchmark.reading import read_study, ready_studies
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.runner import dry_run
from evaluation.benchmark.stamps import Stamps
from evaluation.benchmark.study import REAL, Data, parse_arm
from evaluation.benchmark.workspace import Workspace
from evaluation.inputs.dataset import CaseInfo
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import write_json, write_nifti
from nnunet_synth_aug.nnunet.mixing.mixture import parse_trainer_name

GOOD: dict[str, Any] = {
    "title": "A study",
    "data": {"source": "phantom", "hearts": 20, "splits": 2},
    "arms": ["real", "mix50", "reconstructions50", "phantom25", "synthetic"],
    "folds": [0, 1],
    "seeds": [0, 3],
    "training": {"epochs": 5, "iterations": 7},
    "generator": {"preset": "tiny", "set": ["vae.train.steps=20"]},
    "tests": [{"name": "GE", "source": "phantom", "hearts": 8, "seed": 7, "vendors": ["GE"]}],
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def script(path: Path, out: Path) -> list[str]:
    study = read_study(path)
    return list(dry_run(build_steps(study, Workspace(out, study)), Stamps(out / "steps")))


def test_phantoms_have_the_priors_that_the_study_asks_for(tmp_path):
    data = {"source": "phantom", "hearts": 20, "splits": 2, "prior": ["diagnosis=NOR", "lv_ef=50..60"]}
    made = [line for line in script(written(tmp_path, GOOD | {"data": data}), tmp_path / "out") if line.startswith("synthaug phantom")]
    assert made[0] == "synthaug phantom -d 901 -n 20 --seed 0 --prior diagnosis=NOR --prior lv_ef=50..60 --folds 2"
    assert "--prior" not in made[1]  # the test patients are of all kinds


def test_phantoms_that_test_have_the_protocols_that_the_study_asks_for(tmp_path):
    tests = [{"name": "clinic", "source": "phantom", "hearts": 8, "seed": 7, "protocols": "varied"}, *GOOD["tests"]]
    made = [line for line in script(written(tmp_path, GOOD | {"tests": tests}), tmp_path / "out") if line.startswith("synthaug phantom")]
    assert [("--protocols varied" in line) for line in made] == [False, True, False]  # of whom trains, and of two test sets


@pytest.mark.parametrize(("device", "processes"), [("cpu", "-npp 0 -nps 0"), ("cuda", "-npp 3 -nps 3")])
def test_predictions_on_a_cpu_have_no_processes_beside_the_network(tmp_path, monkeypatch, device, processes):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    lines = script(written(tmp_path, GOOD | {"device": device}), tmp_path / "out")
    predictions = [line for line in lines if line.startswith("nnUNetv2_predict")]
    assert predictions and all(line.endswith(processes) for line in predictions)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "red"}, r"unknown key 'colour'; choose from title, data, arms"),
        ({"title": None}, r"title is null; it must be a text"),
        ({"data": {"source": "phantom"}}, r"data\.source is phantom, which needs the key 'hearts'"),
        ({"data": {"source": "acdc", "folder": "missing"}}, r"missing is not a folder"),
        ({"data": {"source": "acdc", "folder": "$NO_SUCH_VARIABLE"}}, r"variable NO_SUCH_VARIABLE is not set"),
        ({"data": {"source": "phantom", "hearts": 9, "folder": "."}}, r"has no use for the key 'folder'"),
        ({"data": {"source": "acdc", "folder": ".", "prior": ["lv_ef=30"]}}, r"has no use for the key 'prior'"),
        ({"tests": [{"name": "t", "source": "acdc", "folder": ".", "protocols": "varied"}]}, r"no use for the key 'protocols'"),
        (
            {"data": {"source": "phantom", "hearts": 9, "prior": ["ef=30"]}},
            r"data\.prior ef=30: there is no prior 'ef'; did you mean lv_ef",
        ),
        ({"data": {"source": "ukbb"}}, r"'ukbb'; choose one of nnunet, acdc"),
        ({"data": {"hearts": 3}}, r"data lacks the key 'source'; it must be one of nnunet, acdc"),
        ({"data": [1]}, r"data is \[1\]; it must be a mapping with the keys source, dataset"),
        ({"training": {"epochs": "ten"}}, r"training\.epochs is 'ten'; it must be a whole number"),
        ({"training": {"epochs": True}}, r"training\.epochs is true; it must be a whole number of at least 1"),
        ({"training": {"epochs": 0}}, r"training\.epochs is 0; it must be a whole number of at least 1"),
        ({"folds": 0}, r"folds is 0; it must be a list"),
        ({"folds": [0, 2]}, r"folds: 2 is out of range; data\.splits is 2, so folds are 0 to 1"),
        ({"folds": [0, 0]}, r"folds names 0 twice"),
        ({"folds": [-1]}, r"folds\[0\] is -1; it must be a whole number of at least 0"),
        ({"seeds": []}, r"seeds is empty"),
        ({"arms": ["real", "mix50", "mix50"]}, r"arms names mix50 twice"),
        ({"arms": ["synthetic", "mix100"]}, r"synthetic and mix100 are the same arm"),
        ({"arms": ["real"]}, r"only real is there"),
        ({"arms": ["mix5"]}, r"there is no arm 'mix5'"),
        ({"arms": ["mix00"]}, r"there is no arm 'mix00'"),
        ({"tests": [{"name": "a/b", "source": "phantom", "hearts": 4}]}, r"it becomes a file name"),
        ({"tests": [{"name": "validation", "source": "phantom", "hearts": 4}]}, r"the name validation is taken"),
        ({"tests": [{"name": "GE", "source": "phantom", "hearts": 4, "vendors": ["Acme"]}]}, r"'Acme'; choose one of Siemens"),
        (
            {"tests": [{"name": "GE", "source": "phantom", "hearts": 1}]},
            r"tests\[0\]\.hearts is 1; .* from 2 to 10000",
        ),
        ({"data": {"source": "nnunet", "dataset": 1.5}}, r"data\.dataset is 1\.5; it must be a text or a whole number"),
        ({"plans": {"spacing": float("nan")}}, r"plans\.spacing is nan; it must be a number of at least 0\.1, and finite"),
        ({"bank": None}, r"bank is null; it must be a mapping with the keys sequences"),
        ({"executor": "slurm"}, r"slurm lacks the key 'timeout_min'"),
    ],
)
def test_every_mistake_gets_one_sentence(tmp_path, change, sentence):
    path = written(tmp_path, GOOD | change)
    with pytest.raises(UserError, match=sentence) as caught:
        read_study(path)
    assert "study.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_yaml_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="is not YAML") as caught:
        read_study(written(tmp_path, "a: [1\nb: {"))
    assert "\n" not in str(caught.value)
    ready = "ready study: acdc_normal_to_disease, acdc_scarce, acdc_to_other_vendor, acdc_to_other_vendor_cpu, demo, "
    ready += "phantom_cross_vendor, smoke"
    with pytest.raises(UserError, match=ready):
        read_study(tmp_path / "nothing.yaml")


def test_dry_run_prints_every_command_once_and_in_order(tmp_path):
    lines = script(written(tmp_path, GOOD), tmp_path / "out")
    commands = [shlex.split(line) for line in lines if not line.startswith(("#", "export"))]
    words = [" ".join(c[:2]) if c[0] == "synthaug" else c[0] for c in commands]
    assert words[:5] == [
        "synthaug phantom",
        "nnUNetv2_extract_fingerprint",
        "nnUNetv2_plan_experiment",
        "synthaug plans",
        "nnUNetv2_preprocess",
    ]
    assert words.count("synthaug fit") == 2  # one generator per fold, shared by arms and seeds
    assert words.count("synthaug bank") == 2 * 3  # generator, reconstructions, phantom; synthetic shares that of mix50
    trainings = [c for c in commands if "nnunet_synth_aug.nnunet.seeded" in c]
    assert len(trainings) == 5 * 2 * 2
    assert {(c[3], c[7], c[9]) for c in trainings} == {
        (seed, fold, f"nnUNetTrainerSynthAug_mix{n}") for seed in "03" for fold in "01" for n in ("00", "50", "25", "100")
    }
    assert words.count("nnUNetv2_predict") == 5 * 2 * 2
    assert not (tmp_path / "out").exists()
    assert all(command.count("--allow-fewer") == 1 for command in commands if command[1] == "bank")
    assert lines[-1] == "# at the end: every arm against real only, in report/benchmark.md"
    settings = next(c for c in commands if c[:2] == ["synthaug", "plans"])
    assert shlex.join(settings).endswith("--epochs 5 --iterations 7")


def test_every_step_comes_after_what_it_needs(tmp_path):
    study = read_study(written(tmp_path, GOOD | {"data": GOOD["data"] | {"per_group": 1}}))
    seen: set[str] = set()
    for step in build_steps(study, Workspace(tmp_path / "out", study)):
        assert set(step.needs) <= seen
        assert step.id not in seen
        seen.add(step.id)
    assert "split" in seen


def test_only_one_fold_pretrains_what_all_share(tmp_path):
    study = read_study(written(tmp_path, GOOD | {"generator": {"pretrain": "phantom"}}))
    needs = {step.id: step.needs for step in build_steps(study, Workspace(tmp_path / "out", study))}
    assert "generator_generator_fold_0" in needs["generator_generator_fold_1"]
    assert "generator_generator_fold_1" not in needs["generator_generator_fold_0"]


def test_a_bank_checked_by_the_real_only_training_waits_for_it(tmp_path):
    plain = read_study(written(tmp_path, GOOD))
    study = read_study(written(tmp_path, GOOD | {"bank": GOOD.get("bank", {}) | {"segmenter": True}}))
    at = Workspace(tmp_path / "out", study)
    steps = {step.id: step for step in build_steps(study, at)}
    bank = steps["bank_generator-generator-checked_fold_1"]
    assert "train_real_fold_1_seed_0" in bank.needs  # the first seed's, for all seeds
    words = bank.command(0)
    assert words[words.index("--segmenter") + 1] == str(at.model(REAL, 0))
    assert bank.settings["bank"]["segmenter"] is True
    # Controls are not checked, and keep the bank that they have in a study without a segmenter.
    before = {step.id: step for step in build_steps(plain, Workspace(tmp_path / "out", plain))}
    for control in ("bank_phantom_fold_1", "bank_reconstructions-generator_fold_1"):
        assert steps[control].settings == before[control].settings
        assert "--segmenter" not in steps[control].command(0)
    assert set(before) & set(steps) >= {"train_real_fold_1_seed_0", "train_real_fold_1_seed_3"}


def test_a_generator_taught_by_the_real_only_training_waits_for_it(tmp_path):
    plain = read_study(written(tmp_path, GOOD))
    study = read_study(written(tmp_path, GOOD | {"generator": GOOD.get("generator", {}) | {"segmenter": True}}))
    at = Workspace(tmp_path / "out", study)
    steps, before = ({s.id: s for s in build_steps(one, Workspace(tmp_path / "out", one))} for one in (study, plain))
    for fold in (0, 1):
        fit = steps[f"generator_generator_fold_{fold}"]
        assert f"train_real_fold_{fold}_seed_0" in fit.needs
        words = fit.command(0)
        assert words[words.index("--segmenter") + 1] == str(at.model(REAL, 0))
        assert fit.settings["generator"]["segmenter"] is True
        old = before[f"generator_generator_fold_{fold}"]
        assert "segmenter" not in old.settings["generator"]  # a study from before there was such a setting goes on
        assert "--segmenter" not in old.command(0)
    seen: set[str] = set()
    for step in build_steps(study, at):
        assert set(step.needs) <= seen
        seen.add(step.id)
    ready = GOOD | {"generator": {"segmenter": True, "folder": str(tmp_path)}}
    with pytest.raises(UserError, match="segmenter is of no use to generators that were trained before"):
        read_study(written(tmp_path, ready))


def test_pseudolabels_wait_for_the_real_training_and_need_no_generator(tmp_path):
    study = read_study(written(tmp_path, GOOD | {"arms": ["real", "pseudolabels50to00"]}))
    at = Workspace(tmp_path / "out", study)
    steps = {step.id: step for step in build_steps(study, at)}
    assert not [step for step in steps if step.startswith("generator")]
    bank = steps["bank_pseudolabels_fold_1"]
    assert "train_real_fold_1_seed_0" in bank.needs
    words = bank.command(0)
    assert words[words.index("--segmenter") + 1] == str(at.model(REAL, 0))
    assert words[words.index("--source") + 1] == "pseudolabels"


@pytest.mark.parametrize("source", ["copies", "bent"])
def test_copies_wait_for_no_generator_and_no_network(tmp_path, source):
    study = read_study(written(tmp_path, GOOD | {"arms": [f"{source}50"]}))
    steps = {step.id: step for step in build_steps(study, Workspace(tmp_path / "out", study))}
    bank = steps[f"bank_{source}_fold_1"]
    words = bank.command(0)
    assert words[words.index("--source") + 1] == source
    assert not any(need.startswith(("generator", "train")) for need in bank.needs)
    assert not [step for step in steps if step.startswith("generator")]


def test_variations_have_a_strength_and_nothing_else_has(tmp_path):
    study = read_study(written(tmp_path, GOOD | {"arms": ["mix50", "variations50to00"], "bank": {"strength": 0.7}}))
    at = Workspace(tmp_path / "out", study)
    steps = {step.id: step for step in build_steps(study, at)}
    varied, sampled = (next(s for i, s in steps.items() if i.startswith(f"bank_{source}-")) for source in ("variations", "generator"))
    words = varied.command(0)
    assert words[words.index("--source") + 1] == "variations"
    assert words[words.index("--strength") + 1] == "0.7"
    assert varied.settings["bank"]["strength"] == 0.7
    assert any(need.startswith("generator_") for need in varied.needs)
    assert "--strength" not in sampled.command(0)
    assert "strength" not in sampled.settings["bank"]  # a study from before there was such a setting goes on
    for strength, sentence in ((1.5, r"bank\.strength is 1\.5; it must be a number from 0\.05 to 1"), (0.0, r"strength is 0\.0")):
        with pytest.raises(UserError, match=sentence):
            read_study(written(tmp_path, GOOD | {"bank": {"strength": strength}}))


def test_arms_have_their_own_results_and_banks(tmp_path):
    study = read_study(written(tmp_path, GOOD))
    at = Workspace(tmp_path, study)
    arms = study.all_arms
    assert len({at.results(arm, seed) for arm in arms for seed in study.seeds}) == len(arms) * 2
    views = {arm.name: at.view(arm) for arm in arms}
    assert views["mix50"] == views["synthetic"]
    assert len(set(views.values())) == 4
    assert parse_arm("synthetic").trainer == "nnUNetTrainerSynthAug_mix100"


def test_a_share_that_changes_has_a_trainer_of_its_own_and_the_bank_of_the_others(tmp_path):
    study = read_study(written(tmp_path, GOOD | {"arms": ["mix50", "mix50to00"]}))
    at = Workspace(tmp_path / "out", study)
    fixed, falling = study.all_arms[1:]
    assert (falling.source, falling.percent, falling.until) == ("generator", 50, 0)
    assert at.bank(falling, 0) == at.bank(fixed, 0)
    assert at.model(falling, 0) != at.model(fixed, 0)
    steps = {step.id: step for step in build_steps(study, at)}
    words = steps["train_mix50to00-generator_fold_1_seed_3"].command(0)
    assert words[words.index("-tr") + 1] == falling.trainer == f"{fixed.trainer}to00"
    variant = parse_trainer_name(falling.trainer)
    assert (variant.ratio, variant.until) == (0.5, 0.0)
    with pytest.raises(UserError, match=r"no change; for a constant share write phantom50$"):
        read_study(written(tmp_path, GOOD | {"arms": ["phantom50to50"]}))


def test_another_trainer_underneath_is_an_arm_of_its_own_with_the_bank_of_the_others(tmp_path):
    study = read_study(written(tmp_path, GOOD | {"arms": ["real_DA5", "phantom50to00", "phantom50to00_DA5"]}))
    at = Workspace(tmp_path / "out", study)
    real, heavy, plain, both = study.all_arms
    assert (real.name, heavy.source, heavy.percent) == ("real", "", 0)
    assert heavy.trainer == "nnUNetTrainerSynthAug_mix00_DA5" and both.trainer == f"{plain.trainer}_DA5"
    assert parse_trainer_name(both.trainer).base == "DA5"
    assert at.bank(both, 0) == at.bank(plain, 0) and at.model(both, 0) != at.model(plain, 0)
    assert "train_real_DA5_fold_1_seed_3" in {step.id for step in build_steps(study, at)}
    for wrong in ("mix50_donor", "mix50_3looks", "real_5DA"):
        with pytest.raises(UserError, match=f"there is no arm '{wrong}'"):
            read_study(written(tmp_path, GOOD | {"arms": [wrong]}))


@pytest.mark.parametrize(
    "name", ["smoke", "acdc_normal_to_disease", "acdc_scarce", "acdc_to_other_vendor", "acdc_to_other_vendor_cpu", "phantom_cross_vendor"]
)
def test_ready_studies_are_complete(tmp_path, monkeypatch, name):
    (tmp_path / "Training" / "Unlabeled" / "A1A1A1").mkdir(parents=True)
    (tmp_path / "Training" / "Unlabeled" / "A1A1A1" / "A1A1A1_sa.nii.gz").touch()
    for variable in ("ACDC", "MNMS", "SUNNYBROOK"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert name in ready_studies()
    lines = script(Path(name), tmp_path / "out")
    assert sum("seeded" in line for line in lines) >= 4


# ------------------------------------------------------------------ subsets

GROUPS = ("NOR", "DCM", "HCM")
VENDORS = ("Siemens", "GE")
CASES = {
    f"p{i:02d}_{phase}": CaseInfo(f"p{i:02d}", phase, vendor=VENDORS[i % 2], diagnosis=GROUPS[i % 3])
    for i in range(36)
    for phase in ("ED", "ES")
}
SPLIT = [
    {"train": [c for c in CASES if c < "p30"], "val": [c for c in CASES if c >= "p30"]},
    {"train": sorted(CASES)[:48], "val": sorted(CASES)[48:]},
]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 100), st.sampled_from([(), ("GE",)]), st.booleans())
def test_subsets_are_nested_balanced_and_disjoint_from_the_test_patients(small, more, seed, vendors, test_unused):
    small_data, large_data = (
        Data("phantom", per_group=n, subset_seed=seed, vendors=vendors, test_unused=test_unused) for n in (small, min(small + more, 4))
    )
    for fold, (one, other) in enumerate(zip(restricted(SPLIT, CASES, small_data), restricted(SPLIT, CASES, large_data), strict=True)):
        assert set(one["train"]) <= set(other["train"]) <= set(SPLIT[fold]["train"])
        assert not set(one["train"]) & set(one["val"])
        assert set(SPLIT[fold]["val"]) <= set(one["val"])
        patients = {CASES[c].patient for c in one["train"]}
        assert [sum(CASES[f"{p}_ED"].diagnosis == g for p in patients) for g in GROUPS] == [small] * 3
        assert len(one["train"]) == 2 * len(patients)  # ED and ES stay together
        assert not vendors or {CASES[c].vendor for c in one["train"]} == set(vendors)
        assert (len(one["train"]) + len(one["val"]) == len(CASES)) == test_unused


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 100), st.booleans())
def test_unlabelled_patients_are_the_next_ones_and_in_no_other_list(n, unlabelled, seed, test_unused):
    settings = {"per_group": n, "subset_seed": seed, "test_unused": test_unused}
    plain = restricted(SPLIT, CASES, Data("phantom", **settings))
    larger = restricted(SPLIT, CASES, Data("phantom", **settings | {"per_group": n + unlabelled}))
    silent = restricted(SPLIT, CASES, Data("phantom", **settings, unlabelled=unlabelled))
    for one, more, found in zip(plain, larger, silent, strict=True):
        assert found["train"] == one["train"]
        assert {CASES[c].patient for c in more["train"]} == {CASES[c].patient for c in one["train"]} | set(found["unlabelled"])
        assert found["val"] == sorted(c for c in one["val"] if CASES[c].patient not in found["unlabelled"])


def test_too_few_patients_are_refused():
    with pytest.raises(UserError, match=r"the diagnosis DCM, but data.per_group is 8 and unlabelled is 3; lower it"):
        restricted(SPLIT, CASES, Data("phantom", per_group=8, unlabelled=3))
    with pytest.raises(UserError, match=r"fold 0 has 10 training patients with the diagnosis DCM, but data.per_group is 11"):
        restricted(SPLIT, CASES, Data("phantom", per_group=11))
    with pytest.raises(UserError, match="no training patient of Canon"):
        restricted(SPLIT, CASES, Data("phantom", vendors=("Canon",)))
    with pytest.raises(UserError, match="no training patient of GE or Siemens with RV; choose other vendors or diagnoses"):
        restricted(SPLIT, CASES, Data("phantom", vendors=("GE", "Siemens"), diagnoses=("RV",)))


def test_training_on_some_diagnoses_tests_on_all_others():
    data = Data("phantom", diagnoses=("NOR",), per_group=4, test_unused=True)
    assert data.restricted
    for split in restricted(SPLIT, CASES, data):
        assert {CASES[c].diagnosis for c in split["train"]} == {"NOR"}
        assert len(split["train"]) == 8
        assert set(split["train"]) | set(split["val"]) == set(CASES)


# ------------------------------------------------------------------ test sets


def raw_dataset(folder: Path, labels: dict[str, int]) -> Path:
    """Two patients in imagesTs and labelsTs, one of them with an image that lacks its mask, in a cohort with vendors."""
    for side, names in (("imagesTs", ("a_ED_0000", "b_ED_0000", "b_ES_0000")), ("labelsTs", ("a_ED", "b_ED"))):
        (folder / side).mkdir(parents=True)
        for name in names:
            (folder / side / f"{name}.nii.gz").touch()
    write_json(folder / "dataset.json", {"labels": {"background": 0, **labels}, "file_ending": ".nii.gz"})
    write_json(folder / "cohort.json", {"subjects": [{"patient": p, "cases": {"ED": f"{p}_ED"}} for p in "ab"]})
    (folder / "priors.csv").write_text("patient,vendor,diagnosis\na,GE,NOR\nb,Canon,DCM\n")
    return folder


def test_cases_of_a_test_set_are_those_with_a_mask_of_the_vendors_asked_for(tmp_path):
    none: frozenset[str] = frozenset()
    raw, training = raw_dataset(tmp_path / "test", {"LV": 3}), raw_dataset(tmp_path / "train", {"RV": 1, "LV": 3})
    link_test_cases(raw, (), training, none, tmp_path / "all")
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["a_ED_0000.nii.gz", "b_ED_0000.nii.gz"]
    link_test_cases(raw, ("Canon",), training, none, tmp_path / "canon")
    assert [p.resolve() for p in (tmp_path / "canon").iterdir()] == [raw / "imagesTs" / "b_ED_0000.nii.gz"]
    with pytest.raises(UserError, match="no patient of Philips"):
        link_test_cases(raw, ("Philips",), training, none, tmp_path / "none")
    with pytest.raises(UserError, match=r"LV is 3 in test but 1 in other; give both the same labels"):
        link_test_cases(raw, (), raw_dataset(tmp_path / "other", {"LV": 1}), none, tmp_path / "mixed")
    (raw / "imagesTs" / "a_ED_0000.nii.gz").rename(raw / "imagesTs" / "a_ED_0000.mha")
    with pytest.raises(UserError, match=r"holds a_ED_0000\.mha, but networks that are trained on train read \.nii\.gz files; convert it"):
        link_test_cases(raw, (), training, none, tmp_path / "format")
    (raw / "imagesTs" / "a_ED_0000.mha").unlink()
    with pytest.raises(UserError, match="lacks the image of a_ED"):
        link_test_cases(raw, (), training, none, tmp_path / "missing")


def test_a_test_set_with_trained_patients_is_refused_by_their_images_not_their_names(tmp_path):
    raw, training = raw_dataset(tmp_path / "test", {"LV": 3}), raw_dataset(tmp_path / "train", {"LV": 3})
    for case, grey in (("a_ED", 1), ("b_ED", 2)):
        write_nifti(raw / "imagesTs" / f"{case}_0000.nii.gz", np.full((2, 2, 2), grey, np.int16), (1.0, 1.0, 1.0))
        write_nifti(training / "imagesTr" / f"{case}_0000.nii.gz", np.full((2, 2, 2), 2, np.int16), (1.0, 1.0, 1.0))
    link_test_cases(raw, (), training, frozenset({"a_ED"}), tmp_path / "images")
    with pytest.raises(UserError, match="test holds b_ED, which the networks of this study are trained on"):
        link_test_cases(raw, (), training, frozenset({"a_ED", "b_ED"}), tmp_path / "images")
    for folder in (raw / "imagesTs", training / "imagesTr"):  # in the formats that nnU-Net reads by SimpleITK, too
        for path in (folder / "a_ED_0000.nii.gz", folder / "b_ED_0000.nii.gz"):
            sitk.WriteImage(sitk.ReadImage(str(path)), str(path).replace(".nii.gz", ".mha"))
            path.unlink()
    write_json(training / "dataset.json", {"labels": {"background": 0, "LV": 3}, "file_ending": ".mha"})
    with pytest.raises(UserError, match="test holds b_ED"):
        link_test_cases(raw, (), training, frozenset({"a_ED", "b_ED"}), tmp_path / "mha")


def test_a_test_set_with_patients_whose_images_were_learnt_from_is_refused_by_name_and_by_image(tmp_path):
    raw, training = raw_dataset(tmp_path / "test", {"LV": 3}), raw_dataset(tmp_path / "train", {"LV": 3})
    for case, grey in (("a_ED", 1), ("b_ED", 2)):
        write_nifti(raw / "imagesTs" / f"{case}_0000.nii.gz", np.full((2, 2, 2), grey, np.int16), (1.0, 1.0, 1.0))
    write_nifti(training / "cine" / "c_4d.nii.gz", np.stack([np.full((2, 2, 2), g, np.int16) for g in (7, 2)], -1), (1.0, 1.0, 1.0), 0.03)
    write_nifti(training / "cine" / "d_ED_image.nii.gz", np.full((2, 2, 2), 9, np.int16), (1.0, 1.0, 1.0))
    records = [{"patient": "c", "cases": {}, "cine": "cine/c_4d.nii.gz", "images": {}}]
    records += [{"patient": who, "cases": {}, "cine": None, "images": {"ED": "cine/d_ED_image.nii.gz"}} for who in "bd"]
    write_json(training / "cohort.json", {"subjects": [*records, {"patient": "e", "cases": {"ED": "e_ED"}, "cine": None, "images": {}}]})
    write_json(tmp_path / "splits.json", [{"train": ["x_ED"], "val": ["y_ED"], "unlabelled": ["e_ED", "f"]}])
    assert silent_patients(training, tmp_path / "splits.json", (0,)) == {"b", "c", "d", "e", "f"}
    none: frozenset[str] = frozenset()
    link_test_cases(raw, (), training, none, tmp_path / "images", frozenset("d"))
    for silent in ("b", "c"):  # b by name; frame 1 of c is b's image
        with pytest.raises(UserError, match=f"test holds b_ED, and the study learns from images of {silent} without contours"):
            link_test_cases(raw, (), training, none, tmp_path / "images", frozenset(silent))


def test_patients_of_the_target_come_with_the_import_and_their_looks_into_banks(tmp_path):
    (tmp_path / "acdc").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "B1_ED.nii.gz").touch()
    data = {"source": "acdc", "folder": "acdc", "per_group": 2, "unlabelled_folder": "target"}
    change = {"data": data, "arms": ["copies_3unlabelled50to00", "mix_donor_2unlabelled50"], "generator": {"contoured_only": True}}
    lines = script(written(tmp_path, GOOD | change), tmp_path / "out")
    commands = [line.removeprefix("  ") for line in lines]
    assert any(f"import acdc {tmp_path / 'acdc'} -d 901 --unlabelled {tmp_path / 'target'} --folds" in line for line in commands)
    assert any("--appearance unlabelled --looks 3" in line and "--source copies" in line for line in commands)
    contoured = ["--contoured-by" in line for line in commands if "--appearance unlabelled" in line]
    assert contoured and all(contoured)
    assert any("--appearance unlabelled --looks 2 --render donor" in line for line in commands)
    change["arms"] += ["mix_painter50", "mix_painter_3unlabelled50"]
    painted = [line for line in script(written(tmp_path, GOOD | change), tmp_path / "out") if "--render painter" in line]
    assert {("--contoured-by" in line, "--looks 3" in line) for line in painted} == {(False, False), (True, True)}
    assert any("synthaug fit" in line and "--contoured-only" in line for line in commands)
    for wrong, sentence in (
        (data | {"unlabelled_folder": None}, r"copies_3unlabelled50to00 needs patients without contours; give data\.unlabelled_folder"),
        (data | {"unlabelled_folder": "acdc"}, r"data\.unlabelled_folder: .*acdc is no folder with NIfTI files"),
        (
            {"source": "phantom", "hearts": 9, "unlabelled_folder": "target"},
            r"unlabelled_folder goes into an import, and .*source is phantom",
        ),
    ):
        with pytest.raises(UserError, match=sentence):
            read_study(written(tmp_path, GOOD | change | {"data": wrong}))
