"""Pictures restored by processes of this machine, no more at a time than its memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guided_dip.batch.carry_out import carry_out
from guided_dip.batch.work import ENDS, Event, Item, Orders
from guided_dip.workers import Bell, Ended, Link, Pool, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


IDLE = 400 * 2**20  # bytes; a process that has the libraries and a picture, and computes nothing


@dataclass(frozen=True)
class _Group:
    items: tuple[Item, ...]
    orders: Orders


@dataclass(frozen=True)
class _Needs:
    bytes: int


@dataclass(frozen=True)
class _Warm:
    """Has a process load what it will need."""


def _carry_out(group: _Group | _Warm, link: Link) -> None:
    if isinstance(group, _Warm):
        import guided_dip.jobs.carry_out
        import guided_dip.restoration  # noqa: F401

        return
    carry_out(group.items, group.orders, link.tell, lambda needed: link.ask(_Needs(needed)))


class LocalExecutor:
    """Carries out work in a pool of processes.

    A process computes when what its pictures take fits into the memory that the others leave; one
    that takes more than there is computes while no other does. So memory decides when a picture is
    restored, never what comes of it.

    Parameters
    ----------
    orders
        What goes for all pictures.
    devices
        One for each process, where they compute if the settings leave it open; None for there.
    memory
        Bytes that all processes may take; None for any number.
    bell
        Ends a wait early.
    warm
        Have processes that wait load the libraries before they are given something.
    """

    def __init__(
        self,
        orders: Orders,
        devices: Sequence[str | None],
        memory: int | None,
        bell: Bell | None = None,
        *,
        warm: bool = False,
    ) -> None:
        self._orders = orders
        self._memory, self._processes, self._warm = memory, len(devices), warm
        self._pool = Pool(_carry_out, devices, bell) if bell else Pool(_carry_out, devices)
        self._left: dict[Worker, set[str]] = {}
        self._cut: set[str] = set()
        self._taken: dict[Worker, int] = {}
        self._waiting: dict[Worker, int] = {}  # in the order of their asking

    def room(self) -> int:
        """Return how many processes wait for work."""
        return len(self._pool.idle)

    def submit(self, items: Sequence[Item]) -> None:
        """Have a group carried out; as `Executor.submit`."""
        worker = self._pool.idle[0]
        own = tuple(
            item if item.orders is None else replace(item, orders=_placed(item.orders, worker))
            for item in items
        )
        self._left[worker] = {item.name for item in items}
        worker.give(_Group(own, _placed(self._orders, worker)))

    def wait(self, seconds: float) -> list[Event]:
        """Return what has been said; as `Executor.wait`."""
        if self._warm:
            for worker in self._pool.idle:
                if worker.pid is None:
                    worker.give(_Warm())
        events = [Event("cut", name) for name in sorted(self._cut)]
        self._cut.clear()
        events += [
            event
            for worker, message in self._pool.wait(seconds)
            for event in self._heard(worker, message)
        ]
        for worker in [worker for worker in self._taken if worker.item is None]:
            del self._taken[worker]
        self._admit()
        return events

    def end(self, name: str) -> None:
        """End work at a picture; as `Executor.end`."""
        for worker, left in self._left.items():
            if name in left:
                left.discard(name)
                self._cut |= left  # of its group: they are begun again
                left.clear()
                worker.kill()

    def stop(self) -> None:
        """Ask for all work to end; as `Executor.stop`."""
        self._waiting.clear()
        self._pool.terminate()

    def close(self) -> None:
        """End all processes; as `Executor.close`."""
        self._pool.__exit__()

    def _heard(self, worker: Worker, message: object) -> Iterator[Event]:
        if isinstance(message, _Needs):
            self._taken.pop(worker, None)  # it asks for all it needs, or for the next picture
            self._waiting[worker] = message.bytes
        elif isinstance(message, Ended):
            self._taken.pop(worker, None)
            self._waiting.pop(worker, None)
            for name in sorted(self._left.pop(worker, ())):
                yield Event("lost", name, _how(message))
        elif isinstance(message, Event):
            known = message.name in self._left.get(worker, ())
            if message.kind in ENDS:
                self._left[worker].discard(message.name)
            if known:
                yield message

    def _admit(self) -> None:
        """Let those compute that fit in, in the order of their asking."""
        for worker, needed in list(self._waiting.items()):
            others = self._processes - len(self._taken) - 1
            taken = sum(self._taken.values())
            fits = self._memory is None or taken + needed + others * IDLE <= self._memory
            if taken and not fits:
                return  # who asks later waits as well: else small ones could keep a large one out
            del self._waiting[worker]
            self._taken[worker] = needed
            worker.answer(None)


def _placed(orders: Orders, worker: Worker) -> Orders:
    """Return orders that say where a process computes, if they leave it open."""
    if worker.place is None or orders.config.device not in ("auto", "cuda"):
        return orders
    return replace(orders, config=orders.config.replace(device=worker.place))


def _how(ended: Ended) -> str:
    code = ended.exit_code
    if code is not None and code < 0:
        hint = "; the memory may not have sufficed: try fewer --workers" * (code == -9)
        return f"its process was killed by signal {-code}{hint}"
    return f"its process ended unasked (exit code {code})"
