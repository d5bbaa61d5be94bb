"""Blur by a known kernel, without guesses about what lies beyond the border.

A blurred pixel near the border depends on scene beyond it. So the image of a `Blur` is larger than
its measurement by the kernel's reach on every side (``valid`` convolution): nothing is assumed of
the frame, which is restored with the rest and cut off in the end, and nothing rings.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided_dip.errors import InputError

LARGEST = 255  # pixels of a kernel's side
REACH = 4.0  # standard deviations of a Gaussian kernel
FINE = 16  # points a pixel of a motion's path


def gaussian_kernel(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian kernel.

    Parameters
    ----------
    sigma
        Standard deviation in pixels, above 0.

    Returns
    -------
    (K, K), float64
        Sums to 1; K is odd.
    """
    reach = math.ceil(REACH * _checked(sigma, "sigma of a Gaussian kernel", LARGEST // 2 / REACH))
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = np.outer(line, line)
    return np.asarray(kernel / kernel.sum())


def motion_kernel(length: float, angle: float) -> NDArray[np.float64]:
    """Return the kernel of a straight motion at an even speed.

    Parameters
    ----------
    length
        In pixels, at least 1.
    angle
        In degrees, counter-clockwise from the right.

    Returns
    -------
    (K, K), float64
        Sums to 1; K is odd.

    Raises
    ------
    InputError
        If the length is no positive number, or longer than a kernel may be, or the angle is none.
    """
    _checked(length, "length of a motion", LARGEST - 2)
    if not math.isfinite(angle):
        raise InputError(f"the angle of a motion is a number of degrees, not {angle!r}")
    half = (length - 1) / 2 if length > 1 else 0.0
    reach = math.ceil(half)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    way = np.linspace(-half, half, max(1, math.ceil(length * FINE)))
    rows = reach - way * math.sin(math.radians(angle))
    columns = reach + way * math.cos(math.radians(angle))
    for row, column in zip(rows, columns, strict=True):  # shared by the four pixels around
        top, left = math.floor(row), math.floor(column)
        for down in (0, 1):
            for across in (0, 1):
                weight = (1 - abs(row - top - down)) * (1 - abs(column - left - across))
                if weight > 1e-12:
                    kernel[top + down, left + across] += weight
    return np.asarray(kernel / kernel.sum())


def _checked(value: float, name: str, largest: float) -> float:
    if not (math.isfinite(value) and 0 < value <= largest):
        raise InputError(f"the {name} lies above 0 and at most at {largest:g}, not {value!r}")
    return value


def parse_kernel(text: str) -> NDArray[np.float64]:
    """Return a kernel from words.

    Parameters
    ----------
    text
        ``gaussian:SIGMA`` or ``motion:LENGTH,ANGLE``.

    Raises
    ------
    InputError
        For anything else.

    Examples
    --------
    >>> parse_kernel("motion:3,0").round(2).tolist()[1]
    [0.26, 0.49, 0.26]
    """
    name, _, given = text.partition(":")
    numbers = []
    for word in given.split(","):
        try:
            numbers.append(float(word))
        except ValueError:
            numbers = []
            break
    if name == "gaussian" and len(numbers) == 1:
        return gaussian_kernel(numbers[0])
    if name == "motion" and len(numbers) == 2:
        return motion_kernel(*numbers)
    raise InputError(f"'{text}' is no kernel: try gaussian:2.0, motion:15,30 or a picture's file")


class Blur:
    """Convolution with a kernel; the image is larger than the measurement by `reach`.

    Parameters
    ----------
    kernel : (Kh, Kw)
        Odd sides; made to sum to 1.

    Attributes
    ----------
    reach : (int, int)
        Rows and columns by which the image is larger, at each end.

    Raises
    ------
    InputError
        If it is no kernel.

    Examples
    --------
    >>> blur = Blur(gaussian_kernel(1.0))
    >>> blur.reach
    (4, 4)
    >>> tuple(blur(torch.ones(1, 1, 10, 10)).shape)  # only where all of the kernel is seen
    (1, 1, 2, 2)
    """

    def __init__(self, kernel: NDArray[Any]) -> None:
        kernel = np.asarray(kernel, dtype=np.float64)
        if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
            raise InputError(
                f"a kernel has two odd sides, not the shape {kernel.shape}: try one more row or "
                "column, of 0"
            )
        if max(kernel.shape) > LARGEST:
            raise InputError(f"a kernel has at most {LARGEST} pixels a side, not {kernel.shape}")
        if not np.isfinite(kernel).all() or kernel.min() < 0 or not kernel.sum() > 0:
            raise InputError("a kernel's numbers are finite, none is below 0, and some are above 0")
        self.kernel = kernel / kernel.sum()
        self.reach = (kernel.shape[0] // 2, kernel.shape[1] // 2)
        self._transfers: dict[tuple[Any, ...], Tensor] = {}  # asked for at every step

    def __call__(self, image: Tensor) -> Tensor:
        """Return (1, C, H - 2 reach, W - 2 reach): the pixels whose whole surroundings are seen."""
        height, width = image.shape[-2:]
        down, across = self.reach
        if height <= 2 * down or width <= 2 * across:
            raise InputError(
                f"an image of {width}x{height} pixels is smaller than the blur of "
                f"{self.kernel.shape[1]}x{self.kernel.shape[0]}"
            )
        size = (height, width)
        spectrum = torch.fft.rfft2(image) * self.transfer(size, image)
        whole: Tensor = torch.fft.irfft2(spectrum, s=size)  # what wraps around is cut off
        return whole[..., down : height - down, across : width - across]

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return (1, C, H, W) of a measurement."""
        down, across = self.reach
        wide = torch.nn.functional.pad(measurement, (across, across, down, down))
        size = (wide.shape[-2], wide.shape[-1])
        spectrum = torch.fft.rfft2(wide) * self.transfer(size, measurement).conj()
        back: Tensor = torch.fft.irfft2(spectrum, s=size)
        return back

    def transfer(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return the kernel's spectrum on an image of some size, its middle at the origin.

        Parameters
        ----------
        size
            Height and width.
        like
            Has the type and device.
        """
        asked = (size, like.dtype, like.device)
        if asked not in self._transfers:
            self._transfers[asked] = self._transfer(size, like)
        return self._transfers[asked]

    def _transfer(self, size: tuple[int, int], like: Tensor) -> Tensor:
        placed = np.zeros(size)
        placed[: self.kernel.shape[0], : self.kernel.shape[1]] = self.kernel
        placed = np.roll(placed, (-self.reach[0], -self.reach[1]), axis=(0, 1))
        transfer: Tensor = torch.fft.rfft2(torch.from_numpy(placed).to(like))
        return transfer
