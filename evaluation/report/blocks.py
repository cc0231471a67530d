"""What a report consists of, whether it is written as HTML or as Markdown: sections of tables, text and pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.report.style import sober

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Dots per inch of a plot as PNG.
PLOT_DPI = 200


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """``kind``: "", or ``note`` or ``meta`` (small print), and ``screen`` for what means nothing on paper."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Sentences:
    """Sentences that belong together, set off from the text; ``kind``: ``conclusion`` or ``warning``."""

    sentences: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Table:
    """A table of text.

    ``text``: this many first columns are words, the others numbers. ``groups``: headings over the columns as (text, number of
    columns). ``rules``: rows (by index) with a line above.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1
    groups: Sequence[tuple[str, int]] = ()
    rules: Sequence[int] = ()


@dataclass(frozen=True)
class Definitions:
    """Terms with what they mean."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A drawn figure: ``name`` without ending, ``alt`` in words, ``files`` by format (``svg`` for plots, ``png`` for all)."""

    name: str
    alt: str
    files: Mapping[str, bytes]
    width: int  # natural width in CSS pixels (96 per inch)


@dataclass(frozen=True)
class Gallery:
    """Pictures in a row that wraps."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Page:
    """One of many that are looked at one at a time; ``short`` is its name in the list of all."""

    short: str
    title: str
    picture: Picture
    table: Table


@dataclass(frozen=True)
class Pages:
    """Pages to leaf through; on paper they follow each other."""

    pages: tuple[Page, ...]


@dataclass(frozen=True)
class Link:
    """A way to another page of the same report; ``address`` without ending."""

    address: str
    text: str


Block = Heading | Paragraph | Sentences | Table | Definitions | Gallery | Pages | Link
Blocks = list[Block]


@dataclass(frozen=True)
class Section:
    """A part of the page; one without blocks is left out."""

    title: str
    blocks: Blocks


@dataclass(frozen=True)
class Document:
    """A report; ``opening`` stands between the title and the first section. Sections without blocks are left out."""

    title: str
    opening: Blocks
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        found: list[Picture] = []
        for block in [*self.opening, *(b for section in self.sections for b in section.blocks)]:
            if isinstance(block, Gallery):
                found += block.pictures
            elif isinstance(block, Pages):
                found += [page.picture for page in block.pages]
        return found


def plot(figure: Figure, name: str, alt: str) -> Picture:
    """A figure of lines and text, as SVG and PNG; both are the same bytes for the same figure."""
    svg = _saved(figure, "svg")
    figure.set_layout_engine("none")  # all has its place now, and finding it takes longer than drawing
    files = {"svg": svg, "png": _saved(figure, "png", PLOT_DPI)}
    return Picture(file_name(name), alt, files, round(figure.get_figwidth() * 96))


def photograph(figure: Figure, name: str, alt: str) -> Picture:
    """A figure of voxels, as PNG of 256 colours: a third of the size, and grey values stay grey."""
    from PIL import Image  # comes with matplotlib

    full = Image.open(io.BytesIO(_saved(figure, "png"))).convert("RGB")
    stream = io.BytesIO()
    full.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    return Picture(file_name(name), alt, {"png": stream.getvalue()}, round(figure.get_figwidth() * 96))


def _saved(figure: Figure, kind: str, dpi: float | None = None) -> bytes:
    stream = io.BytesIO()
    with sober():
        figure.savefig(stream, format=kind, dpi=dpi or "figure", metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()


def file_name(text: str) -> str:
    """``text`` as the name of a file on any system."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "picture"
