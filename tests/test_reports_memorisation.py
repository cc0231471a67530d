"""The memorisation audit: its statistics against closed forms, and whether it finds copies when there are some."""

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunet_synth_aug.core.cases import Sequence, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json, write_json
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.model.painter.painter import PainterConfig
from nnunet_synth_aug.model.painter.slices import PatientSlices
from nnunet_synth_aug.reports.cards.audit import audit_of_report
from nnunet_synth_aug.reports.cines import patients
from nnunet_synth_aug.reports.memorisation.membership import auc, auc_interval, static_loss
from nnunet_synth_aug.reports.memorisation.neighbours import (
    chance_nearer,
    correlation_distance,
    distances,
    expected_minimum,
    portrait,
    pose,
    rms_distance,
)
from nnunet_synth_aug.reports.memorisation.section import memorisation_report
from nnunet_synth_aug.synthesis.folder import write_index, write_sequence


def disguised(sequence: Sequence, turns: int, flip: bool, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """ED and ES of a patient, turned, mirrored, and in other grey values."""
    frames = [sequence.ed, sequence.es]
    image, mask = (np.rot90(a[frames], turns, axes=(1, 2)) for a in (sequence.image * gain + 20, sequence.mask))
    return (image[:, ::-1].copy(), mask[:, ::-1].copy()) if flip else (image.copy(), mask.copy())


def copies(folder: Path, generator, subjects) -> Path:
    """A folder of 'generated' sequences that are disguised patients."""
    ids = []
    for number, subject in enumerate(subjects):
        sequence = load_sequence(subject)
        image, mask = disguised(sequence, number % 4, number % 2 == 1, 0.7)
        turned = number % 2 == 1
        x, y, z = sequence.spacing
        name = f"synth_{number:05d}"
        write_sequence(
            folder,
            SyntheticSequence(
                id=name, image=image.astype(np.float32), mask=mask, spacing=(y, x, z) if turned else (x, y, z), ed=0, es=1,
                frame_seconds=0.05, seed=number, requested=Priors(lv_edv=100.0 + number), measured=Priors(),
            ),
        )  # fmt: skip
        ids.append(name)
    write_index(folder, ids, generator.provenance)
    return folder


def test_expected_minimum_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(0)
    values = rng.random((3, 6))
    for m in range(1, 7):
        direct = [np.mean([row[list(s)].min() for s in itertools.combinations(range(6), m)]) for row in values]
        np.testing.assert_allclose(expected_minimum(values, m), direct)


def test_chance_nearer_is_the_share_over_all_subsets():
    rng = np.random.default_rng(1)
    a, b = rng.random((4, 5)), rng.random((4, 3))
    direct = [np.mean([ra[list(s)].min() < rb.min() for s in itertools.combinations(range(5), 3)]) for ra, rb in zip(a, b, strict=True)]
    np.testing.assert_allclose(chance_nearer(a, b), direct)
    np.testing.assert_allclose(chance_nearer(a, a), 0.5)


def test_distances_look_only_where_both_are_valid():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3, 40)), rng.normal(size=(5, 40))
    va, vb = rng.random((3, 40)) < 0.7, rng.random((5, 40)) < 0.7
    for i, j in itertools.product(range(3), range(5)):
        both = va[i] & vb[j]
        np.testing.assert_allclose(rms_distance(a, va, b, vb)[i, j], np.sqrt(((a[i] - b[j])[both] ** 2).mean()))
        np.testing.assert_allclose(correlation_distance(a, va, b, vb)[i, j], 1 - np.corrcoef(a[i][both], b[j][both])[0, 1])
    np.testing.assert_allclose(correlation_distance(a, va, 3 * a + 7, va).diagonal(), 0, atol=1e-9)
    assert np.isinf(rms_distance(a, np.zeros_like(va), b, vb)).all()


def test_pose_follows_a_moved_and_enlarged_heart():
    def heart(centre, direction, size):
        x, y = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5, indexing="ij")
        r = np.hypot(x - centre[0], y - centre[1])
        rv = np.hypot(x - centre[0] - 2 * size * np.cos(direction), y - centre[1] - 2 * size * np.sin(direction)) < size
        mask = np.where(rv, RV, 0)
        return np.where(r < size, LV, np.where(r < 1.5 * size, MYO, mask))[..., None].astype(np.uint8)

    found = pose(heart((40, 50), 0.5, 10), (2.0, 2.0, 8.0))
    assert found.centre == pytest.approx((80, 100), abs=1)
    assert np.radians(found.angle) == pytest.approx(0.5, abs=0.05)
    larger = pose(heart((40, 50), 0.5, 15), (2.0, 2.0, 8.0))
    assert found.scale / larger.scale == pytest.approx(1.5, rel=0.05)
    assert pose(np.zeros((8, 8, 2), np.uint8), (1.0, 1.0, 1.0)) is None


def test_a_disguised_patient_is_nearest_to_itself_in_both_spaces(world):
    generator, cohort = world.generator, world.cohort
    plain, hidden = [], []
    for number, subject in enumerate(cohort.subjects):
        sequence = load_sequence(subject)
        plain.append(portrait(generator, sequence, subject.patient, subject.patient))
        image, mask = disguised(sequence, 2, bool(number % 2), 0.5)
        hidden.append(portrait(generator, Sequence(image, mask, sequence.spacing, 0, 1, (0, 1)), "x", "x"))
    for space in ("latent", "image"):
        found, mirrored = distances(hidden, plain, space)
        others = found + np.diag(np.full(len(found), np.inf))
        assert np.array_equal(found.argmin(axis=1), np.arange(len(found)))
        assert (found.diagonal() < 0.5 * others.min(axis=1)).all()
        assert mirrored.diagonal().tolist() == [bool(i % 2) for i in range(len(found))]


