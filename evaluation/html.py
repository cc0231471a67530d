"""Small pieces of HTML: one page with everything inside, no script, nothing fetched."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from evaluation.style import sober

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
th, td { padding: .3rem .7rem .3rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #ececec; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid var(--ink); vertical-align: bottom; }
th.span { text-align: center; border-bottom: 1px solid var(--line); }
th.none { border-bottom: none; }
th.text, td.text { text-align: left; }
tr.rule td { border-top: 2px solid #c4c4c4; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: .75rem 0; }
.figures img { flex: 0 1 auto; max-width: 100%; height: auto; }
figure { margin: 1.25rem 0; }
figcaption { font-size: .875rem; color: var(--soft); }
.scroll img { display: block; width: 100%; min-width: 44rem; height: auto; }
dl { font-size: .9rem; margin: .5rem 0; max-width: 52rem; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0; }
@media (max-width: 36rem) { body { padding: 1rem .9rem 3rem; } h1 { font-size: 1.3rem; } }
@media print {
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  .scroll img { min-width: 0; }
  table { font-size: 7.5pt; }
  th, td { padding-right: .4rem; }
  tr, figure, .figures img { break-inside: avoid; }
}
"""


def page(title: str, body: str) -> str:
    """A complete document; ``body`` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading with its parts; "" when every part is empty, so that absent data leave no heading behind."""
    content = "\n".join(p for p in parts if p)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>\n" if content else ""


def paragraph(text: str, kind: str = "") -> str:
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def sentence(text: str) -> str:
    """A paragraph in which an interval ``[low, high]`` is never broken across lines."""
    unbroken = re.sub(r"\[[^]]*\]", lambda found: found[0].replace(" ", "&nbsp;"), escape(text))
    return f"<p>{unbroken}</p>"


def block(sentences: Sequence[str], kind: str) -> str:
    """Sentences that belong together, set off from the text; "" without any."""
    return f'<div class="{kind}">{"".join(sentence(s) for s in sentences)}</div>' if sentences else ""


def gallery(images: Sequence[str]) -> str:
    """Images in a row that wraps."""
    return f'<div class="figures">{"".join(images)}</div>' if images else ""


def figure(image: str, caption: str) -> str:
    """A wide image, scrolling sideways on narrow screens, under its caption."""
    return f'<figure><figcaption>{escape(caption)}</figcaption><div class="scroll">{image}</div></figure>'


def link(address: str, text: str) -> str:
    """A paragraph that leads to another page of the same report."""
    return f'<p><a href="{escape(quote(address))}">{escape(text)}</a></p>'


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text: int = 1,
    groups: Sequence[tuple[str, int]] = (),
    rules: Sequence[int] = (),
) -> str:
    """An HTML table in a box that scrolls sideways on narrow screens.

    Args:
        text: this many first columns are left-aligned.
        groups: headings over the columns as (text, number of columns).
        rules: rows (by index) with a line above.
    """
    head = ""
    if groups:
        spans = (f'<th class="{"span" if t else "none"}" colspan="{n}">{escape(t)}</th>' for t, n in groups)
        head = f"<tr>{''.join(spans)}</tr>"
    kinds = ["text" if i < text else "" for i in range(len(columns))]
    head += "<tr>" + "".join(f'<th class="{k}">{escape(c)}</th>' for c, k in zip(columns, kinds, strict=True)) + "</tr>"
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f'<td class="{k}">{escape(c)}</td>' for c, k in zip(row, kinds, strict=True))
        lines.append(f'<tr class="rule">{cells}</tr>' if i in rules else f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>' if lines else ""


def definitions(items: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items) + "</dl>"


def svg(figure: Figure, alt: str) -> str:
    """A figure as an SVG image; its natural width in CSS pixels (96 per inch), never wider than the page."""
    width = round(figure.get_figwidth() * 96)
    return f'<img src="data:image/svg+xml;base64,{_encoded(figure, "svg")}" alt="{escape(alt)}" width="{width}">'


def png(figure: Figure, alt: str) -> str:
    """A figure as a PNG image, for pictures of voxels."""
    return f'<img src="data:image/png;base64,{_encoded(figure, "png")}" alt="{escape(alt)}">'


def _encoded(figure: Figure, kind: str) -> str:
    stream = io.BytesIO()
    with sober():
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return base64.b64encode(stream.getvalue()).decode("ascii")
