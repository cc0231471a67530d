"""Banks of several sources: how they are named and shared out, what they hold, and the leak guard over all of them."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, write_sequences
from typer.testing import CliRunner

from evaluation.benchmark.reading import read_study
from evaluation.benchmark.run_steps import build_steps
from evaluation.benchmark.study import parse_arm
from evaluation.benchmark.workspace import Workspace
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.bank_sources import SOURCES, shared_out, sources_of
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases
from nnunet_synth_aug.nnunet.bank.manifest import bank_status
from nnunet_synth_aug.nnunet.mixing.weighting import draw_probabilities
from nnunet_synth_aug.nnunet.refresh.process import bank_quality_control
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.synthesis.folder import read_index, refuse_other_sources, remove_other_sources, write_index


@given(st.lists(st.sampled_from(SOURCES), min_size=1, unique=True), st.randoms())
def test_the_order_in_which_sources_are_named_does_not_matter(named, random):
    shuffled = random.sample(named, len(named))
    assert sources_of("+".join(shuffled)) == sources_of("+".join(named))
    assert sorted(sources_of("+".join(named))) == sorted(named)


@given(st.integers(1, 500), st.integers(1, 7))
def test_sources_give_equal_numbers(n, parts):
    if n < parts:
        with pytest.raises(UserError, match=f"-n {n} is not enough for {parts} sources"):
            shared_out(n, parts)
        return
    numbers = shared_out(n, parts)
    assert sum(numbers) == n
    assert max(numbers) - min(numbers) <= 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("copies+heart", "no --source 'heart'"), ("copies+", "no --source ''"), ("copies+copies", "names copies more than once")],
)
def test_sources_that_are_not_there_are_one_sentence(text, sentence):
    with pytest.raises(UserError, match=sentence):
        sources_of(text)


def test_a_bank_of_two_sources_holds_both_and_says_who_made_what(project: Project, tmp_path) -> None:
    """The same ids in both folders: cases bear their source's name."""
    bank = project.preprocessed / "synth_aug" / "fold_1"
    folders = {
        source: write_sequences(tmp_path / source, count=count, patients=PATIENTS[2:]) for source, count in (("copies", 2), ("phantom", 1))
    }
    ids, provenance = read_index(folders["phantom"])
    phantom = {"source": "phantom", "dataset": "phantom", "patients": [], "phantoms": ["phantom5000_0000"]}
    write_index(folders["phantom"], ids, phantom)
    try:
        manifest = build_bank_cases(folders, 731, 1, "2d", PLANS, frames=2)
        content = read_json(manifest)
        assert {case["sequence"] for case in content["cases"]} == {"copies_synth_00000", "copies_synth_00001", "phantom_synth_00000"}
        assert all(case["sequence"].startswith(case["source"]) for case in content["cases"])
        drawn = draw_probabilities(content["cases"], {})  # four copies and two phantoms
        assert [round(drawn[case["id"]], 3) for case in content["cases"]] == [0.125] * 4 + [0.25] * 2
        assert content["generator"]["source"] == "copies+phantom"
        assert content["generator"]["patients"] == sorted(PATIENTS[2:])
        assert content["generator"]["phantoms"] == ["phantom5000_0000"]
        assert content["generator"]["parts"] == {"copies": provenance, "phantom": phantom}
        opened = bank_status(load_target(731, "2d", PLANS), 1)  # as the trainer opens it
        assert len(opened.ids) == 6
        assert opened.generator_hash == provenance["generator_hash"]
        with pytest.raises(UserError, match=r"the bank holds copies\+phantom, which no generator can refresh"):
            bank_quality_control(opened)
        # Any part may be the leak.
        write_index(folders["phantom"], ids, phantom | {"phantoms": [PATIENTS[0]]})
        with pytest.raises(UserError, match="holds phantoms that fold 1 validates on"):
            build_bank_cases(folders, 731, 1, "2d", PLANS, frames=2)
        write_index(folders["phantom"], ids, phantom)
        write_index(folders["copies"], read_index(folders["copies"])[0], {"dataset": DATASET, "patients": list(PATIENTS)})
        with pytest.raises(UserError, match="trained on validation patients of fold 1"):
            build_bank_cases(folders, 731, 1, "2d", PLANS, frames=2)
    finally:
        shutil.rmtree(bank, ignore_errors=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--source", "copies+phantom", "--generator", "here"], "needs no generator"),
        (["--source", "copies+phantom", "--strength", "0.5"], "--strength is of --source variations"),
        (["--source", "copies+phantom", "--segmenter", "here"], "are not sampled"),
        (["--source", "copies", "--min-agreement", "0.7"], "of no use without --segmenter"),
        (["--source", "copies+phantom", "-n", "1"], "not enough for 2 sources"),
    ],
)
def test_options_that_do_not_fit_the_sources(project: Project, options, sentence) -> None:
    failed = CliRunner().invoke(app, ["bank", "-d", "731", "-f", "0", "-p", PLANS, *options])
    assert isinstance(failed.exception, UserError)
    assert sentence in str(failed.exception)


def test_hearts_of_other_sources_are_refused_or_deleted(tmp_path) -> None:
    """They would lie beside a bank of phantoms, whose card says that it may leave the site."""
    write_sequences(tmp_path / "copies", count=1, patients=PATIENTS[2:])
    refuse_other_sources(tmp_path, {"copies": tmp_path / "copies", "phantom": tmp_path / "phantom"})
    with pytest.raises(UserError, match=r"copies holds hearts of an earlier bank of this fold, of other sources; add --replace"):
        refuse_other_sources(tmp_path, {"phantom": tmp_path})
    remove_other_sources(tmp_path, {"phantom": tmp_path})
    refuse_other_sources(tmp_path, {"phantom": tmp_path})
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_arms_of_several_sources(tmp_path):
    arm = parse_arm("phantom+mix50to00")
    assert (arm.parts, arm.percent, arm.until) == (("generator", "phantom"), 50, 0)
    assert arm.needs_generator and arm.is_sampled
    assert not parse_arm("copies+phantom50").needs_generator
    path = tmp_path / "study.yaml"
    path.write_text("title: Two\ndata: {source: phantom, hearts: 6}\narms: [copies+phantom50]\n")
    study = read_study(path)
    steps = {step.id: step for step in build_steps(study, Workspace(tmp_path / "out", study))}
    bank = steps["bank_copies+phantom_fold_0"]
    words = bank.command(0)
    assert words[words.index("--source") + 1] == "copies+phantom"
    path.write_text("title: Two\ndata: {source: phantom, hearts: 6}\narms: [copies+phantom50, phantom+copies50]\n")
    with pytest.raises(UserError, match="are the same arm"):
        read_study(path)
    with pytest.raises(UserError, match=r"there is no arm 'copies\+heart50'; write real, or sources .*\(sources: mix, "):
        parse_arm("copies+heart50")
