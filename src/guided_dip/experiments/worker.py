"""The runs of a study, carried out in this process or in a worker of its own."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Literal, NoReturn

from guided_dip.errors import InputError, RunError
from guided_dip.experiments.groups import Group, Task
from guided_dip.images import Picture
from guided_dip.memory import forget_peak
from guided_dip.result import Record, Result
from guided_dip.runs import RunWriter, new_run, summarize

if TYPE_CHECKING:
    from guided_dip.restoration import Restoration

SPEC = "spec.json"
EVERY = 0.2  # seconds between a worker's messages about a run
PATIENCE = 3.0  # seconds that a worker has to clean up


@dataclass(frozen=True)
class Message:
    """What is said about a run while it is carried out.

    Attributes
    ----------
    kind
        A ``note`` is for the user.
    name
        Of the run.
    steps, seconds
        Steps it has taken, and its share of the time.
    text
        Of a note, or why it failed.
    """

    kind: Literal["step", "done", "failed", "note"]
    name: str
    steps: int = 0
    seconds: float = 0.0
    text: str = ""


Tell = Callable[[Message], None]


def execute(group: Group, tell: Tell) -> None:
    """Carry out the runs of a group and write their folders, in place of whatever is there.

    A run that fails is told of, and stops no other. Runs that cannot be computed as one after all
    are carried out one by one, and so is one whose fit diverges among the others.

    Parameters
    ----------
    group
        The runs.
    tell
        Called with each step of each run, and with what becomes of it.
    """
    alone = group.unfinished if len(group.tasks) == 1 else _run_together(group, tell)
    for task in alone:
        with _outcome_told(task, tell):
            _run_alone(task, tell)


def _run_alone(task: Task, tell: Tell) -> None:
    restoration = _prepared(task)
    forget_peak(restoration.config.device)
    with _folder_of(task) as run:

        def keep(record: Record) -> None:
            run.record(record)
            tell(Message("step", task.name, record.step + 1, record.seconds))

        _fill(run, task, restoration, restoration.run(keep), task.spec)


def _run_together(group: Group, tell: Tell) -> tuple[Task, ...]:
    """Carry out runs as one; return those that are to be carried out by themselves after all."""
    from guided_dip.restoration import run_together

    tasks = group.tasks

    def on_step(place: int, record: Record) -> None:
        name = tasks[place].name
        if name not in group.finished:
            tell(Message("step", name, record.step + 1, record.seconds / len(tasks)))

    try:
        restorations = [_prepared(task) for task in tasks]
        forget_peak(restorations[0].config.device)
        results = run_together(restorations, on_step)
    except Exception as error:
        text = f"{len(tasks)} runs are computed one by one: {failure_of(error)}"
        tell(Message("note", group.name, text=text))
        return group.unfinished
    diverged = []
    for place, (task, result) in enumerate(zip(tasks, results, strict=True)):
        if task.name in group.finished:
            continue
        if result is None:
            diverged.append(task)
            continue
        with _outcome_told(task, tell), _folder_of(task) as run:
            _fill(run, task, restorations[place], result, group.spec(place))
    return tuple(diverged)


@contextmanager
def _outcome_told(task: Task, tell: Tell) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        tell(Message("failed", task.name, text=failure_of(error)))
    else:
        tell(Message("done", task.name))


def _prepared(task: Task) -> Restoration:
    from guided_dip.restoration import prepare

    return prepare(task.image, task.config, clean=task.clean)


@contextmanager
def _folder_of(task: Task) -> Iterator[RunWriter]:
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with new_run(task.folder, overwrite=True) as run:
        yield run


def _fill(run: RunWriter, task: Task, restoration: Restoration, result: Result, spec: str) -> None:
    estimated = task.config.noise == "auto"
    summary = summarize(restoration, result, task.source, noise_estimated=estimated)
    (run.draft / SPEC).write_text(spec, encoding="utf-8")
    floats = result.image.dtype.kind == "f"
    restored = Picture(result.image, format="TIFF" if floats else "PNG")
    run.save(restoration, result, summary, restored)


def failure_of(error: Exception) -> str:
    """Say in one line why a run failed."""
    if isinstance(error, InputError | RunError):
        return str(error)
    return f"{type(error).__name__}: {error}"


class Worker:
    """A process that carries out one group of runs after another.

    Attributes
    ----------
    device
        Where its runs compute if their settings leave it open.
    left
        Names of the runs it is at; none if it waits for some.
    connection
        Where its messages arrive; at its end, once the process is no more.
    """

    def __init__(self, device: str | None) -> None:
        context = multiprocessing.get_context("spawn")  # a forked torch would hang
        self.device = device
        self.left: list[str] = []
        self.connection, far = context.Pipe()
        self._process = context.Process(target=_work, args=(far, device), daemon=True)
        with _deaf_to_interrupts():
            self._process.start()
        far.close()

    @property
    def exit_code(self) -> int | None:
        """Of the process; None while it lives, minus the signal that killed it."""
        return self._process.exitcode

    def give(self, group: Group) -> None:
        """Have it carry out runs."""
        self.left = [task.name for task in group.unfinished]
        with suppress(BrokenPipeError):  # it was killed while idle: reading says so, too
            self.connection.send(group)

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
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: it would cut off the clean-up
    raise SystemExit(1)


def _work(connection: Connection[Message, Group], device: str | None) -> None:
    signal.signal(signal.SIGTERM, _quit)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with suppress(EOFError, BrokenPipeError):
        while True:
            execute(_placed(connection.recv(), device), _Reports(connection))


def _placed(group: Group, device: str | None) -> Group:
    """Have runs whose settings leave the device open compute on one."""
    if device is None:
        return group
    return replace(group, tasks=tuple(_placed_task(task, device) for task in group.tasks))


def _placed_task(task: Task, device: str) -> Task:
    if task.config.device != "auto":
        return task
    return replace(task, config=task.config.replace(device=device))


class _Reports:
    """Sends word of runs, of their steps not more often than anyone would look."""

    def __init__(self, connection: Connection[Message, Group]) -> None:
        self._connection = connection
        self._next: dict[str, float] = defaultdict(float)

    def __call__(self, message: Message) -> None:
        if message.kind == "step":
            now = time.monotonic()
            if now < self._next[message.name]:
                return
            self._next[message.name] = now + EVERY
        try:
            self._connection.send(message)
        except OSError:  # the study's process was killed
            _quit()
