"""A page as a list of blocks, written as self-contained HTML and as Markdown with files beside it.

Text is plain: each writer escapes it. HTML has its pictures inlined, no script and nothing from
elsewhere; it is readable in a light and in a dark window.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; ``strong`` comes first, in bold."""

    text: str
    strong: str = ""


@dataclass(frozen=True)
class Table:
    """A table: cells of one line or more, the first column names the line."""

    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    numeric: bool = True


@dataclass(frozen=True)
class Picture:
    """A picture: its file beside the Markdown page, its bytes, what it shows."""

    name: str
    data: bytes
    caption: str

    @property
    def media_type(self) -> str:
        """As its name ends."""
        return "image/jpeg" if self.name.endswith(".jpg") else "image/png"


Block = Heading | Paragraph | Table | Picture


@dataclass(frozen=True)
class Document:
    """A page: its title and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def pictures(self) -> list[Picture]:
        """All pictures on it."""
        return [block for block in self.blocks if isinstance(block, Picture)]


WIDE = 10  # columns; tables of more are set smaller

STYLE = """
:root { color-scheme: light dark; --ink: #1d2730; --paper: #ffffff; --faint: #d5dbe1;
  --band: #f4f6f8; --link: #1f4e79; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ed; --paper: #14191e;
  --faint: #3a444d; --band: #1d242b; --link: #8fbce6; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--faint); }
p, figcaption, caption { max-width: 50rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.86rem; }
caption, figcaption { text-align: left; font-size: 0.86rem; padding: 0.3rem 0; }
th, td { padding: 0.3rem 0.6rem; border: 1px solid var(--faint); text-align: left;
  vertical-align: top; }
.numeric td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { font-size: 0.75rem; } .wide th, .wide td { padding: 0.25rem 0.35rem; }
.numeric th[scope=row] { white-space: nowrap; }
thead th, tbody tr:nth-child(even) { background: var(--band); }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; background: #ffffff;
  border-radius: 4px; }
"""


def to_html(document: Document) -> str:
    """Write a document as one self-contained HTML page."""
    title = html.escape(document.title)
    body = "\n".join(_html(block) for block in document.blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        strong = f"<strong>{html.escape(block.strong)}</strong> " if block.strong else ""
        return f"<p>{strong}{html.escape(block.text)}</p>"
    if isinstance(block, Table):
        return _html_table(block)
    data = base64.b64encode(block.data).decode()
    caption = html.escape(block.caption)
    return (
        f'<figure><img alt="{caption}" src="data:{block.media_type};base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _cell(text: str) -> str:
    return "<br>".join(html.escape(line) for line in text.split("\n"))


def _html_table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in table.heads)
    lines = []
    for first, *cells in table.lines:
        others = "".join(f"<td>{_cell(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{others}</tr>')
    kinds = {"numeric": table.numeric, "wide": len(table.heads) > WIDE}
    names = " ".join(kind for kind, is_one in kinds.items() if is_one)
    kind = f' class="{names}"' if names else ""
    return (
        f'<div class="scroll"><table{kind}><caption>{html.escape(table.caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def to_markdown(document: Document, folder: str) -> str:
    """Write a document as Markdown.

    Parameters
    ----------
    document
        The page.
    folder
        Where its pictures lie, seen from the page.
    """
    blocks = [f"# {_escaped(document.title)}"]
    blocks += [_markdown(block, folder) for block in document.blocks]
    return "\n\n".join(blocks) + "\n"


def _markdown(block: Block, folder: str) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        strong = f"**{_escaped(block.strong)}** " if block.strong else ""
        return strong + _escaped(block.text)
    if isinstance(block, Table):
        rule = "---:" if block.numeric else "---"
        rules = ["---", *[rule] * (len(block.heads) - 1)]
        lines = [_line(block.heads), f"| {' | '.join(rules)} |", *map(_line, block.lines)]
        return f"{_escaped(block.caption)}\n\n" + "\n".join(lines)
    caption = _escaped(block.caption)
    return f"![{caption}]({folder}/{block.name})\n\n*{caption}*"


def _line(cells: Sequence[str]) -> str:
    texts = ("<br>".join(_escaped(line) for line in cell.split("\n")) for cell in cells)
    return f"| {' | '.join(texts)} |"


def _escaped(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would take for markup; keep it on one line."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", " ".join(text.split()))
