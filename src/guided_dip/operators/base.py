"""What an operator is, the identity, and operators of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from guided_dip.errors import InputError


@runtime_checkable
class Operator(Protocol):
    """A linear map from an image (1, C, H, W) to its measurement."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``A x``.

        Parameters
        ----------
        image : (1, C, H, W)
            ``x``.

        Returns
        -------
        Tensor
            Of four dimensions; not modified in place afterwards.
        """
        ...

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return ``A^T y``, an image: ``<A x, y> = <x, A^T y>``.

        Parameters
        ----------
        measurement
            ``y``, of the shape that the operator returns.

        Returns
        -------
        Tensor
            (1, C, H, W).
        """
        ...


class Identity:
    """A camera that only adds noise."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image."""
        return image

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return the measurement."""
        return measurement


identity = Identity()


class Weighted:
    """Another operator, whose measurements are multiplied by weights.

    Parameters
    ----------
    operator
        It.
    weights
        Broadcast with its measurements.
    """

    def __init__(self, operator: Operator, weights: Tensor) -> None:
        self._operator, self._weights = operator, weights

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``W A x``."""
        return self._operator(image) * self._weights

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return ``A^T W y``."""
        return self._operator.adjoint(measurement * self._weights)


class OfCallable:
    """An operator of one's own.

    Parameters
    ----------
    forward
        ``A``, of torch operations, linear.
    size : (1, C, H, W)
        Shape of the images.
    adjoint
        ``A^T``; None: by automatic differentiation of `forward`.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        size: tuple[int, int, int, int],
        adjoint: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._forward, self._size, self._adjoint = forward, size, adjoint

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``A x``."""
        measured = self._forward(image)
        if not isinstance(measured, Tensor):
            raise InputError(f"the operator gave a {type(measured).__name__}, and no tensor")
        return measured

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return ``A^T y``."""
        if self._adjoint is not None:
            return self._adjoint(measurement)
        with torch.enable_grad():
            image = measurement.new_zeros(self._size, requires_grad=True)
            measured = self(image)
            (back,) = torch.autograd.grad(measured, image, measurement)
        return back


def from_callable(operator: Any, size: tuple[int, int, int, int]) -> Operator:
    """Return anything that maps an image to a measurement as an operator.

    Parameters
    ----------
    operator
        An `Operator`; an object with ``A`` and, if it has one, ``A_adjoint``, as deepinv's physics
        are; or a function.
    size : (1, C, H, W)
        Shape of the images.

    Returns
    -------
    Operator

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> flipped = from_callable(lambda x: x.flip(-1), (1, 1, 2, 2))
    >>> flipped.adjoint(torch.eye(2)[None, None])[0, 0].tolist()  # by automatic differentiation
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if isinstance(operator, Operator):
        return operator
    if callable(getattr(operator, "A", None)):
        return OfCallable(operator.A, size, getattr(operator, "A_adjoint", None))
    if callable(operator):
        return OfCallable(operator, size, getattr(operator, "A_adjoint", None))
    raise InputError(
        f"a {type(operator).__name__} is no operator: try a function from image to measurement, or "
        "an object with A and A_adjoint"
    )
