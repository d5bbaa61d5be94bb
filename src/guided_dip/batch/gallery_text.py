"""Text of the gallery's pages.

Names and notes come from elsewhere: every one of them goes through `text`.
"""

from __future__ import annotations

import html

from guided_dip.batch.entries import Entry
from guided_dip.files import one_line


def text(plain: str) -> str:
    """Make any text one line of HTML, in or outside an attribute."""
    return html.escape(one_line(plain))


def name_of(entry: Entry) -> str:
    """Return a picture's name as HTML; what in it runs from right to left changes nothing else."""
    return f"<bdi>{text(entry.name)}</bdi>"


def spoken(seconds: float) -> str:
    """Write a time for people.

    Examples
    --------
    >>> spoken(7.64), spoken(42.3), spoken(250), spoken(7380)
    ('7.6 s', '42 s', '4 min 10 s', '2 h 3 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def counted(number: int, thing: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> counted(1, "picture"), counted(1200, "picture")
    ('1 picture', '1,200 pictures')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
