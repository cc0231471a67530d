"""Cards of banks and generators: true, readable by Hugging Face and Croissant, and never over what a person wrote."""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
import sys
from pathlib import Path

import mlcroissant
import pytest
from absl import logging as absl_logging
from huggingface_hub import DatasetCardData, ModelCard
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project
from typer.testing import CliRunner

from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.paths import GENERATOR_META, bank_folder, generator_folder
from nnunet_synth_aug.model.pretrained import PHANTOM
from nnunet_synth_aug.nnunet.bank.manifest import bank_status
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.reports.cards.audit import AUDIT, Audit, keep_audit
from nnunet_synth_aug.reports.cards.facts import Facts, Leave, facts_of
from nnunet_synth_aug.reports.cards.words import body
from nnunet_synth_aug.reports.cards.write import CARD, CROISSANT, take_report, write_card

# mlcroissant brings absl, whose log handler keeps the stream of this moment: pytest's. submitit sets logging up anew, which would close it.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

WORDS = ["bank", "-d", "731", "-f", "1", "-p", PLANS, "-n", "3", "--frames", "2", "--gif", "0"]


def made(*words: str) -> str:
    result = CliRunner().invoke(app, [*WORDS, *words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def bank(project: Project):
    """A bank of copies for fold 1, made by the command."""
    cohort, kept = project.raw / "cohort.json", project.root / "cohort.json"
    cohort.rename(kept)  # a plain dataset
    said = made("--source", "copies")
    folder = bank_folder(DATASET, 1)
    assert f"card: {folder / CARD}" in said
    assert not list(folder.glob("**/*.png")), "no pictures, by --gif 0"
    yield folder
    kept.rename(cohort)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def generator(project: Project):
    """What a fit leaves for people and programs to read; its weights are only names here."""
    folder = generator_folder(DATASET, 1)
    stages = {stage: {"sha256": f"{number:064x}", "seconds": 1.0} for number, stage in enumerate(("vae", "static", "motion"))}
    train = {stage: {"train": {"steps": 100}} for stage in stages}
    config = {"preset": "tiny", "grid": {"size": [96, 96, 8]}, **train}
    about = {
        "dataset": DATASET,
        "fold": 1,
        "patients": PATIENTS[2:],
        "version": "0.1.0",
        "pretraining": {"dataset": "800 phantoms, shipped"},
    }
    write_json(folder / GENERATOR_META, {**about, "config": config, "finished": stages})
    yield folder
    shutil.rmtree(project.results, ignore_errors=True)


def an_audit(generator: Path, flagged: bool) -> Audit:
    digest = facts_of(generator).generator_hash
    assert digest is not None
    return Audit(digest, 64, 70, 30, (0.95, 0.9, 1.0), (0.6, 0.4, 0.7), 0, flagged, ("Said so.",))


def test_a_bank_has_a_card_that_hugging_face_and_croissant_read(bank):
    card = ModelCard.load(bank / CARD)
    front = DatasetCardData(**card.data.to_dict())
    assert (front.license, front.license_name, front.task_categories) == ("other", "not-stated", ["image-segmentation"])
    assert "copies" in front.tags
    assert "| copies | 3 | 4 | - | no |" in card.text
    assert "They are the pixels of 4 patients" in card.text
    assert "`hearts.png` shows training patients" in card.text
    assert not any(patient in card.text for patient in PATIENTS), "patients are counted, not named"

    read = mlcroissant.Dataset(bank / CROISSANT)
    assert not read.metadata.issues.errors
    about = read.metadata
    assert about.personal_sensitive_information[0] == "No."
    assert about.license == ["not-stated"]
    assert "4 training patients" in about.data_collection
    assert about.data_limitations
    assert about.data_use_cases
    with (bank / "sequences" / "priors.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    records = list(read.records("copies_hearts"))
    assert [record["copies_hearts/sequence"].decode() for record in records] == [row["sequence"] for row in rows]
    for record, row in zip(records, rows, strict=True):
        assert record["copies_hearts/lv_edv_mL_measured"] == pytest.approx(float(row["lv_edv_mL_measured"]))


def test_a_card_changes_nothing_of_the_bank(bank):
    target = load_target(731, "2d", PLANS)
    before = bank_status(target, 1).hash
    write_card(bank)
    assert bank_status(target, 1).hash == before
    made("--source", "bent", "--replace")
    assert bank_status(target, 1).content["generator"]["source"] == "bent"
    assert "| bent | 3 | 4 | - | no |" in (bank / CARD).read_text()
    assert "bent" in ModelCard.load(bank / CARD).data.tags


def test_what_a_person_wrote_stays(bank):
    text = (bank / CARD).read_text()
    (bank / CARD).write_text(
        text.replace(
            "license: other\nlicense_name: not-stated", "license: cc-by-4.0  # agreed\nlicense_name: not-stated\ndoi: 10.1/x"
        ).replace("Ethics approval: not stated yet", "Ethics approval: 12/2026")
    )
    edited = (bank / CARD).read_text().replace("license_name: not-stated\n", "")  # it is stated now
    write_card(bank)
    assert (bank / CARD).read_text() == edited
    assert mlcroissant.Dataset(bank / CROISSANT).metadata.license == ["cc-by-4.0"]
    made("--source", "bent", "--replace")
    again = (bank / CARD).read_text()
    assert "Ethics approval: 12/2026" in again
    assert "license: cc-by-4.0  # agreed\n" in again  # beside tags of ours that have changed
    assert again.count("tags:") == 1 and "- bent\n" in again
    assert ModelCard.load(bank / CARD).data.to_dict().items() >= {"license": "cc-by-4.0", "doi": "10.1/x"}.items()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("**No.**", "**Yes.**"), "changed between its two marks"),
        (lambda text: text.replace("- cine-mri", "- my-tag"), "changed at tags or between its two marks"),
        (lambda text: "# My bank\n", "lacks the marks between which 'synthaug card' writes"),
        (lambda text: "\n" + text, "lacks the marks between which 'synthaug card' writes"),
        (lambda text: text.replace("license: other", "license: [other"), "not YAML"),
    ],
    ids=["body", "tags", "own", "no-front-matter", "broken"],
)
def test_a_card_that_a_person_changed_is_left_alone(bank, change, said):
    (bank / CARD).write_text(change((bank / CARD).read_text()))
    content, croissant = (bank / CARD).read_bytes(), (bank / CROISSANT).read_bytes()
    result = CliRunner().invoke(app, ["card", str(bank)])
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert f"card: not written: {bank / CARD}" in made("--source", "copies"), "a bank is made all the same"
    assert ((bank / CARD).read_bytes(), (bank / CROISSANT).read_bytes()) == (content, croissant)


