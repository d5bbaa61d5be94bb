"""A supervision of your own: two noisy shots, each the other's target (Noise2Noise)."""

from torch import Tensor

from guided_dip.backbones import build
from guided_dip.fit import Fit
from guided_dip.guidance import Plan, Stage
from guided_dip.supervision import Once, Pair
from guided_dip.tiling import Window
from guided_dip.training import FitSettings


class TwoShots(Once):
    """Input and target have independent noise, so that the target's cannot be learned."""

    draws_differ = True  # so that the final outputs are averaged

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.shots = (first, second)

    def pair(self, stage: int, step: int) -> Pair:
        """Return a step's input and target, (1, C, H, W) each: the shots take turns."""
        return Pair(self.shots[step % 2], self.shots[1 - step % 2])

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return what draw `draw` of the result is computed from."""
        return self.shots[draw % 2]


def restore_pair(first: Tensor, second: Tensor, steps: int = 400, width: int = 32) -> Tensor:
    """Fit a network to two shots (1, C, H, W), 1.0 is white; return the scene."""
    network = build("normfree", first.shape[1], options={"width": width})
    settings = FitSettings(final_draws=16, flips_and_turns=True)
    plan = Plan("observation", "cosine", (Stage(steps),))
    fit = Fit(network, TwoShots(first, second), plan, settings)
    for _ in fit:  # a record of each step
        pass
    return fit.estimate()