def test_copies_of_training_patients_are_flagged_and_shown(world, tmp_path):
    generator, cohort = world.generator, world.cohort
    training, _ = patients(generator, cohort)
    report = memorisation_report(generator, cohort, copies(tmp_path / "s", generator, training), tmp_path / "out")
    assert report["flagged"]
    for found in report["neighbours"].values():
        assert found["ratio"]["median"] < 0.5
        assert found["nearest_is_training"]["mean"] == pytest.approx(1)
        assert found["nearest_is_training"]["p"] < 0.05  # one of the 35 ways to choose three of seven
    pairs = {p["synthetic"]: p for p in report["neighbours"]["latent"]["pairs"]}
    assert [pairs[f"synth_{i:05d}"]["training"] for i in range(len(training))] == [s.patient for s in training]
    assert all(p["near_copy"] for p in pairs.values())
    written = read_json(tmp_path / "out" / "memorisation.json")
    assert written["verdict"] == report["verdict"]
    write_json(tmp_path / "report.json", {"generator": generator.provenance, "reports": {"memorisation": report}})
    audit = audit_of_report(tmp_path)  # what a card tells
    assert audit is not None
    assert audit.flagged
    assert audit.verdict == tuple(report["verdict"])
    assert (audit.hearts, audit.training, audit.held_out) == (3, 3, 4)
    assert audit.near_copies == 3
    assert audit.ratio[0] == pytest.approx(report["neighbours"]["latent"]["ratio"]["median"])
    for name in ("memorisation_pairs.png", "memorisation_distances.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


def test_a_painter_that_knows_its_patients_is_flagged(world, tmp_path):
    generator, cohort = world.generator, world.cohort
    training, held_out = patients(generator, cohort)
    known = {s.patient for s in training}
    asked = []

    def loss(slices: PatientSlices) -> float:
        asked.append(slices.style.patient)
        return 1.0 if slices.style.patient in known else 2.0

    painter = SimpleNamespace(config=PainterConfig(), loss=loss, styles=dict.fromkeys(known))
    report = memorisation_report(generator, cohort, copies(tmp_path / "s", generator, held_out), tmp_path / "out", painter)
    assert sorted(asked) == sorted(s.patient for s in cohort.subjects)
    assert report["flagged"] and report["painter_membership"]["auc"] == 1
    assert any(line.startswith("The painter's loss tells training patients from unseen ones: AUC 1.00") for line in report["verdict"])
    write_json(tmp_path / "report.json", {"generator": generator.provenance, "painter": "abc", "reports": {"memorisation": report}})
    audit = audit_of_report(tmp_path)
    assert audit is not None
    assert (audit.painter, audit.painter_auc[0]) == ("abc", 1)
    assert "The painter's loss was asked of 3 training patients and 4 unseen ones: few." in report["verdict"]
    leaking = SimpleNamespace(config=PainterConfig(), loss=loss, styles={held_out[0].patient: None})
    with pytest.raises(UserError, match="use the painter of the generator's own fold"):
        memorisation_report(generator, cohort, tmp_path / "s", tmp_path / "out", leaking)


def test_copies_of_unseen_patients_are_not_memorisation(world, tmp_path):
    generator, cohort = world.generator, world.cohort
    _, held_out = patients(generator, cohort)
    report = memorisation_report(generator, cohort, copies(tmp_path / "s", generator, held_out), tmp_path / "out")
    assert report["neighbours"]["latent"]["near_copies"] == 0
    assert report["neighbours"]["latent"]["nearest_is_training"]["mean"] < 0.25  # one of four is left out to compare three with three
    assert report["neighbours"]["latent"]["nearest_is_training"]["p"] > 0.5
    assert not any("nearer to training" in line for line in report["verdict"])


def test_sequences_of_another_generator_and_fold_all_are_refused(world, tmp_path):
    generator, cohort = world.generator, world.cohort
    training, _ = patients(generator, cohort)
    folder = copies(tmp_path / "s", generator, training[:2])
    other = dataclasses.replace(generator, provenance=generator.provenance | {"generator_hash": "other"})
    with pytest.raises(UserError, match="another generator"):
        memorisation_report(other, cohort, folder, tmp_path / "out")
    everybody = dataclasses.replace(generator, provenance=generator.provenance | {"patients": [s.patient for s in cohort.subjects]})
    with pytest.raises(UserError, match="never saw"):
        memorisation_report(everybody, cohort, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_auc_is_the_share_of_pairs_and_its_interval_holds_it():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, 30), rng.normal(1, 1, 20)
    assert auc(a, b) == pytest.approx((a[:, None] < b[None]).mean())
    assert auc(a, a) == 0.5
    low, high = auc_interval(a, b)
    assert low < auc(a, b) < high
    # Two unit normals one apart: AUC = Phi(1 / sqrt 2) = 0.760.
    assert auc(rng.normal(0, 1, 4000), rng.normal(1, 1, 4000)) == pytest.approx(0.760, abs=0.02)


def test_the_loss_of_a_patient_is_the_same_whoever_came_before_and_leaves_the_random_state_alone(world):
    generator, cohort = world.generator, world.cohort
    one, two = cohort.subjects[:2]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = static_loss(generator, one, load_sequence(one))
    assert torch.equal(before, torch.get_rng_state())
    assert static_loss(generator, two, load_sequence(two)) != first
    torch.rand(5)
    assert static_loss(generator, one, load_sequence(one)) == first
