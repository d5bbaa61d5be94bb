"""Operators that act on each pixel by itself: masks and gains."""

from __future__ import annotations

from torch import Tensor


class Gain:
    """Multiplies each pixel by a known number: vignetting, flat fields, broken sensors.

    Parameters
    ----------
    gain : (1, 1 or C, H, W) tensor
        By how much; 0 where nothing is measured.

    Examples
    --------
    >>> import torch
    >>> gain = Gain(torch.tensor([[[[1.0, 0.5]]]]))
    >>> gain(torch.ones(1, 3, 1, 2))[0, 0].tolist()
    [[1.0, 0.5]]
    """

    def __init__(self, gain: Tensor) -> None:
        self.gain = gain

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image times the gain."""
        return image * self.gain

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return the same of a measurement: the map is its own adjoint."""
        return measurement * self.gain


class Mask(Gain):
    """Keeps the pixels that were measured and sets the others to 0.

    Parameters
    ----------
    gain : (1, 1 or C, H, W) tensor
        1 where a pixel was measured, 0 where it is missing.

    Examples
    --------
    >>> import torch
    >>> mask = Mask(torch.tensor([[[[1.0, 0.0]]]]))
    >>> mask(torch.full((1, 1, 1, 2), 0.75))[0, 0].tolist()
    [[0.75, 0.0]]
    """

    @property
    def known(self) -> Tensor:
        """The mask."""
        return self.gain
