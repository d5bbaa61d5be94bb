"""How far a study is: the state of each run, the index on disk, the time left."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from guided_dip import files
from guided_dip.config import fill_in
from guided_dip.errors import InputError
from guided_dip.experiments.groups import Group, Task
from guided_dip.files import write_whole

INDEX = "index.json"

State = Literal["waiting", "running", "kept", "done", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    name
        Of the run.
    state
        ``kept`` was finished before, ``done`` is finished now; ``waiting`` and ``running`` are as
        an interruption left them.
    error
        Why it failed, else an empty string.
    """

    name: str
    state: State
    error: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a study is; runs that were finished before count as done.

    Attributes
    ----------
    runs_done, runs
        Runs that are over, and all of them.
    steps_done, steps
        The same in steps.
    seconds_left
        Foretold from the runs so far; None before the first steps.
    """

    runs_done: int
    runs: int
    steps_done: int
    steps: int
    seconds_left: float | None


_ENTRIES = TypeAdapter(list[Outcome])


def locked(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes from computing in a study's folder; as `guided_dip.files.locked`.

    Parameters
    ----------
    folder
        Of the study.
    """
    return files.locked(folder, "computing this study")


def read_index(folder: Path) -> dict[str, Outcome]:
    """Return the runs that a study's index lists, by name; none if there is no index.

    Parameters
    ----------
    folder
        Of the study.

    Raises
    ------
    InputError
        If the index is damaged.
    """
    path = folder / INDEX
    try:
        entries = _ENTRIES.validate_python(json.loads(path.read_text(encoding="utf-8"))["runs"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        raise InputError(
            f"{path}: is no index of runs; try deleting it: finished runs are found again"
        ) from None
    return {entry.name: entry for entry in entries}


class Board:
    """Keeps the state of each run, on disk too, and tells how far the study is.

    Parameters
    ----------
    folder
        Of the study.
    groups
        Its runs, as they are computed.
    on_progress
        Who wants to know.
    """

    def __init__(
        self,
        folder: Path,
        groups: Sequence[Group],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._folder = folder
        self._on_progress = on_progress
        self._known = read_index(folder)
        self._groups = [[task.name for task in group.tasks] for group in groups]
        tasks = [task for group in groups for task in group.tasks]
        self._states = {task.name: Outcome(task.name, "kept") for task in tasks}
        self._total = {task.name: _steps(task) for task in tasks}
        self._kind = {task.name: task.config.backbone for task in tasks}
        self._taken = dict.fromkeys(self._states, 0)
        self._pace: dict[str, float] = {}  # seconds a step, by backbone
        self.workers = 1

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each run."""
        return tuple(self._states.values())

    def begin(self, waiting: Sequence[str]) -> None:
        """Note which runs are to be computed; the others are kept."""
        for name in waiting:
            self._states[name] = Outcome(name, "waiting")
        self.save()
        self._tell()

    def start(self, name: str) -> None:
        """Note that a run begins."""
        self._set(Outcome(name, "running"))

    def step(self, name: str, steps: int, seconds: float) -> None:
        """Note how many steps a run has taken, and in what time."""
        self._taken[name] = steps
        self._pace[self._kind[name]] = seconds / steps
        self._tell()

    def finish(self, name: str) -> None:
        """Note that a run is done."""
        self._set(Outcome(name, "done"))

    def fail(self, name: str, error: str) -> None:
        """Note that a run failed."""
        self._set(Outcome(name, "failed", " ".join(error.split())))

    def _set(self, outcome: Outcome) -> None:
        self._states[outcome.name] = outcome
        self.save()
        self._tell()

    def save(self) -> None:
        """Write the index: these runs, and those of earlier calls."""
        entries = self._known | self._states
        # Whether a run was computed in this call or before is of no interest to the next one.
        listed: list[dict[str, Any]] = [
            asdict(entry) | ({"state": "done"} if entry.state == "kept" else {})
            for _, entry in sorted(entries.items())
        ]
        write_whole(self._folder / INDEX, json.dumps({"runs": listed}, indent=1) + "\n")

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._progress())

    def _progress(self) -> Progress:
        left = {name: self._left(name) for name in self._states}
        over = sum(entry.state in ("kept", "done", "failed") for entry in self._states.values())
        total = sum(self._total.values())
        return Progress(over, len(left), total - sum(left.values()), total, self._seconds(left))

    def _left(self, name: str) -> int:
        if self._states[name].state in ("kept", "done", "failed"):
            return 0
        return max(0, self._total[name] - self._taken[name])

    def _seconds(self, left: dict[str, int]) -> float | None:
        """Reckon with each backbone's own pace; those not yet seen go at the mean of the others."""
        if not self._pace:
            return None
        usual = sum(self._pace.values()) / len(self._pace)
        work = [
            sum(left[name] * self._pace.get(self._kind[name], usual) for name in names)
            for names in self._groups
        ]
        return max(sum(work) / self.workers, max(work, default=0.0))


def _steps(task: Task) -> int:
    side = task.config.resize
    height, width = (side, side) if side else task.image.shape[:2]
    return fill_in(task.config, size=(height, width)).steps or 0
