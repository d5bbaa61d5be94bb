"""Pictures restored on a Ray cluster, whose nodes share the file system that they are on."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from guided_dip.batch.carry_out import carry_out
from guided_dip.batch.work import Event, Item, Orders
from guided_dip.errors import InputError, RunError

ENDS = ("done", "failed", "cut", "stuck")


def _carry_out(items: tuple[Item, ...], orders: Orders) -> list[Event]:
    """Restore pictures on a node, and return what became of each."""
    ends: list[Event] = []
    carry_out(items, orders, lambda event: ends.append(event) if event.kind in ENDS else None)
    return ends


class RayExecutor:
    """Carries out work as Ray tasks; where a node is lost, its pictures are begun elsewhere.

    Parameters
    ----------
    orders
        What goes for all pictures.
    address
        Of the cluster; None for one that is started here, and ends with this.
    workers
        Tasks at a time; None for as many as the cluster has cores or GPUs for.
    gpus
        Of a task; parts of one let tasks share it.

    Raises
    ------
    InputError
        If Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self, orders: Orders, address: str | None, *, workers: int | None, gpus: float
    ) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(
                "--executor ray needs Ray: try pip install 'guided-dip[ray]'"
            ) from None
        self._ray: Any = ray
        self._workers, self._gpus = workers, gpus
        self._threads = orders.config.threads or 1
        self._started = not ray.is_initialized()
        if self._started:
            self._start(address)
        self._orders = ray.put(orders)
        task = ray.remote(num_cpus=self._threads, num_gpus=gpus, max_retries=0)
        self._task: Any = task(_carry_out)
        self._left: dict[Any, tuple[Item, ...]] = {}
        self._stopping = False

    def _start(self, address: str | None) -> None:
        with _own_signals():
            try:
                self._ray.init(
                    address,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    include_dashboard=False,
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise InputError(f"--ray-address {address}: no Ray cluster ({reason})") from None

    def room(self) -> int:
        """Return how many groups it can take now, by the cores or GPUs that there are now."""
        return max(0, self._slots() - len(self._left))

    def submit(self, items: Sequence[Item]) -> None:
        """Have a group carried out; as `Executor.submit`."""
        self._left[self._task.remote(tuple(items), self._orders)] = tuple(items)

    def wait(self, seconds: float) -> list[Event]:
        """Return what has been said; as `Executor.wait`."""
        if not self._left:
            return []
        pending = list(self._left)
        ready, _ = self._ray.wait(pending, num_returns=1, timeout=seconds)
        if ready:  # and whatever else is, at no cost
            ready, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        return [event for task in ready for event in self._ends_of(task)]

    def stop(self) -> None:
        """Ask for all work to end; as `Executor.stop`."""
        self._stopping = True
        for task in self._left:
            self._ray.cancel(task, force=False)

    def close(self) -> None:
        """End all processes; as `Executor.close`."""
        for task in self._left:
            self._ray.cancel(task, force=True)
        if self._started:
            self._ray.shutdown()

    def _slots(self) -> int:
        if self._workers is not None:
            return self._workers
        there = self._ray.cluster_resources()
        slots = int(there.get("CPU", 0) // self._threads)
        if self._gpus:
            slots = min(slots, int(there.get("GPU", 0) / self._gpus))
        if not slots and not self._left:
            what = f"{self._threads} cores" + f" and {self._gpus:g} GPUs" * bool(self._gpus)
            raise RunError(f"no node of the Ray cluster has {what}; try fewer, or more nodes")
        return slots

    def _ends_of(self, task: Any) -> Iterator[Event]:
        items = self._left.pop(task)
        names = {item.name for item in items}
        kind, reason = "lost", "its task ended without a word"
        try:
            for event in self._ray.get(task):
                names.discard(event.name)
                yield event
        except self._ray.exceptions.TaskCancelledError:
            kind, reason = "cut", ""
        except self._ray.exceptions.RayError as error:
            kind, reason = "lost", f"its node or process is no more ({_first_line(error)})"
        for item in items:
            if item.name in names:
                yield Event("cut" if kind == "cut" or self._stopping else "lost", item.name, reason)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of signals, in whose place Ray puts its own."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
