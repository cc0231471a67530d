"""Banks painted as patients look whom nobody has contoured: from the fold's patients to nnU-Net's cases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from nnunet_fixture import DATASET, PATIENTS, PLANS, Project, write_sequences
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from test_dataset import heart
from test_painter import CPU, SMALL, taught
from typer.testing import CliRunner

from evaluation.benchmark.study import parse_arm
from evaluation.inputs.arms import generator_patients
from nnunet_synth_aug.cli.app import app
from nnunet_synth_aug.core.cases import Spacing, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.paths import painter_file
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.raw_dataset import write_dataset
from nnunet_synth_aug.model.painter import painter as training
from nnunet_synth_aug.model.painter.painter import Painter, train_painter
from nnunet_synth_aug.nnunet import painting
from nnunet_synth_aug.nnunet.bank.build import build_bank_cases, in_look
from nnunet_synth_aug.nnunet.bank.manifest import bank_status
from nnunet_synth_aug.nnunet.painting import fold_hearts, fold_looks, known_hearts, known_looks, sure_contours
from nnunet_synth_aug.nnunet.target import load_target
from nnunet_synth_aug.reports.cards.write import renew_card
from nnunet_synth_aug.synthesis.folder import read_sequence, write_sequence
from nnunet_synth_aug.synthesis.painting import PaintedHearts, PaintedLooks

TOY = "Dataset005_Toy"


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Painter:
    return train_painter(taught(4), SMALL, tmp_path_factory.mktemp("painter") / "painter.safetensors", {}, CPU)


@dataclass
class Network:
    """Knows the contours of the made-up patients, as a perfect nnU-Net would; ``unsure`` of the first slice when that is turned."""

    unsure: bool = False
    provenance: dict[str, Any] = field(default_factory=lambda: {"checkpoint": "one"})
    asked: int = 0

    def segment(self, image: np.ndarray, spacing: Spacing, context: tuple[float, float] | None = None) -> np.ndarray:
        self.asked += 1
        ed = heart("p9").masks["ED"]
        straight = self.asked % 2 == 1
        mask = ed if straight else np.ascontiguousarray(np.rot90(ed))
        assert mask.shape == image.shape
        if self.unsure and not straight:
            mask = np.roll(mask, 9, 0) * (np.arange(mask.shape[2]) == 0) + mask * (np.arange(mask.shape[2]) > 0)
        return mask.astype(np.uint8)


def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int = 2) -> None:
    """Four patients with contours, and some without."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path / name))
        (tmp_path / name).mkdir()
    bare = [replace(heart(f"p{6 + number}"), masks={}) for number in range(silent)]
    write_dataset([*(heart(f"p{number}") for number in range(4)), *bare], 5, "Toy", folds=2)


def test_a_fold_gets_its_painter_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path, monkeypatch)
    paint = fold_looks(TOY, 0, Network(), CPU, SMALL)
    assert paint.patients == ("p6", "p7")
    assert {"p6", "p7"} < set(paint.painter.styles) and len(paint.painter.styles) == 4  # two of four train
    again = fold_looks(TOY, 0, network := Network(), CPU, SMALL)
    assert again.about == paint.about and network.asked == 0
    assert known_looks(TOY, 0, paint.about, CPU).about == paint.about
    other = fold_looks(TOY, 0, Network(provenance={"checkpoint": "two"}), CPU, SMALL)
    assert other.painter.identity != paint.painter.identity
    assert known_looks(TOY, 0, paint.about, CPU).about == paint.about  # another one does not take its place
    painter_file(TOY, 0, paint.painter.identity).unlink()
    with pytest.raises(UserError, match=r"is not the painter of the bank; run 'synthaug bank -d Dataset005_Toy -f 0"):
        known_looks(TOY, 0, paint.about, CPU)
    with pytest.raises(UserError, match="is not the painter of the bank"):  # made by a version that had none
        known_looks(TOY, 0, {"styles": [{"patient": "p6"}]}, CPU)


def test_slices_that_are_contoured_otherwise_when_turned_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path, monkeypatch)
    sequence = load_sequence(Cohort.load(5).subject("p6"))
    found, sure = sure_contours(Network(unsure=True), sequence.image[0], sequence.spacing)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, heart("p9").masks["ED"])
    assert sure.tolist() == [False, *[True] * 5]
    seen: list[Any] = []
    monkeypatch.setattr(painting, "train_painter", lambda patients, *_: seen.extend(patients) or _painter(patients))
    fold_looks(TOY, 0, Network(unsure=True), CPU, SMALL)
    assert {one.style.patient: len(one.slices) for one in seen if one.style.patient in ("p6", "p7")} == {"p6": 10, "p7": 10}


