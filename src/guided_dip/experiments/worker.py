"""One run of a study, in this process or in a worker of its own."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NoReturn

from numpy.typing import NDArray

from guided_dip.config import Config
from guided_dip.errors import InputError, RunError
from guided_dip.images import Picture
from guided_dip.memory import forget_peak
from guided_dip.result import Record
from guided_dip.runs import Source, new_run, summarize

SPEC = "spec.json"
EVERY = 0.2  # seconds between a worker's messages
PATIENCE = 3.0  # seconds that a worker has to clean up


@dataclass(frozen=True, eq=False)
class Task:
    """A run to carry out, complete in itself so that it can be sent to another process."""

    name: str
    folder: Path
    digest: str
    spec: str
    config: Config
    source: Source
    image: NDArray[Any]
    clean: NDArray[Any] | None


@dataclass(frozen=True)
class Message:
    """What a worker says about its run."""

    kind: Literal["step", "done", "failed"]
    steps: int = 0
    seconds: float = 0.0
    text: str = ""


def execute(task: Task, on_step: Callable[[Record], None]) -> None:
    """Carry out a run and write its folder, in place of whatever is there.

    Parameters
    ----------
    task
        The run.
    on_step
        Called with each record.

    Raises
    ------
    InputError
        If the input or the settings are not usable.
    RunError
        If the run fails, or its folder cannot be written.
    """
    from guided_dip.restoration import prepare

    task.folder.parent.mkdir(parents=True, exist_ok=True)
    restoration = prepare(task.image, task.config, clean=task.clean)
    forget_peak(restoration.config.device)
    with new_run(task.folder, overwrite=True) as run:

        def keep(record: Record) -> None:
            run.record(record)
            on_step(record)

        result = restoration.run(keep)
        estimated = task.config.noise == "auto"
        summary = summarize(restoration, result, task.source, noise_estimated=estimated)
        (run.draft / SPEC).write_text(task.spec, encoding="utf-8")
        floats = result.image.dtype.kind == "f"
        restored = Picture(result.image, format="TIFF" if floats else "PNG")
        run.save(restoration, result, summary, restored)


def failure_of(error: Exception) -> str:
    """Say in one line why a run failed."""
    if isinstance(error, InputError | RunError):
        return str(error)
    return f"{type(error).__name__}: {error}"


class Worker:
    """A process that carries out one run after another.

    Attributes
    ----------
    device
        Where its runs compute if their settings leave it open.
    task
        The run it is at; None if it waits for one.
    connection
        Where its messages arrive; at its end, once the process is no more.
    """

    def __init__(self, device: str | None) -> None:
        context = multiprocessing.get_context("spawn")  # a forked torch would hang
        self.device = device
        self.task: Task | None = None
        self.connection, far = context.Pipe()
        self._process = context.Process(target=_work, args=(far, device), daemon=True)
        with _deaf_to_interrupts():
            self._process.start()
        far.close()

    @property
    def exit_code(self) -> int | None:
        """Of the process; None while it lives, minus the signal that killed it."""
        return self._process.exitcode

    def give(self, task: Task) -> None:
        """Have it carry out a run."""
        self.task = task
        with suppress(BrokenPipeError):  # it was killed while idle: reading says so, too
            self.connection.send(task)

    def terminate(self) -> None:
        """Tell the process to end, without waiting for it."""
        self._process.terminate()

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.terminate()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Have a process that is started here ignore Ctrl-C from its first moment.

    The terminal sends it to the workers as well, which would each print a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signals
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _quit(*_: object) -> NoReturn:
    raise SystemExit(1)


def _work(connection: Connection[Message, Task], device: str | None) -> None:
    signal.signal(signal.SIGTERM, _quit)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with suppress(EOFError, BrokenPipeError):
        while True:
            task = connection.recv()
            connection.send(_carried_out(task, device, _Reports(connection)))


def _carried_out(task: Task, device: str | None, reports: _Reports) -> Message:
    config = task.config
    if device is not None and config.device == "auto":
        config = config.replace(device=device)
    placed = Task(**(vars(task) | {"config": config}))
    try:
        execute(placed, reports)
    except Exception as error:
        return Message("failed", text=failure_of(error))
    return Message("done")


class _Reports:
    """Sends word of a run's steps, not more often than anyone would look."""

    def __init__(self, connection: Connection[Message, Task]) -> None:
        self._connection = connection
        self._next = 0.0

    def __call__(self, record: Record) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        try:
            self._connection.send(Message("step", record.step + 1, record.seconds))
        except OSError:  # the study's process was killed
            _quit()
