"""What a Slurm job does: restores its pictures, and appends what becomes of them to a file.

The file is how the two sides talk, as they share nothing else. The batch makes it, empty, and
removes it when it is through with the job; so a job that finds none belongs to a batch that is no
more, and ends. A line is one event as JSON, or what the job says of itself: ``pid`` as it begins,
``over`` when it has come to an end for all of its pictures.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guided_dip.batch.entries import Done, Stamp
from guided_dip.batch.work import ENDS, Event, Item, Orders, Reached

STEP_EVERY = 5.0  # seconds between what is said about the steps of a picture
# Preemption and the time limit send the first, as submitit asks Slurm to; scancel the second.
SIGNALS = (getattr(signal, "SIGUSR2", signal.SIGTERM), signal.SIGTERM)  # Windows has but one


@dataclass(frozen=True)
class Task:
    """What a job is given.

    Attributes
    ----------
    events
        The file that it appends to.
    groups
        Pictures, those of a group restored as one if they can be.
    orders
        What goes for all.
    """

    events: Path
    groups: tuple[tuple[Item, ...], ...]
    orders: Orders


def run_task(task: Task) -> None:
    """Be a job: carry a task out, and end the process.

    Parameters
    ----------
    task
        What the job is given.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    carry_out_task(task)
    sys.stdout.flush()
    sys.stderr.flush()
    # submitit would yet write a result that nobody reads, to a folder that may be gone by now.
    os._exit(0)


def carry_out_task(task: Task) -> None:
    """Carry out a task, to its end or until a signal asks for that.

    Parameters
    ----------
    task
        What the job is given. What an earlier start of the same job has ended is left out.
    """
    from guided_dip.batch.carry_out import carry_out

    with _heard() as asked:
        report = _Report(task.events, asked)
        with suppress(SystemExit):  # of `_Report.check`
            report.begin()
            for group in task.groups:
                items = [item for item in group if item.name not in report.ended]
                if items:
                    carry_out(items, task.orders, report)
                report.check()
        report.end(item.name for group in task.groups for item in group)


class _Asked:
    """Whether a signal has asked for the end, whoever's handler it met."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._came = pipe, False

    def note(self) -> None:
        """Take it as asked."""
        self._came = True

    def came(self) -> bool:
        """Tell whether it was asked."""
        with suppress(BlockingIOError):  # nothing new
            self._came |= any(number in SIGNALS for number in os.read(self._pipe, 4096))
        return self._came


@contextmanager
def _heard() -> Iterator[_Asked]:
    """Note signals, those included that come to a handler that a step has set for itself.

    None cuts off what is done just now, such as the writing of a checkpoint: Slurm may well send
    several. `_Report` sees to what has been noted.
    """
    far, near = os.pipe()
    os.set_blocking(far, False)
    os.set_blocking(near, False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(near, warn_on_full_buffer=False)
    try:
        yield _Asked(far)
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(far)
        os.close(near)


class _Report:
    """Appends what is told to the file of a job, and there ends what a signal wants ended.

    Attributes
    ----------
    ended
        Names of pictures that have come to an end.
    """

    def __init__(self, path: Path, asked: _Asked) -> None:
        events = (event_of(line) for line in Followed(path).lines())
        self.ended = {event.name for event in events if event and event.kind in ENDS}
        self._path, self._asked = path, asked
        self._next: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Append an event; take the chance to end, if that was asked."""
        if event.kind == "step":
            if self._asked.came():
                # Steps listen for this: they leave a checkpoint, whatever the signal was and
                # whether or not it came while they listened.
                signal.raise_signal(signal.SIGTERM)
                return
            now = time.monotonic()
            if now < self._next.get(event.name, 0.0):
                return
            self._next[event.name] = now + STEP_EVERY
        elif event.kind in ENDS:
            self.ended.add(event.name)
        self._append(asdict(event))
        if event.kind not in ("step", "cut"):
            self.check()

    def check(self) -> None:
        """Begin nothing more if the end was asked for."""
        if self._asked.came():
            raise SystemExit(1)

    def begin(self) -> None:
        """Say that the job has begun."""
        self._append({"pid": os.getpid()})
        self.check()

    def end(self, names: Iterable[str]) -> None:
        """Say that the job is over, and that what has come to no end was cut."""
        for name in names:
            if name not in self.ended:
                self(Event("cut", name))
        self._append({"over": True})

    def _append(self, line: Mapping[str, Any]) -> None:
        # Opened anew for each: closing is what shows a line to other machines, and the batch may
        # have removed the file. A line begins with an end, as that of a killed start may have none.
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            self._asked.note()
            return
        try:
            os.write(file, f"\n{json.dumps(line)}\n".encode())
        finally:
            os.close(file)


class Followed:
    """A file of JSON lines that grows.

    Parameters
    ----------
    path
        Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def lines(self) -> list[dict[str, Any]]:
        """Return what has come since; half a line at the end is left for the next look."""
        try:
            with self.path.open("rb") as file:  # anew: so NFS looks whether it has grown
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [line for text in whole.splitlines() if (line := _parsed(text)) is not None]


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it is empty or was never written to its end."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def event_of(line: Mapping[str, Any]) -> Event | None:
    """Return the event that a line has; None if it is of the job itself.

    Parameters
    ----------
    line
        Of the file.
    """
    if "kind" not in line:
        return None
    values = dict(line)
    if values.get("at") is not None:
        values["at"] = Reached(**values["at"])
    if values["done"] is not None:
        stamp = Stamp(**values["done"]["stamp"])
        values["done"] = Done(**{**values["done"], "stamp": stamp})
    return Event(**values)
