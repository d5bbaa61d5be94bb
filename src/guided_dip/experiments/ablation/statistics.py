"""Means over pictures and seeds, with what they might have been on other pictures.

Pictures differ by many dB, so levels are compared on the same picture with the same seed, and only
the differences are averaged: over seeds first, then over pictures. The interval is Student's, over
the pictures' means: 95% of such intervals hold the mean over all pictures of which these are a
random few. With a single picture it is over seeds, and says nothing of other pictures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from guided_dip.experiments.ablation.line import Line

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over pictures and seeds.

    Attributes
    ----------
    mean
        Over the pictures, of their means over seeds.
    by_picture
        These means.
    half
        Half the width of the interval around the mean; None where a single run says all.
    seeds
        Standard deviation over the seeds of a picture, pooled over the pictures; None with one
        seed.
    runs
        Number of runs.
    """

    mean: float
    by_picture: Mapping[str, float]
    half: float | None
    seeds: float | None
    runs: int

    @property
    def low(self) -> float:
        """Where the interval begins; minus infinity without one."""
        return -math.inf if self.half is None else self.mean - self.half

    @property
    def high(self) -> float:
        """Where it ends."""
        return math.inf if self.half is None else self.mean + self.half

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0, else 0."""
        return (self.low > 0) - (self.high < 0)


def estimate(values: Mapping[tuple[str, int], float]) -> Estimate | None:
    """Average values of pictures and seeds.

    Parameters
    ----------
    values
        By picture and seed.

    Returns
    -------
    Estimate or None
        None without values.
    """
    pictures: dict[str, list[float]] = {}
    for (picture, _), value in sorted(values.items()):
        pictures.setdefault(picture, []).append(value)
    if not pictures:
        return None
    means = {picture: statistics.fmean(of) for picture, of in pictures.items()}
    several = [of for of in pictures.values() if len(of) > 1]
    pooled = None
    if several:
        freedom = sum(len(of) - 1 for of in several)
        squares = sum(statistics.variance(of) * (len(of) - 1) for of in several)
        pooled = math.sqrt(squares / freedom)
    over = list(means.values()) if len(means) > 1 else next(iter(pictures.values()))
    return Estimate(statistics.fmean(means.values()), means, half_width(over), pooled, len(values))


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of Student's interval around a mean; None with a single value."""
    if len(values) < 2:
        return None
    return _quantile(len(values)) * statistics.stdev(values) / math.sqrt(len(values))


def _quantile(count: int) -> float:
    """Return Student's quantile for the interval around a mean of so many values."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))


def mean_of(lines: Sequence[Line], number: str) -> Estimate | None:
    """Average a number over pictures and seeds; None if no line has it."""
    return estimate(_values(lines, number))


def difference(
    lines: Sequence[Line], others: Sequence[Line], number: str = "psnr"
) -> Estimate | None:
    """Average a number's difference from other runs with the same picture and seed.

    Parameters
    ----------
    lines, others
        Of two levels.
    number
        What is compared.

    Returns
    -------
    Estimate or None
        Over the pictures and seeds that both have; None without any.
    """
    ours, theirs = _values(lines, number), _values(others, number)
    return estimate({key: ours[key] - theirs[key] for key in ours if key in theirs})


def _values(lines: Sequence[Line], number: str) -> dict[tuple[str, int], float]:
    found = {(line.picture, line.seed): getattr(line, number) for line in lines}
    return {key: float(value) for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Band:
    """How curves go on the mean: (N,) each.

    Attributes
    ----------
    mean
        Over the pictures, of their means over seeds.
    half
        Half the width of the interval; None with a single curve.
    """

    mean: NDArray[np.float64]
    half: NDArray[np.float64] | None


def band_of(lines: Sequence[Line], curves: Mapping[str, NDArray[np.float32]]) -> Band:
    """Average the curves of a level's runs, that of each picture counted from its own mean.

    A picture's curve is moved by how far its mean over the run is from all pictures', so that the
    interval is of how the curve goes and not of how hard pictures are.

    Parameters
    ----------
    lines
        Of the level, at least one.
    curves
        By run's name.
    """
    pictures: dict[str, list[NDArray[np.float32]]] = {}
    for line in lines:
        pictures.setdefault(line.picture, []).append(curves[line.run])
    if len(pictures) > 1:
        each = np.array([np.mean(of, axis=0, dtype=np.float64) for of in pictures.values()])
    else:
        each = np.array(next(iter(pictures.values())), dtype=np.float64)
    mean = each.mean(axis=0)
    if len(each) < 2:
        return Band(mean, None)
    moved = each - each.mean(axis=1, keepdims=True)
    return Band(mean, _quantile(len(each)) * moved.std(axis=0, ddof=1) / math.sqrt(len(each)))
