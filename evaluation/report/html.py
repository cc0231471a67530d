"""A report as one HTML page: everything inside, no script, nothing fetched."""

from __future__ import annotations

import base64
import re
from html import escape
from urllib.parse import quote

from evaluation.report.blocks import Block, Definitions, Document, Gallery, Heading, Link, Pages, Paragraph, Picture, Sentences, Table

STYLE = """
:root { --ink: #222; --soft: #595959; --line: #d4d4d4; --accent: #0072b2; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 70rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { margin: .5rem 0; max-width: 48rem; }
.meta, .note { color: var(--soft); font-size: .875rem; }
.conclusion { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
.warning { border-left: 3px solid #d55e00; padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; min-width: 20rem; }
.name { white-space: normal; }
th, td { padding: .3rem .7rem .3rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #ececec; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid var(--ink); vertical-align: bottom; }
th.span { text-align: center; border-bottom: 1px solid var(--line); }
th.none { border-bottom: none; }
th.text, td.text { text-align: left; }
tr.rule td { border-top: 2px solid #c4c4c4; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: .75rem 0; }
.figures img { flex: 0 1 auto; max-width: 100%; height: auto; }
.pager { margin: 1rem 0; }
.pager > input { position: absolute; opacity: 0; pointer-events: none; }
.pager > input:not(:checked) + .case { display: none; }
.pager > input:focus-visible + .case { outline: 2px solid var(--accent); outline-offset: 4px; }
.turn { display: flex; flex-wrap: wrap; gap: .35rem .5rem; align-items: center; font-size: .85rem; }
.turn label, .all label { cursor: pointer; color: var(--accent); border: 1px solid var(--line); border-radius: 4px; padding: .2rem .6rem; }
.turn label:hover, .all label:hover { background: #f2f6fa; }
.turn span { color: var(--soft); min-width: 4rem; text-align: center; }
.all { display: flex; flex-wrap: wrap; gap: .3rem; margin: .5rem 0 .75rem; font-size: .8rem; }
.all label { padding: .1rem .45rem; }
.case h3 { margin-top: .75rem; }
.scroll img { display: block; width: 100%; min-width: 44rem; height: auto; }
dl { font-size: .9rem; margin: .5rem 0; max-width: 52rem; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0; }
@media (max-width: 36rem) { body { padding: 1rem .9rem 3rem; } h1 { font-size: 1.3rem; } }
@media print {
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3, dt { break-after: avoid; }
  .scroll { overflow: visible; }
  .scroll img { min-width: 0; }
  table { font-size: 7.5pt; }
  th, td { padding-right: .4rem; }
  tr, .figures img, .case { break-inside: avoid; }
  .figures { gap: .5rem; }
  .figures img { max-width: calc(100% / var(--n) - .5rem); }
  .pager > input, .turn, .all, .screen { display: none; }
  .pager > input:not(:checked) + .case { display: block; }
}
"""


def render(document: Document) -> str:
    """The complete page."""
    title = escape(document.title)
    header = f"<header><h1>{title}</h1>{_all(document.opening)}</header>"
    sections = (
        f"<section>\n<h2>{escape(section.title)}</h2>\n{_all(section.blocks)}\n</section>"
        for section in document.sections
        if section.blocks
    )
    body = "\n".join([header, *sections])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _all(blocks: list[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Paragraph(text, kind):
            return f'<p class="{kind}">{escape(text)}</p>' if kind else _sentence(text)
        case Sentences(sentences, kind):
            return f'<div class="{kind}">{"".join(map(_sentence, sentences))}</div>'
        case Table():
            return _table(block)
        case Definitions(items):
            return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items) + "</dl>"
        case Gallery(pictures):
            return f'<div class="figures" style="--n: {min(len(pictures), 3)}">{"".join(map(_image, pictures))}</div>'
        case Pages():
            return _pages(block)
        case Link(address, text):
            return f'<p><a href="{escape(quote(address + ".html"))}">{escape(text)}</a></p>'


def _sentence(text: str) -> str:
    """A paragraph in which an interval ``[low, high]`` is never broken across lines."""
    unbroken = re.sub(r"\[[^]]*\]", lambda found: found[0].replace(" ", "&nbsp;"), escape(text))
    return f"<p>{unbroken}</p>"


def _heading(text: str) -> str:
    """A long name of an arm may break behind its underscores, so that the table fits its page."""
    return f'<span class="name">{escape(text).replace("_", "_<wbr>")}</span>' if "_" in text else escape(text)


def _table(table: Table) -> str:
    """In a box that scrolls sideways on narrow screens."""
    head = ""
    if table.groups:
        spans = (f'<th class="{"span" if t else "none"}" colspan="{n}">{escape(t)}</th>' for t, n in table.groups)
        head = f"<tr>{''.join(spans)}</tr>"
    kinds = ["text" if i < table.text else "" for i in range(len(table.columns))]
    head += "<tr>" + "".join(f'<th class="{k}">{_heading(c)}</th>' for c, k in zip(table.columns, kinds, strict=True)) + "</tr>"
    lines = []
    for i, row in enumerate(table.rows):
        cells = "".join(f'<td class="{k}">{escape(c)}</td>' for c, k in zip(row, kinds, strict=True))
        lines.append(f'<tr class="rule">{cells}</tr>' if i in table.rules else f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def _image(picture: Picture) -> str:
    """The picture inside the page; never wider than it."""
    kind, mime = ("svg", "svg+xml") if "svg" in picture.files else ("png", "png")
    data = base64.b64encode(picture.files[kind]).decode("ascii")
    return f'<img src="data:image/{mime};base64,{data}" alt="{escape(picture.alt)}" width="{picture.width}">'


def _pages(block: Pages) -> str:
    """One page at a time, by radio buttons: arrow keys turn them, and without their style (or on paper) all are shown."""
    n = len(block.pages)
    jumps = "".join(_button(i, page.short) for i, page in enumerate(block.pages))
    parts = [f'<div class="all">{jumps}</div>']
    for i, page in enumerate(block.pages):
        chosen = " checked" if i == 0 else ""
        parts.append(f'<input type="radio" name="case" id="case-{i}" aria-label="{escape(page.short)}"{chosen}>')
        turn = f"{_button((i - 1) % n, 'previous')}<span>{i + 1} of {n}</span>{_button((i + 1) % n, 'next')}"
        picture = f'<div class="scroll">{_image(page.picture)}</div>'
        parts.append(f'<div class="case"><div class="turn">{turn}</div><h3>{escape(page.title)}</h3>{picture}{_table(page.table)}</div>')
    return f'<div class="pager">{"".join(parts)}</div>'


def _button(page: int, text: str) -> str:
    return f'<label for="case-{page}">{escape(text)}</label>'
