"""Hearts of the cascade in donors' pixels: requests hold on the warped contours, which lie where the donor's do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from nnunet_synth_aug.core.cases import Sequence, SyntheticSequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.data.outlines import Outlines
from nnunet_synth_aug.nnunet.bank.manifest import Manifest
from nnunet_synth_aug.nnunet.refresh import process
from nnunet_synth_aug.synthesis import render
from nnunet_synth_aug.synthesis.folder import read_sequence, write_sequence
from nnunet_synth_aug.synthesis.render import Donor, Renderer, _drawn, donors_among, rendered
from nnunet_synth_aug.synthesis.sources.copies import Original

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def donors(phantoms):
    """ED and ES of three phantoms."""

    def original(phantom) -> Original:
        frames = [phantom.ed, phantom.es]
        mask = np.stack([phantom.masks["ED"], phantom.masks["ES"]])
        sequence = Sequence(phantom.image[frames].astype(np.float32), mask, phantom.spacing, 0, 1, (0, 1))
        return Original(phantom.patient, phantom.patient, lambda: sequence)

    return donors_among([original(phantom) for phantom in phantoms[:3]])


@pytest.fixture(scope="module")
def heart(phantoms) -> SyntheticSequence:
    """Another phantom as the cascade may have made it: ED, a frame between, ES."""
    other = phantoms[4]
    mask = np.stack([other.masks["ED"], other.masks["ED"], other.masks["ES"]])
    measured = measure(mask[0], mask[2], other.spacing)
    return SyntheticSequence("synth_00000", mask * 50.0, mask, other.spacing, 0, 2, 0.05, 3, Priors(), measured)


@pytest.mark.parametrize(
    "asked",
    [
        {"lv_edv": 150.0, "lv_ef": 60.0, "lv_mass": 120.0, "rv_edv": 160.0},
        {"lv_edv": 210.0, "lv_ef": 25.0, "lv_mass": 150.0, "rv_edv": 150.0},
        {"lv_edv": 120.0, "lv_ef": 65.0, "lv_mass": 170.0, "rv_edv": 130.0},
    ],
)
def test_what_was_asked_for_is_what_is_contoured(heart, donors, asked):
    shown = rendered(dataclasses.replace(heart, requested=Priors(**asked)), donors)
    assert isinstance(shown, SyntheticSequence)
    for name, value in asked.items():
        assert getattr(shown.measured, name) == pytest.approx(value, rel=0.05, abs=2 if name.endswith("ef") else 0), name
    donor = next(one for one in donors if one.name == shown.donor)
    assert shown.spacing == donor.spacing and shown.image.shape[1:] == donor.image.shape[1:]
    for label in (LV, MYO, RV):  # contours lie on the tissue that they lay on
        ours, theirs = (
            np.median(image[mask == label]) for image, mask in ((shown.image[0], shown.mask[0]), (donor.image[0], donor.mask[0]))
        )
        assert ours == pytest.approx(theirs, rel=0.1)


def test_what_was_not_asked_for_is_the_cascades(heart, donors):
    shown = rendered(heart, donors)
    assert isinstance(shown, SyntheticSequence)
    for name in ("lv_edv", "rv_edv", "lv_mass"):
        assert getattr(shown.measured, name) == pytest.approx(getattr(heart.measured, name), rel=0.05)
    assert shown.measured.lv_ef == pytest.approx(heart.measured.lv_ef, abs=2)


def test_the_same_heart_has_the_same_donor_and_another_seed_may_have_another(heart, donors):
    first, again = (rendered(heart, donors) for _ in range(2))
    assert isinstance(first, SyntheticSequence) and isinstance(again, SyntheticSequence)
    np.testing.assert_array_equal(first.image, again.image)
    alike = [dataclasses.replace(donor, volumes=donors[0].volumes) for donor in donors]
    orders = {tuple(one.name for one in _drawn(tuple(alike), donors[0].volumes[0], np.random.default_rng(seed))) for seed in range(20)}
    assert len({order[0] for order in orders}) == 3
    far = dataclasses.replace(donors[1], volumes=donors[0].volumes * 3)
    assert _drawn((donors[0], far), donors[0].volumes[0], np.random.default_rng(0))[0] is donors[0]


def test_a_request_that_no_donor_can_follow_has_a_reason(heart, donors):
    impossible = dataclasses.replace(heart, requested=Priors(lv_edv=590.0, lv_ef=50.0, lv_mass=20.0))
    assert rendered(impossible, donors) == ["donor_cannot_follow"]
    assert rendered(dataclasses.replace(heart, mask=np.zeros_like(heart.mask)), donors) == ["no_outlines"]


def test_patients_without_all_contours_lend_nothing():
    only_lv = Original("a", "a", lambda: pytest.fail("is not read"), annotated=frozenset({LV}))
    with pytest.raises(UserError, match="none can lend its pixels; use --render decoder"):
        donors_among([only_lv])


def test_the_donor_is_kept_beside_the_heart(heart, donors, tmp_path):
    show = Renderer(donors)
    made = show(heart)
    assert isinstance(made, SyntheticSequence)
    assert show.about == {"render": "donor", "donors": sorted(donor.patient for donor in donors)}
    write_sequence(tmp_path, made)
    assert read_sequence(tmp_path, made.id).donor == made.donor


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 5.0), (0.0, 60000.0), (0.0, 900.0)])
def test_grey_values_of_any_range_survive_the_folder(heart, tmp_path, low, high):
    ramp = np.linspace(low, high, heart.image.size, dtype=np.float32).reshape(heart.image.shape)
    write_sequence(tmp_path, dataclasses.replace(heart, image=ramp))
    np.testing.assert_allclose(read_sequence(tmp_path, heart.id).image, ramp, atol=0.5 if high == 900 else 0)


def test_new_hearts_of_a_training_are_shown_by_the_banks_donors(donors, monkeypatch):
    sequence = Sequence(donors[0].image, donors[0].mask, donors[0].spacing, 0, 1, (0, 1))
    monkeypatch.setattr(process, "training_originals", lambda target, fold: [Original("a", "anna", lambda: sequence)])
    target: Any = SimpleNamespace(bank_command="synthaug bank -d 1")

    def bank(**maker: Any) -> Manifest:
        return Manifest({"fold": 2, "generator": maker}, Path())

    show = process.bank_show(bank(render="donor", donors=["anna"]), target, CPU)
    assert isinstance(show, Renderer) and show.about["donors"] == ["anna"]
    assert process.bank_show(bank(), target, CPU) is None
    with pytest.raises(UserError, match="other patients' pixels than a new one; run 'synthaug bank -d 1 -f 2' again"):
        process.bank_show(bank(render="donor", donors=["anna", "bert"]), target, CPU)


def test_new_hearts_of_a_training_are_painted_by_the_banks_painter(monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(process, "known_hearts", lambda *given: asked.append(given) or "painted")
    maker, target = {"render": "painter", "painter": "abc"}, cast(Any, SimpleNamespace(dataset="Dataset001_A"))
    assert process.bank_show(Manifest({"fold": 2, "generator": maker}, Path()), target, CPU) == "painted"
    assert asked == [("Dataset001_A", 2, maker, CPU)]


def test_a_donor_that_fails_at_ed_is_not_tried_at_es(heart, donors, monkeypatch):
    tried = []

    class Fit(render._Fit):
        def __init__(self, donor: Donor, shape: Outlines, wanted: np.ndarray) -> None:
            super().__init__(donor, shape, wanted)
            tried.append(float(wanted[0]))

    monkeypatch.setattr(render, "_Fit", Fit)
    impossible = dataclasses.replace(heart, requested=Priors(lv_edv=590.0, lv_ef=50.0, lv_mass=20.0))
    assert rendered(impossible, donors) == ["donor_cannot_follow"]
    assert tried == [590.0] * len(donors)
