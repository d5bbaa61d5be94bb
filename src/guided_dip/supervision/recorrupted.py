"""Recorrupted guides: the guide is the network's input, the target has other noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from guided_dip import seeds
from guided_dip.errors import InputError
from guided_dip.filling import filled, shown, wide_part
from guided_dip.guidance import Plan
from guided_dip.hiding import Hiding
from guided_dip.supervision.pairs import Once, Pair, cut
from guided_dip.tiling import Window


class Grain(Protocol):
    """Turns white noise (1, C, H, W) into other noise, `reach` pixels of it lost at each side."""

    @property
    def reach(self) -> int:
        """Pixels that are lost."""
        ...

    @property
    def multiple(self) -> int:
        """What the rows and columns at which windows begin are multiples of."""
        ...

    def part(self, window: Window | None) -> Grain:
        """Return that of a window of the image; None: of all of it.

        Parameters
        ----------
        window
            Rows and columns.
        """
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
    multiple : int
        What windows begin at multiples of: they may begin anywhere.
    """

    multiple = 1

    def __init__(self, kernel: Tensor, mixing: Tensor) -> None:
        self.reach = kernel.shape[-1] // 2
        self._kernel, self._mixing = kernel, mixing

    def part(self, window: Window | None) -> Filter:
        """Return itself: it is the same everywhere.

        Parameters
        ----------
        window
            Not looked at.
        """
        del window
        return self

    def __call__(self, white: Tensor) -> Tensor:
        """Filter (1, C, H, W) to (1, C, H - K + 1, W - K + 1)."""
        mixed = torch.einsum("ij,bjhw->bihw", self._mixing, white)
        each = self._kernel.expand(white.shape[1], 1, *self._kernel.shape)
        return F.conv2d(mixed, each, groups=white.shape[1])


