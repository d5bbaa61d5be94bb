"""Text of the gallery's pages.

Names and notes come from elsewhere: every one of them goes through `text`.
"""

from __future__ import annotations

import html

from guided_dip.batch.entries import Entry
from guided_dip.words import duration, one_line


def text(plain: str) -> str:
    """Make any text one line of HTML, in or outside an attribute."""
    return html.escape(one_line(plain))


def name_of(entry: Entry) -> str:
    """Return a picture's name as HTML; what in it runs from right to left changes nothing else."""
    return f"<bdi>{text(entry.name)}</bdi>"


def spoken(seconds: float) -> str:
    """Write the time that a picture took; many take a few seconds, so tenths tell them apart."""
    return duration(seconds, tenths_below=10)
