"""Pictures restored on a Ray cluster, whose nodes share the file system that they are on."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from guided_dip.batch.carry_out import carry_out
from guided_dip.batch.ray_cluster import connect, disconnect, load_ray
from guided_dip.batch.work import ENDS, Event, Item, Orders
from guided_dip.errors import InputError, InterruptionError, RunError
from guided_dip.jobs.stop import noted_signals

COUNTED_EVERY = 1.0  # seconds between two looks at what nodes there are
NOTED_EVERY = 60.0  # seconds between two notes that there is none
CANCELLED_EVERY = 60.0  # seconds between two times that a task is asked to end

log = logging.getLogger(__name__)


def _carry_out(items: tuple[Item, ...], orders: Orders) -> list[Event]:
    """Restore pictures on a node, and return what became of each."""
    ends: list[Event] = []

    def tell(event: Event) -> None:
        if event.kind in ENDS:
            ends.append(event)

    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As a shell leaves it to what it runs in the background. Ray cancels by an interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # One that comes while libraries are loaded could get lost there,
    # and what was done before one that is raised on would not be heard of.
    with noted_signals() as stop, suppress(KeyboardInterrupt):

        def admit(_: int) -> None:
            if stop.signal is not None:
                raise InterruptionError("interrupted before it was begun", stop.signal)

        carry_out(items, orders, tell, admit)
    return ends


class RayExecutor:
    """Carries out work as Ray tasks; where a node is lost, its pictures are begun elsewhere.

    Parameters
    ----------
    orders
        What goes for all pictures.
    address
        Of the cluster; None for what ``RAY_ADDRESS`` says; ``local`` for one that is started here,
        and ends with this.
    workers
        Tasks at a time, for which nodes may be yet to come; None for as many as the cluster has
        cores or GPUs for.
    gpus
        Of a task; parts of one let tasks share it. Tasks without any compute on the CPU.

    Raises
    ------
    InputError
        If Ray is not installed, or there is no such cluster, or none of its nodes is large enough.
    """

    def __init__(
        self, orders: Orders, address: str | None, *, workers: int | None, gpus: float
    ) -> None:
        device = orders.config.device
        if device.startswith("cuda") and not gpus:
            raise InputError(f"--device {device} on Ray needs --gpus, such as --gpus 1")
        if gpus > 1 and gpus % 1:
            whole = int(gpus)
            raise InputError(
                f"--gpus {gpus:g}: Ray parts no more than one GPU; try {whole} or {whole + 1}"
            )
        if device == "auto" and not gpus:  # Ray would let it see GPUs that others are given
            orders = replace(orders, config=orders.config.replace(device="cpu"))
        self._ray: Any = load_ray()
        self._orders, self._workers, self._gpus = orders, workers, gpus
        self._threads = orders.config.threads or 1
        task = self._ray.remote(num_cpus=self._threads, num_gpus=gpus, max_retries=0)
        self._task: Any = task(_carry_out)
        self._left: dict[Any, tuple[Item, ...]] = {}
        self._ended: set[Any] = set()
        self._stopping = False
        self._slots = 0
        self._next_count = self._next_note = self._next_cancel = 0.0
        self._connected = not self._ray.is_initialized()
        if self._connected:
            connect(self._ray, address, self._threads * (workers or 0))
        try:
            if not self._count() and workers is None:
                raise InputError(f"no node of the Ray cluster has {self._needs()}; try fewer")
        except BaseException:
            self.close()
            raise

    def room(self) -> int:
        """Return how many groups it can take now, by the cores or GPUs that there are now."""
        # With no node left, one waits for another to come: who has nothing running is at the end.
        return max(0, (self._workers or max(1, self._count())) - len(self._left))

    def submit(self, items: Sequence[Item]) -> None:
        """Have a group carried out; as `Executor.submit`."""
        with self._reached():
            self._left[self._task.remote(tuple(items), self._orders)] = tuple(items)

    def wait(self, seconds: float) -> list[Event]:
        """Return what has been said; as `Executor.wait`."""
        if not self._left:
            return []
        pending = list(self._left)
        with self._reached():
            ready, _ = self._ray.wait(pending, num_returns=1, timeout=seconds)
            if ready:  # and whatever else is, at no cost
                ready, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        if not ready:
            self._note_lack()
            if self._stopping and time.monotonic() >= self._next_cancel:
                self._cancel()
        return [event for task in ready for event in self._ends_of(task)]

    def end(self, name: str) -> None:
        """End work at a picture; as `Executor.end`. Others of its group are begun again."""
        for task, items in self._left.items():
            if any(item.name == name for item in items):
                self._left[task] = tuple(item for item in items if item.name != name)
                self._ended.add(task)
                with self._reached():
                    self._ray.cancel(task, force=True)

    def stop(self) -> None:
        """Ask for all work to end; as `Executor.stop`."""
        self._stopping = True
        self._cancel()

    def close(self) -> None:
        """End all processes; as `Executor.close`."""
        for task in self._left:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(task, force=True)
        self._left.clear()
        if self._connected:
            disconnect(self._ray)

    def _cancel(self) -> None:
        # Asked for again after a while: a process that is just being started may not have heard.
        self._next_cancel = time.monotonic() + CANCELLED_EVERY
        with self._reached():
            for task in self._left:
                self._ray.cancel(task, force=False)

    def _count(self) -> int:
        """Return how many tasks the nodes that are there have cores and GPUs for, all in all."""
        now = time.monotonic()
        if now >= self._next_count:
            self._next_count = now + COUNTED_EVERY
            with self._reached():
                nodes = self._ray.nodes()
            self._slots = sum(self._fit(node["Resources"]) for node in nodes if node["Alive"])
        return self._slots

    def _fit(self, there: dict[str, float]) -> int:
        """Return how many tasks fit on a node; Ray counts in parts of 10000."""
        fit = there.get("CPU", 0) / self._threads
        if self._gpus:
            fit = min(fit, there.get("GPU", 0) / self._gpus)
        return int(fit + 1e-4)

    def _needs(self) -> str:
        cores = f"{self._threads} core" + "s" * (self._threads > 1)
        gpus = f"{self._gpus:g} GPU" + "s" * (self._gpus > 1)
        return f"{cores} and {gpus}" if self._gpus else cores

    def _note_lack(self) -> None:
        """Say now and then that no node could do what is left: it waits for one without an end."""
        now = time.monotonic()
        if self._stopping or self._count() or now < self._next_note:
            return
        self._next_note = now + NOTED_EVERY
        count = sum(len(items) for items in self._left.values())
        waits = f"{count} picture waits" if count == 1 else f"{count} pictures wait"
        log.warning("no node of the Ray cluster has %s now; %s for one", self._needs(), waits)

    def _ends_of(self, task: Any) -> Iterator[Event]:
        items = self._left.pop(task)
        names = {item.name for item in items}
        errors = self._ray.exceptions
        reason = "its task ended without a word"
        try:
            for event in self._ray.get(task):
                if event.name in names:
                    names.discard(event.name)
                    yield event
        except errors.TaskCancelledError:
            reason = "its task was cancelled"
        except errors.RayTaskError as error:  # of no picture, for that would be an event
            raise RunError(
                f"a node of the Ray cluster cannot do the work ({_in_short(error.cause)}); try the "
                "same guided-dip on all of them"
            ) from None
        except errors.RayError as error:
            reason = f"its node or process is no more ({_in_short(error)})"
        for item in items:
            if item.name in names:
                innocent = self._stopping or task in self._ended
                yield Event("cut" if innocent else "lost", item.name, reason)
        self._ended.discard(task)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise RunError(
                f"the Ray cluster answers no more ({_in_short(error)}); the same command goes on "
                "when it does"
            ) from None


def _in_short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
