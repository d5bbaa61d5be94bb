"""Progress of a run on stderr: a bar where there is a terminal, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from guided_dip.cli.console import tell
from guided_dip.words import duration

if TYPE_CHECKING:
    from guided_dip.guidance import Plan
    from guided_dip.result import Record

T = TypeVar("T")

EVERY = 10.0  # seconds between lines


@contextmanager
def shown(
    bar: Callable[[], AbstractContextManager[Callable[[T], None]]],
    lines: Callable[[], Callable[[T], None]],
    *,
    quiet: bool = False,
) -> Iterator[Callable[[T], None]]:
    """Show progress as fits: a bar where there is a terminal, else lines.

    Parameters
    ----------
    bar, lines
        Make what shows it.
    quiet
        Show nothing.

    Yields
    ------
    Callable
        To be called with what there is to show.
    """
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with bar() as update:
            yield update
    else:
        yield lines()


@contextmanager
def progress(plan: Plan) -> Iterator[Callable[[Record], None]]:
    """Show how a run goes.

    Parameters
    ----------
    plan
        What it is going to do.

    Yields
    ------
    Callable
        To be called with each record.
    """
    with shown(partial(_bar, plan), partial(Lines, plan)) as update:
        yield update


def seconds_left(record: Record, plan: Plan) -> float:
    """Foretell the rest of the run from the work so far."""
    done = plan.work_done(record.step + 1)
    return record.seconds / done * (plan.work_done(plan.steps) - done)


class Lines:
    """A line about the run, first after ten seconds and then every ten."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next = EVERY

    def __call__(self, record: Record) -> None:
        """Note a step."""
        if record.seconds < self._next:
            return
        self._next = record.seconds + EVERY
        plan = self._plan
        tell(
            f"stage {record.stage + 1}/{len(plan)}, step {record.step + 1}/{plan.steps}, "
            f"loss {record.loss:.3g}, {duration(seconds_left(record, plan))} left"
        )


@contextmanager
def _bar(plan: Plan) -> Iterator[Callable[[Record], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("stage {task.fields[stage]}"),
        BarColumn(),
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[left]} left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=plan.steps, stage=f"1/{len(plan)}", loss="-", left="-")

        def update(record: Record) -> None:
            bar.update(
                task,
                completed=record.step + 1,
                stage=f"{record.stage + 1}/{len(plan)}",
                loss=f"{record.loss:.3g}",
                left=duration(seconds_left(record, plan)),
            )

        yield update
