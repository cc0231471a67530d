"""One picture of many hearts: ED and ES of each with thin contours, and its priors below, made hearts beside real ones."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from nnunet_synth_aug.core.cases import Sequence, Spacing
from nnunet_synth_aug.core.files import atomic_path
from nnunet_synth_aug.core.priors import Priors, measure
from nnunet_synth_aug.synthesis.pictures import COLOURS, grey_window, on, picked_slices

T = TypeVar("T")

FOOT = "ED and ES, middle slice. Green RV, orange MYO, blue LV. Below: volume at ED, EF and muscle mass, measured on the masks."
#: Shown around a heart, and the size of a frame and of the letters in pixels.
MARGIN_MM, SIZE, LETTERS, GAP = 16.0, 152, 11, 12
#: Hearts of a column side by side.
PER_ROW = 2
_LINE = LETTERS + 4
_WIDE = PER_ROW * (2 * SIZE + 2) + (PER_ROW - 1) * GAP
_INK, _SOFT = (34, 34, 34), (89, 89, 89)


@dataclass(frozen=True)
class Tile:
    """One heart of a sheet: frames (n, X, Y, Z) that are shown side by side, and what stands below."""

    image: np.ndarray
    mask: np.ndarray
    spacing: Spacing
    lines: tuple[str, ...]

    @staticmethod
    def of(heart: Any, *lines: str) -> Tile:
        """ED and ES of a sequence, or the one frame that it has; empty lines are left out."""
        frames = [heart.ed] if heart.es == heart.ed else [heart.ed, heart.es]
        return Tile(heart.image[frames], heart.mask[frames], heart.spacing, tuple(line for line in lines if line))


@dataclass(frozen=True)
class Column:
    """Hearts of one kind under a heading."""

    heading: str
    tiles: Seq[Tile]


def in_short(priors: Priors) -> str:
    """Volumes at ED, EF and mass in the space below a heart, e.g. ``LV 150 mL, 55 %; RV 160 mL, 50 %; 110 g``."""
    sides = []
    for name, edv, ef in (("LV", priors.lv_edv, priors.lv_ef), ("RV", priors.rv_edv, priors.rv_ef)):
        told = [f"{value:.0f} {unit}" for value, unit in ((edv, "mL"), (ef, "%")) if value is not None]
        sides += [f"{name} {', '.join(told)}"] if told else []
    return "; ".join([*sides, *([] if priors.lv_mass is None else [f"{priors.lv_mass:.0f} g"])])


def measured_in_short(sequence: Sequence, structures: frozenset[int]) -> str:
    """What the contours of a patient's ED and ES measure, of the structures that were contoured; "" without any at ED."""
    ed, es = sequence.mask[sequence.ed], sequence.mask[sequence.es]
    return in_short(measure(ed, es if sequence.es != sequence.ed and es.any() else None, sequence.spacing, structures))


