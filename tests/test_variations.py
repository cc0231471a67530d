"""Hearts that begin with a training patient's ED: which patient, what is asked for, and what sampling makes of it."""

from dataclasses import replace

import pytest
import torch
from realism_fixture import TRAINING

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.model.template import Template
from nnunet_synth_aug.synthesis.cascade import sample_anatomies
from nnunet_synth_aug.synthesis.folder import read_index
from nnunet_synth_aug.synthesis.quality.control import QualityControl
from nnunet_synth_aug.synthesis.sample import sample_to_folder
from nnunet_synth_aug.synthesis.sources.variations import STRENGTH, around_heart, variations

NUMBER = 2 * TRAINING
OTHER = STRENGTH + 0.1


@pytest.fixture(scope="module")
def generator(world):
    """The untrained one, with a template for each of its patients, told apart by their noise."""
    subjects = world.cohort.select(world.generator.provenance["patients"]).subjects
    templates = tuple(Template(s.priors, (0.0, 100.0), None, s.n_frames, 0.03, 1.0, 0.4, float(i)) for i, s in enumerate(subjects))
    return replace(world.generator, templates=templates)


@pytest.fixture(scope="module")
def asked(generator, world):
    return variations(generator, world.cohort, NUMBER, 3)


def patient_of(request):
    return request.origin.name.partition(",")[0]


def test_every_training_patient_comes_in_turn_with_a_copy_of_its_own(generator, world, asked):
    patients = [patient_of(r) for r in asked]
    assert sorted(patients[:TRAINING]) == sorted(generator.provenance["patients"])
    assert patients[:TRAINING] == patients[TRAINING:]
    numbers = {s.patient: i for i, s in enumerate(world.cohort.subjects)}
    for request in asked:
        assert request.origin.template.noise == numbers[patient_of(request)]  # its own patient's geometry and grey values
    for first, again in zip(asked[:TRAINING], asked[TRAINING:], strict=True):
        assert not torch.equal(first.origin.latent, again.origin.latent)
    for short, long in zip(variations(generator, world.cohort, 2, 3), asked, strict=False):
        assert (short.id, short.seed, short.priors) == (long.id, long.seed, long.priors)
        assert torch.equal(short.origin.latent, long.origin.latent)
    assert variations(generator, world.cohort, 1, 4)[0].priors != asked[0].priors


def test_what_is_asked_for_is_what_the_copy_has(world, asked):
    for request in asked:
        own = world.cohort.subject(patient_of(request)).priors
        assert (request.priors.age, request.priors.height, request.priors.weight, request.priors.sex) == (None,) * 4
        assert (request.priors.diagnosis, request.priors.vendor) == (own.diagnosis, own.vendor)
        assert 0.6 < request.priors.lv_edv / own.lv_edv < 1.5  # turned and scaled, measured again
        assert request.priors.lv_edv != own.lv_edv
        assert abs(request.priors.lv_ef - own.lv_ef) < 30


def test_patients_whose_masks_are_hidden_are_asked_for_what_the_vae_sees_of_them(generator, world, asked):
    silent = patient_of(asked[0])
    blind = variations(generator, world.cohort.without_masks([silent]), TRAINING, 3)
    for before, after in zip(asked, blind, strict=False):
        told = {"lv_edv", "rv_edv", "lv_mass", "lv_ef", "rv_ef"}
        if patient_of(before) == silent:
            assert all(getattr(after.priors, name) != getattr(before.priors, name) for name in told)
        else:
            assert after.priors == before.priors


def test_the_chest_is_kept_and_the_heart_is_not(generator, asked):
    request = asked[0]
    heart = request.origin.heart.expand_as(request.origin.latent).clone()
    heart[..., :3, :, :] = False
    free = replace(request, origin=replace(request.origin, heart=heart[:, :1]))
    [anatomy] = sample_anatomies(generator, [free])
    change = (anatomy.latent - request.origin.latent) * anatomy.valid
    assert not change[..., :3, :, :].any()
    inside = (heart[:, :1] & (anatomy.valid > 0)).expand_as(change)
    assert change[inside].square().mean() > 0.1


