"""Contact sheets: every heart is there, round ones stay round, and both sides line up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nnunet_synth_aug.core.labels import LV, MYO, RV
from nnunet_synth_aug.core.priors import Priors
from nnunet_synth_aug.synthesis.contact_sheet import GAP, MARGIN_MM, SIZE, Column, Tile, in_short, measured_in_short, spread, write_sheet
from nnunet_synth_aug.synthesis.pictures import COLOURS


def heart(spacing=(1.5, 1.5, 8.0), radius_mm=30.0, centre_mm=(70.0, 75.0), frames=2, dim=1.0):
    """Round: muscle around a cavity that shrinks, in frames (T, X, Y, Z); ``dim`` darkens ES, as some scanners do."""
    x, y = np.meshgrid(*(np.arange(round(150 / s)) * s for s in spacing[:2]), indexing="ij")
    far = np.hypot(x - centre_mm[0], y - centre_mm[1])
    mask = np.zeros((frames, *far.shape, 3), np.uint8)
    for frame in range(frames):
        mask[frame, far < radius_mm] = MYO
        mask[frame, far < radius_mm - 8 - 6 * frame] = LV
    image = np.where(mask == LV, 200.0, np.where(mask == MYO, 80.0, 20.0)).astype(np.float32)
    image[1:] *= dim
    return SimpleNamespace(image=image, mask=mask, spacing=spacing, ed=0, es=frames - 1)


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where an outline of a colour was drawn over grey."""
    on_black, on_white = (0.25 * grey + 0.75 * np.array(colour) for grey in (0, 255))
    inside = (picture >= np.floor(on_black)) & (picture <= np.ceil(on_white))
    return inside.all(axis=-1) & (np.ptp(picture.astype(int), axis=-1) > 30)


def drawn(tmp_path, *columns: Column) -> np.ndarray:
    write_sheet(tmp_path / "sheet.png", columns, "below")
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    return np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 8.0), (1.0, 2.0, 8.0), (2.5, 1.25, 10.0)])
def test_a_round_heart_is_round_whatever_its_pixels(tmp_path, spacing):
    picture = drawn(tmp_path, Column("hearts", [Tile.of(heart(spacing), "a heart")]))
    first = picture[:, : 2 * GAP + SIZE]
    found = np.argwhere(near(first, COLOURS[MYO]))
    height, width = np.ptp(found, axis=0) + 1
    wanted = SIZE * 60 / (60 + 2 * MARGIN_MM)
    assert abs(height - wanted) < 6
    assert abs(width - wanted) < 6
    assert not near(first, COLOURS[RV]).any()


def test_a_heart_at_the_border_is_whole_and_every_frame_has_its_own_grey(tmp_path):
    tile = Tile.of(heart(centre_mm=(28.0, 120.0), dim=0.01), "a heart")
    picture = drawn(tmp_path, Column("hearts", [tile]))
    for frame in range(2):
        left = 2 * GAP + frame * (SIZE + 2)
        panel = picture[:, left : left + SIZE]
        assert (panel.max(axis=-1) > 180).mean() > 0.05, "white blood, though ES is a hundredth as bright"
        assert near(panel, COLOURS[LV]).sum() > 60
        assert near(panel, COLOURS[MYO]).sum() > 100


def test_both_sides_line_up_and_one_may_be_empty(tmp_path):
    long, short = Tile.of(heart(), "name", "one", "two", "three"), Tile.of(heart(frames=1), "name")
    assert len(short.image) == 1
    picture = drawn(
        tmp_path,
        Column("made", [long] * 4),
        Column("real, with a heading of so many words that it takes two lines of its own", [short] * 3),
    )
    half = picture.shape[1] // 2

    def rows(side: np.ndarray) -> list[int]:
        dark = (side[:, 2 * GAP + SIZE // 2] < 120).all(axis=-1)
        return [int(i) for i in np.flatnonzero(dark[1:] & ~dark[:-1])][:1]

    assert rows(picture[:, :half]) == rows(picture[:, half - GAP // 2 :]) != []
    alone = drawn(tmp_path, Column("made", [long]), Column("real: not shown", []))
    assert alone.shape[1] == picture.shape[1]
    no_heart = heart()
    no_heart.mask[:] = 0
    assert not near(drawn(tmp_path, Column("made", [Tile.of(no_heart, "")])), COLOURS[LV]).any()


def test_priors_in_short():
    assert in_short(Priors(lv_edv=150.4, lv_ef=55, rv_edv=160, lv_mass=110)) == "LV 150 mL, 55 %; RV 160 mL; 110 g"
    assert in_short(Priors(diagnosis="DCM")) == ""
    one = heart()
    lv = np.count_nonzero(one.mask[0] == LV) * 1.5 * 1.5 * 8 / 1000
    assert measured_in_short(one, frozenset({LV})).startswith(f"LV {lv:.0f} mL, ")
    assert measured_in_short(heart(frames=1), frozenset({LV})) == f"LV {lv:.0f} mL"


@given(st.integers(0, 40), st.integers(1, 12))
def test_spread_takes_the_first_the_last_and_no_one_twice(length, n):
    items = list(range(length))
    found = spread(items, n)
    assert len(found) == min(n, length)
    assert found == sorted(set(found))
    assert found[:1] == items[:1]
    assert n == 1 or found[-1:] == items[-1:]
