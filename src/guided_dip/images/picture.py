"""A picture in memory, and the way between a file's numbers and floats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from guided_dip.errors import InputError
from guided_dip.images import exif

Array = NDArray[Any]
Unit = Literal["inch", "centimetre", "none"]
Format = Literal["PNG", "JPEG", "TIFF", "WebP", "BMP", "FITS"]


class RefusedError(Exception):
    """A decoder's plain reason why it will not read a file; `read` adds which file."""


class TooManyPixelsError(RefusedError):
    """A picture is larger than is allowed.

    Parameters
    ----------
    width, height
        Of the picture, in pixels.
    allowed
        Pixels.
    """

    def __init__(self, width: int, height: int, allowed: int) -> None:
        super().__init__(
            f"{width}x{height} is {width * height:,} pixels, more than the {allowed:,} allowed;"
            f" try a crop, or --max-pixels {width * height}"
        )
        self.width, self.height, self.allowed = width, height, allowed


@dataclass(frozen=True)
class Resolution:
    """Pixels per unit of length: per inch, per centimetre, or as some other tag says.

    Attributes
    ----------
    x, y
        Pixels per unit, across and down.
    unit
        ``inch``, ``centimetre``, or ``none`` for a mere ratio.
    """

    x: float
    y: float
    unit: Unit

    @property
    def per_inch(self) -> tuple[float, float] | None:
        """Pixels per inch (x, y), None if the unit is unknown."""
        factor = {"inch": 1.0, "centimetre": 2.54, "none": 0.0}[self.unit]
        return (self.x * factor, self.y * factor) if factor else None


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as its file holds it, upright.

    Parameters
    ----------
    pixels
        (H, W) or (H, W, 3), colour channels only, in the file's dtype.
    alpha
        (H, W) in the same dtype, None without transparency.
    icc
        The colour profile.
    exif
        A TIFF stream (``II*`` or ``MM``), orientation 1; from a TIFF file, its descriptive tags.
    format
        What the file was: PNG, JPEG, TIFF, WebP, BMP or FITS.
    xmp
        An XMP packet.
    resolution
        Pixels per unit of length.
    premultiplied
        The colours have been multiplied by alpha (some TIFF files).
    png_chunks
        (type, body) of chunks only PNG has: gamma, chromaticities, text.
    fits_header
        Cards of 80 characters that only FITS has: coordinates, exposure, instrument.

    Examples
    --------
    >>> dataclasses.replace(picture, pixels=restored)  # doctest: +SKIP
    """

    pixels: Array
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    format: Format = "PNG"
    xmp: bytes | None = None
    resolution: Resolution | None = None
    premultiplied: bool = False
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    fits_header: bytes | None = None

    @property
    def channels(self) -> int:
        """Number of colour channels, 1 or 3."""
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])

    @property
    def samples(self) -> Array:
        """Pixels with alpha, if any, as the last channel; (H, W) if gray is all there is."""
        if self.alpha is not None:
            return in_memory_order(np.dstack([self.pixels, self.alpha]))
        gray = self.pixels.ndim == 3 and self.channels == 1
        return in_memory_order(self.pixels[..., 0] if gray else self.pixels)

    def unmultiplied(self) -> Picture:
        """Divide the colours by alpha if they have been multiplied by it.

        Returns
        -------
        Picture
            With colours of their own; itself if they are that already.
        """
        if self.alpha is None or not self.premultiplied:
            return self
        alpha = to_float(self.alpha if self.channels == 1 else self.alpha[..., None])
        colours = np.divide(
            to_float(self.pixels),
            alpha,
            where=alpha > 0,
            out=np.zeros_like(self.pixels, np.float32),
        )
        return replace(self, pixels=from_float(colours, self.pixels.dtype), premultiplied=False)


def in_memory_order(array: Array) -> Array:
    """Lay an array out as codecs need it: contiguous, in the machine's own byte order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def split_alpha(samples: Array) -> tuple[Array, Array | None]:
    """Part (H, W), (H, W, 1 to 4) samples into colours and alpha."""
    if samples.ndim == 2:
        return samples, None
    colours = 3 if samples.shape[2] >= 3 else 1
    pixels = samples[..., 0] if colours == 1 else samples[..., :3]
    alpha = samples[..., colours] if samples.shape[2] > colours else None
    return np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse no pixels, or too many, before any of them is decoded."""
    if width < 1 or height < 1:
        raise RefusedError(f"it has no pixels ({width}x{height}); try another file")
    if width * height > max_pixels:
        raise TooManyPixelsError(width, height, max_pixels)


def check_page(page: int | None, count: int) -> int:
    """Return the page that is wanted, of so many."""
    if not count:
        raise RefusedError("it has no pages; try another file")
    if page is None and count > 1:
        raise RefusedError(f"a stack of {count} pages; try one of them, --page 0 is the first")
    if not -1 < (page or 0) < count:
        raise RefusedError(f"there is no page {page}; try --page 0 to {count - 1}")
    return page or 0


def joined(pictures: Sequence[Picture]) -> Picture:
    """Put the pages of a stack below one another.

    Parameters
    ----------
    pictures
        The pages; all that the first has besides pixels and alpha goes along.

    Raises
    ------
    RefusedError
        If they are not of one size and type.
    """
    first = pictures[0]
    for number, picture in enumerate(pictures):
        if (picture.samples.shape, picture.samples.dtype) != (
            first.samples.shape,
            first.samples.dtype,
        ):
            raise RefusedError(
                f"its pages differ in size, type or channels (0 and {number}); try them one by one"
            )
    alpha = None
    if first.alpha is not None:
        alpha = np.concatenate([p.alpha for p in pictures if p.alpha is not None])
    return replace(first, pixels=np.concatenate([p.pixels for p in pictures]), alpha=alpha)


def parted(picture: Picture, pages: int) -> list[Picture]:
    """Undo `joined`: return the pages that lie below one another in a picture.

    Parameters
    ----------
    picture
        Pages of equal height below one another.
    pages
        How many.

    Returns
    -------
    list of Picture
    """
    alphas = [None] * pages if picture.alpha is None else np.split(picture.alpha, pages)
    return [
        replace(picture, pixels=pixels, alpha=alpha)
        for pixels, alpha in zip(np.split(picture.pixels, pages), alphas, strict=True)
    ]


def upright(picture: Picture) -> Picture:
    """Apply the orientation in the picture's EXIF to its pixels, and reset it to 1.

    Parameters
    ----------
    picture
        As it was read.

    Returns
    -------
    Picture
    """
    if picture.exif is None:
        return picture
    turn = exif.orientation(picture.exif)
    resolution = picture.resolution
    if turn >= 5 and resolution is not None:
        resolution = Resolution(resolution.y, resolution.x, resolution.unit)
    return replace(
        picture,
        pixels=_turned(picture.pixels, turn),
        alpha=None if picture.alpha is None else _turned(picture.alpha, turn),
        exif=exif.with_orientation_1(picture.exif),
        xmp=None if picture.xmp is None else exif.xmp_with_orientation_1(picture.xmp),
        resolution=resolution,
    )


def turned_back(array: Array, picture: Picture) -> Array:
    """Turn an array that is upright as the pixels of a picture are that was not put upright.

    Parameters
    ----------
    array : (H, W, ...)
        Upright.
    picture
        Whose EXIF says how its pixels lie.

    Returns
    -------
    ndarray
    """
    turn = 1 if picture.exif is None else exif.orientation(picture.exif)
    return _turned(array, {6: 8, 8: 6}.get(turn, turn))


def _turned(array: Array, orientation: int) -> Array:
    """Put (H, W, ...) pixels upright from one of EXIF's eight orientations."""
    if orientation >= 5:  # 5 to 8 are 1, 2, 3 and 4 after rows and columns change places
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def to_float(array: Array, white: float | None = None) -> NDArray[np.float32]:
    """Bring pixels to float32 where 1.0 is white.

    Parameters
    ----------
    array
        Any shape; bool, integer of up to 32 bits, or float.
    white
        The value that is white, above 0; None: the largest of an integer type, 1.0 of floats.

    Returns
    -------
    ndarray
        float32, the same shape: divided by white, values outside [0, 1] kept.

    Raises
    ------
    InputError
        If the type is another, or a value is too large for float32.

    Examples
    --------
    >>> to_float(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    >>> to_float(np.array([0, 1000, 4000], np.uint16), white=4000).tolist()
    [0.0, 0.25, 1.0]
    """
    usual = _white(array.dtype)
    if usual is not None and white in (None, usual):
        # In float32 the quotient of two exact numbers is already rounded right: 8 and 16 bits
        # come back from it unchanged.
        return np.divide(array, np.float32(usual), dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        if white in (None, 1):
            floats = array.astype(np.float32)
        else:  # a white need not be a number of float32
            floats = np.empty(array.shape, np.float32)
            np.divide(array, white, out=floats, dtype=np.float64, casting="unsafe")
    if (np.isinf(floats) & np.isfinite(array)).any():
        raise InputError(
            "pixel values beyond 3.4e38 times white do not fit float32: try scaling the picture, "
            "or a larger white"
        )
    return floats


def from_float(
    array: NDArray[np.floating[Any]], dtype: DTypeLike, white: float | None = None
) -> Array:
    """Bring pixels where 1.0 is white back to a file's type.

    Parameters
    ----------
    array
        Any shape, float.
    dtype
        bool, integer of up to 32 bits, or float.
    white
        As for `to_float`.

    Returns
    -------
    ndarray
        ``dtype``, the same shape, times white: integers rounded to the nearest and clipped to their
        type's range, however small white is.

    Raises
    ------
    InputError
        If the type is another, or a pixel to become an integer is NaN.

    Examples
    --------
    >>> from_float(np.array([-1.0, 0.2, 7.0]), np.uint8).tolist()
    [0, 51, 255]
    """
    dtype = np.dtype(dtype)
    highest = _white(dtype)
    if highest is None:
        if white in (None, 1):
            return array.astype(dtype)
        floats: Array = np.multiply(array, white, dtype=np.float64).astype(dtype)
        return floats
    if np.isnan(array).any():
        raise InputError(f"NaN pixels cannot become {dtype}: try float32")
    lowest = np.iinfo(dtype).min if dtype.kind == "i" else 0
    scaled = np.multiply(array, highest if white is None else white, dtype=np.float64)
    whole: Array = np.clip(np.rint(scaled, out=scaled), lowest, highest, out=scaled).astype(dtype)
    return whole


def _white(dtype: np.dtype[Any]) -> int | None:
    """Value of white in an integer type, None for floats."""
    if dtype.kind == "b":
        return 1
    if dtype.kind in "iu" and dtype.itemsize <= 4:
        return int(np.iinfo(dtype).max)
    if dtype.kind == "f":
        return None
    raise InputError(f"pixels of type {dtype} are not supported: try uint8, uint16 or float32")
