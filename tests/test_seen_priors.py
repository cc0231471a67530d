"""What the optimiser saw, counted by prior."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nnunet_synth_aug.core.files import read_json
from nnunet_synth_aug.nnunet.mixing.exposure import Exposure
from nnunet_synth_aug.nnunet.mixing.seen_priors import TENTHS, SeenPriors, added

EFS = [10.0 + i for i in range(50)]
CASES = [
    {"id": f"s{i}", "requested": {"lv_ef": ef, "diagnosis": "DCM" if ef < 30 else "NOR"}, "measured": {"lv_ef": ef + 2}}
    for i, ef in enumerate(EFS)
]


def test_a_bank_whose_cases_are_drawn_alike_fills_the_tenths_alike():
    counts = SeenPriors(CASES).count(Counter(dict.fromkeys((case["id"] for case in CASES), 2)))
    assert counts["requested"]["lv_ef"] == counts["measured"]["lv_ef"] == [10] * TENTHS
    assert counts["requested"]["diagnosis"] == {"DCM": 40, "NOR": 60}


@given(st.lists(st.sampled_from([case["id"] for case in CASES]), max_size=200))
def test_every_sample_is_counted_once(drawn):
    counts = SeenPriors(CASES).count(Counter(drawn))
    assert sum(counts["requested"].get("lv_ef", [0])) == len(drawn)
    assert sum(counts["requested"].get("diagnosis", {}).values()) == len(drawn)


def test_what_was_not_asked_for_is_not_counted():
    seen = SeenPriors([{"id": "copy", "requested": {}, "measured": {"lv_edv": 150.0}}])
    assert seen.count(Counter(copy=3))["requested"] == {}
    assert sum(seen.count(Counter(copy=3))["measured"]["lv_edv"]) == 3


def test_replaced_hearts_are_counted_by_their_own_priors(tmp_path):
    journal = [{"version": 1, "cases": {"s0": 3}, "requested": {"lv_ef": 59.0, "diagnosis": "NOR"}, "measured": {"lv_ef": 61.0}}]
    exposure = Exposure(tmp_path / "synth_aug.json", {}, CASES, lambda: journal)
    exposure.add(["real", "s0", "s0"], [0, 0, 1])
    exposure.refresh = {"replaced": 1}
    exposure.end_epoch(0)
    exposure.write()
    samples = read_json(tmp_path / "synth_aug.json")["priors"]["samples"]
    assert samples["requested"]["lv_ef"] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]  # the bank's own heart, and the one in its place
    assert samples["requested"]["diagnosis"] == {"DCM": 1, "NOR": 1}


def test_a_heart_beyond_the_bank_counts_in_the_outer_tenth():
    seen = SeenPriors(CASES)
    seen.refreshed([{"version": 1, "cases": {"s0": 0}, "requested": {"lv_ef": 89.0}, "measured": {}}])
    assert seen.count(Counter({"s0@1": 4}))["requested"]["lv_ef"][-1] == 4


def test_epochs_add_up():
    seen = SeenPriors(CASES)
    one, two = (seen.count(Counter({case: 1})) for case in ("s0", "s49"))
    total = added([one, two, {}])
    assert total["requested"]["lv_ef"] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert added([one, two]) == added([two, one])