@pytest.mark.parametrize("killed_at", [0, 1])
def test_a_kill_leaves_whole_files(bank, monkeypatch, killed_at):
    (bank / CARD).unlink()
    croissant, calls, replace = (bank / CROISSANT).read_bytes(), iter(range(9)), os.replace

    def killed(source, target):
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_card(bank)
    assert (bank / CARD).exists() == (killed_at == 1)
    assert (bank / CROISSANT).read_bytes() == croissant
    assert not list(bank.glob(".partial-*"))
    write_card(bank)
    assert (bank / CARD).read_text().endswith("not stated yet.\n")


def sourced(bank: Path, about: dict, source: str | None = None, **more) -> Facts:
    """The facts of the bank, had its hearts another maker."""
    path = next(bank.glob("manifest_*.json"))
    good = path.read_text()
    content = read_json(path)
    content |= {"generator": about, **more}
    if source:
        content["cases"] = [{**case, "source": source} for case in content["cases"]]
    write_json(path, content)
    try:
        return facts_of(bank)
    finally:
        path.write_text(good)


def test_what_may_leave_depends_on_whose_pixels_it_shows(bank, generator, project):
    digest = facts_of(generator).generator_hash
    people, fit = ["patient001"], {"generator_hash": digest, "fold": 1}
    for source in ("copies", "bent", "pseudolabels", "variations", "reconstructions"):
        assert sourced(bank, {"source": source, "patients": people}).leave is Leave.NO, source
    phantoms = {"source": "phantom", "patients": [], "phantoms": ["phantom5000_0000"]}
    assert sourced(bank, phantoms).leave is Leave.YES
    assert "`hearts.png` shows training patients" in body(sourced(bank, phantoms)), "the sheet shows patients, whatever the hearts are"
    styled = sourced(bank, phantoms, appearance={"looks": 1, "styles": [{"patient": "patient009"}]})
    assert styled.leave is Leave.NO
    assert "those of 1 patients without contours, painted by a network" in body(styled)
    assert sourced(bank, fit | {"patients": people}).leave is Leave.AFTER_AUDIT
    rendered = sourced(bank, fit | {"patients": people, "donors": people})
    assert rendered.leave is Leave.NO
    assert "None is needed: whatever it said" in body(rendered), "no audit lets them leave"
    keep_audit(bank, an_audit(generator, flagged=False))
    assert sourced(bank, fit | {"patients": people}).leave is Leave.AFTER_AUDIT, "the ethics board remains"
    painted = sourced(bank, fit | {"patients": people, "render": "painter", "styles": ["patient001", "patient009"]})
    assert (painted.leave, painted.audits) == (Leave.AFTER_AUDIT, ()), "the audit is of hearts as they are decoded"
    keep_audit(bank, an_audit(generator, flagged=True))
    assert sourced(bank, fit | {"patients": people}).leave is Leave.NO
    assert sourced(bank, fit | {"patients": people, "generator_hash": "another"}).audits == ()
    both = {
        "source": "copies+phantom",
        "parts": {"copies": {"patients": people}, "phantom": {"patients": [], "phantoms": ["phantom1_0000"]}},
    }
    assert sourced(bank, both, "copies").leave is Leave.NO
    # A name like a phantom's proves nothing: the cohort has to say so.
    named = {"source": "copies", "patients": ["phantom0_0001"]}
    assert sourced(bank, named).leave is Leave.NO
    cohort = project.raw / "cohort.json"
    try:
        write_json(cohort, {"source": {"source": "phantom", "n": 1}})
        assert sourced(bank, named).leave is Leave.YES
        assert sourced(bank, {"source": "copies", "patients": ["phantom0_0001", "patient001"]}).leave is Leave.NO
    finally:
        cohort.unlink()


