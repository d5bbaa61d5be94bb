"""The job manager: takes jobs, has them carried out in processes of their own, and forgets none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

from guided_dip.batch.entries import Counts
from guided_dip.batch.find import absolute
from guided_dip.errors import InputError
from guided_dip.web.jobs import NewJob, NotReadyError, QueueFullError
from guided_dip.web.limits import Limits
from guided_dip.web.models import Curve, JobState, View
from guided_dip.web.queue.asking import check
from guided_dip.web.queue.begin import Beginning
from guided_dip.web.queue.book import Book, Live
from guided_dip.web.queue.course import Course
from guided_dip.web.queue.data import PRIVATE, Data
from guided_dip.web.queue.engine import Engine, crew_of
from guided_dip.web.queue.store import Store

GONE = 5.0  # seconds in which a job that is cancelled is gone, at most
CLOSE = 40.0  # seconds in which all ends
POINTS = 300  # of a curve
RETRY_AFTER = 30  # seconds, where nobody knows better


class JobManager:
    """Takes jobs and has them carried out, as `guided_dip.web.jobs.Jobs` says; a context manager.

    What it has been given is in the data folder before `begin` returns. One that is opened on the
    folder of another that has ended, however that came about, goes on with its jobs.

    Parameters
    ----------
    folder
        The data folder; made if its parent is there. Nothing is written elsewhere.
    limits
        What anyone may ask for.
    workers
        Jobs that are computed at a time; None for a usual number.
    memory
        Bytes that all of them may take; None for half of the machine's.
    figures
        Draw the figures of each run's folder.
    warm
        Have processes load the libraries before there is a job, which then begins at once.

    Raises
    ------
    InputError
        When it is entered, if another server is at work in the folder, or it cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        *,
        workers: int | None = None,
        memory: int | None = None,
        figures: bool = True,
        warm: bool = False,
    ) -> None:
        self._limits = limits or Limits()
        self._data = Data(absolute(folder))
        crew, threads = crew_of(workers, memory)
        self._book = Book()
        self._store = Store(self._data, self._book, self._limits)
        self._course = Course(
            self._data, self._book, self._store, self._limits, len(crew.devices), figures=figures
        )
        self._engine = Engine(
            self._data,
            replace(crew, warm=warm),
            recover=self._store.recover,
            completed=self._course.completed,
            heard=self._course.heard,
            again=self._course.again,
            tick=self._tick,
        )
        self._beginning = Beginning(self._data, self._book, self._store, self._limits, threads)

    def __enter__(self) -> Self:
        folder = self._data.folder
        if not folder.parent.is_dir():
            raise InputError(f"{folder}: there is no folder '{folder.parent}'; try creating it")
        try:
            folder.mkdir(mode=PRIVATE, exist_ok=True)
        except FileExistsError:
            raise InputError(f"{folder}: is no folder; try another name") from None
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); try another") from None
        self._engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all work; jobs keep their checkpoints, and their places in the queue."""
        self._engine.stop(CLOSE)

    @property
    def limits(self) -> Limits:
        """What anyone may ask for."""
        return self._limits

    @property
    def is_healthy(self) -> bool:
        """Whether jobs are carried out; not, if the thread that does so has met a bug."""
        return self._engine.is_alive

    def begin(self, new: NewJob, owner: str) -> JobState:
        """Queue a job; as `Jobs.begin`."""
        try:
            check(new, self._limits)
            self._check_working()
            live = self._beginning.begin(new, owner)
        finally:
            for upload in new.files.values():
                upload.path.unlink(missing_ok=True)
        self._engine.enrol(live.record.image)
        return self._book.state(live)

    def _check_working(self) -> None:
        if self._engine.stuck:
            text = "the server cannot write at present, as its disk is full"
            raise QueueFullError(f"{text}: try again later", RETRY_AFTER * 2)
        if not self.is_healthy:
            raise QueueFullError("the server takes no jobs: it has to be restarted", RETRY_AFTER)

    def state(self, id: str, owner: str) -> JobState:
        """Return a job as it is now; as `Jobs.state`."""
        return self._book.state(self._book.owned(id, owner))

    def states(self, owner: str, limit: int = 100) -> list[JobState]:
        """Return the owner's jobs, the newest first; as `Jobs.states`."""
        return self._book.states(owner, limit)

    def wait(self, id: str, owner: str, version: int, seconds: float) -> JobState:
        """Wait for news of a job; as `Jobs.wait`."""
        return self._book.wait(id, owner, version, seconds)

    def listen(self, heard: Callable[[str], None]) -> Callable[[], None]:
        """Have something called whenever a job changes; as `Jobs.listen`."""
        return self._book.listen(heard)

    def stop(self, id: str, owner: str) -> JobState:
        """End a job soon, with its current estimate as the result; as `Jobs.stop`.

        One that has no estimate yet is cancelled.
        """
        live = self._unended(id, owner)
        if not (live.progress.step or self._data.job(live.id).has_checkpoint()):
            return self.cancel(id, owner)
        try:
            self._data.job(live.id).enough.touch()
        except OSError as error:
            raise NotReadyError(f"the job cannot be stopped now ({error.strerror})") from None
        if live.asked is None:
            self._book.ask(live, "stop")
        return self._book.state(live)

    def cancel(self, id: str, owner: str) -> JobState:
        """End a job at once; as `Jobs.cancel`."""
        live = self._unended(id, owner)
        self._book.ask(live, "cancel")
        self._engine.end(live.record.image)
        self._book.wait_until(lambda: live.has_ended, GONE)
        return self._book.state(live)

    def remove(self, id: str, owner: str) -> None:
        """Remove all that there is of a job; as `Jobs.remove`."""
        live = self._book.owned(id, owner)
        with self._book.lock:
            has_ended, live.asked = live.has_ended, "remove"
        self._engine.end(live.record.image)
        if has_ended:
            self._store.remove(live)
        else:
            self._book.wait_until(lambda: self._book.find(id) is None, GONE)

    def _unended(self, id: str, owner: str) -> Live:
        live = self._book.owned(id, owner)
        if live.has_ended:
            raise NotReadyError(f"the job has ended already: it is {live.status}")
        return live

    def view(self, id: str, owner: str, view: View) -> Path:
        """Return the file of a picture of a job; as `Jobs.view`."""
        live = self._book.owned(id, owner)
        folder = self._data.job(live.id)
        path = folder.path / live.record.result if view == "result" else folder.view(view)
        if (view == "result" and live.status != "done") or not path.is_file():
            later = "" if live.has_ended else " yet"
            raise NotReadyError(f"there is no {view} of this job{later}: it is {live.status}")
        return path

    def run_folder(self, id: str, owner: str) -> Path:
        """Return the run folder of a job that is done; as `Jobs.run_folder`."""
        live = self._book.owned(id, owner)
        folder = self._data.job(live.id).run
        if live.status != "done" or not folder.is_dir():
            raise NotReadyError(f"there is no run of this job: it is {live.status}")
        return folder

    def curve(self, id: str, owner: str) -> Curve:
        """Return how a job's fit went so far; as `Jobs.curve`."""
        live = self._book.owned(id, owner)
        return read_curve(self._data.job(live.id).metrics())

    def counts(self) -> Counts:
        """Return how many jobs are in which state; as `Jobs.counts`."""
        return self._book.counts()

    def _tick(self) -> None:
        for live, reason in self._course.overdue():
            self._engine.end(live.record.image, reason)
        self._store.sweep()
        while self._store.gone:
            self._engine.end(self._store.gone.popleft())


def read_curve(path: Path) -> Curve:
    """Read the records of a run's steps, and thin them out.

    Parameters
    ----------
    path
        Where they are, whether or not they are still being written.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return Curve()
    stride = max(1, math.ceil(len(lines) / POINTS))
    kept = lines[::stride] + lines[-1:] * ((len(lines) - 1) % stride != 0)
    points = [point for line in kept if (point := _point(line)) is not None]
    scored = [point for point in points if point[2] is not None]
    points = scored if scored else points
    return Curve(
        step=tuple(step for step, _, _ in points),
        loss=tuple(loss for _, loss, _ in points),
        psnr=tuple(psnr for _, _, psnr in points if psnr is not None),
    )


def _point(line: bytes) -> tuple[int, float, float | None] | None:
    """Return step, loss and PSNR of a record; None if it is half written, or no number."""
    try:
        record = json.loads(line)
        step, loss, psnr = record["step"], record["loss"], record.get("psnr")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    numbers = isinstance(step, int) and isinstance(loss, int | float)
    return (step, loss, psnr if isinstance(psnr, int | float) else None) if numbers else None
