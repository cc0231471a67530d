"""The two-sample test of pixels: it tells what is different, and does not tell what is alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nnunet_synth_aug.core.cases import Sequence
from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.labels import LV
from nnunet_synth_aug.reports.two_sample import FEWEST, SIZE, Views, two_sample, views


def hearts(n: int, first: int, blur: float = 0.0, groups: int | None = None) -> list[Views]:
    """Textures, each of a group of its own unless ``groups`` says how many there are."""
    made = []
    for number in range(first, first + n):
        noise = np.random.default_rng(number).normal(size=(3, SIZE, SIZE))
        image = gaussian_filter(noise, (0, 1 + blur, 1 + blur))
        made.append(Views(str(number % groups if groups else number), (image / np.abs(image).max() / 2 + 0.5).astype(np.float32)))
    return made


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("nnunet_synth_aug.reports.two_sample.PARTS", 2)
    monkeypatch.setattr("nnunet_synth_aug.reports.two_sample.STEPS", 40)


def test_blurred_hearts_are_told_and_others_are_not(short):
    real = hearts(12, 0)
    blurred, alike = two_sample(real, hearts(12, 100, blur=1.0)), two_sample(real, hearts(12, 200))
    assert blurred["auc"] > 0.9 and blurred["low"] > 0.7
    assert alike["low"] <= 0.5 <= alike["high"]


def test_the_same_seed_gives_the_same_answer(monkeypatch):
    monkeypatch.setattr("nnunet_synth_aug.reports.two_sample.STEPS", 5)
    assert two_sample(hearts(8, 0), hearts(8, 50), seed=3) == two_sample(hearts(8, 0), hearts(8, 50), seed=3)


def test_hearts_of_one_donor_are_never_on_both_sides(short):
    """A network that knows a donor's texture by heart must not be asked about that donor."""
    donor = hearts(4, 300)
    made = [Views(str(number % 4), donor[number % 4].image) for number in range(12)]  # each donor three times, pixel by pixel
    assert two_sample(hearts(12, 0), made)["low"] <= 0.5


def test_too_few_are_refused():
    with pytest.raises(UserError, match=r"needs 6 made hearts of 2 patients"):
        two_sample(hearts(10, 0), hearts(FEWEST - 1, 50))
    with pytest.raises(UserError, match=r"needs 6 made hearts of 2 patients"):
        two_sample(hearts(10, 0), hearts(10, 50, groups=1))


def test_what_is_seen_lies_around_the_lv_in_millimetres():
    image = np.zeros((2, 80, 60, 5), np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[:, 50:55, 20:25] = LV
    image[:, 50:55, 20:25] = 100
    found = views(Sequence(image, mask, (2.0, 2.0, 8.0), 0, 1, (0, 1)), "a")
    assert found is not None and found.image.shape == (6, SIZE, SIZE)
    bright = np.argwhere(found.image[0] > 0.5)
    assert np.abs(bright.mean(0) - (SIZE - 1) / 2).max() < 1
    assert np.ptp(bright[:, 0]) == pytest.approx(10 / 1.5, abs=1.5)
    mask[..., 1:] = 0
    assert views(Sequence(image, mask, (2.0, 2.0, 8.0), 0, 1, (0, 1)), "a") is None