def test_painted_hearts_have_an_audit_of_their_own(bank, generator, tmp_path):
    people = ["patient001", "patient009"]
    made = {"generator_hash": facts_of(generator).generator_hash, "fold": 1, "patients": people[:1]}
    painted = made | {"render": "painter", "painter": "abcdef012", "styles": people}
    text = body(sourced(bank, painted))
    assert "`generator`: only after the audit. Their generator and their painter learnt from 2 patients." in text
    assert "-f 1 --render painter --only memorisation -o REPORT" in text
    of_painted = dataclasses.replace(an_audit(generator, flagged=False), painter="abcdef012", painter_auc=(0.7, 0.5, 0.9))
    keep_audit(bank, of_painted)
    assert "| AUC of the painter's loss, likewise | 0.70 [0.50, 0.90] |" in body(sourced(bank, painted))
    assert sourced(bank, made).audits == sourced(bank, painted | {"painter": "other"}).audits == ()
    keep_audit(bank, dataclasses.replace(of_painted, flagged=True))
    assert sourced(bank, painted).leave is Leave.NO
    keep_audit(bank, an_audit(generator, flagged=False))  # both lie side by side
    assert sourced(bank, painted).leave is Leave.NO and sourced(bank, made).leave is Leave.AFTER_AUDIT
    both = {"source": "generator+copies", "parts": {"generator": painted, "copies": {"patients": people}}}
    assert [part.leave for part in sourced(bank, both).parts] == [Leave.NO, Leave.NO]
    contoured = painted | {"painter": "taught by others, too", "shown_as": people[:1]}
    assert sourced(bank, contoured).leave is Leave.NO
    assert "patients without contours, too, and no audit knows it" in (told := body(sourced(bank, contoured)))
    assert "--render painter --only" not in told, "no report would be of this painter"
    found = {"neighbours": {"latent": {"ratio": {"median": 1.0, "low": 0.9, "high": 1.1}, "near_copies": 0}}, "flagged": False}
    found |= {
        "membership": {"auc": 0.5, "low": 0.4, "high": 0.6},
        "n": dict.fromkeys(("synthetic", "training", "held_out"), 3),
        "verdict": [],
    }
    write_json(tmp_path / "report.json", {"generator": made, "reports": {"memorisation": found}})
    path = next(bank.glob("manifest_*.json"))
    write_json(path, read_json(path) | {"generator": painted})
    with pytest.raises(UserError, match=r"is on hearts as they are decoded, but .* holds hearts painted by abcdef01; make a report with"):
        write_card(bank, tmp_path)


