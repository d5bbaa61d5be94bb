"""What the commands say: results on stdout, everything else on stderr, one line at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from guided_dip.words import one_line


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
