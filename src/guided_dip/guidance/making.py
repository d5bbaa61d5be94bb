"""A plan is made: for each supervision its timesteps or strengths, and their iterations."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Literal

import numpy as np

from guided_dip.diffusion import Schedule, check_timestep, timestep_of
from guided_dip.errors import InputError, choices
from guided_dip.guidance.generators import DEFAULT_SCALE, iterations, recorruption, timesteps
from guided_dip.guidance.plan import Patches, Plan, Stage

Supervision = Literal["observation", "clean-guides", "observation-guides", "recorrupted-guides"]
SUPERVISIONS: tuple[Supervision, ...] = (
    "observation",
    "clean-guides",
    "observation-guides",
    "recorrupted-guides",
)

GuideOrder = Literal[
    "most-noisy-first", "least-noisy-first", "shuffled", "shuffled-least-noisy-last"
]


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
