"""How near an estimate is to the clean image: PSNR and SSIM.

``PSNR = 10 log10(R^2 / MSE)``, with ``R`` the data range and the mean over pixels and channels.
SSIM after Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility
to structural similarity", IEEE TIP 13, 2004, in scikit-image's form with its uniform window.

Both need the clean image: what they say of a run is an oracle's figure.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError

__all__ = ["psnr", "ssim"]

Image = NDArray[np.generic]

_WINDOW = 7  # pixels, scikit-image's own choice
_SMALLEST_WINDOW = 3


def psnr(estimate: Image, reference: Image, *, data_range: float) -> float:
    """Peak signal-to-noise ratio.

    Parameters
    ----------
    estimate, reference
        (H, W) or (H, W, C), the same shape; no values are clipped.
    data_range
        Distance from black to white: 1.0 for floats in [0, 1], 255 for 8 bits.

    Returns
    -------
    float
        In decibels; inf if the two are identical.

    Raises
    ------
    InputError
        If the shapes differ or are empty, or data_range is not positive.

    Examples
    --------
    >>> round(psnr(np.full((4, 4), 0.6), np.full((4, 4), 0.5), data_range=1.0), 6)
    20.0
    """
    x, y = _as_floats(estimate, reference, data_range)
    mse = float(np.mean(np.square(x - y)))
    # The difference of logarithms does not overflow where the quotient would.
    return math.inf if mse == 0 else 20 * math.log10(data_range) - 10 * math.log10(mse)


def ssim(
    estimate: Image, reference: Image, *, data_range: float, channel_axis: int | None = None
) -> float:
    """Structural similarity, the mean over pixels and channels.

    Parameters
    ----------
    estimate, reference
        (H, W) or (H, W, C), the same shape; no values are clipped.
    data_range
        Distance from black to white: 1.0 for floats in [0, 1], 255 for 8 bits.
    channel_axis
        Axis of the channels, None for gray images.

    Returns
    -------
    float
        1.0 if the two are identical, in [-1, 1] otherwise.

    Raises
    ------
    InputError
        If the shapes differ, do not fit channel_axis or are under 3x3 pixels, or data_range is
        not positive.

    Notes
    -----
    The window is 7x7 pixels; in a smaller image the largest odd one that fits.

    Examples
    --------
    >>> image = np.linspace(0, 1, 64).reshape(8, 8)
    >>> ssim(image, image, data_range=1.0)
    1.0
    """
    from skimage.metrics import structural_similarity

    x, y = _as_floats(estimate, reference, data_range)
    window = min(_WINDOW, _largest_window(x.shape, channel_axis))
    measure: Any = structural_similarity  # not annotated
    similarity = measure(x, y, data_range=data_range, channel_axis=channel_axis, win_size=window)
    return float(similarity)


def _as_floats(
    estimate: Image, reference: Image, data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check that two images can be compared; give them as float64."""
    x, y = np.asarray(estimate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.shape != y.shape:
        raise InputError(
            f"the estimate is {x.shape} and the reference {y.shape}: try images of one shape"
        )
    if x.size == 0:
        raise InputError(f"images of {x.shape} have no pixels to compare: try others")
    if not (math.isfinite(data_range) and data_range > 0):
        raise InputError(f"data_range must be positive, got {data_range}: try 1.0 for floats")
    return x, y


def _largest_window(shape: tuple[int, ...], channel_axis: int | None) -> int:
    """Largest odd window that fits into an image."""
    expected = 2 if channel_axis is None else 3
    if len(shape) != expected or not (channel_axis is None or -3 <= channel_axis < 3):
        raise InputError(
            f"images of {shape} do not fit channel_axis={channel_axis}: try None for gray (H, W)"
            " and -1 for (H, W, C)"
        )
    sides = [n for axis, n in enumerate(shape) if channel_axis is None or axis != channel_axis % 3]
    smallest = min(sides)
    window = smallest - 1 + smallest % 2
    if window < _SMALLEST_WINDOW:
        raise InputError(f"images of {shape} are too small for SSIM: try 3x3 pixels or more")
    return window