def test_around_the_heart_is_one_cell_more_than_the_heart_in_every_slice():
    mask = torch.zeros(2, 32, 24, 5, dtype=torch.uint8)
    mask[0, 17, 9, 2] = 1
    mask[1, 8, 12, 3] = 3
    near = around_heart(mask, 4)
    assert near.shape == (1, 1, 8, 6, 5)
    columns = near[0, 0, :, :, 0]
    wanted = torch.zeros(8, 6, dtype=torch.bool)
    wanted[3:6, 1:4] = True
    wanted[1:4, 2:5] = True
    assert torch.equal(columns, wanted)
    assert all(torch.equal(near[0, 0, ..., z], columns) for z in range(5))
    assert around_heart(torch.zeros_like(mask), 4).all()


def test_anatomies_begin_with_the_copy_and_leave_it_with_strength(generator, asked):
    def moved(strength):
        requests = [replace(r, origin=replace(r.origin, strength=strength)) for r in asked]
        anatomies = sample_anatomies(generator, requests)
        assert [a.template for a in anatomies] == [r.origin.template for r in requests]
        return [float(((a.latent - r.origin.latent) * a.valid).square().mean()) for a, r in zip(anatomies, requests, strict=True)]

    little, half, most = moved(0.02), moved(0.5), moved(0.95)
    assert max(little) < 1e-2
    assert all(a < b < c for a, b, c in zip(little, half, most, strict=True))


def test_what_begins_differently_is_not_sampled_in_one_call(generator, asked):
    for other in (replace(asked[1], origin=None), replace(asked[1], origin=replace(asked[1].origin, strength=OTHER))):
        with pytest.raises(ValueError, match="begin differently"):
            sample_anatomies(generator, [asked[0], other])


def test_sequences_say_how_they_were_made_and_do_not_mix_with_others(generator, world, asked, tmp_path):
    about = {"source": "variations", "strength": STRENGTH}
    plain = [replace(r, calibrate=False, n_frames=4) for r in asked[:2]]
    # Untrained: the residuals' scale has no directions, so the heart is still, which nobody checks here.
    still = replace(generator, scale=replace(generator.scale, **motionless(generator)))
    ids = sample_to_folder(still, plain, tmp_path, QualityControl(check=False), about=about)
    provenance = read_index(tmp_path)[1]
    assert ids == [r.id for r in plain]
    assert (provenance["source"], provenance["strength"]) == ("variations", STRENGTH)
    assert provenance["patients"] == generator.provenance["patients"]
    with pytest.raises(UserError, match="another generator, request, quality control or way of showing them"):
        sample_to_folder(
            still, [replace(r, origin=replace(r.origin, strength=OTHER)) for r in plain], tmp_path, QualityControl(check=False)
        )
    with pytest.raises(UserError, match="another generator, request, quality control or way of showing them"):
        sample_to_folder(still, [replace(r, origin=None) for r in plain], tmp_path, QualityControl(check=False))


def motionless(generator):
    """Tensors of a scale under which nothing moves."""
    settings, channels = generator.config.latents, generator.config.vae.latent_channels
    side = [n // generator.vae.factor for n in generator.grid.size[:2]]
    return {
        "region": torch.ones(*side),
        "directions": torch.zeros(settings.components, 2 * settings.harmonics * channels),
        "spread": torch.ones(settings.components),
    }


def test_a_dataset_without_the_training_patients_is_refused(generator, world):
    others = world.cohort.select([s.patient for s in world.cohort.subjects[1:]])
    with pytest.raises(UserError, match=f"lacks {world.cohort.subjects[0].patient}, a patient that the generator was trained on"):
        variations(generator, others, 2, 0)
