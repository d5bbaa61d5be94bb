"""Fewer pixels or more: down-sampling by a whole number, and interpolation, as Pillow has them.

A pixel of a smaller image is a weighted mean of those around its place in the large one, with the
kernel stretched by the scale and the weights made to sum to 1, at borders too. Rows and columns are
treated one after the other, so the map is ``y = R x C^T`` with a matrix for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided_dip.errors import InputError, choices

Kernel = Literal["area", "bicubic", "lanczos"]
Weights = NDArray[np.float64]

PROJECTIONS = 8


def _area(x: Weights) -> Weights:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _bicubic(x: Weights) -> Weights:
    """Keys' cubic kernel with a = -1/2."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: Weights) -> Weights:
    """Lanczos kernel of three lobes."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[str, tuple[Callable[[Weights], Weights], float]] = {
    "area": (_area, 0.5),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


@lru_cache(maxsize=64)
def resampling_matrix(length: int, count: int, kernel: str) -> Weights:
    """Return the matrix that takes `length` pixels of a line to `count`.

    Parameters
    ----------
    length, count
        Of which the larger need not be a multiple of the other.
    kernel
        ``area``, ``bicubic`` or ``lanczos``; stretched where there are to be fewer pixels.

    Returns
    -------
    (count, length), float64, read-only
    """
    weigh, support = _KERNELS[kernel]
    ratio = length / count
    stretch = max(1.0, ratio)
    matrix = np.zeros((count, length))
    for k in range(count):
        centre = (k + 0.5) * ratio
        first = max(0, int(centre - support * stretch + 0.5))
        last = min(length, int(centre + support * stretch + 0.5))
        weights = weigh(np.asarray((np.arange(first, last) - centre + 0.5) / stretch, np.float64))
        matrix[k, first:last] = weights / weights.sum()
    matrix.flags.writeable = False
    return matrix


def resampled(image: Tensor, size: tuple[int, int], kernel: Kernel) -> Tensor:
    """Return an image (1, C, H, W) with another number of pixels, as Pillow's resizing does it.

    Parameters
    ----------
    image
        The image.
    size
        Height and width to come.
    kernel
        How it is interpolated.
    """
    rows, columns = (
        _matrix(length, count, kernel, image)
        for length, count in zip(image.shape[-2:], size, strict=True)
    )
    return rows @ image @ columns.mT


def _matrix(length: int, count: int, kernel: str, like: Tensor) -> Tensor:
    return torch.from_numpy(resampling_matrix(length, count, kernel).copy()).to(like)


class Downsample:
    """Takes every `scale` x `scale` pixels to one.

    Parameters
    ----------
    scale
        Whole number of at least 1.
    kernel
        ``area`` (each pixel of the small image is the mean of its part of the large one, as a
        sensor's), ``bicubic`` or ``lanczos``: Pillow's BOX, BICUBIC and LANCZOS.

    Raises
    ------
    InputError
        For another scale or kernel.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.rand(1, 1, 8, 8).double(), torch.rand(1, 1, 4, 4).double()
    >>> smaller = Downsample(2, "area")
    >>> bool(torch.isclose((smaller(x) * y).sum(), (x * smaller.adjoint(y)).sum()))
    True
    """

    def __init__(self, scale: int, kernel: Kernel = "area") -> None:
        if not (isinstance(scale, int) and scale >= 1):
            raise InputError(f"the scale of down-sampling is a whole number from 1, not {scale!r}")
        if kernel not in get_args(Kernel):
            raise InputError(f"unknown kernel '{kernel}': {choices(kernel, get_args(Kernel))}")
        self.scale, self.kernel = scale, kernel

    def __call__(self, image: Tensor) -> Tensor:
        """Return (1, C, H / scale, W / scale)."""
        height, width = image.shape[-2:]
        if height % self.scale or width % self.scale:
            raise InputError(
                f"an image of {width}x{height} pixels cannot be made {self.scale} times smaller: "
                "its sides must be multiples of that"
            )
        return resampled(image, (height // self.scale, width // self.scale), self.kernel)

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return (1, C, H, W) of a small image."""
        height, width = (length * self.scale for length in measurement.shape[-2:])
        rows, columns = (
            _matrix(length, length // self.scale, self.kernel, measurement)
            for length in (height, width)
        )
        return rows.mT @ measurement @ columns


def enlarged(image: Tensor, factor: int) -> Tensor:
    """Interpolate an image (1, C, H, W) to (1, C, factor H, factor W), bicubically.

    Parameters
    ----------
    image : (1, C, H, W)
        1.0 is white.
    factor
        2 or more.

    Returns
    -------
    Tensor
    """
    height, width = image.shape[-2:]
    return resampled(image, (height * factor, width * factor), "bicubic")


def agreeing(image: Tensor, measured: Tensor, operator: Downsample) -> Tensor:
    """Return an image that looks like another one, and is measured as it should be.

    By iterated back-projection (Irani & Peleg, CVGIP 53, 1991): what the measurement of an estimate
    lacks is interpolated and added.

    Parameters
    ----------
    image
        The estimate.
    measured
        What it should be measured as.
    operator
        How it is measured.
    """
    for _ in range(PROJECTIONS):
        image = image + enlarged(measured - operator(image), operator.scale)
    return image
