"""Names, settings, quota and patient names: no nnU-Net run needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.nnunet.bank.build import choose_frames
from nnunet_synth_aug.nnunet.mixing.exposure import Exposure
from nnunet_synth_aug.nnunet.mixing.mixture import Quota, parse_trainer_name
from nnunet_synth_aug.nnunet.mixing.settings import refuse_changes, resolve_settings
from nnunet_synth_aug.nnunet.patients import leaked_patients


@pytest.mark.parametrize(
    ("name", "ratio", "until", "epochs"),
    [
        ("nnUNetTrainerSynthAug_mix00", 0.0, None, None),
        ("nnUNetTrainerSynthAug_mix05", 0.05, None, None),
        ("nnUNetTrainerSynthAug_mix100", 1.0, None, None),
        ("nnUNetTrainerSynthAug_mix35_1epochs", 0.35, None, 1),
        ("nnUNetTrainerSynthAug_mix50_250epochs", 0.5, None, 250),
        ("nnUNetTrainerSynthAug_mix50to00", 0.5, 0.0, None),
        ("nnUNetTrainerSynthAug_mix25to100_20epochs", 0.25, 1.0, 20),
    ],
)
def test_names_that_exist(name: str, ratio: float, until: float | None, epochs: int | None) -> None:
    variant = parse_trainer_name(name)
    assert (variant.ratio, variant.until, variant.epochs) == (ratio, until, epochs)


@pytest.mark.parametrize(
    ("name", "instead"), [("_mix50to50", "_mix50$"), ("_mix50to50_9epochs", "_mix50_9epochs$"), ("_mix00to50", "_mix00$")]
)
def test_a_share_that_does_not_change_has_one_name(name: str, instead: str) -> None:
    with pytest.raises(UserError, match=f"for a constant share write nnUNetTrainerSynthAug{instead}"):
        parse_trainer_name("nnUNetTrainerSynthAug" + name)


def test_the_name_s_share_wins_over_the_plans() -> None:
    plans = {"plans_name": "p", "synth_aug": {"ratio": 0.9, "schedule": {"to": 0.3, "shape": "cosine"}}}
    given = resolve_settings(plans, 0.5, None, 0.0)
    assert given.schedule is not None
    assert given.schedule.ratios(given.ratio, 3) == (0.5, 0.25, 0.0)
    kept = resolve_settings(plans, 0.5, None)
    assert kept.schedule is not None
    assert (kept.ratio, kept.schedule.to, kept.schedule.shape) == (0.5, 0.3, "cosine")


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "_mix",
        "_mix5",
        "_mix101",
        "_mix005",
        "_mix-5",
        "_mix50_",
        "_mix50_0epochs",
        "_mix50_05epochs",
        "_mix50_100epoch",
        "_mix50_20epochs_5DA",
        "_mix50x",
        "_mix50to",
        "_mix50to5",
        "_mix50to0",
    ],
)
def test_names_that_do_not(ending: str) -> None:
    with pytest.raises(UserError, match="mixNN"):
        parse_trainer_name("nnUNetTrainerSynthAug" + ending)


RATIOS = st.lists(st.integers(0, 100), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    percents=RATIOS,
    iterations=st.integers(1, 20),
    batch=st.integers(1, 64),
    start=st.integers(-3, 99),
)
def test_share_is_exact_to_within_one_sample(percents: list[int], iterations: int, batch: int, start: int) -> None:
    """Any run of batches, also over epochs of different ratios, and before the first and after the last of them."""
    quota = Quota([p / 100 for p in percents], iterations, (batch,))
    drawn = asked = 0
    for number in range(start, start + 130):
        percent = percents[min(max(number // iterations, 0), len(percents) - 1)]
        count = quota.count(number)
        assert percent * batch // 100 <= count <= -(-percent * batch // 100)
        drawn, asked = drawn + count, asked + percent * batch
        assert abs(100 * drawn - asked) <= 100


@settings(max_examples=200, deadline=None)
@given(percents=RATIOS, world=st.integers(1, 8), joint=st.integers(1, 64), start=st.integers(-3, 50))
def test_processes_together_have_the_quota_of_the_joint_batch(percents: list[int], world: int, joint: int, start: int) -> None:
    """Also with batches of different size, as nnU-Net deals a batch of 5 to two GPUs; and no process gets more than its part."""
    sizes = [joint // world + (rank < joint % world) for rank in range(min(world, joint))]
    ratios = [p / 100 for p in percents]
    ranks, whole = [Quota(ratios, 10, sizes, rank) for rank in range(len(sizes))], Quota(ratios, 10, [joint])
    drawn = [0] * len(sizes)
    for number in range(start, start + 60):
        counts = [rank.count(number) for rank in ranks]
        assert sum(counts) == whole.count(number)
        assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
        drawn = [a + b for a, b in zip(drawn, counts, strict=True)]
        for total, size in zip(drawn, sizes, strict=True):
            assert abs(total - sum(drawn) * size / joint) < 2  # at most one sample off at either end


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (1, 1), (2, 2, 1)])
@pytest.mark.parametrize("ratio", [0.2, 0.25, 0.5])
def test_no_process_is_left_without_synthetic_samples(sizes: tuple[int, ...], ratio: float) -> None:
    """Ratios that make every joint batch alike must not give its synthetic samples to the same process each time."""
    for rank, size in enumerate(sizes):
        assert sum(Quota([ratio], 10, sizes, rank).count(n) for n in range(1000)) == pytest.approx(1000 * size * ratio, abs=1)


def test_share_does_not_drift() -> None:
    assert sum(Quota([0.1], 1, [1]).count(n) for n in range(10_000)) == 1000


def test_name_wins_over_plans_over_default() -> None:
    plans = {"plans_name": "p", "synth_aug": {"ratio": 0.2, "epochs": 7, "iterations_per_epoch": 3}}
    assert resolve_settings(plans, 0.75, 9).ratio == 0.75
    assert resolve_settings(plans, 0.75, 9).epochs == 9
    assert resolve_settings(plans, None, None).ratio == 0.2
    assert resolve_settings(plans, None, None).epochs == 7
    assert resolve_settings(plans, 0.0, None).iterations_per_epoch == 3
    assert resolve_settings({}, None, None).ratio == 0.5
    assert resolve_settings({}, None, None).epochs is None


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"ration": 0.5}, "has the unknown key 'ration'; choose from ratio, epochs"),
        ({"ratio": 1.5}, "from 0 to 1"),
        ({"ratio": True}, "from 0 to 1"),
        ({"ratio": "half"}, "from 0 to 1"),
        ({"epochs": 0}, "at least 1"),
        ({"epochs": 2.5}, "at least 1"),
        ({"ratio": float("nan")}, "ratio is nan; it must be a number from 0 to 1, and finite"),
        ({"ratio": None}, "ratio is null"),
        ([0.5], r"is \[0\.5\]; it must be a mapping with the keys ratio"),
    ],
)
def test_bad_plans_settings_are_one_sentence(given_settings: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_settings({"plans_name": "myPlans", "synth_aug": given_settings}, None, None)
    assert "myPlans" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changed_settings_are_named() -> None:
    refuse_changes({"ratio": 0.5, "epochs": 3}, {"ratio": 0.5, "epochs": 3})
    with pytest.raises(UserError, match=r"ratio was 0\.5 and is 0\.25"):
        refuse_changes({"ratio": 0.5, "epochs": 3}, {"ratio": 0.25, "epochs": 3})


def test_a_leak_is_found_under_every_name() -> None:
    cohort = {"case_0001": "Alice", "case_0002": "Bob"}
    assert leaked_patients(["Alice", "Carol"], ["case_0001", "case_0002"], cohort) == ["Alice"]
    assert leaked_patients(["case_0002"], ["case_0002"], cohort) == ["case_0002"]
    assert leaked_patients(["p3"], ["p3_ED"], {}) == ["p3"]
    assert leaked_patients(["Carol"], ["case_0001"], cohort) == []


@pytest.mark.parametrize(
    ("n_frames", "es", "count", "expected"),
    [(30, 12, 2, [0, 12]), (30, 12, 3, [0, 12, 21]), (30, 12, 4, [0, 6, 12, 21]), (3, 1, 5, [0, 1, 2]), (8, 0, 3, [0, 2, 4])],
)
def test_frames_are_spread_over_the_cycle(n_frames: int, es: int, count: int, expected: list[int]) -> None:
    assert choose_frames(n_frames, 0, es, count, range(n_frames)) == expected


CASES = [
    {"id": "s1", "requested": {"lv_ef": 30.0}, "measured": {"lv_ef": 33.0}},
    {"id": "s2", "requested": {}, "measured": {"lv_ef": 60.0}},
]


def test_counts_of_repeated_epochs_replace_the_first(tmp_path: Path) -> None:
    path = tmp_path / "synth_aug.json"
    first = Exposure(path, {"ratio": 0.5}, CASES)
    for epoch, keys in enumerate([["r1", "s1"], ["r1", "r2"], ["s2", "s2"]]):
        first.start_epoch()
        first.add(keys)
        first.end_epoch(epoch)
    first.write()
    again = Exposure(path, {"ratio": 0.5}, CASES)
    assert again.resume(2)  # killed after writing epoch 2, the checkpoint is at its start
    assert again.summary() == {"samples": 4, "synthetic_samples": 1, "share": 0.25, "batches": 2, "distinct_synthetic_cases": 1}
    assert not Exposure(tmp_path / "none.json", {}, []).resume(2)
    assert Exposure(path, {}, []).resume(0)
    path.write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        again.resume(2)
