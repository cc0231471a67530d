"""Whom requests are like: a clinic, or another cohort."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from shared_folders import set_folders

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import DIAGNOSES
from nnunet_synth_aug.core.prior_request import PriorRequest
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.synthesis.requests import CLINIC, RequestPlan, priors_like


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
    others = priors_like("7")
    assert len(others) == 4
    asked = RequestPlan(0, like="7", others=others).requests(world.generator, 20)
    for one in asked:
        assert min(abs(np.log(one.priors.lv_edv / other.lv_edv)) for other in others) < 0.7
        assert one.priors.age is None
    with pytest.raises(UserError, match="there is no dataset 99"):
        priors_like("99")
