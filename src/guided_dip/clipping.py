"""Noise that was cut off at black or white: find it, and fill in what was cut off.

A sensor and a file hold no value below black or above white, so of noise around a dark value only
the upper half is seen. Around black, an average of ``max(n, 0)``, ``n ~ N(0, sigma^2)``, is
``sigma / sqrt(2 pi)`` too bright, and its standard deviation is ``sigma sqrt(1/2 - 1/(2 pi))``
(Foi, "Clipped noisy images: heteroskedastic modeling and practical denoising", Signal Processing
89(12), 2009). A fit reckons with noise that is normal and even. So what was cut off is drawn again
from where it must have been, beyond the limit (`Clipping.filled`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr, ndtri

from guided_dip.sampling import ENOUGH
from guided_dip.tiling import BAND, bands

__all__ = ["Clipping", "find_clipping"]

Floats = NDArray[np.float64]

FEWEST = 0.001  # share of the samples at an extreme value that makes it a clipped one
SPIKE = 0.5  # samples at the extreme, over those in the next half sigma
MEANS = 0.7  # of sigma, the strength of the non-local means
FILLINGS = 3  # after which the filled image's dark parts moved by less than 0.2 of 255
TINY = 1e-9
SEEN = 24  # rows away that a filling depends on: 3 times 6 of its means, and their 2 of a patch


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

    def filled(self, pixels: NDArray[Any], seed: int) -> NDArray[Any]:
        """Return the image with noise as it was before it was cut off.

        A sample at a limit lay somewhere beyond it: at a draw of ``N(x, sigma^2)`` from beyond the
        limit. For the unknown ``x`` stand the image's non-local means (Buades, Coll and Morel, CVPR
        2005), again and again from the image so filled: an error of theirs moves the mean of what
        is drawn by 0.36 of it at the limit, and by less farther away.

        Parameters
        ----------
        pixels : (H, W, C)
            The clipped noisy image.
        seed
            Of the draws.

        Notes
        -----
        A large image is filled in a band of rows after the other, each with a margin of as many
        rows as its means see, and is float32.
        """
        height, width = pixels.shape[:2]
        if height * width <= ENOUGH:
            # Kept away from 0, whose quantile is minus infinity.
            beyond = np.random.default_rng(seed).uniform(TINY, 1, pixels.shape)
            return self._filled(np.asarray(pixels, np.float64), beyond)
        whole = np.empty(pixels.shape, np.float32)
        parts = list(bands(height, width, BAND))
        for k, rows in enumerate(parts):
            near = slice(max(0, rows.start - SEEN), min(height, rows.stop + SEEN))
            shape = (near.stop - near.start, *pixels.shape[1:])
            beyond = np.random.default_rng([seed, k]).uniform(TINY, 1, shape)
            filled = self._filled(pixels[near].astype(np.float64), beyond)
            whole[rows] = filled[rows.start - near.start : rows.stop - near.start]
        return whole

    def _filled(self, pixels: Floats, beyond: Floats) -> Floats:
        """Fill in, the ranks of the draws among those beyond the limit given."""
        dark, bright = pixels <= self.low, pixels >= self.high
        filled = pixels
        for _ in range(FILLINGS):
            means = np.clip(self._means(filled), self.low, self.high)
            for cut, limit, sign in ((dark, self.low, 1), (bright, self.high, -1)):
                if cut.any():
                    x = sign * means[cut]
                    within = ndtr((sign * limit - x) / self.sigma)
                    drawn = x + self.sigma * ndtri(beyond[cut] * within)
                    filled = filled.copy()
                    filled[cut] = sign * drawn
        return filled

    def _means(self, pixels: Floats) -> Floats:
        """Return about what pixels are without noise; unlike a blur, it keeps edges."""
        from skimage.restoration import denoise_nl_means  # half a second to import

        means: Floats = denoise_nl_means(
            pixels,
            patch_size=5,
            patch_distance=6,
            h=MEANS * self.sigma,
            sigma=self.sigma,
            channel_axis=-1,
        )
        return means.reshape(pixels.shape)


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
