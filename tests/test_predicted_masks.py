"""Frames without contours get the masks of a network: on disk, on the grid, as priors, in the VAE's loss, and in the provenance."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from micro import MICRO
from shared_folders import set_folders

from nnunet_synth_aug.core.components import without_islands
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import FROM_MASKS, measure
from nnunet_synth_aug.data.cohort import Cohort, load_sequence
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.predicted_masks import FrameSegmenter, annotate, impossible, with_predicted_masks
from nnunet_synth_aug.model import fit
from nnunet_synth_aug.model.config import VAEConfig, overridden
from nnunet_synth_aug.model.fit import PREDICTED, fit_generator
from nnunet_synth_aug.model.generator import load_generator
from nnunet_synth_aug.model.training.loop import Step
from nnunet_synth_aug.model.training_set import augmented, load_training_set
from nnunet_synth_aug.model.vae.network import AnatomyVAE
from nnunet_synth_aug.model.vae.train import FrameSampler, vae_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(phantom_dataset, tmp_path_factory):
    root = shutil.copytree(phantom_dataset, tmp_path_factory.mktemp("predicted"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, root)
        yield root


@pytest.fixture(scope="module")
def cohort(folders):
    return Cohort.load("7")


def rings(image, spacing):
    """A network that finds the same heart in every frame, with an island."""
    mask = np.zeros(image.shape, np.uint8)
    middle, first = np.array(image.shape[:2]) // 2, image.shape[2] // 2
    x, y = np.ogrid[: image.shape[0], : image.shape[1]]
    radius = np.hypot((x - middle[0]) * spacing[0], (y - middle[1]) * spacing[1])
    level = np.where(radius < 20, LV, np.where(radius < 28, MYO, np.where(radius < 40, RV, 0)))
    mask[:, :, first - 2 : first + 2] = level[..., None]
    mask[:2, :2, 0] = LV
    return mask


NETWORK = FrameSegmenter(rings, {"checkpoint_sha256": "rings"})


def known_by_heart(cohort):
    """A network that gives ED and ES the patients' own contours, and every other frame those of the nearer one."""
    contours = [
        (sequence.image[t], sequence.mask[t])
        for subject in cohort.subjects
        for sequence in [load_sequence(subject)]
        for t in sequence.labelled
    ]

    def segment(image, _spacing):
        alike = [(np.abs(one - image).mean() if one.shape == image.shape else np.inf) for one, _ in contours]
        return contours[int(np.argmin(alike))][1]

    return FrameSegmenter(segment, {"checkpoint_sha256": "by heart"})


def lost(mask, kind):
    """One frame (X, Y, Z) as a network of few patients spoils it."""
    mask = mask.copy()
    if kind == "muscle becomes RV":
        mask[mask == MYO] = RV
    elif kind == "LV becomes muscle":
        mask[mask == LV] = MYO
    elif kind == "no RV":
        mask[mask == RV] = 0
    elif kind == "nothing":
        mask[:] = 0
    return mask


