"""Whom requests are like: a clinic, or another cohort."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES
from nnunet_synth_aug.core.paths import dataset_name
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.synthesis.requests import CLINIC, RequestPlan, near, priors_like


def test_hearts_of_a_clinic_have_all_diagnoses_and_their_volumes(world):
    plan = RequestPlan(0, PriorRequest(Priors(lv_ef=33.0)), like=CLINIC)
    asked = [one.priors for one in plan.requests(world.generator, 50)]
    assert Counter(one.diagnosis for one in asked) == dict.fromkeys(DIAGNOSES, 10)
    assert all(one.lv_ef == 33.0 and one.age is None and one.vendor is None for one in asked)

    def edv(diagnosis: str) -> float:
        return float(np.mean([one.lv_edv for one in asked if one.diagnosis == diagnosis]))

    assert edv("DCM") > edv("NOR") + 40
    assert plan.request(world.generator, 7) == plan.requests(world.generator, 50)[7]


def test_hearts_like_another_cohort_are_near_its_patients(world, phantom_dataset, monkeypatch):
    set_folders(monkeypatch, phantom_dataset)
    others = priors_like("7", "Dataset099_Own")
    assert len(others) == 4
    asked = RequestPlan(0, like="7", others=others).requests(world.generator, 20)
    for one in asked:
        assert min(abs(np.log(one.priors.lv_edv / other.lv_edv)) for other in others) < 0.7
        assert one.priors.age is None
    with pytest.raises(UserError, match="there is no dataset 99"):
        priors_like("99", "Dataset099_Own")
    with pytest.raises(UserError, match="holds the patients that are validated on"):
        priors_like("7", dataset_name("7"))


def test_a_small_heart_stays_one_that_can_be_asked_for():
    small = Priors(lv_edv=20.0, rv_edv=21.0, lv_mass=20.0, lv_ef=84.0)
    for seed in range(40):
        near(small, np.random.default_rng(seed)).validated()
