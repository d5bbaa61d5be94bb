"""The gallery's pages as HTML: nothing here reads or writes a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from guided_dip.batch.entries import Done, Entry
from guided_dip.batch.gallery_look import CSS, POLICY, SCRIPT
from guided_dip.batch.gallery_summary import Summary, figures, sections
from guided_dip.batch.gallery_text import name_of, spoken, text
from guided_dip.batch.thumbnails import Side, Thumbnails
from guided_dip.words import counted

INDEX = "index.html"
PICTURES = "pictures"


@dataclass(frozen=True)
class Card:
    """What is shown of a picture.

    Attributes
    ----------
    entry
        As the manifest has it.
    done
        What came of it.
    shown
        Its small pictures; None if there are none.
    source, output
        URLs of its files, relative to the page; None of one that is not there.
    remarks
        What else there is to say of it: a line each.
    """

    entry: Entry
    done: Done
    shown: Thumbnails | None
    source: str | None
    output: str | None
    remarks: Sequence[str]


def page_name(number: int) -> str:
    """Return the file name of a page of cards, from 1."""
    return INDEX if number == 1 else f"page-{number}.html"


def first_page(title: str, summary: Summary, cards: Sequence[Card], pages: int) -> str:
    """Write the first page: what there is to tell of all pictures, and the first cards."""
    parts = [f"<h1>{text(title)}</h1>", figures(summary), sections(summary)]
    return _page(title, [*parts, *_gallery(cards, 1, pages)])


def later_page(title: str, cards: Sequence[Card], number: int, pages: int) -> str:
    """Write another page of cards."""
    head = f'<h1><a href="{INDEX}">{text(title)}</a></h1>'
    return _page(f"{title}, page {number}", [head, *_gallery(cards, number, pages)])


def failed_page(title: str, failed: Iterable[tuple[Entry, str | None]]) -> str:
    """Write the page of failures, of pictures and their sources' URLs."""
    lines = []
    for entry, source in failed:
        name = name_of(entry) if source is None else f'<a href="{source}">{name_of(entry)}</a>'
        cells = f"<td>{text(entry.reason)}</td><td>{entry.attempts}</td>"
        lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("picture", "why", "attempts"))
    table = (
        f'<div class="scroll"><table class="failed"><caption>{counted(len(lines), "picture")} '
        f"could not be restored.</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )
    back = f'<p><a href="{INDEX}">Back to the gallery</a></p>'
    return _page(f"Failed: {title}", [f"<h1>Failed: {text(title)}</h1>", back, table])


def _page(title: str, parts: Sequence[str]) -> str:
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"{body}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _gallery(cards: Sequence[Card], number: int, pages: int) -> list[str]:
    """Write the cards with what is over and under them."""
    if not cards:
        return ["<p>No picture is done yet.</p>"] if number == 1 else []
    around = _pages(number, pages)
    shown = "\n".join(map(_card, cards))
    return [_TOOLS, around, f'<main class="cards">\n{shown}\n</main>', around]


_TOOLS = (
    '<form class="tools" hidden>'
    '<input type="search" name="name" placeholder="Name" aria-label="Only names with" '
    'autocomplete="off">'
    '<label><input type="checkbox" name="noted" autocomplete="off"> only with warnings</label>'
    '<fieldset aria-label="What is shown">'
    '<label><input type="radio" name="look" value="detail" checked> '
    "middle, 2\N{MULTIPLICATION SIGN}</label>"
    '<label><input type="radio" name="look" value="whole"> whole picture</label></fieldset>'
    '<output name="count" aria-live="polite"></output></form>\n'
    '<p class="hint">Point at a picture, or press it: the other of its pair comes in its place.</p>'
)


def _pages(number: int, pages: int) -> str:
    """Link the other pages: the first, the last, and those around."""
    if pages < 2:
        return ""
    near = sorted({1, pages, *range(max(1, number - 2), min(pages, number + 2) + 1)})
    links, last = [], 0
    for page in near:
        if page > last + 1:
            links.append("<span>…</span>")
        if page == number:
            links.append(f'<span aria-current="page">{page}</span>')
        else:
            links.append(f'<a href="{page_name(page)}">{page}</a>')
        last = page
    if number > 1:
        links.insert(0, f'<a rel="prev" href="{page_name(number - 1)}">Previous</a>')
    if number < pages:
        links.append(f'<a rel="next" href="{page_name(number + 1)}">Next</a>')
    return f'<nav class="pages" aria-label="Pages">{"".join(links)}</nav>'


def _card(card: Card) -> str:
    """Write a card."""
    entry, done = card.entry, card.done
    lines = [f'<p class="facts">{" · ".join(map(text, _facts(done)))}</p>']
    if done.note:
        lines.append(f'<p class="warning">{text(done.note)}</p>')
    if card.remarks and card.shown is not None:
        lines.append(f"<p>{'; '.join(map(text, card.remarks))}</p>")
    links = [
        f'<a href="{url}" aria-label="{what} of {text(entry.name)}">{what}</a>'
        for what, url in (("source", card.source), ("restoration", card.output))
        if url is not None
    ]
    if links:
        lines.append(f'<p class="links">{"".join(links)}</p>')
    if card.shown is None:
        pair = f'<p class="missing">{"; ".join(map(text, card.remarks))}</p>'
    else:
        views = _view(card.shown, entry, "before", "after") + _view(
            card.shown, entry, "after", "before"
        )
        pair = f'<div class="pair">{views}</div>'
    return (
        f'<article class="card" id="p{entry.id}"><h2>{name_of(entry)}</h2>\n{pair}\n'
        f"{''.join(lines)}</article>"
    )


def _facts(done: Done) -> list[str]:
    """Return what is known of a restoration, for people."""
    times = "\N{MULTIPLICATION SIGN}"
    facts = [f"{done.width} {times} {done.height}"]
    if done.channels > 1:
        facts.append("colour")
    if done.pages > 1:
        facts.append(f"the first of {done.pages} pages")
    facts.append(spoken(done.seconds))
    if done.noise:
        facts.append(f"noise: {done.noise}")
    return facts


def _view(shown: Thumbnails, entry: Entry, own: Side, other: Side) -> str:
    """Write a picture that gives way to the other one, at the same place."""
    layers = "".join(
        f'<span class="layer {kind}">{_images(shown, entry, side)}'
        f'<span class="side" aria-hidden="true">{side}</span></span>'
        for kind, side in (("own", own), ("other", other))
    )
    return f'<button type="button" class="view" aria-pressed="false">{layers}</button>'


def _images(shown: Thumbnails, entry: Entry, side: Side) -> str:
    alt = f'alt="{side}: {text(entry.name)}" loading="lazy" decoding="async"'
    kind = "detail" if shown.whole else "pixels"
    images = f'<img class="{kind}" src="{PICTURES}/{shown.name("detail", side)}" {alt}>'
    if shown.whole:
        images += f'<img class="whole" src="{PICTURES}/{shown.name("whole", side)}" {alt}>'
    return images
