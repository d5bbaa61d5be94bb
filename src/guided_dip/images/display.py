"""Pictures of any type brought to 8 bits by one mapping, for people to look at."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from guided_dip.images.picture import to_float

Eight = NDArray[np.uint8]
Ends = tuple[float, float]

NARROW = 0.25  # of the range; what uses less is stretched
ENDS = (0.1, 99.9)  # percentiles of a picture that become black and white
ROWS = 256  # at once; a large picture is not made float as a whole
SAMPLED = 2**20  # pixels, about, of which the percentiles are
QUICK = 1  # of zlib's levels: what is looked at once is not worth more


def ends_of(pixels: NDArray[Any]) -> Ends | None:
    """Return what is to be black and white, where 1.0 is white; None for a range as it is.

    8 bits are as every viewer shows them. More bits are often those of a camera that uses a few
    of them, and floats may be anything.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C)
        In a file's own type.
    """
    if pixels.dtype.kind == "b" or pixels.dtype.itemsize == 1:
        return None
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLED)))
    sample = to_float(pixels[::step, ::step])
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    low, high = (float(end) for end in np.percentile(sample, ENDS))
    if not high > low:
        return None
    fits = low >= -NARROW and high <= 1 + NARROW
    return None if fits and high - low >= NARROW else (low, high)


def eight_bits(pixels: NDArray[Any], ends: Ends | None = None) -> Eight:
    """Bring pixels to 8 bits, what is missing to black.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C)
        In a file's own type.
    ends
        What becomes black and white, where 1.0 is white; None: 0 and 1.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = (0.0, 1.0) if ends is None else ends
    eight = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), ROWS):
        band = (to_float(pixels[top : top + ROWS]) - low) * (255 / (high - low))
        np.nan_to_num(band, copy=False, nan=0, posinf=255, neginf=0)
        eight[top : top + ROWS] = np.rint(np.clip(band, 0, 255))
    return eight


def shown(pixels: NDArray[Any], ends: Ends | None = None, side: int | None = None) -> bytes:
    """Return a PNG file in 8 bits that shows pixels.

    Parameters
    ----------
    pixels : (H, W), (H, W, 1) or (H, W, 3)
        In a file's own type.
    ends
        As for `eight_bits`.
    side
        The most pixels a side; None for all of them.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    image = Image.fromarray(np.ascontiguousarray(eight_bits(pixels, ends)))
    scale = 1.0 if side is None else min(1.0, side / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=QUICK)
    return data.getvalue()
