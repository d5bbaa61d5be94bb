"""The runs of a study as units of work: each by itself, or several that are computed as one.

Which runs go together follows from the list of all of them, never from what is finished already: so
an interrupted study goes on with the groups it began with, and ends in the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.runs import Source


@dataclass(frozen=True, eq=False)
class Task:
    """A run to carry out, complete in itself so that it can be sent to another process.

    Attributes
    ----------
    name, folder
        Of the run.
    content
        All that decides what comes of it, as JSON has it.
    config, source, image, clean
        What is run, and on what.
    """

    name: str
    folder: Path
    content: Mapping[str, Any]
    config: Config
    source: Source
    image: NDArray[Any]
    clean: NDArray[Any] | None

    @cached_property
    def digest(self) -> str:
        """Of the content."""
        return _digest(self.content)

    @property
    def spec(self) -> str:
        """What is kept beside the run where it was computed by itself."""
        return _kept(self.content)


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that one worker carries out: most often a single one, else several computed as one.

    Attributes
    ----------
    tasks
        The runs, in the study's order.
    finished
        Names of those whose folders are there, and are not written again.
    """

    tasks: tuple[Task, ...]
    finished: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Of its first run."""
        return self.tasks[0].name

    @property
    def unfinished(self) -> tuple[Task, ...]:
        """The runs whose folders are to be written."""
        return tuple(task for task in self.tasks if task.name not in self.finished)

    def spec(self, place: int) -> str:
        """Return what is kept beside a run that was computed with the others.

        Rounding depends on their company, so the digest tells it.

        Parameters
        ----------
        place
            Of the run in the group.
        """
        task = self.tasks[place]
        company = {"alone": task.digest, "together": [each.digest for each in self.tasks]}
        return _kept({**task.content, **company, "place": place})


def make_groups(tasks: Sequence[Task], together: int) -> list[Group]:
    """Put runs that can be computed as one into groups, the others into groups of their own.

    Parameters
    ----------
    tasks
        All runs of a study.
    together
        The most runs of a group.

    Raises
    ------
    InputError
        If that is none.
    """
    if together < 1:
        raise InputError(f"there must be at least 1 run in a group, not {together}")
    groups: list[list[Task]] = []
    latest: dict[str | None, list[Task]] = {}
    for task in tasks:
        kind = _kind(task)
        group = latest.get(kind, [])
        if kind is None or not 0 < len(group) < together:
            group = latest[kind] = []
            groups.append(group)
        group.append(task)
    return [Group(tuple(group)) for group in groups]


def matches(kept: Any, digest: str) -> bool:
    """Tell whether what is kept beside a run is of a spec, in whatever company it was computed.

    Parameters
    ----------
    kept
        As it was read.
    digest
        Of the run by itself.
    """
    return isinstance(kept, dict) and digest in (kept.get("digest"), kept.get("alone"))


def _kind(task: Task) -> str | None:
    """Return what runs that are computed as one have in common; None for what is run by itself."""
    from guided_dip.restoration import why_alone

    if why_alone(task.config):
        return None
    return f"{task.image.shape}{task.config.replace(seed=0).model_dump_json()}"


def _kept(content: Mapping[str, Any]) -> str:
    return json.dumps({"digest": _digest(content), **content}, indent=2) + "\n"


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
