"""When to show the estimate of a run, so that showing it takes little of the run's time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guided_dip.restoration.run import Restoration


class Pacing:
    """Shows the estimate every so often, and less often where that would take too much time.

    The first one cannot be timed, so it is put off by what `Restoration.preview_seconds` foretells:
    one of a large picture takes a while.

    Parameters
    ----------
    restoration
        What is under way.
    every
        Seconds between two, at least.
    share
        Of the run's time, that all may take.
    first
        Seconds until the first.
    """

    def __init__(
        self, restoration: Restoration, *, every: float, share: float, first: float
    ) -> None:
        self._restoration, self._every, self._share = restoration, every, share
        self._began = time.monotonic()
        self._next = self._began + first
        self._is_foretold = False

    def step(self, show: Callable[[], None]) -> None:
        """Have the estimate shown if it is time; called at each step.

        Parameters
        ----------
        show
            Shows it.
        """
        now = time.monotonic()
        if now < self._next:
            return
        if not self._is_foretold:
            self._is_foretold = True
            self._next = self._began + self._restoration.preview_seconds() / self._share
            if time.monotonic() < self._next:
                return
        show()
        taken = time.monotonic() - now
        self._next = now + max(self._every, taken / self._share)
