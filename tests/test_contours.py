"""Contours by hand and of phantoms are whole in every slice; shreds are not; and what a bank takes of a frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunet_fixture import sequence
from test_quality import DATA, heart

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.data.importers.acdc import read_acdc
from nnunet_synth_aug.synthesis.folder import read_sequence, write_sequence
from nnunet_synth_aug.synthesis.quality.contours import convexity, sound_range, sound_ranges, torn_slices
from nnunet_synth_aug.synthesis.quality.defects import frame_defects


def shred(plane: np.ndarray) -> None:
    """What a decoder makes of a slice between heart and atrium, in place: scraps of wall and cavity."""
    x, y = np.indices(plane.shape)
    plane[(x // 3 + y // 4) % 2 == 0] = 0


def gap(plane: np.ndarray) -> None:
    """A wall that is open on one side, in place."""
    opened = plane[40:]
    opened[opened == MYO] = 0


def islands(plane: np.ndarray) -> None:
    """An RV in two, in place."""
    right = plane[:, 28:36]
    right[right == RV] = 0


@pytest.mark.parametrize("harm", [shred, gap, islands])
@pytest.mark.parametrize(("slices", "kept"), [([0], (1, 5)), ([4], (0, 4)), ([2], None), ([0, 4], None), ([], (0, 5))])
def test_torn_ends_are_left_out_and_a_torn_middle_spoils_the_frame(harm, slices, kept):
    mask = heart()[0]
    for z in slices:
        harm(mask[..., z])
    assert np.flatnonzero(torn_slices(mask)).tolist() == slices
    assert sound_range(mask) == kept
    if harm is not shred:  # shreds of one slice in five are seen by the whole frame's checks, too
        assert frame_defects(mask) == ([] if kept else ["torn_slices"])


def test_unlabelled_slices_stay_where_the_heart_ends_whole_and_go_where_it_ends_torn():
    mask = np.pad(heart()[0], ((0, 0), (0, 0), (2, 3)))
    assert sound_range(mask) == (0, 10)
    shred(mask[..., 2])
    assert sound_range(mask) == (3, 10)
    assert sound_range(np.zeros_like(mask)) is None


def test_an_rv_beyond_the_base_and_a_wall_below_the_cavity_are_whole():
    mask = heart()[0]
    mask[..., 0][mask[..., 0] != RV] = 0
    mask[..., 4][mask[..., 4] == LV] = MYO
    assert not torn_slices(mask).any()


@given(st.integers(0, 3), st.booleans(), st.integers(-3, 3), st.integers(1, 3), st.sampled_from([shred, gap, islands, None]))
def test_where_and_how_a_heart_lies_does_not_matter(turns, mirrored, shift, scale, harm):
    mask = heart()[0][..., :1]
    if harm is not None:
        harm(mask[..., 0])
    moved = np.roll(np.rot90(mask, turns), shift, (0, 1)).repeat(scale, 0).repeat(scale, 1)
    moved = moved[::-1] if mirrored else moved
    assert torn_slices(moved).tolist() == [harm is not None]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_convexity(width, height, turns):
    shape = np.zeros((12, 12), bool)
    shape[1 : 1 + width, 2 : 2 + height] = True
    assert convexity(np.rot90(shape, turns)) == pytest.approx(1)
    shape[1 : 1 + width, 2 : 2 + height] = False
    shape[1, 1] = shape[1 + width, 1 + height] = True
    # Two pixels apart: the hull of their corners is a band along the diagonal.
    assert convexity(np.rot90(shape, turns)) == pytest.approx(2 / (1 + width + height))


@pytest.mark.skipif(not (DATA / "acdc_cine").is_dir(), reason=f"the real ACDC copies are not in {DATA}")
def test_contours_by_hand_are_whole():
    slices = 0
    for subject in read_acdc(DATA / "acdc_cine"):
        for phase, mask in subject.masks.items():
            slices += np.count_nonzero(np.any(mask, axis=(0, 1)))
            assert (subject.patient, phase, np.flatnonzero(torn_slices(mask)).tolist()) == (subject.patient, phase, [])
    assert slices == 536


def test_a_sequence_keeps_what_can_be_trusted(tmp_path: Path):
    mask = heart()
    shred(mask[4][..., 0])
    shred(mask[2][..., 2])
    made = replace(sequence(0), image=mask.astype(np.float32) + 1, mask=mask, es=4, sound=sound_ranges(mask))
    assert made.sound == {t: (1 if t == 4 else 0, 5) for t in range(8) if t != 2}
    write_sequence(tmp_path, made)
    back = read_sequence(tmp_path, made.id)
    assert back.sound == made.sound
    image, kept = back.trusted(4)
    np.testing.assert_array_equal(kept, mask[4][..., 1:])
    np.testing.assert_array_equal(image, mask[4][..., 1:] + 1)
    assert back.trusted(2)[1].shape[-1] == 5  # nothing is known of it, so nothing is cut
