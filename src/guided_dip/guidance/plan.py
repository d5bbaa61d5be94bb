"""A plan as data: its stages, what each costs, and where each begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One guide and its number of iterations.

    Attributes
    ----------
    steps
        Iterations spent on this guide; 0 means that the stage is skipped.
    t
        0-based timestep of the guide; None where the guide is at no timestep (plain DIP, or noise
        below what the schedule resolves).
    sigma
        Noise level of the guide in [0, 1] units; None for plain DIP with an unknown noise level.
    a
        Recorruption strength; None unless the supervision is ``recorrupted-guides``.
    patch
        Side in pixels of the random squares it is fitted to; None for the whole image.
    work
        What a step costs, in steps on the whole image.
    hidden
        Part of the known pixels that is hidden, where others are missing; None where none is.
    """

    steps: int
    t: int | None = None
    sigma: float | None = None
    a: float | None = None
    patch: int | None = None
    work: float = 1.0
    hidden: float | None = None


@dataclass(frozen=True)
class Patches:
    """Fit the first guides to random squares of the image.

    Attributes
    ----------
    side
        Of the squares, in pixels.
    guides
        Number of guides.
    pixels
        Number of pixels of the whole image.
    """

    side: int
    guides: int
    pixels: int

    @property
    def work(self) -> float:
        """What a step on a square costs, in steps on the whole image."""
        return self.side**2 / self.pixels


@dataclass(frozen=True)
class Plan:
    """The stages of a fit in their order; of each of its restarts, one after another.

    Attributes
    ----------
    supervision
        One of `SUPERVISIONS`.
    schedule
        Name of the beta schedule.
    stages
        Of all restarts, each from the most to the least noisy guide but where another order was
        asked for.
    restarts
        Fits from fresh weights, whose mean is the result.

    Examples
    --------
    >>> from guided_dip.diffusion import make_schedule
    >>> from guided_dip.guidance import make_plan
    >>> cosine = make_schedule("cosine", lower_clip=1e-4)
    >>> plan = make_plan("clean-guides", cosine, steps=2000, count=5)
    >>> [(stage.t, stage.steps) for stage in plan]
    [(500, 195), (385, 287), (270, 388), (155, 499), (40, 631)]
    """

    supervision: str
    schedule: str
    stages: tuple[Stage, ...]
    restarts: int = 1

    @property
    def per_restart(self) -> int:
        """Number of stages of each restart."""
        return len(self.stages) // self.restarts

    @property
    def ends(self) -> tuple[int, ...]:
        """Number of steps done when each restart has ended."""
        n = self.per_restart
        parts = (self.stages[k * n : (k + 1) * n] for k in range(self.restarts))
        return tuple(accumulate(sum(stage.steps for stage in part) for part in parts))

    @property
    def steps(self) -> int:
        """Total number of iterations."""
        return sum(stage.steps for stage in self.stages)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Step at which each stage begins."""
        starts, at = [], 0
        for stage in self.stages:
            starts.append(at)
            at += stage.steps
        return tuple(starts)

    def work_done(self, steps: int) -> float:
        """Return what the first `steps` steps cost, in steps on the whole image.

        Parameters
        ----------
        steps
            At most the plan's.
        """
        work = 0.0
        for stage in self.stages:
            taken = min(steps, stage.steps)
            work += taken * stage.work
            steps -= taken
        return work

    def steps_for(self, work: float) -> int:
        """Return how many steps cost at least `work`, in steps on the whole image.

        Parameters
        ----------
        work
            At least 0.
        """
        steps = 0
        for stage in self.stages:
            wanted = math.ceil(work / stage.work - 1e-9)
            if wanted <= stage.steps:
                return steps + max(0, wanted)
            steps += stage.steps
            work -= stage.steps * stage.work
        return steps

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain lists and numbers."""
        return asdict(self) | {"steps": self.steps}
