"""Pictures restored by jobs of a Slurm cluster, whose nodes share the file system they are on."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from guided_dip.batch.place import Place
from guided_dip.batch.slurm_job import Followed, Task, event_of
from guided_dip.batch.slurm_queue import Queue, RefusedError, make_queue
from guided_dip.batch.slurm_settings import settings_of
from guided_dip.batch.work import ENDS, Event, Item, Orders
from guided_dip.errors import InputError, RunError

FOLDER = "slurm"
ARRAY = 1000  # jobs; Slurm's own limit, unless a cluster has another
RETRY = 30.0  # seconds until Slurm is asked again that took no job, as it was busy or a quota full
GIVE_UP = 900.0  # seconds for which it takes none while none is left


@dataclass
class _Job:
    """A job that has not ended.

    Attributes
    ----------
    name
        As Slurm has it.
    file
        What it says.
    left
        Pictures without an end, in their order.
    begun
        Names of pictures that it is at.
    process
        Its id; None before it has begun.
    over
        It has said its last.
    state, seen
        Slurm's word for its end, and when that was seen.
    """

    name: str
    file: Followed
    left: dict[str, Item]
    begun: set[str] = field(default_factory=set)
    process: int | None = None
    over: bool = False
    state: str | None = None
    seen: float = 0.0


class SlurmExecutor:
    """Carries out work as Slurm jobs; those that are submitted in one turn are one job array.

    Slurm is asked seldom, and by few calls: what jobs say is read from files.

    Parameters
    ----------
    orders
        What goes for all pictures.
    place
        Of the batch: jobs' files are there.
    jobs
        At a time, those that wait included; None for a usual number.
    gpus
        Of a job; a whole number.
    asked
        What Slurm is asked for, as ``--slurm`` has it.
    together
        Pictures that a job computes as one, if their sizes allow it.

    Raises
    ------
    InputError
        If submitit is not installed, there is no Slurm, or it cannot be asked for that.
    """

    def __init__(
        self,
        orders: Orders,
        place: Place,
        *,
        jobs: int | None,
        gpus: float,
        asked: Mapping[str, str],
        together: int = 1,
    ) -> None:
        self._orders, self._together = orders, together
        threads = orders.config.threads or 1
        settings = settings_of(asked, threads=threads, gpus=gpus)
        self._folder = _folder(place)
        self._queue: Queue = make_queue(settings, self._folder, threads=threads)
        self._most = jobs or self._queue.jobs
        self._waiting: list[tuple[Item, ...]] = []
        self._jobs: list[_Job] = []
        self._said: list[Event] = []
        self._stopping = self._sent = self._trouble = False
        self._refused: float | None = None
        self._next_try = self._next_look = self._next_ask = 0.0

    def room(self) -> int:
        """Return how many more jobs there may be now."""
        return max(0, self._most - len(self._jobs) - len(self._waiting))

    def submit(self, items: Sequence[Item]) -> None:
        """Have a group carried out, once all of this turn are there; as `Executor.submit`."""
        self._waiting.append(tuple(items))

    def wait(self, seconds: float) -> list[Event]:
        """Return what has been said; as `Executor.wait`."""
        until = time.monotonic() + seconds
        self._send()
        while self._jobs or self._waiting or self._said:
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + self._queue.look_every
                events = self._look(now)
                if events:
                    return events
            if now >= until:
                break
            time.sleep(max(0.0, min(until, self._next_look) - now))
        return []

    def end(self, name: str) -> None:
        """End work at a picture; as `Executor.end`. Others of its job are begun again elsewhere."""
        for job in self._jobs:
            if job.left.pop(name, None) is not None:
                self._queue.ask_to_end([job.name])
        kept = [tuple(item for item in items if item.name != name) for items in self._waiting]
        self._waiting = [items for items in kept if items]

    def stop(self) -> None:
        """Ask for all work to end; as `Executor.stop`."""
        self._stopping = True
        self._said += [Event("cut", item.name) for items in self._waiting for item in items]
        self._waiting.clear()
        self._queue.ask_to_end([job.name for job in self._jobs])
        self._next_look = 0.0
        self._next_ask = time.monotonic() + self._queue.ask_soon

    def close(self) -> None:
        """End all jobs; as `Executor.close`.

        Those that Slurm does not get at in time find that their file is gone, and end by that.
        """
        self._queue.close({job.name: job.process for job in self._jobs})
        for job in self._jobs:
            job.file.path.unlink(missing_ok=True)
        if not self._jobs and not self._trouble:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):  # of another shard, or with logs of jobs that were lost
                self._folder.parent.rmdir()
        self._jobs.clear()

    def _send(self) -> None:
        """Send what waits, unless that has just been refused."""
        while self._waiting and time.monotonic() >= self._next_try:
            groups = self._waiting[:ARRAY]
            tasks = [self._task(items) for items in groups]
            try:
                names = self._queue.submit(tasks)
            except RefusedError as error:
                for task in tasks:  # should one be taken all the same, it will find no file
                    task.events.unlink(missing_ok=True)
                self._wait_for_better(str(error))
                return
            self._sent, self._refused = True, None
            del self._waiting[:ARRAY]
            if not self._jobs:
                self._next_ask = time.monotonic() + self._queue.ask_every
            for name, task, items in zip(names, tasks, groups, strict=True):
                left = {item.name: item for item in items}
                self._jobs.append(_Job(name, Followed(task.events), left))

    def _task(self, items: tuple[Item, ...]) -> Task:
        events = self._folder / f"{uuid.uuid4().hex}.jsonl"
        try:
            events.touch(exist_ok=False)
        except OSError as error:
            raise RunError(f"{self._folder}: cannot be written to ({error.strerror})") from error
        size = self._together
        groups = tuple(items[begin : begin + size] for begin in range(0, len(items), size))
        return Task(events, groups, self._orders)

    def _wait_for_better(self, reason: str) -> None:
        """Try again later, unless there is nothing to hope for."""
        now = time.monotonic()
        if not self._sent:
            raise InputError(f"--executor slurm: no job was taken ({reason}); try other --slurm")
        if self._refused is None or self._jobs:
            self._refused = now
        if now - self._refused > GIVE_UP:
            raise RunError(f"Slurm takes no more jobs ({reason}); the same command goes on later")
        self._next_try = now + RETRY

    def _look(self, now: float) -> list[Event]:
        """Return what jobs have said, and see to those that have ended."""
        if self._jobs and now >= self._next_ask:
            self._ask(now)
        events, self._said = self._said, []
        for job in self._jobs.copy():
            # As it stands before the file is read: what a job wrote before its end is read then.
            ended = job.state is not None and now >= job.seen + self._queue.grace
            events += _read(job)
            if job.over:
                events += [Event("cut", name) for name in job.left]  # of lines that got damaged
                self._queue.tidy(job.name)
            elif ended:
                events += self._remains(job)
                if self._stopping:
                    self._queue.tidy(job.name)
                else:
                    self._trouble = True  # its logs are left for whoever looks into it
            else:
                continue
            self._jobs.remove(job)
            job.file.path.unlink(missing_ok=True)
        return events

    def _ask(self, now: float) -> None:
        """Ask which jobs have ended."""
        running = [job.name for job in self._jobs if job.state is None]
        if self._stopping:
            self._queue.ask_to_end(running)  # again: a job that was just starting is deaf
        ended = self._queue.ended(running)
        for job in self._jobs:
            if job.name in ended:
                job.state, job.seen = ended[job.name], now
        soon = self._stopping or any(job.state for job in self._jobs)
        self._next_ask = now + (self._queue.ask_soon if soon else self._queue.ask_every)

    def _remains(self, job: _Job) -> Iterator[Event]:
        """Say what is to become of pictures whose job has ended without a word.

        It was at the first, or at all that it computed as one. Others are not to blame, unless
        nothing was ever begun: then none can be, and they would be given out for ever.
        """
        words = self._queue.last_words(job.name)
        reason = f"its Slurm job {job.name} ended ({job.state})" + f": {words}" * bool(words)
        if job.state == "OUT_OF_MEMORY":
            reason += "; try more, such as --slurm mem=8G"
        innocent = self._stopping or job.state == "PREEMPTED"
        for number, name in enumerate(job.left):
            blamed = not number or name in job.begun or job.process is None
            yield Event("lost", name, reason) if blamed and not innocent else Event("cut", name)


def _folder(place: Place) -> Path:
    """Return the folder for jobs' files, without those by which jobs of an earlier call go on."""
    whole = place.folder / FOLDER
    folder = whole / place.manifest.stem
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (whole if place.shard is None else folder).rglob("*.jsonl"):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written to ({error.strerror})") from error
    return folder


def _read(job: _Job) -> list[Event]:
    """Return what a job has said since, each picture's end but once."""
    events = []
    for line in job.file.lines():
        event = event_of(line)
        if event is None:
            job.process = line.get("pid", job.process)
            job.over = job.over or "over" in line
        elif event.name in job.left:
            events.append(event)
            if event.kind in ENDS:
                del job.left[event.name]
                job.begun.discard(event.name)
            elif event.kind == "begun":
                job.begun.add(event.name)
    return events