def _painter(patients: list[Any]) -> Painter:
    network = training.PainterNetwork(SMALL.width, SMALL.blocks, SMALL.embedding)
    basis = training.Basis(torch.zeros(1, 64), torch.ones(1))
    return Painter(SMALL, network, basis, basis, {one.style.patient: one.style for one in patients}, CPU)


def test_without_patients_to_imitate_there_is_no_painter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path, monkeypatch, silent=0)
    with pytest.raises(UserError, match="needs patients without contours, with ED and ES, which fold 0 of Dataset005_Toy lacks"):
        fold_looks(TOY, 0, Network(), CPU, SMALL)
    assert not painter_file(TOY, 0, "").parent.parent.exists()
    (tmp_path / "nnUNet_raw" / TOY / "cohort.json").unlink()
    with pytest.raises(UserError, match="as it was not imported; import it"):
        fold_looks(TOY, 0, Network(), CPU, SMALL)


def test_a_network_that_finds_no_heart_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path, monkeypatch)
    blind = Network()
    monkeypatch.setattr(blind, "segment", lambda image, spacing: np.zeros(image.shape, np.uint8))
    with pytest.raises(UserError, match="the network of --contoured-by is sure about no slice of the 2 patients without contours"):
        fold_looks(TOY, 0, blind, CPU, SMALL)


def test_the_generators_hearts_are_painted_as_contoured_patients_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path, monkeypatch)
    show = fold_hearts(TOY, 0, None, CPU, SMALL)
    file = painter_file(TOY, 0, show.identity)
    assert len(show.shown_as) == 2 and show.taught == show.shown_as and not file.exists()  # nothing is trained before a heart is shown
    again = f"run 'synthaug bank -d {TOY} -f 0 --render painter ...' again"
    with pytest.raises(UserError, match=f"is not the painter of the bank; {again}"):
        known_hearts(TOY, 0, show.about, CPU)
    assert set(show.painter.styles) == set(show.shown_as) and file.is_file()  # those without contours taught nothing
    assert known_hearts(TOY, 0, show.about, CPU).about == show.about
    with pytest.raises(UserError, match=f"painted by another version; {again}"):
        known_hearts(TOY, 0, show.about | {"painting": 0}, CPU)
    taught_by_all = fold_hearts(TOY, 0, Network(), CPU, SMALL)  # type: ignore[arg-type]
    assert taught_by_all.shown_as == show.shown_as and {"p6", "p7"} < set(taught_by_all.painter.styles) == set(taught_by_all.taught)
    assert known_hearts(TOY, 0, show.about, CPU).about == show.about != taught_by_all.about
    (tmp_path / "nnUNet_raw" / TOY / "cohort.json").unlink()
    with pytest.raises(UserError, match=f"--render painter needs an imported dataset, and {TOY} was not imported; import it"):
        fold_hearts(TOY, 0, None, CPU, SMALL)


def test_a_trained_painter_is_used_while_another_process_holds_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path, monkeypatch)
    show = fold_hearts(TOY, 0, None, CPU, SMALL)
    lock = painter_file(TOY, 0, show.identity).with_name("painter.lock")
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(UserError, match=r"trains this painter of fold 0 of Dataset005_Toy now; wait for its end"):
        assert show.painter
    assert show.painter
    with FileLock(lock):
        assert fold_hearts(TOY, 0, None, CPU, SMALL).painter.identity == show.identity


def painted_hearts(painter: Painter, *shown_as: str) -> PaintedHearts:
    return PaintedHearts(painter.identity, tuple(painter.styles), shown_as, lambda: painter)


def test_a_heart_is_painted_the_same_again_and_a_still_heart_keeps_still(painter: Painter) -> None:
    mask = np.stack([heart("p1").masks["ED"].astype(np.uint8)] * 3)
    image = np.random.default_rng(0).uniform(0, 900, mask.shape[1:]).astype(np.float32)
    still = SyntheticSequence(
        "one", np.stack([image] * 3), mask, (2.0, 2.0, 10.0), 0, 2, 0.05, 3, Priors(), Priors(), motion_seed=4, context=(1.0, 2.0)
    )
    show = painted_hearts(painter, "p0", "p1", "p2", "p3")
    shown, again, other = show(still), show(still), show(replace(still, seed=5))
    np.testing.assert_array_equal(shown.image, again.image)
    np.testing.assert_array_equal(shown.image[0], shown.image[2])
    np.testing.assert_array_equal(shown.mask, mask)
    assert not np.array_equal(shown.image, other.image)
    assert shown.painted_as is not None
    style = painter.styles[shown.painted_as]
    assert shown.context == painter.context(image, still.spacing, style) != still.context  # 80 mm of the style's 128
    assert shown.painted_as in painter.styles
    assert {show(replace(still, seed=seed, image=image[None], mask=mask[:1])).painted_as for seed in range(12)} == set(painter.styles)
    with pytest.raises(UserError, match="none shows how to paint; use --render decoder"):
        painted_hearts(painter, "somebody else")(still)


