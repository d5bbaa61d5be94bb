"""Which parts of a layer are pictures, and what is white in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from guided_dip.white import Extremes, extremes_of

COLOURS = 3
ROOM = 1.1  # white over the largest value, so that none is taken for cut off
WIDEST = 4  # bytes of the widest integers that are restored
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
    """Return the value of a picture of floats that is taken for white.

    A file's floats have a white of 1.0, unless another is stated. In a viewer they are as often
    counts, or what came of them, in any unit.

    Parameters
    ----------
    picture
        Of floats.

    Returns
    -------
    float
        1.0 where the largest value is near below that, or there is none; else a little above it.
    """
    finite = picture[np.isfinite(picture)]
    largest = float(np.abs(finite).max(initial=0))
    return 1.0 if largest == 0 or DARK < largest <= 1 else largest * ROOM


def extremes_in(planes: Planes, indices: Iterable[Index]) -> Extremes | None:
    """Return between which values pictures lie, by which their white is found; None of floats."""
    found: Extremes | None = None
    for index in indices:
        one = extremes_of(restorable(planes.picture(index)))
        found = one if found is None else found.joined(one)
        if found is None or found.are_bright:
            break
    return found


def restorable(picture: NDArray[Any]) -> NDArray[Any]:
    """Return a picture in a type that is restored: integers of 64 bits become 32, or floats."""
    if picture.dtype.kind not in "iu" or picture.dtype.itemsize <= WIDEST:
        return picture
    limits = np.iinfo(np.int32)
    fits = picture.size == 0 or (picture.min() >= limits.min and picture.max() <= limits.max)
    return picture.astype(np.int32 if fits else np.float64)


def as_layer(picture: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return what came of a `restorable` picture in its layer's type."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu" and picture.dtype.kind == "f":
        picture = np.rint(picture)
    return picture.astype(dtype)
