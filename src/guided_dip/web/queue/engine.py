"""The thread that has jobs carried out: a batch's loop, which never ends by itself."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from guided_dip.batch.call import opened
from guided_dip.batch.coordinator import Coordinator
from guided_dip.batch.entries import Entry, Found
from guided_dip.batch.find import stamp_of
from guided_dip.batch.local import LocalExecutor
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.progress import Progress, Requests, Rules
from guided_dip.batch.work import Event, Item, Orders
from guided_dip.errors import InputError, RunError, reason_of
from guided_dip.files import locked
from guided_dip.web.queue.data import LOCK, Data, JobsPlace
from guided_dip.workers import Bell

SETTINGS = "of each job's own"  # what the manifest has in place of a batch's settings
AGAIN = 10.0  # seconds until it is tried to write again
PATIENCE = 20.0  # seconds for the jobs' checkpoints when the server ends
BEGUN = 60.0  # seconds in which the manifest is opened, at most

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crew:
    """Who computes.

    Attributes
    ----------
    devices
        One for each process; None where the settings leave it open.
    memory
        Bytes that all may take; None for any number.
    warm
        Processes load the libraries before there is a job.
    """

    devices: tuple[str | None, ...]
    memory: int | None
    warm: bool = False


class Engine:
    """Carries out what is queued in the manifest of a data folder, in a thread of its own.

    Parameters
    ----------
    data
        The folder.
    crew
        Who computes.
    recover
        Called first, in the thread, with the manifest.
    completed, heard, tick
        As for `Coordinator`'s `completed`, `on_event` and `on_progress`; `heard` also gets an entry
        of the manifest where what becomes of a job is not the event's to say.
    again
        Called when nothing is computed, and all that has not ended is queued.
    """

    def __init__(
        self,
        data: Data,
        crew: Crew,
        *,
        recover: Callable[[Manifest], None],
        completed: Callable[[Item], Item],
        heard: Callable[[Event, Entry | None], None],
        again: Callable[[], None],
        tick: Callable[[], None],
    ) -> None:
        self._data, self._crew = data, crew
        self._recover, self._completed = recover, completed
        self._heard, self._again, self._tick = heard, again, tick
        self._bell = Bell()
        self._asked = Requests()
        self._new: deque[str] = deque()
        self._ends: dict[str, str | None] = {}
        self._coordinator: Coordinator | None = None
        self._begun = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="guided-dip jobs", daemon=True)
        self._since = 0.0
        self.stuck = ""

    def start(self) -> None:
        """Begin.

        Raises
        ------
        InputError
            If another server is at work in the folder, or its manifest cannot be used.
        """
        self._thread.start()
        self._begun.wait(BEGUN)
        if isinstance(self._error, InputError | RunError):
            raise self._error
        if self._error is not None:
            raise RunError(f"the jobs cannot be begun ({self._error})") from self._error

    def stop(self, seconds: float) -> None:
        """End; jobs that are computed leave checkpoints.

        Parameters
        ----------
        seconds
            The most to wait for that.
        """
        self._asked.note(signal.SIGTERM)
        self._bell.ring()
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        """Whether jobs are carried out."""
        return self._thread.is_alive() and self._error is None

    def enrol(self, name: str) -> None:
        """Have a picture queued; from any thread."""
        self._new.append(name)
        self._bell.ring()

    def end(self, name: str, reason: str | None = None) -> None:
        """End a picture; from any thread, as `Coordinator.end`."""
        self._ends[name] = reason
        coordinator = self._coordinator
        if coordinator is not None:
            coordinator.end(name, reason)
        self._bell.ring()

    def _main(self) -> None:
        try:
            with ExitStack() as stack:
                stack.enter_context(locked(self._data.folder, "serving from it", LOCK))
                self._data.make()
                place = self._data.place
                manifest = stack.enter_context(opened(place, self._data.folder))
                manifest.keep_settings(SETTINGS, {})
                self._recover(manifest)
                self._begun.set()
                while not self._asked.stop:
                    self._round(manifest, place)
        except BaseException as error:
            self._error = error
            if self._begun.is_set():
                _log.exception("jobs are carried out no more")
        finally:
            self._begun.set()

    def _round(self, manifest: Manifest, place: JobsPlace) -> None:
        """Carry out what there is, until the end or until nothing can be written."""
        from guided_dip.config import make_config

        crew, nobodys = self._crew, Orders(make_config({}))  # each job has its own
        executor = LocalExecutor(nobodys, crew.devices, crew.memory, self._bell, warm=crew.warm)
        coordinator = Coordinator(
            manifest,
            None,
            executor,
            place,
            Rules(
                overwrite=True,
                look=lambda: self._take_in(manifest),
                look_every=0.0,
                patience=PATIENCE,
            ),
            self._progressed,
            lambda event: self._told(event, manifest),
            self._completed,
            self._bell,
        )
        for name, reason in list(self._ends.items()):
            coordinator.end(name, reason)
        self._coordinator, self._since = coordinator, time.monotonic()
        try:
            manifest.requeue_running()  # which a round left whose end could not be written
            self._again()
            self.stuck = coordinator.run(self._asked).stuck
        except RunError as error:
            self.stuck = reason_of(error)
        finally:
            self._coordinator = None
            executor.close()
        if self.stuck and not self._asked.stop:
            _log.warning("nothing can be written: %s", self.stuck)
            self._pause()

    def _pause(self) -> None:
        """Wait until it may be better."""
        until = time.monotonic() + AGAIN
        while not self._asked.stop and (left := until - time.monotonic()) > 0:
            if self._bell.wait(left) and self._ends:
                return

    def _progressed(self, _: Progress) -> None:
        if self.stuck and time.monotonic() > self._since + AGAIN:
            self.stuck = ""  # nothing has gone wrong for a while, if only as there was nothing
        self._tick()

    def _told(self, event: Event, manifest: Manifest) -> None:
        if event.kind in ("gone", "failed", "done"):
            self._ends.pop(event.name, None)
        if event.kind in ("begun", "step", "done"):  # its worker can write
            self.stuck = ""
        ambiguous = event.kind in ("lost", "cut", "stuck")
        self._heard(event, manifest.entry(event.name) if ambiguous else None)

    def _take_in(self, manifest: Manifest) -> None:
        """Write down the jobs that have come since."""
        while self._new:
            enrol(manifest, self._data, self._new[0])
            self._new.popleft()


def enrol(manifest: Manifest, data: Data, name: str) -> None:
    """Queue a job's picture in the manifest.

    Parameters
    ----------
    manifest
        Of the data folder.
    data
        That.
    name
        Of the picture.
    """
    source = data.folder / name
    output = f"{source.parent.name}/result{source.suffix}"
    manifest.enrol(
        [Found(name, output, stamp_of(source))],
        SETTINGS,
        content_of=lambda _: "",
        output_stamp_of=lambda _: None,
    )


def crew_of(workers: int | None, memory: int | None) -> tuple[Crew, int]:
    """Return who computes on this machine, and with how many threads each.

    A few jobs at a time, each with several cores: somebody waits for each of them.

    Parameters
    ----------
    workers
        Jobs at a time; None for a usual number.
    memory
        Bytes that all may take; None for half of the machine's.
    """
    from guided_dip.memory import total_memory
    from guided_dip.sizing import PROGRAM
    from guided_dip.workers import cores, cuda_devices

    gpus = [f"cuda:{number}" for number in range(cuda_devices())]
    there = cores()
    count = workers or len(gpus) or max(min(2, there), there // 4)
    if memory is None and not gpus:
        total = total_memory()
        memory = None if total is None else total // 2
    if memory is not None and not gpus:
        count = max(1, min(count, memory // PROGRAM))
    devices = tuple(gpus[number % len(gpus)] if gpus else None for number in range(count))
    return Crew(devices, None if gpus else memory), max(1, there // count)
