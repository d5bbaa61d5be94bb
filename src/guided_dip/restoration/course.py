"""A fit under way: what it has recorded, and the states to which it can go back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from guided_dip.fit import Fit, Step
from guided_dip.restoration.checkpoint import Checkpoint
from guided_dip.result import Record
from guided_dip.stopping import EarlyStopping

KEEP_EVERY = 10  # steps between the states to which a run can go back
SMALLER = 0.25  # of the learning rate, after each time it went back


class Course:
    """A fit under way: what it has recorded, and the states to which it can go back."""

    def __init__(self, fit: Fit, stopping: EarlyStopping | None) -> None:
        self.fit, self.stopping = fit, stopping
        self.records: list[Record] = []
        self.snapshots: list[tuple[int, NDArray[np.float32]]] = []
        self.rollbacks: list[int] = []
        self.stopped = False
        self._began = time.perf_counter()
        # Two, so that the older one has some steps behind it that were still good.
        self._kept: deque[Checkpoint] = deque(maxlen=2)

    @property
    def seconds(self) -> float:
        """Time of the run, without the time between an interruption and going on."""
        return time.perf_counter() - self._began

    @property
    def good(self) -> Checkpoint:
        """The older of the states that are kept."""
        return self._kept[0]

    @property
    def stopped_at(self) -> int | None:
        """Step whose output the early-stopping rule chose."""
        return None if self.stopping is None else self.stopping.best_step

    def begin(self) -> None:
        """Keep the state in which the run begins."""
        self._keep()

    def steps(self) -> Iterator[Step]:
        """Yield the steps that are left, until the early-stopping rule says stop."""
        for step in self.fit:
            yield step
            if self.stopped:
                return

    def take(self, record: Record, output: Tensor) -> None:
        """Note a good step."""
        self.records.append(record)
        if self.stopping is not None:
            self.stopped = self.stopping.update(output)

    def keep_now_and_then(self) -> None:
        """Keep the state, every few steps."""
        if self.fit.done % KEEP_EVERY == 0:
            self._keep()

    def _keep(self) -> None:
        self._kept.append(
            Checkpoint(
                fit=self.fit.state(),
                stopping=None if self.stopping is None else self.stopping.state(),
                records=tuple(self.records),
                snapshots=tuple(self.snapshots),
                seconds=self.seconds,
                stopped=self.stopped,
                rollbacks=tuple(self.rollbacks),
            )
        )

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.fit.load_state(checkpoint.fit)
        if self.stopping is not None and checkpoint.stopping is not None:
            self.stopping.load_state(checkpoint.stopping)
        self.records, self.snapshots = list(checkpoint.records), list(checkpoint.snapshots)
        self.rollbacks = list(checkpoint.rollbacks)
        self.stopped = checkpoint.stopped
        self.fit.rate_factor = SMALLER ** len(self.rollbacks)
        self._began = time.perf_counter() - checkpoint.seconds

    def go_back(self, step: int) -> None:
        """Go back to the last good state, with a smaller rate.

        Parameters
        ----------
        step
            At which the fit has diverged.
        """
        seconds, rollbacks = self.seconds, [*self.rollbacks, step]
        self.load(self.good)
        self.rollbacks = rollbacks
        self.fit.rate_factor = SMALLER ** len(rollbacks)
        self._began = time.perf_counter() - seconds
        self._kept.clear()
        self._keep()
