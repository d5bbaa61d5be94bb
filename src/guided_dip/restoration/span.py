"""The range of values that an image covers, which the fit maps to [0, 1]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """The values an image covers: `low` to ``low + size``. Networks end in a sigmoid, in [0, 1]."""

    low: float = 0.0
    size: float = 1.0


WHITE = Span()


def span_of(pixels: NDArray[np.float32], sigma: float) -> Span:
    """Return [0, 1], or more where the image itself, and not only its noise, goes beyond it.

    Parameters
    ----------
    pixels : (H, W, C)
        The image.
    sigma
        Its noise level, in the same units.
    """
    lowest, highest = np.quantile(pixels, [0.001, 0.999])
    low = min(0.0, float(lowest) + 4 * sigma)
    high = max(1.0, float(highest) - 4 * sigma)
    # Room for what the quantiles and the noise hide, only where [0, 1] is left at all.
    margin = 0.1 * (high - low)
    low, high = (low - margin if low < 0 else 0.0), (high + margin if high > 1 else 1.0)
    return Span(low, high - low)
