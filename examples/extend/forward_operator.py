"""A forward operator of your own: every other row was read out some pixels to the right."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from guided_dip import Result, restore


class Interlaced:
    """A linear map of (1, C, H, W) with its adjoint: `<A x, y> = <x, A^T y>`.

    A function alone does as well: its adjoint is found by automatic differentiation.
    """

    def __call__(self, image: Tensor) -> Tensor:
        """Return `A x`: odd rows are moved by three pixels, and smeared over two."""
        measured = image.clone()
        odd = image[..., 1::2, :]
        measured[..., 1::2, :] = 0.5 * (odd.roll(3, -1) + odd.roll(4, -1))
        return measured

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return `A^T y`: the same to the other side."""
        image = measurement.clone()
        odd = measurement[..., 1::2, :]
        image[..., 1::2, :] = 0.5 * (odd.roll(-3, -1) + odd.roll(-4, -1))
        return image


def straighten(measured: NDArray[np.float32], sigma: float, **settings: object) -> Result:
    """Undo it, where the noise has a level of `sigma` of 255."""
    return restore(measured, operator=Interlaced(), noise=f"gaussian:{sigma:g}", **settings)
