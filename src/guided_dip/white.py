"""Which value of a picture is white: 1.0 in all that is computed, whatever a file counts up to.

White is the largest value of an integer type, and 1.0 of floats. But microscopes and cameras write
10 or 12 bits into files of 16, where their noise would be too small to be found. Of such pictures
white is the largest value of the fewest bits that hold them, unless another one is stated.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError

White = float | Literal["auto", "type"]

DIM = 1 / 8  # of a type's largest value: below that, a picture has another white
FEWEST_BITS = 4  # of what is found: counts of 0 and 1 are photons, not black and white


class Extremes(NamedTuple):
    """Between which values integers of more than 8 bits lie.

    Attributes
    ----------
    dtype
        Name of their type.
    low, high
        The smallest and the largest of them.
    """

    dtype: str
    low: int
    high: int

    def joined(self, other: Extremes | None) -> Extremes:
        """Return between which values these and others lie.

        Parameters
        ----------
        other
            Of another type they do not count; None: there are none.
        """
        if other is None or other.dtype != self.dtype:
            return self
        return Extremes(self.dtype, min(self.low, other.low), max(self.high, other.high))

    @property
    def largest(self) -> int:
        """The largest of them, whatever their sign."""
        return max(self.high, -self.low)

    @property
    def are_bright(self) -> bool:
        """Whether they show that white is their type's largest value."""
        return self.largest >= DIM * np.iinfo(self.dtype).max


def extremes_of(pixels: NDArray[Any], missing: NDArray[Any] | None = None) -> Extremes | None:
    """Return between which values pixels lie; None if that says nothing about white.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C)
        Colours, without alpha.
    missing : (H, W), optional
        Where whatever is there does not count; of another size it is of no account.

    Returns
    -------
    Extremes or None
        None of 8 bits and floats, and where no pixel is known.
    """
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize == 1:
        return None
    if missing is not None and missing.shape == pixels.shape[:2]:
        pixels = pixels[~np.asarray(missing, bool)]
    if not pixels.size:
        return None
    return Extremes(pixels.dtype.name, int(pixels.min()), int(pixels.max()))


def parse_white(given: object) -> White:
    """Read a white as the settings have it.

    Parameters
    ----------
    given
        ``"auto"``, ``"type"``, or a number above 0 or its text.

    Returns
    -------
    float or str
        The number, or the word.

    Raises
    ------
    InputError
        If it is none; it says what to try.

    Examples
    --------
    >>> parse_white("4095"), parse_white("auto")
    (4095.0, 'auto')
    """
    if given == "auto":
        return "auto"
    if given == "type":
        return "type"
    value = math.nan
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        try:
            value = float(given)
        except (ValueError, OverflowError):
            value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError("try auto, type or a number above 0, such as 4095")
    return value


def find_white(
    white: White, dtype: np.dtype[Any], extremes: Extremes | None
) -> tuple[float | Literal["type"], str]:
    """Return the white that is meant, and what to tell the user of it.

    Parameters
    ----------
    white
        As the settings have it.
    dtype
        Of the picture.
    extremes
        Between which values it lies, or all of the file that it is part of.

    Returns
    -------
    white
        A value of the picture, or ``"type"``: its type's largest, 1.0 of floats.
    note
        Why it is not the type's; empty where that was stated, or is so.

    Examples
    --------
    >>> find_white("auto", np.dtype("uint16"), Extremes("uint16", 12, 3811))
    (4095.0, 'white is 4095, as the brightest value is 3811 (--white type: 65535)')
    >>> find_white("auto", np.dtype("uint16"), Extremes("uint16", 12, 40000))
    ('type', '')
    """
    if white != "auto":
        return white, ""
    if extremes is None or extremes.dtype != dtype.name:
        return "type", ""
    if extremes.are_bright or not extremes.largest:
        return "type", ""
    found = 2 ** max(FEWEST_BITS, extremes.largest.bit_length()) - 1
    end, value = ("brightest", extremes.high)
    if -extremes.low > extremes.high:
        end, value = ("lowest", extremes.low)
    usual = np.iinfo(dtype).max
    return float(found), (
        f"white is {found}, as the {end} value is {value} (--white type: {usual})"
    )
