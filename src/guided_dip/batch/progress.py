"""How a batch goes: by which rules, what the user asks for meanwhile, how far it is, its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from guided_dip.batch.entries import Counts
from guided_dip.jobs.stop import heard_by


class Requests:
    """What the user asked for by signals while a batch runs.

    Attributes
    ----------
    drain
        No more pictures are to be begun.
    stop
        Those that are computed are to end soon.
    signal
        The last signal; None if there was none.
    """

    def __init__(self) -> None:
        self.drain = self.stop = False
        self.signal: int | None = None

    def note(self, number: int, frame: object = None) -> None:
        """Note a signal: Ctrl-C drains, a second one stops, as SIGTERM does; a third one ends."""
        del frame
        if self.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop = self.drain or number != signal.SIGINT
        self.drain, self.signal = True, number


@contextmanager
def requests() -> Iterator[Requests]:
    """Note the signals that ask a program to end, instead of ending at once."""
    noted = Requests()
    with heard_by(noted.note):
        yield noted


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes
    ----------
    counts
        Pictures by state.
    per_hour
        Pictures an hour in this call, parts of pictures included, while there were some to work at;
        None before there is a pace.
    seconds_left
        Foretold from that.
    draining
        No more pictures are begun, and those that were are finished.
    stopping
        Those that were begun are to end soon, and keep their place.
    watching
        All is done, and more may come.
    """

    counts: Counts
    per_hour: float | None = None
    seconds_left: float | None = None
    draining: bool = False
    stopping: bool = False
    watching: bool = False


@dataclass(frozen=True)
class Rules:
    """How a batch is gone about.

    Attributes
    ----------
    together
        Pictures of a group.
    attempts
        How often a picture is begun whose process ends unasked.
    fail_fast
        Stop when a picture fails.
    overwrite
        Files that are in the place of a restoration may be replaced, whoever wrote them.
    look
        Looks for more pictures and enrols them; None: there will be no more.
    look_every
        Seconds between two looks.
    patience
        Seconds for a step and a checkpoint of what is asked to end; None for a usual time.
    """

    together: int = 1
    attempts: int = 4
    fail_fast: bool = False
    overwrite: bool = False
    look: Callable[[], None] | None = None
    look_every: float = 5.0
    patience: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a batch ended.

    Attributes
    ----------
    counts
        Pictures by state.
    done, failed
        How many came to that in this call.
    stuck
        Why nothing could be written any more, else an empty string.
    signal
        That asked for the end; None if there was none.
    failed_fast
        A picture failed, which stopped the others.
    others
        Pictures that are queued with other settings, and not among the counts.
    """

    counts: Counts
    done: int
    failed: int
    stuck: str = ""
    signal: int | None = None
    failed_fast: bool = False
    others: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether it ended before all was done that could be."""
        return bool(self.stuck) or self.signal is not None or self.failed_fast

    def after(self, before: Ending) -> Ending:
        """Return how two batches ended, one after another.

        Parameters
        ----------
        before
            The first one's; nothing had cut it.
        """
        done, failed = self.done + before.done, self.failed + before.failed
        return replace(self, done=done, failed=failed)
