"""Deformed copies of training patients: the map, what it does to grey values and contours, and banks of such copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from realism_fixture import TRAINING
from test_grid import sequence

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.data.cohort import load_sequence
from nnunet_synth_aug.data.remodel import Remodelling, radial_maps
from nnunet_synth_aug.data.warp import deformed, smooth_warp
from nnunet_synth_aug.synthesis.folder import read_index, read_sequence
from nnunet_synth_aug.synthesis.sources.copies import cohort_originals, copied, copies_to_folder

NAME = "Dataset001_Hearts"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), pixel=st.floats(1.2, 2.5), ratio=st.floats(0.7, 1.4))
def test_deformations_are_as_large_as_asked_and_never_fold(seed, pixel, ratio):
    sides = (pixel, pixel * ratio)
    warp = smooth_warp((96, 96), sides, 3.5, np.random.default_rng(seed)).double().numpy()
    along = [np.gradient(part, *sides, axis=(0, 1)) for part in warp]
    determinant = (1 + along[0][0]) * (1 + along[1][1]) - along[1][0] * along[0][1]
    assert determinant.min() > 0.2
    assert np.abs(warp).max() < 7 * 3.5
    # One field of a few correlation lengths says little about its SD; nine tell it.
    many = [smooth_warp((96, 96), sides, 3.5, np.random.default_rng([seed, k])).numpy() for k in range(9)]
    assert np.std(many) == pytest.approx(3.5, rel=0.3)


def test_nothing_asked_for_changes_nothing():
    source = sequence()
    got = deformed(source, torch.zeros(2, *source.image.shape[1:3]), ())
    np.testing.assert_allclose(got.image, source.image, atol=1e-3 * np.ptp(source.image))
    np.testing.assert_array_equal(got.mask, source.mask)


def test_points_are_moved_by_millimetres_in_pixels_that_are_not_square():
    source = replace(sequence(), spacing=(1.5, 2.5, 8.0))
    warp = torch.zeros(2, *source.image.shape[1:3])
    warp[0], warp[1] = 2 * 1.5, -3 * 2.5  # taken from two pixels further along X, and three nearer along Y
    got = deformed(source, warp, ())
    np.testing.assert_allclose(got.image[:, :-2, 3:], source.image[:, 2:, :-3], atol=1e-3 * np.ptp(source.image))
    np.testing.assert_array_equal(got.mask[:, :-2, 3:], source.mask[:, 2:, :-3])


def test_grey_values_stay_within_the_frame_and_edges_stay_sharp(world):
    subject = world.cohort.subjects[0]
    source = load_sequence(subject)
    frames = [source.ed, source.es]
    source = replace(source, image=source.image[frames], mask=source.mask[frames], ed=0, es=1)
    half = torch.full((2, *source.image.shape[1:3]), 0.5 * source.spacing[0])  # where interpolation blurs most
    got = deformed(source, half, ())
    for made, real in zip(got.image, source.image, strict=True):
        assert real.min() <= made.min() <= made.max() <= real.max()
        steps = [np.mean(np.abs(np.diff(frame, axis=0))) for frame in (made, real)]
        assert steps[0] > 0.85 * steps[1]


def mismatch(made, source):
    """Per cent by which the median grey of blood and muscle left that of the source."""
    return [
        100 * abs(np.median(made.image[0][made.mask[0] == label]) / np.median(source.image[0][source.mask[0] == label]) - 1)
        for label in (RV, MYO, LV)
    ]


def test_image_and_contours_move_together_in_own_pixels(world):
    subject = world.cohort.subjects[1]
    source = load_sequence(subject)
    frames = [source.ed, source.es]
    source = replace(source, image=source.image[frames], mask=source.mask[frames], ed=0, es=1)
    warp = smooth_warp(source.image.shape[1:3], source.spacing[:2], 3.5, np.random.default_rng(3))
    made = deformed(source, warp, radial_maps(source, Remodelling(cavity=1.3, wall=1.5, rv=1.2)))
    assert made.image.shape == source.image.shape
    assert made.image.dtype == np.float32
    assert made.spacing == source.spacing
    assert max(mismatch(made, source)) < 5
    wrong = replace(made, mask=source.mask)  # the contours left behind
    assert max(mismatch(wrong, source)) > 10
    assert (made.mask[0] == LV).sum() > 1.2 * (source.mask[0] == LV).sum()


def test_banks_of_copies_take_each_patient_in_turn(world, tmp_path):
    patients = world.generator.provenance["patients"]
    ids = copies_to_folder(cohort_originals(world.cohort, patients), NAME, tmp_path / "all", n=TRAINING + 1, seed=4)
    assert len(ids) == TRAINING + 1  # as often as asked
    listed, provenance = read_index(tmp_path / "all")
    assert listed == ids
    assert (provenance["source"], provenance["patients"], provenance["dataset"]) == ("copies", sorted(patients), NAME)
    spacings = {world.cohort.subject(p).spacing for p in patients}
    for sequence_id in ids:
        made = read_sequence(tmp_path / "all", sequence_id)
        assert made.image.shape[0] == 2  # ED and ES
        assert any(made.spacing == pytest.approx(spacing) for spacing in spacings)
        assert all((made.mask[frame] == label).any() for frame in (made.ed, made.es) for label in (RV, MYO, LV))
        assert made.measured.lv_edv > made.measured.lv_edv * made.measured.lv_ef / 100 > 0
        assert made.requested.diagnosis is None
    one = copies_to_folder(cohort_originals(world.cohort, patients), NAME, tmp_path / "one", n=1, seed=4)
    np.testing.assert_array_equal(read_sequence(tmp_path / "one", one[0]).image, read_sequence(tmp_path / "all", ids[0]).image)


def test_a_killed_bank_of_copies_goes_on_and_other_copies_are_refused(world, tmp_path):
    patients = world.generator.provenance["patients"]
    ids = copies_to_folder(cohort_originals(world.cohort, patients), NAME, tmp_path / "all", n=TRAINING, seed=4)
    before = [read_sequence(tmp_path / "all", i).image for i in ids]
    (tmp_path / "all" / f"{ids[2]}.json").unlink()
    assert copies_to_folder(cohort_originals(world.cohort, patients), NAME, tmp_path / "all", n=TRAINING, seed=4) == ids
    for sequence_id, image in zip(ids, before, strict=True):
        np.testing.assert_array_equal(read_sequence(tmp_path / "all", sequence_id).image, image)
    for other in ({"seed": 5}, {"seed": 4, "source": "bent"}):
        with pytest.raises(UserError, match="made otherwise"):
            copies_to_folder(cohort_originals(world.cohort, patients), NAME, tmp_path / "all", n=1, **other)
    silent = replace(world.cohort, subjects=[replace(s, cases={}) for s in world.cohort.subjects])
    with pytest.raises(UserError, match="nothing to copy"):
        cohort_originals(silent, patients)


def test_bent_copies_keep_the_proportions_and_the_diagnosis(world):
    subject = world.cohort.subjects[0]
    [original] = cohort_originals(world.cohort, [subject.patient])
    spread = {}
    for remodel in (0.0, 1.0):
        made = [copied(original, "copy", np.random.default_rng(k), remodel) for k in range(8)]
        spread[remodel] = np.std([m.measured.lv_mass / m.measured.lv_edv for m in made])
        assert all(m.requested.diagnosis == (None if remodel else subject.priors.diagnosis) for m in made)
    assert subject.priors.diagnosis is not None
    assert spread[1.0] > 3 * spread[0.0] > 0


def test_frames_without_contours_are_left_out(world):
    """An empty mask would teach that there is no heart."""
    subject = world.cohort.subjects[0]
    half = replace(world.cohort, subjects=(replace(subject, masks={"ES": subject.masks["ES"]}),))
    [original] = cohort_originals(half, [subject.patient])
    made = copied(original, "copy", np.random.default_rng(0), 1.0)
    assert (made.image.shape[0], made.ed, made.es) == (1, 0, 0)
    assert (made.mask == LV).any()
    assert made.measured.lv_ef is None
