"""Curriculum and weights of the plans' synth_aug key: arithmetic and settings, no nnU-Net run needed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.nnunet.mixing.schedule import Schedule
from nnunet_synth_aug.nnunet.mixing.settings import resolve_settings
from nnunet_synth_aug.nnunet.mixing.weighting import WeightedPatches, Weights, draw_probabilities


def resolve(ratio: float | None = None, **given: Any) -> Any:
    return resolve_settings({"plans_name": "myPlans", "synth_aug": given}, ratio, None)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(0.1), [0.5, 0.4, 0.3, 0.2, 0.1]),
        (Schedule(0.9), [0.5, 0.6, 0.7, 0.8, 0.9]),
        (Schedule(0.1, from_epoch=1, until_epoch=3), [0.5, 0.5, 0.3, 0.1, 0.1]),
        (Schedule(0.1, "cosine"), [0.5, 0.5 - 0.4 * (1 - 0.5**0.5) / 2, 0.3, 0.1 + 0.4 * (1 - 0.5**0.5) / 2, 0.1]),
        (Schedule(0.1, "step", from_epoch=3), [0.5, 0.5, 0.5, 0.1, 0.1]),
    ],
)
def test_shapes_of_a_schedule(schedule: Schedule, expected: list[float]) -> None:
    assert schedule.ratios(0.5, 5) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [Schedule(0.1, "step", 5), Schedule(0.1, "linear", 4), Schedule(0.1, "cosine", 0, 0)])
def test_a_schedule_that_cannot_happen_is_refused(schedule: Schedule) -> None:
    with pytest.raises(UserError, match="lower from_epoch"):
        schedule.ratios(0.5, 5)


def test_settings_hold_schedule_and_weights() -> None:
    found = resolve(schedule={"to": 0, "shape": "cosine"}, weights={"diagnosis": {"DCM": 2}})
    assert found.schedule == Schedule(0.0, "cosine", 0, None)
    assert found.weights == Weights({"DCM": 2.0}, {})
    # What a training records in its plans is accepted when these plans are used again.
    assert resolve(schedule=found.schedule.recorded(), weights=found.weights.recorded()) == found
    assert resolve(schedule=None, weights=None).schedule is None
    real_only = resolve(0.0, schedule={"to": 0.5}, weights={"structure": {"RV": 2}}, refresh={"per_epoch": 3})
    assert (real_only.schedule, real_only.weights, real_only.refresh) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": 0.1}, "schedule is 0.1; it must be a mapping with the keys to, shape, from_epoch, until_epoch"),
        ({"schedule": {"too": 0.1}}, "schedule has the unknown key 'too'; choose from to, shape"),
        ({"schedule": {}}, "schedule lacks the key 'to'; it must be a number from 0 to 1"),
        ({"schedule": {"to": 1.5}}, "from 0 to 1"),
        ({"schedule": {"to": 0.1, "shape": "round"}}, "schedule.shape is 'round'; choose one of linear, cosine, step"),
        ({"schedule": {"to": 0.1, "from_epoch": -1}}, "schedule.from_epoch is -1"),
        ({"schedule": {"to": 0.1, "until_epoch": 2.5}}, "schedule.until_epoch is 2.5"),
        ({"schedule": {"to": 0.1, "shape": "step"}}, "from_epoch of at least 1"),
        ({"weights": {"vendor": {"GE": 2}}}, "weights has the unknown key 'vendor'; choose from diagnosis, structure"),
        ({"weights": {"structure": ["RV"]}}, "must be a mapping from one of RV, MYO, LV to a number of at least 0"),
        ({"weights": {"structure": {"LA": 2}}}, "weights.structure has the unknown key 'LA'; choose one of RV, MYO, LV"),
        ({"weights": {"diagnosis": {"DCM": -1}}}, "a number of at least 0"),
        ({"weights": {"diagnosis": {"DCM": True}}}, "a number of at least 0"),
        ({"weights": {"diagnosis": {"DCM": float("inf")}}}, "weights.diagnosis.DCM is inf; it must be a number of at least 0, and finite"),
        ({"refresh": 8}, "refresh is 8; it must be a mapping with the keys per_epoch, device, generator"),
        ({"weights": {"structure": {"RV": 0, "MYO": 0, "LV": 0}}}, "leaves nothing to draw"),
    ],
)
def test_impossible_settings_are_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(**given)
    assert "myPlans" in str(caught.value)
    assert "\n" not in str(caught.value)


def entries(*diagnoses: str | None) -> list[dict[str, Any]]:
    return [{"id": f"c{i}", "requested": {"diagnosis": d} if d else {"lv_ef": 50.0}} for i, d in enumerate(diagnoses)]


def test_cases_are_weighed_by_the_diagnosis_that_was_asked_for() -> None:
    cases = entries("DCM", "NOR", "NOR", None)
    assert draw_probabilities(cases, {"DCM": 3.0}) == pytest.approx({"c0": 0.5, "c1": 1 / 6, "c2": 1 / 6, "c3": 1 / 6})
    assert draw_probabilities(cases, {"NOR": 0.0}) == pytest.approx({"c0": 0.5, "c1": 0.0, "c2": 0.0, "c3": 0.5})
    with pytest.raises(UserError, match="names HCM, but the bank's hearts are DCM, NOR, unspecified"):
        draw_probabilities(cases, {"HCM": 2.0, "DCM": 2.0})
    with pytest.raises(UserError, match="leaves no case"):
        draw_probabilities(entries("DCM"), {"DCM": 0.0})


@given(
    st.lists(st.tuples(st.sampled_from(["copies", "phantom", "generator"]), st.sampled_from(["DCM", "NOR"])), min_size=1), st.floats(0.1, 9)
)
def test_sources_have_equal_parts_of_the_draws(kinds: list[tuple[str, str]], weight: float) -> None:
    """However many cases each gives; weights of diagnoses multiply that."""
    cases = [case | {"source": source} for case, (source, _) in zip(entries(*(d for _, d in kinds)), kinds, strict=True)]
    drawn = draw_probabilities(cases, {})
    if len({source for source, _ in kinds}) == 1:
        assert drawn is None
    else:
        assert drawn is not None
        of: dict[str, float] = defaultdict(float)
        for case in cases:
            of[case["source"]] += drawn[case["id"]]
        assert of == pytest.approx(dict.fromkeys(of, 1 / len(of)))
    if ("copies", "DCM") in kinds and ("copies", "NOR") in kinds:
        weighed = draw_probabilities(cases, {"DCM": weight})
        assert weighed is not None
        assert sum(weighed.values()) == pytest.approx(1)
        assert weighed[cases[kinds.index(("copies", "DCM"))]["id"]] == pytest.approx(
            weight * weighed[cases[kinds.index(("copies", "NOR"))]["id"]]
        )


def test_one_source_draws_its_cases_alike() -> None:
    assert draw_probabilities(entries("DCM", None), {}) is None


class Bank:
    identifiers = ("a",)

    def __init__(self, locations: dict[Any, np.ndarray]) -> None:
        self.locations = locations

    def load_case(self, identifier: str) -> Any:
        return "image", "mask", None, {"class_locations": self.locations, "spacing": 1}


VOXEL, NONE = np.zeros((1, 4), int), np.zeros((0, 4), int)


@pytest.mark.parametrize(
    ("locations", "weights", "expected"),
    [
        ({1: VOXEL, 2: VOXEL, 3: VOXEL}, {"RV": 2.0}, {3: 0.5, 2: 0.25, 1: 0.25}),
        ({1: VOXEL, 2: NONE, 3: VOXEL}, {"RV": 3.0, "MYO": 9.0}, {3: 0.75, 1: 0.25}),
        ({(1, 2, 3): VOXEL, 2: VOXEL, (1,): VOXEL}, {"RV": 4.0}, {(1, 2, 3): 0.5, 2: 0.25, (1,): 0.25}),  # (4 + 1 + 1) / 3
    ],
)
def test_the_centre_of_a_patch_is_weighed_by_structure(locations: Any, weights: Any, expected: dict[Any, float]) -> None:
    lookup = np.array([0, 3, 2, 1])  # RV is 3 in the masks, LV is 1
    annotated = (-1, 0, 1, 2, 3)
    bank = WeightedPatches(Bank(locations | {annotated: VOXEL}), weights, lookup)
    np.random.seed(0)
    chosen = []
    for _ in range(2000):
        image, _, previous, properties = bank.load_case("a")
        assert (image, previous, properties["spacing"]) == ("image", None, 1)
        assert annotated in properties["class_locations"]
        chosen += [key for key in properties["class_locations"] if key != annotated]
    assert len(chosen) == 2000
    assert {key: chosen.count(key) / 2000 for key in expected} == pytest.approx(expected, abs=0.05)
    assert len(locations) == 3  # the case itself is as it was


def test_a_case_without_any_of_the_weighed_structures_stays_as_it_is() -> None:
    locations = {1: VOXEL, 2: NONE, 3: NONE}
    bank = WeightedPatches(Bank(locations), {"RV": 0.0}, np.array([0, 1, 2, 3]))
    assert bank.load_case("a")[3]["class_locations"] == locations
