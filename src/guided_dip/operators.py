"""Forward operators A: what a measurement does to an image, compared with the target as A(x).

An operator is any callable on (1, C, H, W) tensors. Denoising needs only the identity.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Operator = Callable[[Tensor], Tensor]


def identity(image: Tensor) -> Tensor:
    """Return the image itself: a camera that only adds noise."""
    return image


class Mask:
    """Keeps the pixels that were measured and sets the others to 0.

    Parameters
    ----------
    known : (1, 1, H, W) tensor
        1 where a pixel was measured, 0 where it is missing.
    """

    def __init__(self, known: Tensor) -> None:
        self.known = known

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image with its missing pixels set to 0."""
        return image * self.known
