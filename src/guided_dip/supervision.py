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
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from guided_dip import seeds
from guided_dip.backbones.blocks import extend
from guided_dip.diffusion import Schedule, forward, forward_from_observation
from guided_dip.errors import InputError
from guided_dip.guidance import Plan
from guided_dip.hiding import Hiding
from guided_dip.operators import Downsample, Operator, identity, resampled
from guided_dip.tasks import UP, SuperResolve, agreeing
from guided_dip.tiling import Window

SIZES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of a measurement that is made smaller, in parts of it


class Pair(NamedTuple):
    """One step's input of the network and target of its output, both (1, C, H, W).

    They show the part of the image that `window` cuts out, rows and columns; None for all of it.
    Where there is a `weight`, (1, 1 or C, H, W), the measured output and the target are compared
    after both have been multiplied by it. What is `apart` shows no part of the image.
    """

    input: Tensor
    target: Tensor
    window: Window | None = None
    weight: Tensor | None = None
    apart: bool = False


class Supervision(Protocol):
    """What the loop asks at each step."""

    def pair(self, stage: int, step: int) -> Pair:
        """Return the input and target of step `step`, which lies in stage `stage` of the plan."""
        ...

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return the input from which draw `draw` of the restoration is computed.

        Of a window of it, if one is given: the same at a pixel in every window.
        """
        ...

    @property
    def draws_differ(self) -> bool:
        """Whether final inputs differ between draws, so that averaging them helps."""
        ...

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """Return what goes into the network after so many passes; None if the output is final."""
        ...


class Once:
    """A supervision whose network's outputs are final."""

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """Return None: one pass is enough."""
        del output, passes
        return None


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
        return _cut(self._z[min(stage, len(self._z) - 1)], window)


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
    shared_noise: bool = False,
) -> FromZ:
    """Return the report's supervision: guides drawn from the clean image, so an oracle's.

    Each guide has noise of its own, as the report's have, or all share one draw.
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


class Grain(Protocol):
    """Turns white noise (1, C, H, W) into other noise, `reach` pixels of it lost at each side."""

    @property
    def reach(self) -> int:
        """Pixels that are lost."""
        ...

    def __call__(self, white: Tensor) -> Tensor:
        """Turn it."""
        ...


class Filter:
    """Turns white noise into noise that is correlated over pixels and channels.

    Parameters
    ----------
    kernel : (K, K)
        Filter over pixels, K odd.
    mixing : (C, C)
        Matrix over channels.

    Attributes
    ----------
    reach : int
        Pixels that are lost at each side.
    """

    def __init__(self, kernel: Tensor, mixing: Tensor) -> None:
        self.reach = kernel.shape[-1] // 2
        self._kernel, self._mixing = kernel, mixing

    def __call__(self, white: Tensor) -> Tensor:
        """Filter (1, C, H, W) to (1, C, H - K + 1, W - K + 1)."""
        mixed = torch.einsum("ij,bjhw->bihw", self._mixing, white)
        each = self._kernel.expand(white.shape[1], 1, *self._kernel.shape)
        return F.conv2d(mixed, each, groups=white.shape[1])


class RecorruptedGuides(Once):
    """The guide is the network's input, and the target carries noise independent of it.

    Parameters
    ----------
    y : (1, C, H, W)
        The observation.
    plan
        Its stages have the strengths.
    sigma
        Noise level.
    seed
        Seed of the run.
    share : (1, C, H, W), optional
        Strength of the noise at each pixel over `sigma`, where it is not the same everywhere.
    grain
        How the noise is correlated; None if it is white.
    hiding
        Where pixels are missing: which of the others are hidden from the network at a step. It is
        then given (1, C + 1, H, W): the image, 0 where it is missing or hidden, and where it is
        not; and `sigma` may be 0, for an image without noise.
    lift
        Makes the network's input of a measurement.
    """

    draws_differ = True

    def __init__(
        self,
        y: Tensor,
        plan: Plan,
        *,
        sigma: float,
        seed: int,
        share: Tensor | None = None,
        grain: Grain | None = None,
        hiding: Hiding | None = None,
        lift: Callable[[Tensor], Tensor] = identity,
    ) -> None:
        noisy = math.isfinite(sigma) and sigma > 0
        if not noisy and (hiding is None or sigma != 0):
            raise InputError(f"recorrupted guides need a noise level above 0, not {sigma!r}")
        self._y, self._plan, self._sigma, self._seed = y, plan, sigma, seed
        self._share, self._grain, self._hiding, self._lift = share, grain, hiding, lift
        self._only_squares = all(stage.patch is not None for stage in plan)

    def _strength(self, stage: int) -> float:
        a = self._plan.stages[stage].a
        assert a is not None, "every stage of a plan of recorrupted guides has a strength"
        return a

    def pair(self, stage: int, step: int) -> Pair:
        """Return ``(y + a eta, y - eta / a)`` with a fresh ``eta ~ N(0, sigma^2)``.

        Of a random square of the image where the stage says so.
        """
        if self._hiding is not None:
            return self._hidden_pair(self._hiding, stage, step)
        a = self._strength(stage)
        window = self._window(self._plan.stages[stage].patch, step)
        y = _cut(self._y, window)
        eta = self._noise(y, window, "eta", step)
        return Pair(self._lift(y + a * eta), y - eta / a, window)

    def _hidden_pair(self, hiding: Hiding, stage: int, step: int) -> Pair:
        """Return a pair whose input lacks some of what its target has.

        What is hidden is compared with itself: the network has seen nothing of its noise. What is
        not is compared as ever, or, without noise, not at all.
        """
        kept = hiding.kept(self._plan.stages[stage].hidden or 0.0, step)
        if not self._sigma:
            weight = hiding.known - kept
            shown, target = self._y, self._y
        else:
            a, weight = self._strength(stage), hiding.known
            eta = self._noise(self._y, None, "eta", step)
            shown, target = self._y + a * eta, self._y - kept * eta / a
        weight = weight / weight.mean().sqrt().clamp_min(1e-3)
        return Pair(torch.cat([shown * kept, kept], 1), target, None, weight)

    def _noise(self, y: Tensor, window: Window | None, purpose: str, number: int) -> Tensor:
        """Draw noise such as there is in this part of the observation."""
        if self._grain is None:
            eta = self._sigma * seeds.normal(y, self._seed, purpose, number)
        else:
            margin = 2 * self._grain.reach
            wide = y.new_empty((*y.shape[:2], y.shape[2] + margin, y.shape[3] + margin))
            eta = self._sigma * self._grain(seeds.normal(wide, self._seed, purpose, number))
        return eta if self._share is None else eta * _cut(self._share, window)

    def _window(self, side: int | None, step: int) -> Window | None:
        """Return a random square; one that would end beyond the image is moved to its border.

        Where nothing but squares is fitted to, so that borders are seen half as often as the
        middle, and not next to never.
        """
        if side is None:
            return None
        beyond = side // 2 if self._only_squares else 0
        top, left = (
            seeds.derive(self._seed, "patch", step, axis) % (size - side + 1 + 2 * beyond) - beyond
            for axis, size in enumerate(self._y.shape[-2:])
        )
        top, left = (
            min(max(0, start), size - side)
            for start, size in zip((top, left), self._y.shape[-2:], strict=True)
        )
        return slice(top, top + side), slice(left, left + side)

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return ``y + a eta`` with an ``eta`` of its own for each draw.

        A window's noise is not the whole image's: to draw that costs the whole image's time.
        """
        if self._hiding is not None:
            assert window is None, "missing pixels are filled in on the whole image"
            return self._final_shown(self._hiding, stage, draw)
        if window is None:
            eta = self._noise(self._y, None, "final", draw)
        else:
            eta = self._field(window, draw)
        return self._lift(_cut(self._y, window) + self._strength(stage) * eta)

    def _final_shown(self, hiding: Hiding, stage: int, draw: int) -> Tensor:
        """Return the image with all its known pixels, and which these are."""
        shown = self._y
        if self._sigma:
            shown = shown + self._strength(stage) * self._noise(self._y, None, "final", draw)
        return torch.cat([shown * hiding.known, hiding.known], 1)

    def _field(self, window: Window, draw: int) -> Tensor:
        """Draw a window's noise, the same at a pixel in every window."""
        reach = 0 if self._grain is None else self._grain.reach
        rows, columns = (slice(part.start - reach, part.stop + reach) for part in window)
        white = seeds.field(self._y, rows, columns, self._seed, "final", draw)
        eta = self._sigma * (white if self._grain is None else self._grain(white))
        return eta if self._share is None else eta * _cut(self._share, window)


