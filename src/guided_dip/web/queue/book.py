"""The jobs of a server in memory: who may see which, in which state, and who waits for news."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from guided_dip.batch.entries import Counts
from guided_dip.web.jobs import UnknownJobError
from guided_dip.web.models import ENDED, JobState, Progress, Status
from guided_dip.web.queue.records import Record, digest_of

Asked = Literal["stop", "cancel", "remove"]

_log = logging.getLogger(__name__)


@dataclass
class Live:
    """A job as it is now.

    Attributes
    ----------
    record
        What is kept of it.
    status, progress
        Now.
    version
        Raised by each change: milliseconds since 1970 at least, so that no restart lowers it.
    asked
        How its user wants it ended.
    computing
        Seconds of `time.monotonic` when computing began; None before.
    first
        Share that was done then.
    size
        Bytes of its folder, as last looked.
    """

    record: Record
    status: Status = "queued"
    progress: Progress = field(default_factory=Progress)
    version: int = 0
    asked: Asked | None = None
    computing: float | None = None
    first: float | None = None
    size: int = 0

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.id

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED


class Book:
    """All jobs, by their ids, in the order of their beginning; any thread may ask.

    Attributes
    ----------
    lock
        Held while a job is changed.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._news = threading.Condition(self.lock)
        self._jobs: dict[str, Live] = {}
        self._listeners: list[Callable[[str], None]] = []

    def add(self, live: Live) -> None:
        """Take a job in."""
        with self.lock:
            live.version = max(live.version, live.record.version)
            self._jobs[live.id] = live
        self.tell(live)

    def drop(self, live: Live) -> None:
        """Forget a job."""
        with self.lock:
            self._jobs.pop(live.id, None)
        self.tell(live)

    def find(self, id: str) -> Live | None:
        """Return a job; None if there is none."""
        with self.lock:
            return self._jobs.get(id)

    def owned(self, id: str, owner: str) -> Live:
        """Return a job of an owner.

        Raises
        ------
        UnknownJobError
            If there is none.
        """
        live = self.find(id)
        if live is None or live.record.owner != digest_of(owner) or live.asked == "remove":
            raise UnknownJobError("there is no such job")
        return live

    def all(self) -> list[Live]:
        """Return all jobs."""
        with self.lock:
            return list(self._jobs.values())

    def states(self, owner: str, limit: int) -> list[JobState]:
        """Return an owner's jobs, the newest first; as `Jobs.states`."""
        digest = digest_of(owner)
        mine = [
            live for live in self.all() if live.record.owner == digest and live.asked != "remove"
        ]
        return [self.state(live) for live in mine[::-1][:limit]]

    def active(self, owner: str | None = None) -> list[Live]:
        """Return those that have not ended, of an owner or of all."""
        digest = None if owner is None else digest_of(owner)
        return [
            live
            for live in self.all()
            if not live.has_ended and digest in (None, live.record.owner)
        ]

    def counts(self) -> Counts:
        """Return how many are in which state."""
        found = [live.status for live in self.all()]
        return Counts(
            queued=found.count("queued"),
            running=found.count("running") + found.count("stopping"),
            done=found.count("done"),
            failed=found.count("failed"),
        )

    def state(self, live: Live) -> JobState:
        """Return a job as users see it."""
        with self.lock:
            record, place = live.record, None
            if live.status == "queued":
                queue = [other.id for other in self._jobs.values() if other.status == "queued"]
                place = queue.index(live.id) + 1 if live.id in queue else None
            shared = set(JobState.model_fields) & set(Record.model_fields)
            kept = {name: getattr(record, name) for name in shared}
            kept |= {"status": live.status, "version": live.version, "progress": live.progress}
            return JobState(**kept, place=place)

    def change(self, live: Live, status: Status, **changes: object) -> None:
        """Change a job's status, and what its record has; then tell of it.

        Parameters
        ----------
        live
            The job.
        status
            Its new status.
        **changes
            Of its record.
        """
        with self.lock:
            if live.has_ended:  # by another thread, just now
                return
            moved = "queued" in (live.status, status) and live.status != status
            live.status = status
            for name, value in changes.items():
                setattr(live.record, name, value)
            others = [other for other in self._jobs.values() if other.status == "queued"]
        self.tell(live, *([other for other in others if other is not live] if moved else []))

    def ask(self, live: Live, asked: Asked) -> bool:
        """Note how a job's user wants it ended; False if it has ended already."""
        with self.lock:
            if live.has_ended:
                return False
            live.asked = asked
        self.change(live, "stopping")
        return True

    def tell(self, *changed: Live) -> None:
        """Say that jobs have changed, to who waits and to who listens."""
        with self._news:
            now = time.time_ns() // 10**6
            for live in changed:
                live.version = max(live.version + 1, now)
            self._news.notify_all()
            listeners = list(self._listeners)
        for heard in listeners:
            for live in changed:
                try:
                    heard(live.id)
                except Exception:
                    _log.exception("who listens to jobs has failed")

    def wait(self, id: str, owner: str, version: int, seconds: float) -> JobState:
        """Wait for a job's version to be above one; as `Jobs.wait`."""
        end = time.monotonic() + seconds
        with self._news:
            while True:
                live = self.owned(id, owner)
                left = end - time.monotonic()
                if live.version > version or left <= 0:
                    return self.state(live)
                self._news.wait(left)

    def wait_until(self, wanted: Callable[[], bool], seconds: float) -> bool:
        """Wait for something to be so, and tell whether it is."""
        with self._news:
            return self._news.wait_for(wanted, seconds)

    def listen(self, heard: Callable[[str], None]) -> Callable[[], None]:
        """Have something called with the id of each job that changes; as `Jobs.listen`."""
        with self.lock:
            self._listeners.append(heard)

        def end() -> None:
            with self.lock:
                if heard in self._listeners:
                    self._listeners.remove(heard)

        return end
