"""Progress of a batch on stderr: a bar where there is a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from guided_dip.cli.console import tell
from guided_dip.cli.progress import EVERY, shown
from guided_dip.words import duration

if TYPE_CHECKING:
    from guided_dip.batch.entries import Counts
    from guided_dip.batch.progress import Progress


@contextmanager
def batch_progress(*, quiet: bool, every: float = EVERY) -> Iterator[Callable[[Progress], None]]:
    """Show how a batch goes.

    Parameters
    ----------
    quiet
        Show nothing.
    every
        Seconds between lines.

    Yields
    ------
    Callable
        To be called with each `Progress`.
    """
    with shown(_bar, partial(_Lines, every), quiet=quiet) as update:
        yield update


class _Lines:
    """A line about the batch every so many seconds, and where it turns."""

    def __init__(self, every: float) -> None:
        self._every, self._next = every, time.monotonic() + every
        self._draining = False

    def __call__(self, now: Progress) -> None:
        if now.draining and not self._draining:
            self._draining = True
            tell(drained(now))
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            tell(f"{told(now.counts)}; {pace_of(now)}")


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.fields[counts]}"), BarColumn(), TextColumn("{task.fields[pace]}"))
    console = Console(stderr=True)
    draining = False
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, counts="", pace="")

        def update(now: Any) -> None:
            nonlocal draining
            if now.draining and not draining:
                draining = True
                console.print(drained(now), highlight=False, markup=False)
            over = now.counts.done + now.counts.failed
            bar.update(
                task,
                completed=over,
                total=now.counts.total,
                counts=told(now.counts),
                pace=pace_of(now),
            )

        yield update


def told(counts: Counts) -> str:
    """Say how many pictures are in which state."""
    parts = [f"{counts.done} done"]
    parts += [f"{counts.failed} failed"] * bool(counts.failed)
    parts += [f"{counts.left} left"] * bool(counts.left)
    return ", ".join(parts)


def pace_of(now: Progress) -> str:
    """Say how fast a batch is, and when it will be done."""
    if now.stopping:
        return "stopping: a step and a checkpoint each"
    if now.watching:
        return "waiting for more pictures"
    if now.per_hour is None or now.seconds_left is None:
        return "no pace yet"
    left = f"{duration(now.seconds_left)} left"
    if now.draining:
        return f"{left} of those that have begun"
    return f"{per_hour(now.per_hour)}, {left}"


def per_hour(pace: float) -> str:
    """Write a pace for people.

    Examples
    --------
    >>> per_hour(3.14), per_hour(1234.5)
    ('3.1 an hour', '1234 an hour')
    """
    return f"{pace:.1f} an hour" if pace < 10 else f"{pace:.0f} an hour"


def drained(now: Progress) -> str:
    """Say what Ctrl-C has done, and what a second one would."""
    pictures = "picture" if now.counts.running == 1 else "pictures"
    return (
        f"finishing {now.counts.running} {pictures}, no more are begun; Ctrl-C again stops them, "
        "too, where they can go on later"
    )


@contextmanager
def counted_progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how many of something are done.

    Parameters
    ----------
    what
        They are, such as ``"pictures drawn"``.
    quiet
        Show nothing.

    Yields
    ------
    Callable
        To be called with how many are done, of how many.
    """
    began = last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY and done:
            last = now
            left = duration((now - began) / done * (total - done))
            tell(f"{done} of {total} {what}, {left} left")

    if quiet:
        yield lambda _done, _total: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (f"{what}:", MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield line
