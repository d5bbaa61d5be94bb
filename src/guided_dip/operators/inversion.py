"""A first image from the measurement of any linear operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from guided_dip import seeds
from guided_dip.operators.base import Operator

ROUNDS = 15  # of conjugate gradients; each applies the operator and its adjoint once
DAMPING = 0.01  # of the largest singular value, squared
POWERS = 20
TINY = 1e-30  # of which nothing is divided by less


def squared_norm(operator: Operator, like: Tensor, *, seed: int = 0) -> float:
    """Return about the largest singular value of an operator, squared, by power iteration.

    Parameters
    ----------
    operator
        Linear.
    like : (1, C, H, W)
        An image such as it takes.
    seed
        Of the random image to begin with.
    """
    with torch.no_grad():
        image, found = seeds.normal(like, seed, "norm"), 0.0
        for _ in range(POWERS):
            length = float(image.norm())
            if not length:
                return 0.0
            image = operator.adjoint(operator(image / length))
            found = float(image.norm())
        return found


@torch.no_grad()
def inverted(
    operator: Operator,
    measured: Tensor,
    like: Tensor,
    *,
    norm: float | None = None,
    damping: float = DAMPING,
    rounds: int = ROUNDS,
) -> Tensor:
    """Return the damped least-squares image of a measurement, linear in it.

    That is nearly ``(A^T A + d I)^-1 A^T y``, by conjugate gradients.

    Parameters
    ----------
    operator
        ``A``.
    measured
        ``y``.
    like : (1, C, H, W)
        An image such as it takes.
    norm
        The operator's `squared_norm`, if it is known.
    damping
        ``d``, in parts of that.
    rounds
        Of conjugate gradients.
    """
    norm = squared_norm(operator, like) if norm is None else norm
    if not norm:
        return torch.zeros_like(like)
    damping *= norm

    def system(image: Tensor) -> Tensor:
        return operator.adjoint(operator(image)) + damping * image

    return solved(system, operator.adjoint(measured), torch.zeros_like(like), rounds)


def solved(system: Callable[[Tensor], Tensor], left: Tensor, start: Tensor, rounds: int) -> Tensor:
    """Solve a symmetric, positive system by conjugate gradients.

    Parameters
    ----------
    system
        The map ``M``.
    left
        What `start` leaves of the right side, ``b - M start``.
    start
        Where to begin.
    rounds
        How many at most.

    Returns
    -------
    Tensor
        Of the shape of `left`.
    """
    solution, way, power = start, left, float((left * left).sum())
    least = 1e-12 * power
    for _ in range(rounds):
        if power <= least:
            break
        ahead = system(way)
        length = power / max(float((way * ahead).sum()), TINY)
        solution, left = solution + length * way, left - length * ahead
        power, before = float((left * left).sum()), power
        way = left + (power / before) * way
    return solution
