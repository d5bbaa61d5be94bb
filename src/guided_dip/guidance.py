r"""The plan: which guides the network is fitted to, in which order, for how many iterations.

A plan is data: an immutable list of stages, printable and testable, with no torch in it.

*Time generator.* ``count`` timesteps evenly spaced over [start, end], truncated to integers and
visited from most to least noisy; ``count = 1`` means [end].

*Iteration generator.* Stage ``i`` gets a share of the budget ``n`` that falls with its noise rate::

    w_i = exp(-c * beta_i) / sum_k exp(-c * beta_k),    n_i = floor(n * w_i)

and the last stage takes what rounding left over, so that ``sum n_i = n`` exactly.

*Patches.* The first guides of a recorrupted plan, or all, may be fitted to random squares of the
image instead of the whole: a step then costs only the square's share of the pixels, its *work*, and
the guide gets as many more steps, so that it is the work which is shared as above.

*Recorrupted guides* are planned by their recorruption strength ``a`` instead of their timestep.
Continuing the forward process from an observation of noise level ``sigma`` to timestep ``t``
gives ``y + a_t * eta`` with ``eta ~ N(0, sigma^2)`` and ``a_t = sqrt(sigma_t^2 / sigma^2 - 1)``,
so an end ``a`` of the plan is reached at the first ``t`` with ``sigma_t >= sigma * sqrt(1 + a^2)``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from guided_dip.diffusion import Schedule, check_timestep, timestep_of
from guided_dip.errors import InputError, choices

Supervision = Literal["observation", "clean-guides", "observation-guides", "recorrupted-guides"]
SUPERVISIONS: tuple[Supervision, ...] = (
    "observation",
    "clean-guides",
    "observation-guides",
    "recorrupted-guides",
)

# The report's scale c of the iteration generator, by schedule; the sigmoid's rates are those of the
# linear one, in another order.
DEFAULT_SCALE = {"linear": 250.0, "cosine": 400.0, "sigmoid": 250.0}

GuideOrder = Literal[
    "most-noisy-first", "least-noisy-first", "shuffled", "shuffled-least-noisy-last"
]


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


def timesteps(start: int, end: int, count: int) -> tuple[int, ...]:
    """Return the time generator's `count` timesteps, from `start` (most noisy) down to `end`.

    Parameters
    ----------
    start, end
        0-based; the most and the least noisy one.
    count
        How many.

    Returns
    -------
    tuple of int

    Raises
    ------
    InputError
        If ``count < 1``, ``start < end`` or the range holds fewer than `count` timesteps; but for
        ``start = end``, which means `count` guides that are equally noisy.

    Examples
    --------
    >>> timesteps(500, 0, 6)
    (500, 400, 300, 200, 100, 0)
    >>> timesteps(500, 40, 1)
    (40,)
    >>> timesteps(40, 40, 3)
    (40, 40, 40)
    """
    if count < 1:
        raise InputError(f"a plan needs at least 1 guide: count is {count}")
    if end < 0:
        raise InputError(f"timesteps start at 0: end is {end}")
    if count == 1 or start == end:
        return (end,) * count
    if start < end:
        raise InputError(
            f"guides go from most to least noisy: start ({start}) must be at least end ({end})"
        )
    if start - end + 1 < count:
        raise InputError(
            f"{count} guides do not fit between timesteps {start} and {end}: "
            f"use a count of at most {start - end + 1}"
        )
    # Whole-number arithmetic: a float grid would truncate 99.999... to 99.
    return tuple(end + (start - end) * k // (count - 1) for k in reversed(range(count)))


def iterations(
    steps: int, betas: Sequence[float], scale: float, works: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Return the iteration generator's share of `steps` for each guide.

    Parameters
    ----------
    steps
        Total budget ``n``.
    betas
        Noise rate of each guide, in the order in which they are visited.
    scale
        ``c``: 0 shares equally, larger values favour the less noisy guides.
    works
        What a step costs at each guide, where it is the work that is shared; None for all alike.

    Raises
    ------
    InputError
        If `steps` is negative, `scale` is negative or not finite, or `betas` is empty.
    """
    if steps < 0:
        raise InputError(f"the budget of iterations cannot be negative: steps is {steps}")
    if not (math.isfinite(scale) and scale >= 0):
        raise InputError(f"the scale is a number >= 0, not {scale!r}")
    if not betas:
        raise InputError("there is no guide to spend iterations on")
    lowest = min(betas)  # shifting the exponent changes no weight and keeps exp() from vanishing
    weights = [
        math.exp(-scale * (beta - lowest)) / work
        for beta, work in zip(betas, works or [1.0] * len(betas), strict=True)
    ]
    total = math.fsum(weights)
    shares = [math.floor(steps * w / total) for w in weights[:-1]]
    return (*shares, steps - sum(shares))


