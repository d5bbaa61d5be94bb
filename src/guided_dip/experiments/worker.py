"""The runs of a study, carried out in this process or in a worker of its own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from guided_dip.errors import reason_of
from guided_dip.experiments.groups import Group, Task
from guided_dip.images import Picture
from guided_dip.memory import forget_peak
from guided_dip.result import Record, Result
from guided_dip.runs import RunWriter, new_run, summarize
from guided_dip.workers import Link

if TYPE_CHECKING:
    from guided_dip.restoration import Restoration

SPEC = "spec.json"
EVERY = 0.2  # seconds between a worker's messages about a run


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
        text = f"{len(tasks)} runs are computed one by one: {reason_of(error)}"
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
        tell(Message("failed", task.name, text=reason_of(error)))
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


def work(group: Group, link: Link) -> None:
    """Carry out the runs of a group in a worker's process: see `execute`.

    Parameters
    ----------
    group
        The runs.
    link
        To the study's process.
    """
    execute(group, _Reports(link))


def placed(group: Group, device: str | None) -> Group:
    """Have runs whose settings leave the device open compute on one.

    Parameters
    ----------
    group
        The runs.
    device
        None leaves it open.
    """
    if device is None:
        return group
    return replace(group, tasks=tuple(_placed_task(task, device) for task in group.tasks))


def _placed_task(task: Task, device: str) -> Task:
    if task.config.device != "auto":
        return task
    return replace(task, config=task.config.replace(device=device))


class _Reports:
    """Sends word of runs, of their steps not more often than anyone would look."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._next: dict[str, float] = defaultdict(float)

    def __call__(self, message: Message) -> None:
        if message.kind == "step":
            now = time.monotonic()
            if now < self._next[message.name]:
                return
            self._next[message.name] = now + EVERY
        self._link.tell(message)