def test_a_painted_heart_keeps_whose_style_it_has_and_is_of_no_vendor(painter: Painter, tmp_path: Path) -> None:
    mask = np.stack([heart("p1").masks["ED"].astype(np.uint8)] * 2)
    image = np.random.default_rng(0).uniform(0, 900, mask.shape).astype(np.float32)
    asked = Priors(vendor="Philips")
    decoded = SyntheticSequence("one", image, mask, (2.0, 2.0, 10.0), 0, 1, 0.05, 3, asked, Priors(), motion_seed=4)
    shown = painted_hearts(painter, "p2")(decoded)
    write_sequence(tmp_path, shown)
    assert (read_sequence(tmp_path, "one").painted_as, read_sequence(tmp_path, "one").donor) == ("p2", None)
    plain = replace(shown, requested=Priors())
    np.testing.assert_array_equal(in_look(shown, "one", 1, [0]).image, in_look(plain, "one", 1, [0]).image)
    own = (in_look(one, "one", 1, [0]).image for one in (decoded, replace(decoded, requested=Priors())))
    assert not np.array_equal(*own)
    assert (shown.vendor, decoded.vendor) == (None, "Philips")


def test_looks_of_a_heart_are_of_different_patients_and_every_patient_serves(painter: Painter) -> None:
    paint = PaintedLooks(painter, ("p0", "p1", "p2", "p3"))
    drawn = {name: [paint.patient(name, number) for number in (1, 2, 3)] for name in map(str, range(40))}
    assert all(len(set(names)) == 3 for names in drawn.values())
    assert min(sum(names[0] == one for names in drawn.values()) for one in paint.patients) >= 4


@pytest.fixture
def fold1(project: Project) -> Iterator[None]:
    yield
    shutil.rmtree(project.preprocessed / "synth_aug" / "fold_1", ignore_errors=True)


def test_a_painted_bank_names_its_patients_and_is_refused_where_one_is_validated_on(
    project: Project, fold1: None, tmp_path: Path, painter: Painter
) -> None:
    sequences = write_sequences(tmp_path / "sequences", patients=PATIENTS[2:])
    target, paint = load_target(DATASET, "2d", PLANS), PaintedLooks(painter, ("p0", "p1"))
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2, paint=paint)
    manifest = bank_status(target, 1)
    assert manifest.painted is not None
    assert {key: manifest.painted[key] for key in ("styles", "painter")} == paint.about
    assert {"p0", "p1"} < set(generator_patients({"manifest": manifest.content}))
    cases, of_one = nnUNetDatasetBlosc2(str(manifest.folder)), manifest.sequences[0]
    assert [case["look"] for case in of_one] == [1, 1, 2, 2]
    first, second = (cases.load_case(of_one[number]["id"]) for number in (0, 2))
    np.testing.assert_array_equal(first[1][:], second[1][:])
    assert not np.array_equal(first[0][:], second[0][:])
    files = {path.name: path.read_bytes() for path in manifest.folder.iterdir()}
    build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2, paint=paint)
    assert {path.name: path.read_bytes() for path in manifest.folder.iterdir()} == files
    renew_card(manifest.folder.parent)
    assert "each in 2 looks of 2 patients without contours" in (manifest.folder.parent / "README.md").read_text()
    leaking = PaintedLooks(painter, ("p0", PATIENTS[0]))  # fold 1 validates on this one
    with pytest.raises(UserError, match=r"validation patients of fold 1 \(patient001\)"):
        build_bank_cases(sequences, DATASET, 1, "2d", PLANS, frames=2, looks=2, paint=leaking)


def test_the_command_asks_for_the_network_that_contours(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["bank", "-d", "731", "-f", "0", "-p", PLANS, "--source", "copies", "-n", "1"]
    for more, sentence in (
        (["--appearance", "unlabelled"], "--appearance unlabelled needs --contoured-by"),
        (["--contoured-by", "somewhere"], "--contoured-by is of --appearance unlabelled"),
    ):
        failed = CliRunner().invoke(app, [*words, *more])
        assert isinstance(failed.exception, UserError) and sentence in str(failed.exception)


def test_arms_of_patients_looks() -> None:
    arm = parse_arm("mix+phantom_donor_3unlabelled50to00_DA5")
    assert (arm.looks, arm.appearance, arm.render, arm.base) == (3, "unlabelled", "donor", "DA5")
    assert parse_arm("copies_3looks50").appearance == "scanners"
