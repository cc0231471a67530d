"""Remodelled hearts: bijective, as large as asked, unchanged where they should be, and known to every stage and request."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_grid import CONFIG, sequence
from test_variations import generator

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors, measure, volume_ml
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.phantom import phantom_subject
from nnunet_synth_aug.data.remodel import CAVITY, REST, RV_SIZE, WALL, RadialMap, Remodelling, radial_maps
from nnunet_synth_aug.model.config import GeneratorConfig, LatentConfig
from nnunet_synth_aug.model.grid import Grid, Placement, place, to_grid
from nnunet_synth_aug.model.latents.encode import encode_training_set
from nnunet_synth_aug.model.records import stage_identity
from nnunet_synth_aug.model.training_set import VAE_COPIES, augmented, load_training_set, with_copies
from nnunet_synth_aug.synthesis.requests import draw_priors
from nnunet_synth_aug.synthesis.sources.variations import variations

__all__ = ["generator"]
FACTORS = {"cavity": st.floats(*CAVITY), "wall": st.floats(*WALL), "rv": st.floats(*RV_SIZE)}


def heart():
    """A source whose ED is a phantom's: all three structures."""
    subject = phantom_subject(0, 77)
    source = subject.source
    return replace(sequence(), image=source.image, mask=subject.mask, spacing=source.spacing, ed=source.ed, es=source.es)


@pytest.fixture(scope="module")
def phantom():
    return heart()


def remodelled(source, grid, **factors):
    base = place(source, grid)
    maps = radial_maps(source, Remodelling(**factors))
    return to_grid(source, grid, CONFIG, Placement(base.centre, maps=maps), [source.ed, source.es])


@given(st.builds(Remodelling, **FACTORS))
@settings(deadline=None)
def test_no_point_folds_and_the_chest_stays(phantom, change):
    for radial in radial_maps(phantom, change):
        radius = torch.linspace(0.01, 2 * radial.target[-1], 400, dtype=torch.float64)
        x, y = radial(radial.centre[0] + radius * 0.6, radial.centre[1] + radius * 0.8)
        back = torch.hypot(x - radial.centre[0], y - radial.centre[1])
        assert (back.diff() > 0).all()
        far = radius >= radial.target[-1]
        torch.testing.assert_close(back[far], radius[far])
        torch.testing.assert_close(torch.atan2(y - radial.centre[1], x - radial.centre[0]), torch.full_like(x, np.arctan2(0.8, 0.6)))


def test_outlines_come_to_lie_where_they_are_told_to():
    radial = RadialMap((10.0, 20.0), (0, 30, 40, 90), (0, 24, 32, 90))
    for target, source in zip(radial.target, radial.source, strict=True):
        x, _ = radial(torch.tensor([10.0 + target]), torch.tensor([20.0]))
        assert float(x) == pytest.approx(10 + source, abs=1e-4)


@pytest.mark.parametrize("cavity", [0.85, 1.2, 1.4])
@pytest.mark.parametrize("wall", [0.75, 1.5])
def test_a_round_heart_gets_the_cavity_and_the_wall_that_were_asked(cavity, wall):
    source, grid = sequence(), Grid(CONFIG.size, 1.5)  # radii of 11 and 16 pixels of 1.5 mm
    got = remodelled(source, grid, cavity=cavity, wall=wall)
    inner, outer = 11 * 1.5 * cavity, 11 * 1.5 * cavity + 5 * 1.5 * wall
    depth = source.mask.shape[3] * source.spacing[2] / 1000
    assert volume_ml(got.mask[0].numpy(), LV, got.spacing) == pytest.approx(np.pi * inner**2 * depth, rel=0.06)
    assert volume_ml(got.mask[0].numpy(), MYO, got.spacing) == pytest.approx(
        np.pi * (outer**2 - inner**2) * depth, rel=0.12
    )  # a thin ring of pixels
    blood, muscle = (np.median(got.image[0].float().numpy()[got.mask[0].numpy() == label]) for label in (LV, MYO))
    assert (blood, muscle) == pytest.approx((0.75, -0.5), abs=0.05)  # image and mask move together


def test_a_phantom_dilates_thickens_and_keeps_what_was_not_asked(phantom):
    grid = Grid((96, 96, 12), 2.0)
    plain, dilated, thick, right = (
        measure(got.mask[0].numpy(), got.mask[1].numpy(), got.spacing)
        for got in (remodelled(phantom, grid, **change) for change in ({}, {"cavity": 1.3}, {"wall": 1.6}, {"rv": 1.3}))
    )
    assert plain.lv_edv == pytest.approx(volume_ml(phantom.mask[phantom.ed], LV, phantom.spacing), rel=0.05)
    assert 1.4 < dilated.lv_edv / plain.lv_edv < 1.9
    assert 1.4 < thick.lv_mass / plain.lv_mass < 2.1
    assert 1.1 < right.rv_edv / plain.rv_edv < 1.9  # a crescent reaches beyond its own radius, and less is moved there
    assert right.lv_edv == pytest.approx(plain.lv_edv, rel=0.15)  # pushed aside, not resized
    assert thick.lv_edv == pytest.approx(plain.lv_edv, rel=0.15)


