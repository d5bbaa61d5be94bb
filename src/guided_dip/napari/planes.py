"""Which parts of a layer are pictures, and the values that a picture is restored in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = 3
ROOM = 1.1  # white over the largest value, so that none is taken for cut off
DARK = 0.25  # floats below this are taken for another unit than that in which 1.0 is white

Index = tuple[int, ...]


@dataclass(frozen=True)
class Planes:
    """The pictures that a layer's array holds.

    Attributes
    ----------
    array : (..., H, W) or, of colour, (..., H, W, C)
        Anything that can be sliced, such as NumPy's, dask's or zarr's arrays.
    rgb
        Whether the last axis holds colours; after three, alpha, which is left as it is.
    """

    array: Any
    rgb: bool = False

    @property
    def before(self) -> tuple[int, ...]:
        """Sizes of the axes before those of a picture."""
        shape = tuple(int(size) for size in self.array.shape)
        return shape[: -3 if self.rgb else -2]

    def indices(self) -> Iterator[Index]:
        """Yield where each picture is."""
        yield from np.ndindex(*self.before)

    def picture(self, index: Index) -> NDArray[Any]:
        """Return a picture, (H, W) or (H, W, 3)."""
        pixels = np.asarray(self.array[index])
        return pixels[..., :COLOURS] if self.rgb else pixels

    def put(self, index: Index, picture: NDArray[Any]) -> None:
        """Put a picture in its place; the array has to be NumPy's."""
        if self.rgb:
            self.array[index][..., :COLOURS] = picture
        else:
            self.array[index] = picture


def white_of(picture: NDArray[Any]) -> float:
    """Return the value of a picture that is taken for white.

    Microscopes count hundreds in files that could hold 65535: noise is found in them only if that
    is not taken for white.

    Parameters
    ----------
    picture
        Of any type.

    Returns
    -------
    float
        Of 8 bits and of what is saturated, the type's largest value; of floats that are seen to
        have a white of 1.0, that; else a little above the largest value.
    """
    if picture.dtype.kind == "b" or picture.dtype == np.uint8:
        return float(np.iinfo(np.uint8).max) if picture.dtype == np.uint8 else 1.0
    finite = picture[np.isfinite(picture)]
    largest = float(np.abs(finite).max(initial=0))
    if picture.dtype.kind in "iu" and largest >= np.iinfo(picture.dtype).max:
        return float(np.iinfo(picture.dtype).max)
    if largest == 0 or (picture.dtype.kind == "f" and DARK < largest <= 1):
        return 1.0
    return largest * ROOM


def to_units(picture: NDArray[Any], white: float) -> NDArray[np.float32]:
    """Return a picture as floats in which 1.0 is white."""
    return np.asarray(picture / white, np.float32)


def from_units(pixels: NDArray[np.float32], white: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return floats in which 1.0 is white as a layer's type has them."""
    values = pixels.astype(np.float64) * white
    if dtype.kind == "b":
        return values >= white / 2
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)