def test_the_card_of_a_generator(generator):
    text = write_card(generator).read_text()
    assert "| training patients | 4 |" in text
    assert "| training steps (VAE, static, motion) | 100, 100, 100 |" in text
    assert "**Only after the memorisation audit" in text
    assert "synthaug report -d Dataset731_Hearts -f 1 --only memorisation -o REPORT\n```" in text
    read = mlcroissant.Dataset(generator / CROISSANT)
    assert not read.metadata.issues.errors
    assert {one.name: one.sha256 for one in read.metadata.distribution}["motion.safetensors"] == f"{2:064x}"
    moved = generator.with_name("moved")
    generator.rename(moved)
    assert "--generator GENERATOR\n```" in write_card(moved).read_text()
    keep_audit(moved, an_audit(moved, flagged=False))
    text = write_card(moved).read_text()
    assert "**Not flagged.** 64 hearts, 70 training patients, 30 patients whom the generator never saw." in text
    assert "| 0.95 [0.90, 1.00] |" in text
    assert "- Said so." in text
    assert "**Only after the memorisation audit" in text
    keep_audit(moved, an_audit(moved, flagged=True))
    assert "**No.**\n\nThe audit flagged it" in write_card(moved).read_text()


def test_an_audit_is_told_of_its_own_generator_only(generator, bank, tmp_path):
    def report(digest: str | None, **found) -> None:
        write_json(tmp_path / "report.json", {"generator": {"generator_hash": digest}, "reports": {"memorisation": found}})

    with pytest.raises(UserError, match=r"report\.json does not exist"):
        write_card(generator, tmp_path)
    report("a")
    with pytest.raises(UserError, match="holds no memorisation audit"):
        write_card(generator, tmp_path)
    assert take_report(generator, tmp_path) == ""
    near = {"latent": {"ratio": {"median": 1.0, "low": 0.9, "high": 1.1}, "near_copies": 0}}
    audit = {
        "neighbours": near,
        "membership": {"auc": 0.5, "low": 0.4, "high": 0.6},
        "n": {"synthetic": 8, "training": 4, "held_out": 2},
        "flagged": False,
        "verdict": ["Fine."],
    }
    report("another", **audit)
    with pytest.raises(UserError, match="give its own report"):
        write_card(generator, tmp_path)
    with pytest.raises(UserError, match="holds no generator's hearts"):
        write_card(bank, tmp_path)
    report("another", neighbours={})
    with pytest.raises(UserError, match="is damaged"):
        write_card(generator, tmp_path)
    assert not (generator / AUDIT).exists()
    assert not (generator / CARD).exists()
    report(facts_of(generator).generator_hash, **audit)
    assert take_report(generator, tmp_path) == f"card: {generator / CARD}"
    assert "- Fine." in (generator / CARD).read_text()


def test_the_shipped_card_is_up_to_date(tmp_path):
    folder = shutil.copytree(PHANTOM, tmp_path / "phantom")
    write_card(folder)
    for name in (CARD, CROISSANT):
        assert (folder / name).read_bytes() == (PHANTOM / name).read_bytes(), f"run 'synthaug card {PHANTOM}'"
    assert ModelCard.load(folder / CARD).data.license == "apache-2.0"
    assert facts_of(PHANTOM).leave is Leave.YES


def test_folders_that_are_neither_are_refused(generator, bank, tmp_path):
    with pytest.raises(UserError, match="neither a complete bank"):
        write_card(tmp_path)
    meta = read_json(generator / GENERATOR_META)
    del meta["finished"]["motion"]
    write_json(generator / GENERATOR_META, meta)
    with pytest.raises(UserError, match=r"not finished \(motion\)"):
        write_card(generator)
    write_json(generator / GENERATOR_META, {"dataset": "x"})
    with pytest.raises(UserError, match=GENERATOR_META):
        write_card(generator)
    (bank / AUDIT).write_text("{}")
    assert facts_of(bank).audit is None, "a bank of copies has no generator to be audited"
    next(bank.glob("manifest_*.json")).write_text("{}")
    with pytest.raises(UserError, match="manifest_"):
        write_card(bank)
    assert not (generator / CARD).exists()