def test_a_heart_without_contours_is_left_alone(phantom):
    assert radial_maps(replace(phantom, mask=np.zeros_like(phantom.mask)), Remodelling(1.4, 1.5, 1.3)) == ()
    without_rv = np.where(phantom.mask == RV, 0, phantom.mask)
    assert len(radial_maps(replace(phantom, mask=without_rv), Remodelling(1.4, 1.5, 1.3))) == 1


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_what_is_drawn_lies_in_its_range_and_nothing_is_drawn_without_spread(seed, spread):
    rng = np.random.default_rng(seed)
    change = Remodelling.drawn(rng, spread)
    for value, limits in ((change.cavity, CAVITY), (change.wall, WALL), (change.rv, RV_SIZE), (change.beat, (1 - REST, 1))):
        assert min(limits) <= value <= max(limits)
    assert Remodelling.drawn(rng, 0) == Remodelling()


@given(st.builds(Remodelling, **FACTORS, beat=st.floats(1 - REST, 1)))
def test_requests_of_remodelled_hearts_are_possible_and_say_no_more_than_was_known(change):
    known = Priors(lv_edv=140, lv_ef=60, lv_mass=100, vendor="GE")
    asked = change.applied(known).validated()
    assert set(asked.specified()) == set(known.specified())
    assert asked.lv_edv == pytest.approx(140 * change.cavity**2, abs=0.1)
    assert asked.lv_ef == pytest.approx(60 * change.beat, abs=0.1)
    normal = replace(change, cavity=1.0, wall=1.0)
    assert normal.applied(known).lv_mass == pytest.approx(100, abs=0.1)
    large = change.applied(replace(known, lv_edv=450, rv_edv=300)).validated()
    assert large.lv_edv <= 450  # large enough already
    assert large.rv_edv <= 400


def with_remodel(remodel: float, base: GeneratorConfig) -> GeneratorConfig:
    return replace(base, latents=replace(base.latents, remodel=remodel))


def test_copies_are_remodelled_with_volumes_measured_and_no_diagnosis(world):
    config = world.generator.config
    subject = world.cohort.select(world.generator.provenance["patients"]).subjects[0]
    data = load_training_set(world.cohort, tuple(world.generator.provenance["patients"]), config)
    source = data.cases[0]
    edvs = {}
    for remodel in (0.0, 1.0):
        copies = [
            augmented(
                subject,
                load_sequence(subject),
                data.grid,
                with_remodel(remodel, config),
                np.random.default_rng(i),
                [subject.ed, subject.es],
            )
            for i in range(8)
        ]
        edvs[remodel] = np.std([np.log(priors.lv_edv) for _, priors in copies])
        for gridded, priors in copies:
            assert priors.diagnosis == (None if remodel else source.priors.diagnosis)
            assert priors.lv_edv == pytest.approx(volume_ml(gridded.mask[gridded.ed].numpy(), LV, gridded.spacing))
    assert edvs[1.0] > 1.5 * edvs[0.0]


def test_the_vae_meets_remodelled_hearts_and_is_another_one_for_it(world):
    config = with_remodel(1.0, world.generator.config)
    patients = tuple(world.generator.provenance["patients"])
    data = load_training_set(world.cohort, patients, config)
    shown = with_copies(data, config)
    assert shown.cases[: len(data.cases)] == data.cases
    assert len(shown.cases) == len(data.cases) * (1 + round(VAE_COPIES / len(data.cases)))
    assert all(case.gridded.masked for case in shown.cases)
    plain = world.generator.config
    names = [stage_identity("vae", c, data.grid, world.cohort, patients, "") for c in (plain, config)]
    assert names[0] != names[1]
    assert [name["copies"] is None for name in names] == [True, False]


def test_motion_of_remodelled_copies_is_weaker(world):
    small = replace(world.generator.config, latents=LatentConfig(copies=12, gain=0.0, max_frames=4, components=4, harmonics=1))
    data = load_training_set(world.cohort, tuple(world.generator.provenance["patients"]), small)
    energy = {}
    for remodel in (0.0, 1.0):
        latents = encode_training_set(data, world.generator.vae, with_remodel(remodel, small), torch.device("cpu"))
        assert len(latents.ed) == len(latents.motion) == 12
        energy[remodel] = float(latents.scale.spread.square().sum())
    assert energy[1.0] < 0.85 * energy[0.0]  # the mean square of what is drawn for the beat is 0.46


def test_requests_of_such_a_generator_ask_for_remodelled_hearts(generator, world):
    narrow = replace(generator, templates=generator.templates[:1])
    wide = replace(narrow, config=with_remodel(1.0, generator.config))
    near, far = ([draw_priors(g, np.random.default_rng(i)).validated() for i in range(60)] for g in (narrow, wide))
    for name in ("lv_edv", "rv_edv", "lv_mass"):
        spreads = [np.std([np.log(getattr(p, name)) for p in drawn]) for drawn in (near, far)]
        assert spreads[1] > 1.15 * spreads[0]
    assert np.mean([p.lv_ef for p in far]) < np.mean([p.lv_ef for p in near]) - 5
    assert {p.diagnosis for p in far} == {None}
    assert draw_priors(wide, np.random.default_rng(0), Priors(diagnosis="DCM")).diagnosis == "DCM"
    wide = replace(wide, templates=generator.templates)
    varied = variations(wide, world.cohort, 3, 3)
    assert {r.priors.diagnosis for r in varied} == {None}
    assert [r.priors.lv_edv for r in varied] != [r.priors.lv_edv for r in variations(generator, world.cohort, 3, 3)]
