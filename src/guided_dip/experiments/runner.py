"""Many resumable runs: a finished one is never computed again, a failing one stops no other.

A study is a folder of run folders and one index. What is to be run is a list of `RunSpec`, and
what it is run on an `Input`; the digest of both is kept with each run. A run folder whose digest
is the spec's is kept as it is; any other (missing, interrupted, or of another spec) is computed
from the start. `guided_dip.runs.new_run` writes a run as a draft first, so a process killed at any
moment leaves nothing that could be taken for finished.

Every run has one CPU thread unless its settings say otherwise, so that its bytes do not depend on
the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.config import Config, make_config
from guided_dip.errors import InputError, choices
from guided_dip.experiments.board import Board, Outcome, Progress, locked
from guided_dip.experiments.worker import SPEC, Message, Task, Worker, execute, failure_of
from guided_dip.result import Record
from guided_dip.runs import Source, load_run

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
    tasks = [_task(spec, folder, images) for spec in specs]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        return _run_all(tasks, Board(folder, tasks, on_progress), workers)


def _run_all(tasks: Sequence[Task], board: Board, workers: int | None) -> tuple[Outcome, ...]:
    waiting = deque(task for task in tasks if not is_finished(task.folder, task.digest))
    board.begin([task.name for task in waiting])
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
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))  # those this process may use
    else:
        cores = os.cpu_count() or 1
    return _cuda_devices() or cores


def is_finished(folder: Path, digest: str) -> bool:
    """Tell whether a folder holds the finished run of a spec.

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
    same = isinstance(kept, dict) and kept.get("digest") == digest
    return same and len(run.records) == run.summary.steps


def _task(spec: RunSpec, folder: Path, images: Mapping[str, Input]) -> Task:
    if spec.image not in images:
        raise InputError(
            f"run {spec.name}: there is no image '{spec.image}': {choices(spec.image, images)}"
        )
    config, picture = spec.config, images[spec.image]
    # How many threads and which device of its kind compute a run is no part of what it is.
    settings = config.model_dump(mode="json", exclude={"threads"})
    content = {"results": RESULTS, "settings": settings, "input": picture.digest}
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    kept = json.dumps({"digest": digest, **content}, indent=2) + "\n"
    return Task(
        spec.name,
        folder / spec.name,
        digest,
        kept,
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


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _run_here(waiting: deque[Task], board: Board) -> None:
    for task in waiting:
        board.start(task.name)

        def on_step(record: Record, name: str = task.name) -> None:
            board.step(name, record.step + 1, record.seconds)

        try:
            execute(task, on_step)
        except Exception as error:
            board.fail(task.name, failure_of(error))
        else:
            board.finish(task.name)


def _run_in_workers(waiting: deque[Task], board: Board, count: int) -> None:
    devices = _cuda_devices()
    places = [f"cuda:{number % devices}" if devices else None for number in range(count)]
    crew: list[Worker] = []
    try:
        crew += [Worker(place) for place in places]
        while waiting or any(worker.task for worker in crew):
            for worker in crew:
                if worker.task is None and waiting:
                    task = waiting.popleft()
                    board.start(task.name)
                    worker.give(task)
            busy = {worker.connection: worker for worker in crew if worker.task}
            for connection in wait(list(busy)):
                worker = next(w for c, w in busy.items() if c is connection)
                if not _listen(worker, board):
                    crew.remove(worker)
                    crew += [Worker(worker.device)] if waiting else []
    finally:
        for worker in crew:
            worker.terminate()
        for worker in crew:
            worker.stop()


def _listen(worker: Worker, board: Board) -> bool:
    """Take in one message of a worker; False if it is no more."""
    task = worker.task
    assert task is not None, "only workers with a run are listened to"
    try:
        message: Message = worker.connection.recv()
    except (EOFError, OSError):
        worker.stop()
        board.fail(task.name, f"its process ended unasked (exit code {worker.exit_code})")
        return False
    if message.kind == "step":
        board.step(task.name, message.steps, message.seconds)
        return True
    worker.task = None
    if message.kind == "failed":
        board.fail(task.name, message.text)
    else:
        board.finish(task.name)
    return True