def recorruption(sigma_t: float, sigma: float) -> float:
    """Return ``a_t = sqrt(sigma_t^2 / sigma^2 - 1)``, both levels in the same units.

    Parameters
    ----------
    sigma_t
        Noise level of the guide.
    sigma
        Noise level of the observation, above 0 and at most that.

    Returns
    -------
    float

    Examples
    --------
    >>> recorruption(50 / 255, 25 / 255) == math.sqrt(3)
    True
    """
    return math.sqrt(sigma_t**2 / sigma**2 - 1)


def make_plan(
    supervision: str,
    schedule: Schedule,
    *,
    steps: int,
    count: int,
    start: int = 500,
    end: int = 40,
    scale: float | None = None,
    sigma: float | None = None,
    a_start: float = 2.0,
    a_end: float = 0.5,
    restarts: int = 1,
    patches: Patches | None = None,
    order: GuideOrder = "most-noisy-first",
    seed: int = 0,
    hide: tuple[float, float] | None = None,
) -> Plan:
    """Build the plan of a fit.

    Parameters
    ----------
    supervision
        Row of the supervision table: where input and target come from.
    schedule
        Beta schedule.
    steps
        Total number of iterations.
    count
        Number of guides; not used by ``observation``, whose plan is one stage.
    start, end
        Timesteps of the most and the least noisy guide (clean and observation guides).
    scale
        ``c`` of the iteration generator; None means the report's value for the schedule.
    sigma
        Noise level of the observation in [0, 1] units; guides drawn from the observation need it.
    a_start, a_end
        Recorruption strengths of the first and last guide (recorrupted guides).
    restarts
        How often the whole is done anew; the steps are shared evenly.
    patches
        Squares to which the first recorrupted guides are fitted; None for none.
    order
        In which the guides are visited, each with its own number of iterations. Any other than the
        method's own is there to be compared with it.
    seed
        Of the shuffled orders.
    hide
        Where pixels are missing: which part of the others the first and the last recorrupted guide
        hide. Without a noise level, that is all they do.

    Returns
    -------
    Plan
        With as many steps as were asked for, or as make up their work where guides are fitted
        to squares.

    Raises
    ------
    InputError
        For a plan that cannot be carried out, saying which number is wrong.
    """
    if supervision not in SUPERVISIONS:
        raise InputError(
            f"unknown supervision '{supervision}': {choices(supervision, SUPERVISIONS)}"
        )
    if steps < 0:
        raise InputError(f"the budget of iterations cannot be negative: steps is {steps}")
    if restarts < 1:
        raise InputError(f"a plan is carried out at least once: restarts is {restarts}")
    shares = [steps // restarts + (k < steps % restarts) for k in range(restarts)]
    parts = {
        share: _stages(
            supervision,
            schedule,
            share,
            count,
            (start, end),
            scale,
            sigma,
            (a_start, a_end),
            patches,
            hide,
        )
        for share in set(shares)
    }
    stages = tuple(
        stage
        for k, share in enumerate(shares)
        for stage in _ordered(parts[share], order, f"{seed}/{k}")
    )
    return Plan(supervision, schedule.name, stages, restarts)


def _ordered(stages: tuple[Stage, ...], order: GuideOrder, seed: str) -> tuple[Stage, ...]:
    """Put the stages of a restart, most noisy first, in another order."""
    if order == "most-noisy-first":
        return stages
    if order == "least-noisy-first":
        return stages[::-1]
    last = stages[-1:] if order == "shuffled-least-noisy-last" else ()
    shuffled = list(stages[: len(stages) - len(last)])
    random.Random(seed).shuffle(shuffled)
    return (*shuffled, *last)


def _stages(
    supervision: str,
    schedule: Schedule,
    steps: int,
    count: int,
    span: tuple[int, int],
    scale: float | None,
    sigma: float | None,
    strengths: tuple[float, float],
    patches: Patches | None,
    hide: tuple[float, float] | None,
) -> tuple[Stage, ...]:
    """Plan one restart."""
    if supervision == "observation":
        return (Stage(steps, sigma=sigma),)
    if scale is None:
        scale = DEFAULT_SCALE.get(schedule.name, 0.0)
    if supervision == "recorrupted-guides" and hide is not None:
        return _hiding(schedule, steps, count, scale, sigma, strengths, patches, hide)
    if supervision == "recorrupted-guides":
        known = _known(sigma, supervision)
        return _recorrupted(schedule, steps, count, scale, known, *strengths, patches)
    times = timesteps(*span, count)
    for t in times:
        check_timestep(schedule, t)
    if supervision == "observation-guides":
        first = timestep_of(_known(sigma, supervision), schedule)
        # Guides less noisy than the observation cannot be drawn from it; if that leaves none, the
        # observation's own timestep is the one guide there is.
        times = tuple(t for t in times if t >= first) or (first,)
    shares = iterations(steps, [float(schedule.beta[t]) for t in times], scale)
    return tuple(Stage(n, t, float(schedule.sigma[t])) for t, n in zip(times, shares, strict=True))


def _known(sigma: float | None, supervision: str) -> float:
    if sigma is None:
        raise InputError(f"{supervision} need the noise level: give it, as in --noise gaussian:25")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise InputError(f"a noise level is a number >= 0, not {sigma!r}")
    return sigma


def _hiding(
    schedule: Schedule,
    steps: int,
    count: int,
    scale: float,
    sigma: float | None,
    strengths: tuple[float, float],
    patches: Patches | None,
    hide: tuple[float, float],
) -> tuple[Stage, ...]:
    """Plan by the part that is hidden, as in diffusion with an absorbing state.

    At timestep ``t`` a pixel is still to be seen with probability ``alpha_bar_t``.
    """
    first, last = hide
    if not 0 < last <= first < 1:
        raise InputError(
            f"what is hidden goes from much to little, between 0 and 1, not {first:g} to {last:g}"
        )
    parts = [first + (last - first) * k / max(1, count - 1) for k in range(max(count, 0))]
    if sigma:
        stages = _recorrupted(schedule, steps, count, scale, sigma, *strengths, patches)
    else:
        times = [int(np.argmax(1 - schedule.alpha_bar >= part)) for part in parts]
        sides, works = _on_squares(patches, count)
        shares = iterations(steps, [float(schedule.beta[t]) for t in times], scale, works)
        stages = tuple(
            Stage(n, t, patch=side, work=work)
            for n, t, side, work in zip(shares, times, sides, works, strict=True)
        )
    return tuple(replace(s, hidden=part) for s, part in zip(stages, parts, strict=True))


def _on_squares(patches: Patches | None, count: int) -> tuple[list[int | None], list[float]]:
    """Return the side of each guide's squares, and what a step on one costs."""
    few = patches.guides if patches else 0
    sides = [patches.side if patches and k < few else None for k in range(count)]
    works = [patches.work if patches and k < few else 1.0 for k in range(count)]
    return sides, works


def _recorrupted(
    schedule: Schedule,
    steps: int,
    count: int,
    scale: float,
    sigma: float,
    a_start: float,
    a_end: float,
    patches: Patches | None,
) -> tuple[Stage, ...]:
    """Plan by recorruption strength, at timesteps where the schedule resolves them."""
    if not (math.isfinite(a_start) and a_start >= a_end > 0):
        raise InputError(
            f"recorruption goes from strong to weak and stays above 0: a_start is {a_start:g} and "
            f"a_end is {a_end:g}"
        )
    if sigma == 0:
        raise InputError("a noise level of 0 leaves nothing to recorrupt: give a level above 0")
    first = timestep_of(sigma * math.sqrt(1 + a_start**2), schedule)
    last = timestep_of(sigma * math.sqrt(1 + a_end**2), schedule)
    sides, works = _on_squares(patches, count)
    if last > 0 and count > 1 and first - last + 1 >= count:
        times = timesteps(first, last, count)
        shares = iterations(steps, [float(schedule.beta[t]) for t in times], scale, works)
        levels = [float(schedule.sigma[t]) for t in times]
        return tuple(
            Stage(n, t, level, recorruption(level, sigma), side, work)
            for n, t, level, side, work in zip(shares, times, levels, sides, works, strict=True)
        )
    # Noise below what the schedule resolves (or a constant strength): no timesteps to weigh by, so
    # the strengths are spaced geometrically and share the budget equally.
    shares = iterations(steps, [0.0] * max(count, 0), 0.0, works)
    ratio = (a_end / a_start) ** (1 / (count - 1)) if count > 1 else 1.0
    first_a = a_start if count > 1 else a_end
    strengths = [first_a * ratio**k for k in range(count)]
    return tuple(
        Stage(n, None, sigma * math.sqrt(1 + a**2), a, side, work)
        for n, a, side, work in zip(shares, strengths, sides, works, strict=True)
    )
