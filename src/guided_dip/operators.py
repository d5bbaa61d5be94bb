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