@pytest.mark.parametrize("kind", ["muscle becomes RV", "LV becomes muscle", "no RV", "nothing"])
def test_impossible_frames_are_found(masks_only, kind):
    heart = phantom_subject(0, 3).mask
    spoilt = heart.copy()
    frames = [len(heart) // 2, len(heart) // 2 + 1]
    for t in frames:
        spoilt[t] = lost(heart[t], kind)
    assert np.flatnonzero(impossible(spoilt)).tolist() == frames


@pytest.mark.slow
def test_beating_hearts_are_possible(masks_only):
    for index in range(0, 10, 2):  # every diagnosis
        assert not impossible(phantom_subject(index, 5).mask).any()


def test_an_impossible_frame_teaches_nothing_and_a_contour_always_does(cohort, tmp_path):
    subject = cohort.subjects[0]
    spoilt = subject.ed + 1

    def network(image, spacing):
        mask = rings(image, spacing)
        return lost(mask, "muscle becomes RV") if np.array_equal(image, plain.image[spoilt]) else mask

    plain = load_sequence(subject)
    told = with_predicted_masks(cohort, (subject.patient,), FrameSegmenter(network, {"checkpoint_sha256": "spoilt"}), tmp_path)
    sequence = load_sequence(told.subjects[0])
    assert set(range(subject.n_frames)) - set(sequence.labelled) - set(sequence.predicted) == {spoilt}
    assert not sequence.mask[spoilt].any()
    tiny = replace(plain, mask=np.where(np.arange(len(plain.mask))[:, None, None, None] == plain.es, 0, plain.mask))
    tiny.mask[plain.es][:4, :4, :2] = MYO  # a contour is never doubted
    np.testing.assert_array_equal(annotate(tiny, rings)[plain.es], tiny.mask[plain.es])


def test_contours_stay_and_every_other_frame_is_the_networks(cohort, tmp_path):
    patients = tuple(s.patient for s in cohort.subjects[:2])
    told = with_predicted_masks(cohort, patients, NETWORK, tmp_path)
    for subject, plain in zip(told.subjects, cohort.subjects, strict=True):
        sequence, before = load_sequence(subject), load_sequence(plain)
        np.testing.assert_array_equal(sequence.mask[list(before.labelled)], before.mask[list(before.labelled)])
        assert sequence.labelled == before.labelled
        others = set(range(subject.n_frames)) - set(before.labelled) if subject.patient in patients else set()
        assert set(sequence.predicted) == others
        for t in others:
            np.testing.assert_array_equal(sequence.mask[t], without_islands(rings(sequence.image[t], sequence.spacing)))
    assert told.hash() != cohort.hash()


def test_a_killed_prediction_goes_on_and_another_network_begins_anew(cohort, tmp_path):
    patients = tuple(s.patient for s in cohort.subjects[:2])
    calls = []

    def counted(image, spacing):
        calls.append(1)
        return rings(image, spacing)

    network = FrameSegmenter(counted, {"checkpoint_sha256": "counted"})
    first = with_predicted_masks(cohort, patients[:1], network, tmp_path)
    one = len(calls)
    assert one == cohort.subjects[0].n_frames - 2
    with_predicted_masks(cohort, patients, network, tmp_path)
    assert len(calls) == one + cohort.subjects[1].n_frames - 2
    other = with_predicted_masks(cohort, patients[:1], FrameSegmenter(counted, {"checkpoint_sha256": "other"}), tmp_path)
    assert len(calls) == 2 * one + cohort.subjects[1].n_frames - 2
    assert other.hash() != first.hash()
    path = other.subjects[0].predicted
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{path.name} is not a complete NIfTI file"):
        load_sequence(other.subjects[0])


@pytest.mark.slow
def test_volumes_of_a_patient_without_contours_are_those_of_its_predicted_masks(cohort, tmp_path):
    patients = tuple(s.patient for s in cohort.subjects[:2])
    silent = patients[0]
    blind = cohort.without_masks([silent])
    told = with_predicted_masks(blind, patients, known_by_heart(cohort), tmp_path)
    cases = {c.subject.patient: c for c in load_training_set(told, patients, MICRO).cases}
    wanted = measure(
        *(load_sequence(cohort.subject(silent)).mask[[getattr(cohort.subject(silent), k) for k in ("ed", "es")]]), blind.subjects[0].spacing
    )
    for name in FROM_MASKS:
        # Measured on a grid of 6 mm, which a real one never is.
        assert getattr(cases[silent].priors, name) == pytest.approx(getattr(wanted, name), rel=0.15)
        assert getattr(cases[patients[1]].priors, name) == getattr(told.subjects[1].priors, name)  # contours tell more than a network
    case = cases[silent]
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(8):
        frames = [case.subject.ed, case.subject.es]
        gridded, priors = augmented(case.subject, load_sequence(case.subject), cases_grid(told, patients), MICRO, rng, frames)
        sizes.append((measure(gridded.mask[gridded.ed].numpy(), None, gridded.spacing).lv_edv, priors.lv_edv))
    assert all(a == b for a, b in sizes)
    assert len(set(sizes)) == 8  # each copy has its own


def cases_grid(cohort, patients):
    return load_training_set(cohort, patients, MICRO).grid


def test_the_vae_learns_from_predicted_masks_as_much_as_their_weight_says(cohort, tmp_path):
    patients = tuple(s.patient for s in cohort.subjects)
    told = with_predicted_masks(cohort, patients, NETWORK, tmp_path)
    plain, taught = (load_training_set(c, patients, MICRO) for c in (cohort, told))

    def loss(data, **settings):
        config = overridden(MICRO, [f"vae.{k}={v}" for k, v in settings.items()] + ["vae.train.batch_size=16"]).vae
        torch.manual_seed(0)
        network = AnatomyVAE(config)
        batch = FrameSampler(data, config).draw(np.random.default_rng(3), CPU)
        torch.manual_seed(1)
        return vae_loss(network, batch, config, Step(0, 0.0, np.random.default_rng(3), network))[0].item(), batch

    values = {w: loss(taught, predicted_weight=w)[0] for w in (0.0, 1.0, 2.0)}
    assert values[0.0] == pytest.approx(loss(plain)[0], abs=1e-6)
    assert values[2.0] - values[0.0] == pytest.approx(2 * (values[1.0] - values[0.0]), rel=1e-4)
    assert values[1.0] > values[0.0] + 0.1
    batch = loss(taught)[1]
    assert not batch.predicted[: batch.n_labelled].any()
    assert batch.predicted[batch.n_labelled :].mean() > 0.5  # the others happened to be ED or ES


def test_a_fit_names_its_teacher_and_leaves_no_mask_behind(cohort, tmp_path, monkeypatch):
    seen = []
    real = fit.load_training_set
    monkeypatch.setattr(fit, "load_training_set", lambda *args: seen.append(real(*args)) or seen[-1])
    folder = fit_generator("7", 0, MICRO, CPU, tmp_path / "taught", segmenter=NETWORK)
    assert all(len(c.gridded.labelled) + len(c.gridded.predicted) == c.subject.n_frames for c in seen[-1].cases)
    assert load_generator(folder, CPU).provenance["contoured_by"] == NETWORK.provenance
    assert not (folder / PREDICTED).exists()
    before = read_json(folder / "generator.json")
    fit_generator("7", 0, MICRO, CPU, folder, segmenter=NETWORK)  # complete: nothing is contoured again
    assert read_json(folder / "generator.json") == before
    assert not (folder / PREDICTED).exists()
    for other in (None, FrameSegmenter(rings, {"checkpoint_sha256": "another"})):
        with pytest.raises(UserError, match="holds a generator of other patients or settings"):
            fit_generator("7", 0, MICRO, CPU, folder, segmenter=other)
    plain = fit_generator("7", 0, MICRO, CPU, tmp_path / "plain", reuse=folder)
    assert load_generator(plain, CPU).provenance["contoured_by"] is None
    ends = [read_json(f / "generator.json")["finished"]["vae"]["sha256"] for f in (folder, plain)]
    assert ends[0] != ends[1]  # not taken over: it was taught otherwise


def test_predicted_masks_are_worth_half_a_contour_by_default():
    assert VAEConfig().predicted_weight == 0.5
