"""Priors: ranges, derived volumes, partial specification."""

import numpy as np
import pytest
import torch

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import NUMERIC, VARIABLES, Priors, measure
from nnunet_synth_aug.model.conditions import PriorEmbedding, PriorScaler
from nnunet_synth_aug.model.config import LDMConfig
from nnunet_synth_aug.model.ldm import drop_priors

PATIENTS = [
    Priors(diagnosis="DCM", lv_edv=250, lv_ef=22, vendor="Siemens"),
    Priors(diagnosis="NOR", lv_edv=120, lv_ef=62),
    Priors(lv_edv=140),
]


def test_esv_follows_from_edv_and_ef():
    assert Priors(lv_edv=200, lv_ef=25).lv_esv == pytest.approx(150)
    assert Priors(lv_edv=200).lv_esv is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lv_ef": 140.0}, "lv_ef 140 %"),
        ({"lv_edv": -3.0}, "lv_edv -3 mL"),
        ({"diagnosis": "ABC"}, "NOR, MINF, DCM, HCM, RV"),
        ({"vendor": "Acme"}, "Siemens"),
        ({"n_slices": 100}, "n_slices 100"),
    ],
)
def test_impossible_priors_are_refused_in_one_sentence(values, words):
    with pytest.raises(UserError, match=words):
        Priors(**values).validated("request")


def test_table_rows_may_leave_anything_out():
    assert Priors.from_mapping({"lv_edv": "150.5", "diagnosis": "", "age": float("nan")}) == Priors(lv_edv=150.5)
    with pytest.raises(UserError, match="not a number"):
        Priors.from_mapping({"lv_edv": "big"}, "row 3")


def test_measured_volumes_are_voxels_times_spacing():
    ed, es = np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 4), np.uint8)
    ed[:4, :5, :] = LV  # 80 voxels of 2 x 2 x 10 mm = 3.2 mL
    es[:2, :5, :] = LV
    ed[5:7, :5, :] = MYO
    got = measure(ed, es, (2, 2, 10))
    assert got.lv_edv == pytest.approx(3.2)
    assert got.lv_ef == pytest.approx(50)
    assert got.lv_mass == pytest.approx(1.6 * 1.05)
    assert got.rv_edv is None
    assert measure(ed, es, (2, 2, 10), frozenset({RV, MYO})).lv_edv is None


def test_unspecified_variables_do_not_influence_the_embedding():
    scaler = PriorScaler.fit(PATIENTS)
    torch.manual_seed(0)
    embedding = PriorEmbedding(16)
    full = scaler.encode([PATIENTS[0]])
    index = NUMERIC.index("lv_ef")
    hidden = torch.ones_like(full.present)
    hidden[0, index] = 0
    other = scaler.encode([Priors(diagnosis="DCM", lv_edv=250, lv_ef=70, vendor="Siemens")])
    assert not torch.allclose(embedding(full), embedding(other))
    assert torch.allclose(embedding(full.dropped(hidden)), embedding(other.dropped(hidden)))
    assert torch.allclose(embedding(full.null()), embedding(scaler.encode([Priors()])))


def test_dropout_is_per_sample_and_per_variable():
    conditions = PriorScaler.fit(PATIENTS).encode([PATIENTS[0]] * 4000)
    config = LDMConfig(prior_dropout=0.2, null_share=0.1)
    kept = drop_priors(conditions, config, np.random.default_rng(0)).present
    had = conditions.present[0].bool()
    share = kept[:, had].mean(0)
    assert torch.allclose(share, torch.full_like(share, 0.8 * 0.9), atol=0.03)
    assert float((kept.sum(1) == 0).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert not kept[:, ~had].any()


def test_every_variable_says_what_it_is():
    assert all(v.description for v in VARIABLES.values())
