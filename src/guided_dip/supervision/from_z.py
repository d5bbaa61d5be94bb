"""A network fed with fixed noise z: plain DIP, and guides as targets."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from guided_dip import seeds
from guided_dip.diffusion import Schedule, forward, forward_from_observation
from guided_dip.guidance import Plan
from guided_dip.supervision.pairs import Once, Pair, cut
from guided_dip.tiling import Window


class FromZ(Once):
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

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return the stage's z: every draw is the same."""
        del draw
        return cut(self._z[min(stage, len(self._z) - 1)], window)


def observation(y: Tensor, z: tuple[Tensor, ...], *, jitter: float, seed: int) -> FromZ:
    """Return plain DIP's supervision: the target is the observation itself.

    Parameters
    ----------
    y : (1, C, H, W)
        The observation.
    z : tuple of (1, Cz, H, W)
        The network input: one for all stages, or one a stage.
    jitter
        Standard deviation of what is added to z at each step.
    seed
        Of the run.

    Returns
    -------
    FromZ
    """
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
    shared_noise: bool = False,
) -> FromZ:
    """Return the report's supervision: guides drawn from the clean image, so an oracle's.

    Each guide has noise of its own, as the report's have, or all share one draw.

    Parameters
    ----------
    x_0 : (1, C, H, W)
        The clean image, in [0, 1].
    z : tuple of (1, Cz, H, W)
        The network input: one for all stages, or one a stage.
    plan
        The stages.
    schedule
        Its beta schedule.
    convention
        Of the noise: ``offset``, ``centred`` or ``unbiased``.
    jitter
        Standard deviation of what is added to z at each step.
    seed
        Of the run.
    shared_noise
        One draw for all guides.

    Returns
    -------
    FromZ
    """

    def guide(stage: int) -> Tensor:
        eps = seeds.normal(x_0, seed, "eps", 0 if shared_noise else stage)
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
    shared_noise: bool = False,
) -> FromZ:
    """Return the report's idea made honest: guides diffused on from the noisy observation.

    What is added is drawn afresh for each guide, or all share one draw.

    Parameters
    ----------
    y : (1, C, H, W)
        The observation.
    z : tuple of (1, Cz, H, W)
        The network input: one for all stages, or one a stage.
    plan
        The stages.
    schedule
        Its beta schedule.
    sigma
        Its noise level in [0, 1] units.
    convention
        Of the noise: ``offset``, ``centred`` or ``unbiased``.
    jitter
        Standard deviation of what is added to z at each step.
    seed
        Of the run.
    shared_noise
        One draw for all guides.

    Returns
    -------
    FromZ
    """

    def guide(stage: int) -> Tensor:
        xi = seeds.normal(y, seed, "xi", 0 if shared_noise else stage)
        t = _timestep(plan, stage)
        return forward_from_observation(y, xi, t, schedule, sigma=sigma, convention=convention)

    return FromZ(z, guide, jitter=jitter, seed=seed)


def _timestep(plan: Plan, stage: int) -> int:
    t = plan.stages[stage].t
    assert t is not None, "every stage of a plan of diffused guides has a timestep"
    return t
