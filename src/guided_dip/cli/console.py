"""What the commands say: results on stdout, everything else on stderr, one line at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a line, by default on stderr; a reader that has gone away is no error.

    Parameters
    ----------
    text
        What to print.
    stream
        Where to.
    """
    stream = sys.stderr if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # Otherwise Python would complain about the lost line once more when it exits.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def give(text: str) -> None:
    """Print a result on stdout."""
    tell(text, sys.stdout)


def one_line(text: object) -> str:
    """Return a message as one printable line, whatever it holds."""
    words = " ".join(str(text).split())
    return words.encode(errors="backslashreplace").decode()


def duration(seconds: float) -> str:
    """Write a time for people.

    Examples
    --------
    >>> duration(0.4), duration(7.6), duration(250), duration(7380)
    ('0.4 s', '8 s', '4 min 10 s', '2 h 3 min')
    """
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 1:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(f"guided-dip: note: {one_line(record.getMessage())}")


@contextlib.contextmanager
def notes(*, quiet: bool) -> Iterator[None]:
    """Show what the library remarks on the way, or keep it quiet."""
    log = logging.getLogger("guided_dip")
    handler: logging.Handler = logging.NullHandler() if quiet else _Notes(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
