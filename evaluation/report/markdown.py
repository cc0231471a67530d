"""A report as Markdown, with its pictures as files beside it."""

from __future__ import annotations

import re
from urllib.parse import quote

from evaluation.report.blocks import Block, Definitions, Document, Gallery, Heading, Link, Pages, Paragraph, Picture, Sentences, Table

#: Folder of the pictures, beside the Markdown file.
FIGURES = "figures"


def render(document: Document) -> str:
    """The complete file."""
    parts = [f"# {_plain(document.title)}", *map(_block, document.opening)]
    for section in document.sections:
        if section.blocks:
            parts += [f"## {_plain(section.title)}", *map(_block, section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"### {_plain(text)}"
        case Paragraph(text, kind):
            return "" if "screen" in kind else f"*{_plain(text)}*" if kind else _plain(text)
        case Sentences(sentences, kind):
            opening = "> **Warning:** " if kind == "warning" else "> "
            return "\n>\n".join(opening + _plain(sentence) for sentence in sentences)
        case Table():
            return _table(block)
        case Definitions(items):
            return "\n".join(f"- **{_plain(name)}**: {_plain(text)}" for name, text in items)
        case Gallery(pictures):
            return "\n".join(map(_image, pictures))
        case Pages(pages):
            return "\n\n".join(part for page in pages for part in (f"### {_plain(page.title)}", _image(page.picture), _table(page.table)))
        case Link(address, text):
            return f"[{_plain(text)}]({quote(address)}.md)"


def _table(table: Table) -> str:
    """Groups of columns, which Markdown does not know, become part of their columns' names."""
    over = [text for text, n in table.groups for _ in range(n)] or [""] * len(table.columns)
    columns = [f"{group}: {column}" if group else column for group, column in zip(over, table.columns, strict=True)]
    align = [":---" if i < table.text else "---:" for i in range(len(columns))]
    lines = [list(map(_cell, columns)), align, *([_cell(c) for c in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _image(picture: Picture) -> str:
    return f"![{_plain(picture.alt)}]({FIGURES}/{quote(picture.name)}.png)"


#: What Markdown would read as more than itself: emphasis and code anywhere, tags, underscores at the ends of words.
_SPECIAL = re.compile(r"[\\`*]|<(?=[a-zA-Z/!])|(?<!\w)_|_(?!\w)")


def _plain(text: str) -> str:
    """Text whose characters mean only themselves."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text).replace("\n", " ")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
