"""Guides for making an image larger: the measurement, made smaller once more."""

from __future__ import annotations

from torch import Tensor

from guided_dip import seeds
from guided_dip.guidance import Plan
from guided_dip.operators import Downsample, agreeing, enlarged, resampled
from guided_dip.supervision.pairs import Pair
from guided_dip.tiling import Window

SIZES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of a measurement that is made smaller, in parts of it


class SmallerGuides:
    """The guide is the measurement made smaller once more, and the target is the measurement.

    What a network learns of making that larger, it does to the measurement in the end (Shocher et
    al., "Zero-shot super-resolution", CVPR 2018): once, or several times over. It is shown the
    measurement in several sizes, of which details of every size are learned.

    Parameters
    ----------
    y : (1, C, H, W)
        The measurement.
    operator
        How it was made from the image that is wanted.
    plan
        Its stages have the strengths of added noise, where there is a noise level.
    seed
        Seed of the run.
    sigma
        Noise level; 0 for none.
    """

    def __init__(
        self, y: Tensor, operator: Downsample, plan: Plan, *, seed: int, sigma: float = 0.0
    ) -> None:
        self._y, self._plan, self._seed, self._sigma = y, plan, seed, sigma
        self._factor, self._times = passes_of(operator.scale)
        self._smaller = Downsample(self._factor, operator.kernel)
        self.draws_differ = sigma > 0
        sizes = {
            tuple(_multiple(length * part, self._factor) for length in y.shape[-2:])
            for part in SIZES
        }
        self._targets = [
            resampled(y, (height, width), "lanczos")
            for height, width in sorted(sizes, reverse=True)
        ]

    def pair(self, stage: int, step: int) -> Pair:
        """Return the measurement made smaller and interpolated again, and the measurement."""
        target = self._targets[seeds.derive(self._seed, "size", step) % len(self._targets)]
        shown = target
        if self._sigma:
            a = self._plan.stages[stage].a or 0.0
            eta = self._sigma * seeds.normal(target, self._seed, "eta", step)
            shown, target = target + a * eta, target - eta / a
        return Pair(self._larger(self._smaller(shown)), target, apart=True)

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
        if passes == self._times:
            return None
        operator = Downsample(self._factor**passes, self._smaller.kernel)
        return self._larger(agreeing(output, self._y, operator))

    def _larger(self, image: Tensor) -> Tensor:
        return enlarged(image, self._factor)


def passes_of(scale: int) -> tuple[int, int]:
    """Return by which factor an image is made larger, so many times over, to reach a scale.

    What a network learns from a small image made smaller still, it learns best of a small factor.

    >>> passes_of(8), passes_of(3)
    ((2, 3), (3, 1))
    """
    doublings = scale.bit_length() - 1
    return (2, doublings) if scale == 2**doublings else (scale, 1)


def _multiple(length: float, factor: int) -> int:
    return max(1, round(length / factor)) * factor
