"""A job's changes as they happen: server-sent events (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from guided_dip.web.jobs import Jobs, UnknownJobError
from guided_dip.web.models import ENDED, JobState
from guided_dip.web.problems import ProblemError

MOST = 128  # streams at a time
APART = 0.25  # seconds between two events
HEARTBEAT = 15.0  # seconds without one, after which something is sent anyway
_HEARTBEAT = b": still there\n\n"


class StateOf(Protocol):
    """Returns a job as it is now."""

    async def __call__(self, id: str, owner: str) -> JobState:
        """Return it."""


class Streams:
    """Those who follow jobs.

    Parameters
    ----------
    jobs
        Which they follow.
    state
        Returns a job as it is now, without holding up the loop.
    most
        How many there may be at a time.
    heartbeat
        Seconds without an event, after which something is sent anyway.
    """

    def __init__(
        self, jobs: Jobs, state: StateOf, most: int = MOST, heartbeat: float = HEARTBEAT
    ) -> None:
        self._jobs = jobs
        self._state = state
        self._most = most
        self._heartbeat = heartbeat
        self._listening: dict[str, set[asyncio.Event]] = {}
        self._closing = False
        self._unlisten: Callable[[], None] | None = None
        self.open = 0

    def begin(self) -> None:
        """Listen to the jobs, in the running loop."""
        loop = asyncio.get_running_loop()

        def heard(id: str) -> None:  # in another thread
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._wake, id)

        self._closing = False
        self._unlisten = self._jobs.listen(heard)

    def close(self) -> None:
        """End all streams, and listen no more."""
        self._closing = True
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        for id in self._listening:
            self._wake(id)

    def check_room(self) -> None:
        """Refuse one more stream where there are too many.

        Raises
        ------
        ProblemError
            If so.
        """
        if self.open >= self._most:
            raise ProblemError(
                429, "too many streams are open; try again soon, or ask now and then", retry_after=5
            )

    async def events(self, id: str, owner: str, after: int) -> AsyncIterator[bytes]:
        """Yield a job's changes after a version, until it has ended.

        Parameters
        ----------
        id, owner
            Of the job.
        after
            The version that is known already.
        """
        with self._followed(id) as changed:
            yield b"retry: 2000\n\n"
            while not self._closing:
                changed.clear()
                try:
                    state = await self._state(id, owner)
                except UnknownJobError:
                    return  # it has been removed
                if state.version > after:
                    after = state.version
                    yield _event(state)
                    if state.status not in ENDED:
                        await asyncio.sleep(APART)
                if state.status in ENDED:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), self._heartbeat)
                except TimeoutError:
                    yield _HEARTBEAT

    @contextmanager
    def _followed(self, id: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._listening.setdefault(id, set()).add(changed)
        self.open += 1
        try:
            yield changed
        finally:
            self.open -= 1
            others = self._listening[id]
            others.discard(changed)
            if not others:
                del self._listening[id]

    def _wake(self, id: str) -> None:
        for changed in self._listening.get(id, ()):
            changed.set()


def _event(state: JobState) -> bytes:
    return f"id: {state.version}\nevent: state\ndata: {state.model_dump_json()}\n\n".encode()
