"""Supervisions around another one: its pairs drawn ahead of time, or measured."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate

from torch import Tensor

from guided_dip.guidance import Plan
from guided_dip.operators import Operator
from guided_dip.supervision.pairs import Pair, Supervision
from guided_dip.tiling import Window


class _Around:
    """Another supervision, but for its pairs."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision

    @property
    def draws_differ(self) -> bool:
        """As the other's."""
        return self._supervision.draws_differ

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return the other's input."""
        return self._supervision.final_input(stage, draw, window)

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """As the other's."""
        return self._supervision.again(output, passes)


class Ahead(_Around):
    """Another supervision whose next pair is drawn while a GPU is at work on the present one.

    Parameters
    ----------
    supervision
        Whose pairs depend on nothing but the step.
    plan
        The steps.
    """

    def __init__(self, supervision: Supervision, plan: Plan) -> None:
        super().__init__(supervision)
        self._ends = tuple(accumulate(s.steps for s in plan))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pairs")
        self._next: tuple[int, Future[Pair]] | None = None

    def pair(self, stage: int, step: int) -> Pair:
        """Return the other's pair, and have the next step's drawn."""
        drawn = self._next
        if drawn is None or drawn[0] != step:
            drawn = step, self._thread.submit(self._supervision.pair, stage, step)
        self._next = None
        following = bisect_right(self._ends, step + 1)
        pair = drawn[1].result()
        if following < len(self._ends):
            self._next = (
                step + 1,
                self._thread.submit(self._supervision.pair, following, step + 1),
            )
        return pair


class Measured(_Around):
    """Another supervision whose targets are measured: ``(input, A(target))``.

    For operators that leave a pixel as it is or leave it out, so that A of an image's target is
    the measurement's.

    Parameters
    ----------
    supervision
        In image space.
    operator
        Forward operator ``A``.
    """

    def __init__(self, supervision: Supervision, operator: Operator) -> None:
        super().__init__(supervision)
        self._operator = operator

    def pair(self, stage: int, step: int) -> Pair:
        """Return ``(input, A(target))``."""
        pair = self._supervision.pair(stage, step)
        return Pair(pair.input, self._operator(pair.target))
