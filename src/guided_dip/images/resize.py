"""Resizing as the report's code does it, so that its experiment can be repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_square(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Resize an image to `side` x `side` by Pillow's bicubic filter.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        Of any numeric dtype. 8-bit channels go through Pillow's own 8-bit arithmetic, as in the
        report's code; others through its float arithmetic.
    side
        Height and width of the result, in pixels.

    Returns
    -------
    resized : (side, side) or (side, side, C)
        Same dtype; integers rounded and clipped to their range.
    """
    if image.ndim == 3:
        channels = [resize_square(image[..., k], side) for k in range(image.shape[2])]
        return np.stack(channels, axis=-1)
    size, method = (side, side), Image.Resampling.BICUBIC
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize(size, method))
    resized = np.asarray(Image.fromarray(image.astype(np.float32), mode="F").resize(size, method))
    if image.dtype.kind in "ui":
        limits = np.iinfo(image.dtype)
        resized = np.clip(np.rint(resized.astype(np.float64)), limits.min, limits.max)
    return resized.astype(image.dtype)
