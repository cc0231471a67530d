"""--prior NAME=VALUE and NAME=LOW..HIGH: what is understood, what every heart gets, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.prior_request import PriorRequest, parse_priors
from nnunet_synth_aug.core.priors import NUMERIC, VARIABLES, Priors
from nnunet_synth_aug.data.phantom import phantom_cohort


def test_values_and_ranges_are_understood():
    asked = parse_priors(["lv_ef=20..30", "lv_edv=180", "diagnosis=DCM", "n_slices = 9"])
    assert asked.fixed == Priors(lv_edv=180.0, diagnosis="DCM", n_slices=9)
    assert asked.ranges == {"lv_ef": (20.0, 30.0)}
    assert asked
    assert not parse_priors([])


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["lv_ef"], r"--prior lv_ef: write NAME=VALUE or NAME=LOW..HIGH"),
        (["lv_ef="], "write NAME=VALUE"),
        (["ef=30"], "there is no prior 'ef'; did you mean lv_ef"),
        (["lv_eff=30"], "did you mean lv_ef"),
        (["zz=30"], "there is no prior 'zz'; choose from diagnosis"),
        (["lv_ef=30", "lv_ef=20..30"], "lv_ef is asked for twice"),
        (["lv_ef=nan"], "'nan' is not a number"),
        (["lv_ef=inf"], "'inf' is not a number"),
        (["n_slices=nan"], "not a number"),
        (["lv_ef=1_0"], "'1_0' is not a number"),
        (["lv_ef=-5"], "lv_ef -5 % is outside"),
        (["field_strength=0.5...9"], "'0.5...9' is not a number, nor a range with both ends and two dots"),
        (["lv_ef=20-30"], r"such as lv_ef=2\.\.90"),
        (["LV_EF=30"], "did you mean lv_ef"),
        (["n_slices=7.5"], "n_slices is 7.5; it must be a whole number"),
        (["lv_ef=140"], "lv_ef 140 % is outside 2 to 90 %"),
        (["lv_ef=30..140"], "lv_ef 140 % is outside 2 to 90 %"),
        (["lv_ef=30..20"], r"write the lower end first: lv_ef=20\.\.30"),
        (["lv_edv=20..10"], r"write the lower end first: lv_edv=10\.\.20"),
        (["lv_ef=30..30"], "both ends are the same; write lv_ef=30"),
        (["vendor=GE", "vendor=Siemens"], "vendor is asked for twice; give it once$"),
        (["lv_ef=..30"], "a range with both ends"),
        (["lv_ef=thirty"], "'thirty' is not a number"),
        (["lv_ef=20..30..40"], "not a number"),
        (["diagnosis=FLU"], "choose one of NOR, MINF, DCM, HCM, RV"),
        (["diagnosis=DCM..HCM"], "choose one of"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(texts, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        parse_priors(texts)
    assert "\n" not in str(error.value)


@given(st.sampled_from(NUMERIC), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**31), st.integers(0, 500))
def test_every_heart_draws_within_the_range_and_alone(name, first, second, seed, index):
    variable = VARIABLES[name]
    low, high = sorted(round(variable.low + share * (variable.high - variable.low)) for share in (first, second))
    if not variable.low <= low < high <= variable.high:
        return
    asked = parse_priors([f"{name}={low}..{high}", "vendor=GE"])
    drawn = asked.draw(seed, index)
    assert low <= getattr(drawn, name) <= high
    assert drawn.vendor == "GE"
    assert drawn == asked.draw(seed, index)
    drawn.validated()


def test_a_choice_is_read_in_any_case():
    assert parse_priors(["vendor=siemens", "diagnosis=dcm", "sex=f"]).fixed == Priors(vendor="Siemens", diagnosis="DCM", sex="F")


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["lv_ef=2"], "a phantom's lv_ef lies between 3 and 89 %"),
        (["rv_ef=60..90"], "a phantom's rv_ef lies between 3 and 89 %"),
        (["lv_edv=20..150"], "a phantom's lv_edv lies between 21 and 594 mL"),
        (["diagnosis=DCM", "lv_ef=70"], "DCM hearts of the phantom have an lv_ef of 10 to 38 %"),
        (["diagnosis=NOR", "lv_ef=10..20"], "NOR hearts of the phantom"),
    ],
)
def test_what_no_phantom_has_is_refused_before_one_is_made(texts, sentence):
    with pytest.raises(UserError, match=sentence):
        next(phantom_cohort(3, 0, asked=parse_priors(texts)))


def test_hearts_of_one_set_differ():
    asked = parse_priors(["lv_ef=20..60"])
    drawn = {asked.draw(0, index).lv_ef for index in range(50)}
    assert len(drawn) > 30
    assert min(drawn) < 30 < 50 < max(drawn)


@given(st.dictionaries(st.sampled_from(["lv_ef", "lv_edv", "n_slices"]), st.booleans()))
def test_a_request_survives_its_json(chosen):
    middle = {"lv_ef": (30, 50), "lv_edv": (100, 250), "n_slices": (7, 11)}
    asked = parse_priors([f"{k}={middle[k][0]}..{middle[k][1]}" if ranged else f"{k}={middle[k][0]}" for k, ranged in chosen.items()])
    assert PriorRequest.from_json(asked.to_json()) == asked


def test_what_is_fixed_replaces_a_range():
    asked = parse_priors(["lv_ef=20..30", "lv_edv=100..200"]).with_fixed(Priors(lv_ef=25.0, diagnosis="DCM"))
    assert asked.fixed == Priors(lv_ef=25.0, diagnosis="DCM")
    assert set(asked.ranges) == {"lv_edv"}