def _unchanged(measured: Tensor, window: Window | None) -> Tensor:
    del window
    return measured


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
        Where pixels are missing: which of the others are hidden from the network at a step. Then
        `sigma` may be 0, for a measurement without noise.
    lift
        Makes the network's input of a window of a measurement, None for all of it.
    gain : (1, 1 or C, H, W), optional
        By which the output is multiplied before it is compared, where no pixels are missing.
    show
        Makes it of a measurement and of what of it is not missing or hidden, (1, 1, H, W), 1 or 0:
        one channel more than the image has. None: the image filled in, and that mask.
    pages
        How many pages of a stack lie below one another in the observation: a square is of one.
    structure : (1, C, H, W), optional
        A picture without detail, of which wide holes are filled in, as smoothly as its differences
        from known pixels allow.
    """

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
        lift: Callable[[Tensor, Window | None], Tensor] = _unchanged,
        gain: Tensor | None = None,
        show: Callable[[Tensor, Tensor], Tensor] | None = None,
        pages: int = 1,
        structure: Tensor | None = None,
    ) -> None:
        noisy = math.isfinite(sigma) and sigma > 0
        if not noisy and (hiding is None or sigma != 0):
            raise InputError(f"recorrupted guides need a noise level above 0, not {sigma!r}")
        self._y, self._plan, self._sigma, self._seed = y, plan, sigma, seed
        self._share, self._grain, self._hiding, self._lift = share, grain, hiding, lift
        self._pages, self._gain, self._structure = pages, gain, structure
        self._multiple = 1 if grain is None else grain.multiple
        self._show = show or partial(shown, holes=hiding is not None and hiding.holes)
        # Larger holes are hidden in steps only: what is known around one is never too much.
        self.draws_differ = bool(sigma) or hiding is None or not hiding.holes
        self._only_squares = all(stage.patch is not None for stage in plan)

    def _cut(self, image: Tensor, window: Window | None) -> Tensor:
        return cut(image, window, self._pages)

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
        y = self._cut(self._y, window)
        eta = self._noise(y, window, "eta", step)
        weight = None if self._gain is None else self._cut(self._gain, window)
        return Pair(self._lift(y + a * eta, window), y - eta / a, window, weight)

    def _hidden_pair(self, hiding: Hiding, stage: int, step: int) -> Pair:
        """Return a pair whose input lacks some of what its target has.

        What is hidden is compared with itself: the network has seen nothing of its noise. What is
        not is compared as ever, or, without noise, not at all.
        """
        window = self._window(self._plan.stages[stage].patch, step)
        y, known = self._cut(self._y, window), self._cut(hiding.known, window)
        kept = hiding.kept(self._plan.stages[stage].hidden or 0.0, step, window)
        if not self._sigma:
            weight = known - kept
            given, target = y, y
        else:
            a, weight = self._strength(stage), known
            eta = self._noise(y, window, "eta", step)
            given, target = y + a * eta, y - kept * eta / a
        weight = weight / weight.mean().sqrt().clamp_min(1e-3)
        return Pair(self._filled(given, kept, window), target * weight, window, weight)

    def _noise(self, y: Tensor, window: Window | None, purpose: str, number: int) -> Tensor:
        """Draw noise such as there is in this part of the observation."""
        if self._grain is None:
            eta = self._sigma * seeds.normal(y, self._seed, purpose, number)
        else:
            margin = 2 * self._grain.reach
            wide = y.new_empty((*y.shape[:2], y.shape[2] + margin, y.shape[3] + margin))
            white = seeds.normal(wide, self._seed, purpose, number)
            eta = self._sigma * self._grain.part(window)(white)
        return eta if self._share is None else eta * self._cut(self._share, window)

    def _window(self, side: int | None, step: int) -> Window | None:
        """Return a random square; one that would end beyond the image is moved to its border.

        Where nothing but squares is fitted to, so that borders are seen half as often as the
        middle, and not next to never.
        """
        if side is None:
            return None
        beyond = side // 2 if self._only_squares else 0
        page = (self._y.shape[-2] // self._pages, self._y.shape[-1])
        top, left = (
            seeds.derive(self._seed, "patch", step, axis) % (size - side + 1 + 2 * beyond) - beyond
            for axis, size in enumerate(page)
        )
        top, left = (
            min(max(0, start), size - side) // self._multiple * self._multiple
            for start, size in zip((top, left), page, strict=True)
        )
        if self._pages > 1:
            top += seeds.derive(self._seed, "page", step) % self._pages * page[0]
        return slice(top, top + side), slice(left, left + side)

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return ``y + a eta`` with an ``eta`` of its own for each draw.

        A window's noise is not the whole image's: to draw that costs the whole image's time.
        """
        if self._hiding is not None:
            return self._final_shown(self._hiding, stage, draw, window)
        noisy = self._cut(self._y, window) + self._final_noise(stage, draw, window)
        return self._lift(noisy, window)

    def _final_noise(self, stage: int, draw: int, window: Window | None) -> Tensor:
        if window is None:
            eta = self._noise(self._y, None, "final", draw)
        else:
            eta = self._field(window, draw)
        return self._strength(stage) * eta

    def _final_shown(self, hiding: Hiding, stage: int, draw: int, window: Window | None) -> Tensor:
        """Return the image with its known pixels, and which these are.

        Without noise, draws hide a few scattered pixels, as the last guide does.
        """
        y, known = self._cut(self._y, window), self._cut(hiding.known, window)
        if self._sigma:
            return self._filled(y + self._final_noise(stage, draw, window), known, window)
        if hiding.holes:
            return self._filled(y, known, window)
        hidden = self._plan.stages[stage].hidden or 0.0
        return self._filled(y, known * hiding.scattered(hidden, draw, window), window)

    def _filled(self, measured: Tensor, kept: Tensor, window: Window | None) -> Tensor:
        """Return what the network is shown of a measurement."""
        image = self._show(measured, kept)
        if self._structure is None:
            return image
        # What a picture without detail lacks beside a hole says nothing of what lies in it: so its
        # differences are not bent like metal, which would go on with them.
        structure, wide = self._cut(self._structure, window), wide_part(1 - kept)
        inside = structure + filled(measured - structure, kept)
        channels = structure.shape[1]
        return torch.cat([torch.lerp(image[:, :channels], inside, wide), image[:, channels:]], 1)

    def _field(self, window: Window, draw: int) -> Tensor:
        """Draw a window's noise, the same at a pixel in every window."""
        reach = 0 if self._grain is None else self._grain.reach
        rows, columns = (slice(part.start - reach, part.stop + reach) for part in window)
        white = seeds.field(self._y, rows, columns, self._seed, "final", draw)
        eta = self._sigma * (white if self._grain is None else self._grain.part(window)(white))
        return eta if self._share is None else eta * self._cut(self._share, window)