def _cut(image: Tensor, window: Window | None) -> Tensor:
    """Return a window of an image, which is reflected where the window ends beyond it."""
    if window is None:
        return image
    part = image[..., window[0], window[1]]
    for dim, span in zip((-2, -1), window, strict=True):
        part = extend(part, dim, 0, max(0, span.stop - image.shape[dim]))
    return part


class SmallerGuides:
    """The guide is the measurement made smaller once more, and the target is the measurement.

    What a network learns of making that larger, it does to the measurement in the end (Shocher et
    al., "Zero-shot super-resolution", CVPR 2018): once, or several times over. It is shown the
    measurement in several sizes, of which details of every size are learned.

    Parameters
    ----------
    y : (1, C, H, W)
        The measurement.
    task
        How it came about.
    plan
        Its stages have the strengths of added noise, where there is a noise level.
    seed
        Seed of the run.
    sigma
        Noise level; 0 for none.
    """

    def __init__(
        self, y: Tensor, task: SuperResolve, plan: Plan, *, seed: int, sigma: float = 0.0
    ) -> None:
        self._y, self._task, self._plan, self._seed, self._sigma = y, task, plan, seed, sigma
        self._smaller = Downsample(task.factor, task.operator.kernel)
        self.draws_differ = sigma > 0
        sizes = {
            (_multiple(y.shape[-2] * part, task.factor), _multiple(y.shape[-1] * part, task.factor))
            for part in SIZES
        }
        self._targets = [resampled(y, size, "lanczos") for size in sorted(sizes, reverse=True)]

    def pair(self, stage: int, step: int) -> Pair:
        """Return the measurement made smaller and interpolated again, and the measurement."""
        target = self._targets[seeds.derive(self._seed, "size", step) % len(self._targets)]
        shown = target
        if self._sigma:
            a = self._plan.stages[stage].a or 0.0
            eta = self._sigma * seeds.normal(target, self._seed, "eta", step)
            shown, target = target + a * eta, target - eta / a
        size = (target.shape[-2], target.shape[-1])
        return Pair(resampled(self._smaller(shown), size, UP), target, apart=True)

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return the measurement, interpolated."""
        assert window is None, "it is made larger as a whole"
        y = self._y
        if self._sigma:
            a = self._plan.stages[stage].a or 0.0
            y = y + a * self._sigma * seeds.normal(y, self._seed, "final", draw)
        return self._larger(y)

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """Interpolate an output that is to be larger still."""
        if passes == self._task.times:
            return None
        scale = self._task.factor**passes
        return self._larger(agreeing(output, self._y, Downsample(scale, self._smaller.kernel)))

    def _larger(self, image: Tensor) -> Tensor:
        factor = self._task.factor
        return resampled(image, (image.shape[-2] * factor, image.shape[-1] * factor), UP)


def _multiple(length: float, factor: int) -> int:
    return max(1, round(length / factor)) * factor


class _Around:
    """Another supervision, but for its pairs."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision

    @property
    def draws_differ(self) -> bool:
        """As the other's."""
        return self._supervision.draws_differ

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return the other's input."""
        return self._supervision.final_input(stage, draw, window)

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """As the other's."""
        return self._supervision.again(output, passes)


class Ahead(_Around):
    """Another supervision whose next pair is drawn while a GPU is at work on the present one.

    Parameters
    ----------
    supervision
        Whose pairs depend on nothing but the step.
    plan
        The steps.
    """

    def __init__(self, supervision: Supervision, plan: Plan) -> None:
        super().__init__(supervision)
        self._ends = tuple(accumulate(s.steps for s in plan))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pairs")
        self._next: tuple[int, Future[Pair]] | None = None

    def pair(self, stage: int, step: int) -> Pair:
        """Return the other's pair, and have the next step's drawn."""
        drawn = self._next
        if drawn is None or drawn[0] != step:
            drawn = step, self._thread.submit(self._supervision.pair, stage, step)
        self._next = None
        following = bisect_right(self._ends, step + 1)
        pair = drawn[1].result()
        if following < len(self._ends):
            self._next = (
                step + 1,
                self._thread.submit(self._supervision.pair, following, step + 1),
            )
        return pair


class Measured(_Around):
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
        super().__init__(supervision)
        self._operator = operator

    def pair(self, stage: int, step: int) -> Pair:
        """Return ``(input, A(target))``."""
        pair = self._supervision.pair(stage, step)
        return Pair(pair.input, self._operator(pair.target))
