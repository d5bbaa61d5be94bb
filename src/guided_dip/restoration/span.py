"""The values that an image covers, which the fit maps to [0, 1], its noise made even.

Where noise was cut off at black or white, the fit is given an image in which that is filled in
(`guided_dip.clipping`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.clipping import Clipping, find_clipping
from guided_dip.grain import Grain
from guided_dip.noise import NoiseModel
from guided_dip.tiling import BAND, bands

NOISELESS = NoiseModel("gaussian")


def in_bands(
    work: Callable[..., NDArray[np.float32]], *images: NDArray[Any]
) -> NDArray[np.float32]:
    """Work on images pixel by pixel, on some rows of a large one at a time.

    Parameters
    ----------
    work
        What is done: of the same to each pixel, wherever it is.
    *images : (H, W, C)
        Its arguments.
    """
    shape = images[0].shape
    if len(shape) < 3 or shape[0] * shape[1] <= BAND:
        return work(*images)
    whole = np.empty(shape, np.float32)
    for rows in bands(shape[0], shape[1], BAND):
        whole[rows] = work(*(image[rows] for image in images))
    return whole


@dataclass(frozen=True)
class Span:
    """How an image's values become those of the fit: networks end in a sigmoid, in [0, 1].

    Attributes
    ----------
    low, size
        The evened values ``low`` to ``low + size`` are those the image covers.
    noise
        The noise that is made even; Gaussian noise is even already.
    clipping
        Where that noise was cut off; None if nowhere.
    grain
        How that noise is correlated; None if it is white.
    gray : (H, W, C) or None
        What an even image of 1 is measured as; None if as itself.
    share : (H, W, C) or None
        How strong the noise is at each pixel, over its usual strength; None if that is the same
        everywhere, or the grain has it.
    """

    low: float = 0.0
    size: float = 1.0
    noise: NoiseModel = NOISELESS
    clipping: Clipping | None = None
    grain: Grain | None = None
    gray: NDArray[np.float32] | None = None
    share: NDArray[np.float32] | None = None

    @property
    def sigma(self) -> float:
        """Noise level in the fit."""
        return self.noise.even_sigma / self.size

    def to_fit(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take an image's values to the fit's, any shape."""
        return self._mapped(self.noise.evened(pixels))

    def observation(self, pixels: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Return the image as the fit is given it: noise that was cut off is filled in.

        Parameters
        ----------
        pixels : (H, W, C)
            The image.
        seed
            Of what is drawn for that.
        """
        if self.gray is not None:
            return in_bands(self._mapped, pixels, self.gray)
        if self.clipping is None:
            return in_bands(self.to_fit, pixels)
        return in_bands(self._mapped, self.clipping.filled(self.noise.evened(pixels), seed))

    def from_fit(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take an estimate of the fit to the image's values, any shape."""
        return in_bands(
            lambda part: np.asarray(self.noise.unevened(self._within(part)), np.float32), values
        )

    def spread_from_fit(
        self, spread: NDArray[np.float32], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Take a small standard deviation of the fit to the image's units.

        Parameters
        ----------
        spread, values
            The deviation, and the estimate around which it lies.
        """

        def taken(spread: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float32]:
            slope = self.noise.slope(self._within(values))
            return np.asarray(spread * np.float32(self.size) * slope, np.float32)

        return in_bands(taken, spread, values)

    def local_share(self, pixels: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return how strong the noise of an image is at each pixel, over its usual strength.

        Parameters
        ----------
        pixels : (H, W, C)
            The image.

        Returns
        -------
        (H, W, C) above 0, or None where it is the same everywhere
        """
        if self.grain is None:
            return self.share
        return self.grain.local_share(self.noise.evened(pixels)).astype(np.float32)

    def _mapped(
        self, evened: NDArray[Any], gray: NDArray[np.float32] | float = 1.0
    ) -> NDArray[np.float32]:
        low: NDArray[np.float32] = np.asarray(gray, np.float32) * np.float32(self.low)
        mapped: NDArray[np.float32] = (evened.astype(np.float32) - low) / np.float32(self.size)
        return mapped

    def _within(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take an estimate to evened values, within the limits at which noise was cut off."""
        evened = values * np.float32(self.size) + np.float32(self.low)
        if self.clipping is None:
            return evened
        return evened.clip(np.float32(self.clipping.low), np.float32(self.clipping.high))


WHITE = Span()


def span_of(
    pixels: NDArray[np.float32], noise: NoiseModel | None, grain: Grain | None = None
) -> Span:
    """Return black to white, or more where the image itself, and not only its noise, goes beyond.

    Parameters
    ----------
    pixels : (H, W, C)
        The image.
    noise
        Its noise, if it is known.
    grain
        How that is correlated, if it is.
    """
    noise = NOISELESS if noise is None else noise
    black, white = (float(noise.evened(np.array(value))) for value in (0.0, 1.0))
    evened: NDArray[Any] = noise.evened(pixels)
    lowest, highest = np.quantile(evened, [0.001, 0.999])
    low = min(black, float(lowest) + 4 * noise.even_sigma)
    high = max(white, float(highest) - 4 * noise.even_sigma)
    # Room for what the quantiles and the noise hide, only where [0, 1] is left at all.
    margin = 0.1 * (high - low)
    low = low - margin if low < black else black
    high = high + margin if high > white else white
    clipping = None
    if grain is None:  # whose strength over brightness is what is left of it
        # Read noise apart, counts end at 0 by themselves.
        clipping = find_clipping(evened, noise.even_sigma, black=not noise.gain)
    return Span(low, high - low, noise, clipping, grain)
