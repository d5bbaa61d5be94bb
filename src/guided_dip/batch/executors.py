"""Which executors there are, and how many pictures each restores at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from guided_dip.batch.work import Executor, Orders
from guided_dip.errors import InputError, choices
from guided_dip.memory import total_memory
from guided_dip.sizing import PROGRAM, parse_bytes
from guided_dip.workers import cores, cuda_devices

if TYPE_CHECKING:
    from guided_dip.batch.place import Place

NAMES = ("local", "ray", "slurm")
TOGETHER = 4  # pictures that a GPU computes as one: more were no faster


@dataclass(frozen=True)
class Crew:
    """Who restores the pictures.

    Attributes
    ----------
    executor
        One of `NAMES`.
    workers
        Pictures, or groups of them, at a time; None: one a GPU, else one a core.
    together
        Pictures of a group, computed as one if their sizes allow it; None: by the device.
    ray_address
        Of a Ray cluster; None for what ``RAY_ADDRESS`` says.
    gpus
        Of a worker on Ray or Slurm; parts of one let workers share it.
    per_job
        Pictures of a Slurm job.
    slurm
        What Slurm is asked for, such as ``partition`` and ``time``.
    """

    executor: str = "local"
    workers: int | None = None
    together: int | None = None
    ray_address: str | None = None
    gpus: float = 0.0
    per_job: int = 20
    slurm: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.executor not in NAMES:
            problem = f"--executor {self.executor}: is none"
            raise InputError(f"{problem}: {choices(self.executor, NAMES)}")


def threaded(orders: Orders, crew: Crew) -> Orders:
    """Return orders that say how many threads a picture gets: its share of the cores.

    Parameters
    ----------
    orders
        What goes for all pictures; threads that these name stay.
    crew
        Who restores them.
    """
    if orders.config.threads is not None:
        return orders
    threads = 1
    if crew.executor == "local" and crew.workers is not None:
        threads = max(1, cores() // crew.workers)
    return replace(orders, config=orders.config.replace(threads=threads))


def make_executor(crew: Crew, orders: Orders, place: Place) -> tuple[Executor, int]:
    """Return an executor, and the pictures of a group.

    Parameters
    ----------
    crew
        Who restores the pictures.
    orders
        What goes for all pictures.
    place
        Of the batch.

    Raises
    ------
    InputError
        If what it needs is not installed.
    """
    if crew.executor == "ray":
        from guided_dip.batch.on_ray import RayExecutor

        together = crew.together or (TOGETHER if crew.gpus else 1)
        return RayExecutor(orders, crew.ray_address, workers=crew.workers, gpus=crew.gpus), together
    if crew.executor == "slurm":
        from guided_dip.batch.on_slurm import SlurmExecutor

        executor = SlurmExecutor(
            orders,
            place,
            jobs=crew.workers,
            gpus=crew.gpus,
            asked=crew.slurm,
            together=crew.together or (TOGETHER if crew.gpus else 1),
        )
        return executor, crew.per_job
    return _local(crew, orders)


def _local(crew: Crew, orders: Orders) -> tuple[Executor, int]:
    from guided_dip.batch.local import LocalExecutor

    places = _gpus(orders.config.device)
    memory = None if places else _memory(orders)
    count = crew.workers or len(places) or cores()
    if memory is not None:
        count = max(1, min(count, memory // PROGRAM))
    devices = [places[number % len(places)] if places else None for number in range(count)]
    together = crew.together or (TOGETHER if places else 1)
    return LocalExecutor(orders, devices, memory), together


def _gpus(device: str) -> list[str]:
    """Return the GPUs to compute on: the one that is named, or all that there are."""
    if device in ("auto", "cuda"):
        return [f"cuda:{number}" for number in range(cuda_devices())]
    return [] if device == "cpu" else [device]


def _memory(orders: Orders) -> int | None:
    """Return the bytes that all processes may take: what is stated, or half of the machine's."""
    stated = orders.config.max_memory
    if stated is not None:
        return parse_bytes(stated)
    total = total_memory()
    return None if total is None else total // 2


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """Return what Slurm is asked for.

    Parameters
    ----------
    texts
        ``key=value`` each.

    Raises
    ------
    InputError
        If one has no ``=``.
    """
    asked = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--slurm {text}: there is no '='; try --slurm partition=gpu")
        asked[key.strip()] = value.strip()
    return asked
