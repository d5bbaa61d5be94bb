"""What commands of many runs share: options, progress, and what is said of runs that failed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli.console import tell
from guided_dip.cli.progress import EVERY, shown
from guided_dip.words import duration

if TYPE_CHECKING:
    from guided_dip.experiments.board import Outcome, Progress


Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Runs at once.  [default: one a GPU, else one a core]"),
]
Redraw = Annotated[
    bool, typer.Option("--redraw", help="Draw the page again from what is saved; run nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")]


def listed(text: str) -> list[str]:
    """Return the words of a list as an option has it.

    Examples
    --------
    >>> listed("dip, tv,")
    ['dip', 'tv']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def check_any(outcomes: Sequence[Outcome]) -> None:
    """Fail where every run failed, so that there is nothing to show.

    Parameters
    ----------
    outcomes
        Of all runs; none is no failure.

    Raises
    ------
    RunError
        If so.
    """
    if outcomes and all(outcome.state == "failed" for outcome in outcomes):
        check_failures(outcomes)


def check_failures(outcomes: Sequence[Outcome]) -> None:
    """Fail where any run failed, once all else is done.

    Parameters
    ----------
    outcomes
        Of all runs.

    Raises
    ------
    RunError
        One line that names each of them.
    """
    from guided_dip.errors import RunError

    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        told = "; ".join(f"{outcome.name}: {outcome.error}" for outcome in failed)
        raise RunError(f"{len(failed)} of {len(outcomes)} runs failed: {told}")


@contextmanager
def study_progress(*, quiet: bool, every: float = EVERY) -> Iterator[Callable[[Progress], None]]:
    """Show how a study goes: a bar where there is a terminal, else a line now and then.

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

    Raises
    ------
    InterruptionError
        In place of KeyboardInterrupt and SystemExit: it says how to go on.
    """
    from guided_dip.errors import InterruptionError

    try:
        with shown(_bar, partial(_Lines, every), quiet=quiet) as update:
            yield update
    except KeyboardInterrupt:
        message = "interrupted; the same command goes on"
        raise InterruptionError(message, signal.SIGINT) from None
    except SystemExit:
        message = "terminated; the same command goes on"
        raise InterruptionError(message, signal.SIGTERM) from None


class _Lines:
    """A line about the study every so many seconds."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._next = time.monotonic() + every

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        tell(
            f"run {progress.runs_done}/{progress.runs} done, {_at(progress)}, "
            f"{_left(progress)} left"
        )


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("run {task.fields[runs]} done"),
        BarColumn(),
        TextColumn("{task.fields[at]}"),
        TextColumn("{task.fields[left]} left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1, runs="0", at="", left="-")

        def update(now: Any) -> None:
            bar.update(
                task,
                completed=now.steps_done,
                total=now.steps,
                runs=f"{now.runs_done}/{now.runs}",
                at=_at(now),
                left=_left(now),
            )

        yield update


def _at(progress: Progress) -> str:
    """Name the function that is at work, which has no steps, or tell the steps."""
    name = getattr(progress, "name", "")
    return f"at {name}" if name else f"step {progress.steps_done}/{progress.steps}"


def _left(progress: Progress) -> str:
    return "-" if progress.seconds_left is None else duration(progress.seconds_left)