def spread(items: Seq[T], n: int) -> list[T]:
    """At most ``n`` of them, spread over all."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int))] if len(items) else []


def write_sheet(path: Path, columns: Seq[Column], foot: str = "") -> None:
    """Write a sheet as PNG: the columns beside each other, with rows at the same heights.

    Args:
        path: of the file.
        columns: at least one tile in all; one without tiles keeps its heading, which may say why.
        foot: a line below.
    """
    most = max(len(column.tiles) for column in columns)
    rows = [[_rows(column)[row] for column in columns if len(column.tiles) > row * PER_ROW] for row in range(-(-most // PER_ROW))]
    heights = [SIZE + _LINE * max(len(_lines(tile)) for tiles in row for tile in tiles) + GAP for row in rows]
    top = max(len(_wrapped(column.heading, _WIDE)) for column in columns) * _LINE + 6
    blocks = [_column(column, top, heights) for column in columns]
    height, rim = max(block.height for block in blocks), 2 * GAP
    width = sum(block.width for block in blocks) + rim * (len(blocks) + 1)
    sheet = Image.new("RGB", (width, height + rim + (_LINE if foot else 0)), "white")
    at = rim
    for number, block in enumerate(blocks):
        sheet.paste(block, (at, GAP))
        at += block.width + rim
        if number < len(blocks) - 1:
            ImageDraw.Draw(sheet).line([(at - GAP, GAP), (at - GAP, height)], fill=(200, 200, 200))
    if foot:
        ImageDraw.Draw(sheet).text((rim, height + GAP), foot, _SOFT, _font())
    with atomic_path(path) as temporary:
        sheet.save(temporary, compress_level=4)


def _rows(column: Column) -> list[Seq[Tile]]:
    return [column.tiles[first : first + PER_ROW] for first in range(0, len(column.tiles), PER_ROW)]


def _column(column: Column, top: int, heights: Seq[int]) -> Image.Image:
    """A column whose rows have these heights, below a heading of height ``top``."""
    block = Image.new("RGB", (_WIDE, top + sum(heights)), "white")
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(_wrapped(column.heading, _WIDE)):
        draw.text((0, number * _LINE), line, _INK, _font(bold=True))
    y = top
    for row, height in zip(_rows(column), heights, strict=False):
        for place, tile in enumerate(row):
            x = place * (2 * SIZE + 2 + GAP)
            for number, panel in enumerate(_panels(tile)):
                block.paste(panel, (x + number * (SIZE + 2), y))
            for number, line in enumerate(_lines(tile)):
                draw.text((x, y + SIZE + 2 + number * _LINE), line, _SOFT if number else _INK, _font())
        y += height
    return block


def _lines(tile: Tile) -> list[str]:
    return [part for line in tile.lines for part in _wrapped(line, 2 * SIZE)]


def _panels(tile: Tile) -> list[Image.Image]:
    """The middle slice of every frame around the heart, with thin contours; X to the right and Y up."""
    z = picked_slices(tile.mask if tile.mask.any() else np.ones_like(tile.mask), 1)[0]
    image, mask = tile.image[..., z], tile.mask[..., z]
    box = _box(mask, tile.spacing)
    panels = []
    for frame, labels in zip(image, mask, strict=True):
        low, high = grey_window(frame)  # of its own: some scanners scale every frame anew
        grey = (np.clip((_cut(frame, box) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        rgb = np.array(Image.fromarray(grey.T[::-1]).resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB"))
        for label, colour in COLOURS.items():
            inside = Image.fromarray(_cut(labels == label, box).T[::-1] * np.uint8(255)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            edge = find_boundaries(np.asarray(inside) >= 128, mode="inner")
            rgb[edge] = on(rgb[edge], colour)
        panels.append(Image.fromarray(rgb))
    return panels


def _box(mask: np.ndarray, spacing: Spacing) -> tuple[tuple[int, int], tuple[int, int]]:
    """A square in mm around the heart in all frames (n, X, Y), in pixels; it may reach beyond the image. Everything without a heart."""
    found = np.argwhere(mask.any(axis=0))
    if not len(found):
        return (0, mask.shape[1]), (0, mask.shape[2])
    low, high = found.min(axis=0), found.max(axis=0) + 1
    half = max((h - k) * s for h, k, s in zip(high, low, spacing, strict=False)) / 2 + MARGIN_MM
    first, second = ((round(c - half / s), round(c + half / s)) for c, s in zip((low + high) / 2, spacing, strict=False))
    return first, second


def _cut(frame: np.ndarray, box: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """A part of a frame (X, Y); the frame's least value beyond its borders."""
    inside = tuple(slice(max(low, 0), min(high, n)) for (low, high), n in zip(box, frame.shape, strict=True))
    pads = [(max(-low, 0), max(high - n, 0)) for (low, high), n in zip(box, frame.shape, strict=True)]
    return np.pad(frame[inside], pads, constant_values=frame.min())


def _wrapped(text: str, width: int) -> list[str]:
    """Lines no wider than ``width`` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and _font().getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@cache
def _font(bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib  # whose font is there on every machine

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf"), LETTERS)
