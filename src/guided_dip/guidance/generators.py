"""The time generator and the iteration generator."""

from __future__ import annotations

import math
from collections.abc import Sequence

from guided_dip.errors import InputError

# The report's scale c of the iteration generator, by schedule; the sigmoid's rates are those of the
# linear one, in another order.
DEFAULT_SCALE = {"linear": 250.0, "cosine": 400.0, "sigmoid": 250.0}


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
