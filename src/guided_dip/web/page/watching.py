"""Jobs followed without holding a thread: what changes is shown within a fraction of a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from anyio.to_thread import run_sync

from guided_dip.web.jobs import Jobs, UnknownJobError
from guided_dip.web.models import ENDED, Curve, JobState

AT_MOST_EVERY = 0.3  # seconds
AT_LEAST_EVERY = 5.0  # seconds; what is heard is only a hint


class Watcher:
    """Follows jobs for the sessions of a page, each what it was asked for last.

    Parameters
    ----------
    jobs
        The jobs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._latest: dict[str, object] = {}

    async def watch(
        self, ids: Sequence[str], owner: str, session: str
    ) -> AsyncIterator[list[JobState]]:
        """Yield some jobs as they are now, and whenever one changes, until all have ended.

        It ends, too, when the session asks for others. Jobs that are not there are left out.
        """
        mark = object()
        self._latest[session] = mark
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def heard(id: str) -> None:
            if id in ids:
                with suppress(RuntimeError):  # the loop is closed: the server ends
                    loop.call_soon_threadsafe(changed.set)

        end = self._jobs.listen(heard)
        try:
            known: list[int] = []
            while self._latest.get(session) is mark:
                changed.clear()
                states = await run_sync(self._states, ids, owner)
                versions = [state.version for state in states]
                if versions != known or not states:
                    known = versions
                    yield states
                if all(state.status in ENDED for state in states):
                    return
                await asyncio.sleep(AT_MOST_EVERY)
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), AT_LEAST_EVERY)
        finally:
            end()
            if self._latest.get(session) is mark:
                del self._latest[session]

    async def curve(self, state: JobState, owner: str) -> Curve:
        """Return a job's curve; an empty one if the job is gone."""
        try:
            return await run_sync(self._jobs.curve, state.id, owner)
        except UnknownJobError:
            return Curve()

    def _states(self, ids: Sequence[str], owner: str) -> list[JobState]:
        states = []
        for id in ids:
            try:
                states.append(self._jobs.state(id, owner))
            except UnknownJobError:
                continue
        return states
