"""What is kept of jobs on the disk, over restarts and for as long as it may be."""

from __future__ import annotations

import logging
import shutil
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from guided_dip.batch.entries import Entry
from guided_dip.batch.manifest import Manifest
from guided_dip.errors import RunError
from guided_dip.web.jobs import QueueFullError
from guided_dip.web.limits import Limits
from guided_dip.web.models import ENDED, JobOutcome, Status
from guided_dip.web.queue.book import Book, Live
from guided_dip.web.queue.data import Data
from guided_dip.web.queue.engine import enrol
from guided_dip.web.queue.records import SUFFIXES, Record, damaged_record, read_record
from guided_dip.web.queue.views import MEDIA

SWEEP_EVERY = 60.0  # seconds
RETRY_AFTER = 300  # seconds
PAGE = 500  # entries of the manifest at a time

_log = logging.getLogger(__name__)


@dataclass
class Store:
    """Keeps what there is of jobs.

    Attributes
    ----------
    data, book, limits
        Of the server.
    gone
        Pictures of jobs that were deleted, for the manifest to forget.
    """

    data: Data
    book: Book
    limits: Limits
    gone: deque[str] = field(default_factory=deque)
    _next_sweep: float = 0.0

    def recover(self, manifest: Manifest) -> None:
        """Take up the jobs that an earlier server has left, however it ended.

        Parameters
        ----------
        manifest
            Which says how far they were.
        """
        self.data.tidy()
        found = [live for id in self.data.ids() if (live := self._found(id)) is not None]
        known = {live.record.image for live in found}
        for entry in _all(manifest):
            if entry.name not in known:
                manifest.withdraw([entry.name])
        for live in sorted(found, key=lambda live: live.record.created):
            self._take_up(live, manifest)
            live.size = self.data.job(live.id).size()
            self.book.add(live)

    def _found(self, id: str) -> Live | None:
        """Read a job's record; one that was never begun is deleted."""
        folder = self.data.job(id)
        try:
            record = read_record(folder)
        except FileNotFoundError:
            self.data.remove(id)
            return None
        if record is not None:
            return Live(record, record.status, record.progress)
        record = damaged_record(folder)
        if record is None:
            _log.warning("%s: is of no job that is known; deleted", folder.path)
            self.data.remove(id)
            return None
        live = Live(record)
        self.end(live, "failed", "what the server knew of it was damaged: try it again")
        return live

    def _take_up(self, live: Live, manifest: Manifest) -> None:
        """Find out where a job was."""
        record, folder = live.record, self.data.job(live.id)
        entry = manifest.entry(record.image)
        if live.status == "done" and not (folder.path / record.result).is_file():
            live.status = "queued"  # what has ended does not end again
            self.end(live, "failed", "its files are gone from the server: try it again")
        elif live.status in ENDED:
            if entry is not None and entry.state in ("queued", "running"):
                manifest.withdraw([record.image])
        elif entry is not None and entry.state == "done":
            self.finish(live, entry)
        elif entry is not None and entry.state == "failed":
            self.end(live, "failed", self.told(live, entry.reason))
        elif any(not (folder.path / file.file).is_file() for file in record.files.values()):
            manifest.withdraw([record.image])
            self.end(live, "failed", "its files are gone from the server: try it again")
        elif entry is None:
            enrol(manifest, self.data, record.image)

    def finish(self, live: Live, entry: Entry | None = None) -> None:
        """Note that a job is done.

        Parameters
        ----------
        live
            The job.
        entry
            Of the manifest.
        """
        folder = self.data.job(live.id)
        if not (folder.path / live.record.result).is_file():
            self.end(live, "failed", "its restoration is gone from the server: try it again")
            return
        try:
            outcome = JobOutcome.model_validate_json(folder.outcome.read_bytes())
        except (OSError, ValueError):
            outcome = _least(live.record, entry)
        self._drop_work(live)
        told = live.progress
        step = told.step if outcome.is_estimate else told.steps
        changes = {"share": 1.0, "seconds_left": 0.0, "step": step}
        live.progress = told.model_copy(update=changes)
        self.end(live, "done", "", outcome=outcome)

    def end(
        self, live: Live, status: Status, reason: str, outcome: JobOutcome | None = None
    ) -> None:
        """Note how a job has ended: on the disk, then for all to see.

        Parameters
        ----------
        live
            The job.
        status
            Done, failed or cancelled.
        reason
            Why, if it is not done.
        outcome
            What came of it, if it is.
        """
        folder = self.data.job(live.id)
        if status == "failed":
            self._drop_work(live)
        if status == "cancelled":
            folder.clear(folder.record, folder.owner)
        with self.book.lock:
            changes = {"ended": time.time(), "reason": reason, "outcome": outcome}
            record = live.record.model_copy(
                update=changes | {"status": status, "progress": live.progress}
            )
            record.version = max(live.version + 1, time.time_ns() // 10**6)
        try:
            record.write(folder)
        except (OSError, RunError) as error:  # the manifest knows as well
            _log.warning("%s", error)
        live.size = folder.size()
        live.record = record
        self.book.change(live, status)

    def told(self, live: Live, reason: str) -> str:
        """Return a reason for a user: in his names for files, and without the server's paths."""
        folder = self.data.job(live.id)
        for file in live.record.files.values():
            reason = reason.replace(str(folder.path / file.file), file.name)
        reason = reason.replace(str(folder.path / live.record.result), live.record.file_name)
        reason = reason.replace(f"{folder.path}/", "").replace(str(folder.path), "the job")
        return reason.replace(f"{self.data.folder}/", "")

    def _drop_work(self, live: Live) -> None:
        folder = self.data.job(live.id)
        shutil.rmtree(folder.work, ignore_errors=True)
        with suppress(OSError):
            folder.enough.unlink(missing_ok=True)

    def remove(self, live: Live) -> None:
        """Delete a job that has ended, or is carried out no more."""
        self.data.remove(live.id)
        self.book.drop(live)
        self.gone.append(live.record.image)

    def make_room(self, wanted: int) -> None:
        """Delete the oldest ended jobs if all would take too much of the disk.

        Parameters
        ----------
        wanted
            Bytes that come.

        Raises
        ------
        QueueFullError
            If that does not suffice.
        """
        lives = self.book.all()
        total = sum(live.size for live in lives) + wanted
        ended = sorted(
            (live for live in lives if live.has_ended), key=lambda live: live.record.ended or 0.0
        )
        for live in ended:
            if total <= self.limits.stored:
                break
            total -= live.size
            self.remove(live)
        if total > self.limits.stored:
            text = "the jobs that wait take all of the disk that they may: try again later"
            raise QueueFullError(text, RETRY_AFTER)

    def sweep(self) -> None:
        """Delete ended jobs that are too old, now and then."""
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_EVERY
        oldest = time.time() - self.limits.keep
        for live in self.book.all():
            if not live.has_ended:
                live.size = self.data.job(live.id).size()
            elif (live.record.ended or 0.0) < oldest:
                self.remove(live)


def _all(manifest: Manifest) -> list[Entry]:
    entries: list[Entry] = []
    while page := manifest.entries(after=entries[-1].id if entries else 0, limit=PAGE):
        entries += page
    return entries


def _least(record: Record, entry: Entry | None) -> JobOutcome:
    """Return what can be said of a job whose worker's words are lost."""
    done = None if entry is None else entry.done
    form = next(form for form, suffix in SUFFIXES.items() if record.result.endswith(suffix))
    return JobOutcome(
        width=record.width if done is None else done.width,
        height=record.height if done is None else done.height,
        channels=record.channels if done is None else done.channels,
        pages=record.pages,
        format=form,
        media_type=MEDIA[form],
        bits=record.bits,
        seconds=0.0 if done is None else done.seconds,
        note="" if done is None else done.note,
        views=("result",),
    )
