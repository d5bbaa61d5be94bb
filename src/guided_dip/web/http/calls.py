"""The job manager, called from a loop that must not wait for a disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 24  # calls; they have threads of their own, so that nothing else waits for a slow disk


class Calls:
    """Threads in which what may block is called.

    Parameters
    ----------
    at_once
        How many there are.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self.limiter = CapacityLimiter(at_once)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something in a thread, and return what it does."""
        return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=self.limiter)
