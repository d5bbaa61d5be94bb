r"""Where the fit's (input, target) comes from at each step.

======================  ==============  ====================================================
supervision             input           target
======================  ==============  ====================================================
``observation``         z               y
``clean-guides``        z               x_t drawn from x_0, one draw a stage
``observation-guides``  z               y + sqrt(sigma_t^2 - sigma^2) xi, one draw a stage
``recorrupted-guides``  y + a_t eta     y - eta / a_t, one draw a step
======================  ==============  ====================================================

``eta ~ N(0, sigma^2)``. In the last row the noise of the input and that of the target are
independent given the clean image: for ``y = x + n`` the two are ``n + a eta`` and ``n - eta / a``,
whose covariance is ``sigma^2 - sigma^2 = 0`` (Pang et al., "Recorrupted-to-Recorrupted",
CVPR 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from guided_dip import seeds
from guided_dip.diffusion import Schedule, forward, forward_from_observation
from guided_dip.errors import InputError
from guided_dip.guidance import Plan
from guided_dip.operators import Operator


class Pair(NamedTuple):
    """One step's input of the network and target of its output, both (1, C, H, W)."""

    input: Tensor
    target: Tensor


class Supervision(Protocol):
    """What the loop asks at each step."""

    def pair(self, stage: int, step: int) -> Pair:
        """Return the input and target of step `step`, which lies in stage `stage` of the plan."""
        ...

    def final_input(self, stage: int, draw: int) -> Tensor:
        """Return the input from which draw `draw` of the restoration is computed."""
        ...

    @property
    def draws_differ(self) -> bool:
        """Whether final inputs differ between draws, so that averaging them helps."""
        ...


class FromZ:
    """The network maps a fixed random z to the image; the target is a guide, drawn once a stage.

    Parameters
    ----------
    z : tuple of (1, Cz, H, W) float32
        The network input of each stage: one for all stages, or one a stage where z is redrawn.
    guide
        The target of a stage, (1, C, H, W).
    jitter
        Standard deviation of the noise added to z afresh at each step (Ulyanov et al., CVPR 2018).
    seed
        Seed of the run.
    """

    draws_differ = False

    def __init__(
        self,
        z: tuple[Tensor, ...],
        guide: Callable[[int], Tensor],
        *,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._z, self._guide, self._jitter, self._seed = z, guide, jitter, seed
        self._current: tuple[int, Tensor] | None = None

    def pair(self, stage: int, step: int) -> Pair:
        """Return ``(z, x_t)``, z jittered."""
        if self._current is None or self._current[0] != stage:
            self._current = stage, self._guide(stage)
        z = self.final_input(stage, 0)
        if self._jitter:
            z = z + self._jitter * seeds.normal(z, self._seed, "jitter", step)
        return Pair(z, self._current[1])

    def final_input(self, stage: int, draw: int) -> Tensor:
        """Return the stage's z: every draw is the same."""
        del draw
        return self._z[min(stage, len(self._z) - 1)]


def observation(y: Tensor, z: tuple[Tensor, ...], *, jitter: float, seed: int) -> FromZ:
    """Return plain DIP's supervision: the target is the observation itself."""
    return FromZ(z, lambda _stage: y, jitter=jitter, seed=seed)


def clean_guides(
    x_0: Tensor,
    z: tuple[Tensor, ...],
    plan: Plan,
    schedule: Schedule,
    *,
    convention: str,
    jitter: float,
    seed: int,
) -> FromZ:
    """Return the report's supervision: guides drawn from the clean image, so an oracle's."""

    def guide(stage: int) -> Tensor:
        eps = seeds.normal(x_0, seed, "eps", stage)
        return forward(x_0, eps, _timestep(plan, stage), schedule, convention=convention)

    return FromZ(z, guide, jitter=jitter, seed=seed)


def observation_guides(
    y: Tensor,
    z: tuple[Tensor, ...],
    plan: Plan,
    schedule: Schedule,
    *,
    sigma: float,
    convention: str,
    jitter: float,
    seed: int,
) -> FromZ:
    """Return the report's idea made honest: guides diffused on from the noisy observation."""

    def guide(stage: int) -> Tensor:
        xi = seeds.normal(y, seed, "xi", stage)
        t = _timestep(plan, stage)
        return forward_from_observation(y, xi, t, schedule, sigma=sigma, convention=convention)

    return FromZ(z, guide, jitter=jitter, seed=seed)


def _timestep(plan: Plan, stage: int) -> int:
    t = plan.stages[stage].t
    assert t is not None, "every stage of a plan of diffused guides has a timestep"
    return t


class RecorruptedGuides:
    """The guide is the network's input, and the target carries noise independent of it."""

    draws_differ = True

    def __init__(self, y: Tensor, plan: Plan, *, sigma: float, seed: int) -> None:
        if not (math.isfinite(sigma) and sigma > 0):
            raise InputError(f"recorrupted guides need a noise level above 0, not {sigma!r}")
        self._y, self._plan, self._sigma, self._seed = y, plan, sigma, seed

    def _strength(self, stage: int) -> float:
        a = self._plan.stages[stage].a
        assert a is not None, "every stage of a plan of recorrupted guides has a strength"
        return a

    def pair(self, stage: int, step: int) -> Pair:
        """Return ``(y + a eta, y - eta / a)`` with a fresh ``eta ~ N(0, sigma^2)``."""
        a = self._strength(stage)
        eta = self._sigma * seeds.normal(self._y, self._seed, "eta", step)
        return Pair(self._y + a * eta, self._y - eta / a)

    def final_input(self, stage: int, draw: int) -> Tensor:
        """Return ``y + a eta`` with an ``eta`` of its own for each draw."""
        eta = self._sigma * seeds.normal(self._y, self._seed, "final", draw)
        return self._y + self._strength(stage) * eta


class Measured:
    """Another supervision whose targets are measured: ``(input, A(target))``.

    For operators that leave a pixel as it is or leave it out, so that A of an image's target is
    the measurement's.

    Parameters
    ----------
    supervision
        In image space.
    operator
        Forward operator ``A``.
    """

    def __init__(self, supervision: Supervision, operator: Operator) -> None:
        self._supervision, self._operator = supervision, operator

    @property
    def draws_differ(self) -> bool:
        """As the other's."""
        return self._supervision.draws_differ

    def pair(self, stage: int, step: int) -> Pair:
        """Return ``(input, A(target))``."""
        pair = self._supervision.pair(stage, step)
        return Pair(pair.input, self._operator(pair.target))

    def final_input(self, stage: int, draw: int) -> Tensor:
        """Return the other's input."""
        return self._supervision.final_input(stage, draw)
