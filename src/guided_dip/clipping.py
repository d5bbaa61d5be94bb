r"""Noise that was cut off at black or white: find it, and undo what it does to means.

A sensor and a file hold no value below black or above white, so of noise around a dark value only
the upper half is seen. With ``y = min(max(x + n, l), h)``, ``n ~ N(0, sigma^2)``, ``a = (l - x) /
sigma`` and ``b = (h - x) / sigma``,

    E[y]   = l Phi(a) + h (1 - Phi(b)) + x (Phi(b) - Phi(a)) + sigma (phi(a) - phi(b)),
    E[y^2] = l^2 Phi(a) + h^2 (1 - Phi(b)) + (x^2 + sigma^2) (Phi(b) - Phi(a))
             + sigma ((x + l) phi(a) - (x + h) phi(b)),

with ``phi`` and ``Phi`` the density and distribution of N(0, 1). The mean is not ``x``: an average
of black pixels is ``sigma / sqrt(2 pi)`` too bright. And the noise that is left is weaker than
sigma, which a fit that takes it for sigma everywhere over-corrects (Foi, "Clipped noisy images:
heteroskedastic modeling and practical denoising", Signal Processing 89(12), 2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr

__all__ = ["Clipping", "find_clipping"]

Floats = NDArray[np.float64]

FEWEST = 0.001  # share of the samples at an extreme value that makes it a clipped one
SPIKE = 0.5  # samples at the extreme, over those in the next half sigma
REACH = 3.0  # sigmas beyond the limits to which means are tabled
TABLE = 2000  # entries
MEANS = 0.7  # of sigma, the strength of the non-local means from which local noise is read
LEAST = 0.3  # of sigma, below which local noise is not reckoned


@dataclass(frozen=True)
class Clipping:
    """Limits at which values were cut off, and the even noise they had before.

    Attributes
    ----------
    low, high
        Limits in the image's evened values; minus or plus infinity for none.
    sigma
        Standard deviation of the noise before it was cut off, in the same units.
    """

    low: float
    high: float
    sigma: float

    def mean(self, values: NDArray[Any]) -> Floats:
        """Return what noisy pixels are on the mean after clipping.

        Parameters
        ----------
        values
            What they would be without noise, any shape.
        """
        return self._moments(values)[0]

    def std(self, values: NDArray[Any]) -> Floats:
        """Return the standard deviation of noisy pixels after clipping.

        Parameters
        ----------
        values
            What they would be without noise, any shape.
        """
        mean, square = self._moments(values)
        return np.sqrt(np.maximum(square - mean**2, 0))

    def value(self, means: NDArray[Any]) -> Floats:
        """Return the value of which clipped noisy pixels have a mean: the inverse of `mean`.

        Parameters
        ----------
        means
            Any shape. Means that only values beyond a limit could have become the limit.
        """
        values, tabled, _ = self._table
        inside = (values >= self.low) & (values <= self.high)
        return self._beyond(means, values[inside], tabled[inside])

    def slope(self, means: NDArray[Any]) -> Floats:
        """Return how much `value` changes with the mean; 0 where it is a limit.

        Parameters
        ----------
        means
            Any shape.
        """
        found = self.value(means)
        a, b = self._ends(found)
        kept = ndtr(b) - ndtr(a)  # the derivative of E[y]
        at_limit = (found <= self.low) | (found >= self.high)
        return np.where(at_limit, 0.0, 1 / np.maximum(kept, 0.25))

    def local_share(self, pixels: NDArray[Any]) -> Floats:
        """Return how strong the noise is at each pixel, over `sigma`.

        Parameters
        ----------
        pixels : (H, W, C)
            The clipped noisy image; the noise is read off its non-local means (Buades, Coll and
            Morel, CVPR 2005).

        Returns
        -------
        (H, W, C) in [0.3, 1]
        """
        _, tabled, spread = self._table
        share: Floats = np.interp(self._local_means(pixels), tabled, spread / self.sigma)
        return np.clip(share, LEAST, 1.0)

    def _local_means(self, pixels: NDArray[Any]) -> Floats:
        """Return about what pixels are without noise: a blur would mix what edges keep apart."""
        from skimage.restoration import denoise_nl_means  # half a second to import

        means: Floats = denoise_nl_means(
            pixels.astype(np.float64),
            patch_size=5,
            patch_distance=6,
            h=MEANS * self.sigma,
            sigma=self.sigma,
            channel_axis=-1,
        )
        return means.reshape(pixels.shape)

    def _beyond(self, means: NDArray[Any], values: Floats, tabled: Floats) -> Floats:
        """Read the table backwards; without a limit, values go on as they are."""
        found: Floats = np.interp(means, tabled, values)
        if math.isinf(self.low):
            found = np.where(means < tabled[0], means, found)
        if math.isinf(self.high):
            found = np.where(means > tabled[-1], means, found)
        return found

    @cached_property
    def _table(self) -> tuple[Floats, Floats, Floats]:
        """Values, their means and standard deviations, from beyond one limit to the other."""
        reach = REACH * self.sigma
        # Far from its limit, nothing is clipped.
        first = self.low if math.isfinite(self.low) else self.high - 3 * reach
        last = self.high if math.isfinite(self.high) else self.low + 3 * reach
        values = np.linspace(first - reach, last + reach, TABLE)
        values = np.sort(np.concatenate([values, [first, last]]))  # the limits themselves, exactly
        return values, self.mean(values), self.std(values)

    def _ends(self, values: NDArray[Any]) -> tuple[Floats, Floats]:
        return (self.low - values) / self.sigma, (self.high - values) / self.sigma

    def _moments(self, values: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return the mean and mean square of clipped noisy pixels."""
        x, sigma = np.asarray(values, np.float64), self.sigma
        a, b = self._ends(x)
        inside = ndtr(b) - ndtr(a)
        mean = x * inside + sigma * (_density(a) - _density(b))
        square = (x**2 + sigma**2) * inside
        for limit, outside, end, sign in (
            (self.low, ndtr(a), a, 1),
            (self.high, ndtr(-b), b, -1),
        ):
            if math.isfinite(limit):
                mean = mean + limit * outside
                square = square + limit**2 * outside + sign * sigma * (x + limit) * _density(end)
        return mean, square


