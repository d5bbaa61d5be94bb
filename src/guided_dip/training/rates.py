"""The learning rate over the course of a run."""

from __future__ import annotations

import math

WARM_UP = 0.1  # of the run, under the linear schedule


def learning_rate_at(schedule: str, peak: float, progress: float) -> float:
    """Return the learning rate at `progress` in [0, 1] of the run.

    ``one-cycle`` rises along a cosine from ``peak / 25`` over the first 30% and falls to
    ``peak / 250000`` (Smith & Topin 2019, with PyTorch's default divisors); ``cosine`` falls from
    the peak to 0; ``linear`` rises from ``peak / 25`` over the first tenth while it falls to 0
    over the whole run; ``constant`` stays.

    Parameters
    ----------
    schedule
        One of these.
    peak
        The largest rate.
    progress
        Share of the work that is done.

    Examples
    --------
    >>> [round(learning_rate_at("linear", 1.0, done), 3) for done in (0, 0.1, 0.5, 1)]
    [0.04, 0.9, 0.5, 0.0]
    """
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return _cosine(peak, 0.0, progress)
    if schedule == "linear":
        return peak * min(1.0, max(1 / 25, progress / WARM_UP)) * (1 - progress)
    low, end, rise = peak / 25, peak / 25e4, 0.3
    if progress < rise:
        return _cosine(low, peak, progress / rise)
    return _cosine(peak, end, (progress - rise) / (1 - rise))


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
