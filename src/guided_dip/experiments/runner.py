"""Many resumable runs: a finished one is never computed again, a failing one stops no other.

A study is a folder of run folders and one index. What is to be run is a list of `RunSpec`, and
what it is run on an `Input`; the digest of both is kept with each run. A run folder whose digest
is the spec's is kept as it is; any other (missing, interrupted, or of another spec) is computed
from the start. `guided_dip.runs.new_run` writes a run as a draft first, so a process killed at any
moment leaves nothing that could be taken for finished.

Runs that differ in their seeds, or in pictures of one size, may be computed as one
(`guided_dip.restoration.run_together`): sooner where networks are small, and the same but for
rounding. What is kept with such a run tells its company, too. A finished run is kept in whatever
company it was computed, as one is as good as the other; while any run of a group is unfinished, the
whole group is computed again, so that a study that was interrupted ends in the bytes of one that
was not.

Every run has one CPU thread unless its settings say otherwise, so that its bytes do not depend on
the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.config import Config, make_config
from guided_dip.errors import InputError, choices
from guided_dip.experiments.board import Board, Outcome, Progress, locked
from guided_dip.experiments.groups import Group, Task, make_groups, matches
from guided_dip.experiments.worker import SPEC, Message, execute, placed, work
from guided_dip.runs import Source, load_run
from guided_dip.workers import Ended, Pool, cores, cuda_devices

_log = logging.getLogger(__name__)

# Settings that runs from before did not have, with what these did: left out of the digest where
# they say no more than that, so that such runs are still known.
LATER: Mapping[str, Any] = {
    "task": "denoise",
    "kernel": None,
    "enlarge": None,
    "downsampling": "lanczos",
    "hide_start": 0.5,
    "hide_end": 0.1,
    "pages": 1,
    "white": "auto",
}
# Raised when the same spec comes to mean other results.
RESULTS = 1


@dataclass(frozen=True, eq=False)
class Input:
    """What a run works on.

    Attributes
    ----------
    source
        The file it comes from.
    image : (H, W) or (H, W, C)
        The image to restore; for clean guides, the clean one.
    clean
        The clean image, to score with; None without one.
    """

    source: Source
    image: NDArray[Any]
    clean: NDArray[Any] | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        digest = hashlib.sha256()
        for array in (self.image, self.clean):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
            digest.update(b"|")
        return digest.hexdigest()


@dataclass(frozen=True)
class RunSpec:
    """One run of a study.

    Attributes
    ----------
    name
        Its folder inside the study's, such as ``"unet-cosine/seed-0"``.
    image
        Key of its `Input`.
    settings, preset
        As for `guided_dip.config.make_config`.
    """

    name: str
    image: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None

    @cached_property
    def config(self) -> Config:
        """The validated settings, with one thread where they name no number."""
        config = make_config(self.settings, preset=self.preset)
        return config if config.threads else config.replace(threads=1)


def run_all(
    specs: Sequence[RunSpec],
    folder: Path,
    *,
    images: Mapping[str, Input],
    workers: int | None = None,
    together: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Outcome, ...]:
    """Carry out every run that is not finished yet.

    Parameters
    ----------
    specs
        The runs, their names all different.
    folder
        Of the study; its index lists these runs and those of earlier calls.
    images
        The inputs by key.
    workers
        Processes at work at once; 1 stays in this process. None: `default_workers`.
    together
        The most runs that a worker computes as one, where they allow it.
    on_progress
        Called every now and then, and after each run.

    Returns
    -------
    tuple of Outcome
        In the order of the specs.

    Raises
    ------
    InputError
        Before anything is computed, if a spec is not usable or another process is at work there.
    """
    _check_names(specs)
    groups = make_groups([_task(spec, folder, images) for spec in specs], together)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        return _run_all(groups, Board(folder, groups, on_progress), workers)


def _run_all(groups: Sequence[Group], board: Board, workers: int | None) -> tuple[Outcome, ...]:
    waiting = deque(group for group in map(_looked_up, groups) if group.unfinished)
    board.begin([task.name for group in waiting for task in group.unfinished])
    count = min(default_workers() if workers is None else workers, max(1, len(waiting)))
    if count < 1:
        raise InputError(f"there must be at least 1 worker, not {count}")
    board.workers = count
    try:
        if count == 1:
            _run_here(waiting, board)
        else:
            _run_in_workers(waiting, board, count)
    finally:
        board.save()
    return board.outcomes


def default_workers() -> int:
    """Return one worker a CUDA device, or one a core where there is none."""
    return cuda_devices() or cores()


def is_finished(folder: Path, digest: str) -> bool:
    """Tell whether a folder holds the finished run of a spec, in whatever company it was computed.

    Parameters
    ----------
    folder
        The run folder.
    digest
        Of the spec and its input.
    """
    try:
        kept = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        run = load_run(folder)
    except (OSError, ValueError):
        return False
    return matches(kept, digest) and len(run.records) == run.summary.steps


def digest_of(spec: RunSpec, picture: Input) -> str:
    """Return the digest of a run: of its settings and of what it works on.

    Parameters
    ----------
    spec, picture
        The run, and its input.
    """
    return _task(spec, Path(), {spec.image: picture}).digest


def kept_digest(folder: Path) -> str:
    """Return the digest of what a finished run was, by itself.

    Parameters
    ----------
    folder
        The run folder.

    Raises
    ------
    InputError
        If it is not there.
    """
    try:
        kept = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        return str(kept.get("alone", kept["digest"]))
    except (OSError, ValueError, KeyError, AttributeError):
        raise InputError(f"{folder}: has no {SPEC}; try running it again") from None


def _looked_up(group: Group) -> Group:
    """Note which runs of a group are finished."""
    finished = {task.name for task in group.tasks if is_finished(task.folder, task.digest)}
    return replace(group, finished=frozenset(finished))


def _task(spec: RunSpec, folder: Path, images: Mapping[str, Input]) -> Task:
    if spec.image not in images:
        raise InputError(
            f"run {spec.name}: there is no image '{spec.image}': {choices(spec.image, images)}"
        )
    config, picture = spec.config, images[spec.image]
    # How many threads and which device of its kind compute a run is no part of what it is.
    settings = config.model_dump(mode="json", exclude={"threads"})
    settings = {k: v for k, v in settings.items() if k not in LATER or v != LATER[k]}
    content = {"results": RESULTS, "settings": settings, "input": picture.digest}
    return Task(
        spec.name,
        folder / spec.name,
        content,
        config,
        picture.source,
        picture.image,
        picture.clean,
    )


def _check_names(specs: Sequence[RunSpec]) -> None:
    names = [spec.name for spec in specs]
    for name in names:
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or names.count(name) > 1:
            raise InputError(f"a run cannot be called '{name}': try a relative name of its own")


def _run_here(waiting: deque[Group], board: Board) -> None:
    for group in waiting:
        _start(group, board)
        execute(group, lambda message: _hear(message, board))


def _start(group: Group, board: Board) -> None:
    for task in group.unfinished:
        board.start(task.name)


def _hear(message: Message, board: Board) -> None:
    if message.kind == "step":
        board.step(message.name, message.steps, message.seconds)
    elif message.kind == "failed":
        board.fail(message.name, message.text)
    elif message.kind == "done":
        board.finish(message.name)
    else:
        _log.warning("%s: %s", message.name, message.text)


def _run_in_workers(waiting: deque[Group], board: Board, count: int) -> None:
    devices = cuda_devices()
    places = [f"cuda:{number % devices}" if devices else None for number in range(count)]
    over: set[str] = set()
    with Pool(work, places) as pool:
        while waiting or pool.busy:
            for worker in pool.idle:
                if waiting:
                    group = waiting.popleft()
                    _start(group, board)
                    worker.give(placed(group, worker.place))
            for worker, message in pool.wait():
                if isinstance(message, Ended):
                    _give_up(worker.item, message, over, board)
                    continue
                _hear(message, board)
                if message.kind in ("done", "failed"):
                    over.add(message.name)


def _give_up(group: Group, ended: Ended, over: set[str], board: Board) -> None:
    """Note that what is left of a group has failed, as its process is no more."""
    for task in group.unfinished:
        if task.name not in over:
            board.fail(task.name, f"its process ended unasked (exit code {ended.exit_code})")