def find_clipping(evened: NDArray[Any], sigma: float, *, black: bool = True) -> Clipping | None:
    """Find out whether an image's noise was cut off at its darkest or brightest value.

    It was where many noisy samples pile up at that value: a border that is black throughout, or a
    histogram that merely ends, is no such pile.

    Parameters
    ----------
    evened : (H, W, C)
        The image, its noise made even.
    sigma
        Standard deviation of that noise.
    black
        Whether to look at the dark end; counted light ends at 0 by itself.

    Returns
    -------
    Clipping or None
    """
    if not sigma > 0:
        return None
    low = _limit(evened, sigma, sign=1) if black else None
    high = _limit(evened, sigma, sign=-1)
    if low is None and high is None:
        return None
    return Clipping(-math.inf if low is None else low, math.inf if high is None else high, sigma)


def _limit(evened: NDArray[Any], sigma: float, *, sign: int) -> float | None:
    """Return the darkest (sign 1) or brightest (-1) value if noise was cut off there."""
    above = sign * evened
    extreme = above.min()
    at = above == extreme
    lonely = at & ~_surrounded(at)
    near = (above > extreme) & (above <= extreme + sigma / 2)
    enough = lonely.sum() >= max(1.0, FEWEST * at.size)
    return float(sign * extreme) if enough and lonely.sum() >= SPIKE * near.sum() > 0 else None


def _surrounded(at: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the (H, W, C) samples have their four neighbours in the set, too."""
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)[..., None]
    eroded: NDArray[np.bool_] = ndimage.binary_erosion(at, cross, border_value=1)
    return eroded


def _density(x: Floats) -> Floats:
    density: Floats = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return density
