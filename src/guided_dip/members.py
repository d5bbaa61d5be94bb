"""What a restoration averages: the outputs of several draws, the estimates of several fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guided_dip.tiling import Tile, Tiling, Window, within


class Members:
    """Estimates whose mean is the estimate: of draws, or of restarts."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, estimate: Tensor, spread: Tensor | None) -> None:
        """Take one in, with its own spread if it is a mean itself.

        Parameters
        ----------
        estimate, spread : (1, C, H, W)
            The estimate, and the standard deviation of what it averages.
        """
        if not self.count:
            self._sums = {"first": estimate.clone(), "total": torch.zeros_like(estimate)}
            self._sums |= {name: torch.zeros_like(estimate) for name in ("squares", "inside")}
        apart = estimate - self._sums["first"]  # around the first: nothing cancels
        more = {"total": apart, "squares": apart.square()}
        if spread is not None:
            more["inside"] = spread.square()
        # Not in place: a state may hold what was here before.
        self._sums = self._sums | {name: self._sums[name] + part for name, part in more.items()}
        self.count += 1

    def estimate_and_spread(self) -> tuple[Tensor, Tensor | None]:
        """Return the mean, and the standard deviation of all that it averages."""
        n, sums = self.count, self._sums
        apart = sums["total"] / n
        variance = sums["inside"] / n
        if n > 1:
            variance = variance + (sums["squares"] - n * apart.square()).clamp_min(0) / (n - 1)
        spread = variance.sqrt() if n > 1 or bool(variance.any()) else None
        return sums["first"] + apart, spread

    def state(self) -> dict[str, Any]:
        """Return it as tensors, which are never changed, and plain values."""
        return {"count": self.count, **self._sums}

    @classmethod
    def of(cls, state: dict[str, Any], device: torch.device) -> Members:
        """Go on from a state.

        Parameters
        ----------
        state
            What `state` returned.
        device
            Where its images are to be.

        Returns
        -------
        Members
        """
        members = cls()
        sums = dict(state)
        members.count = sums.pop("count")
        members._sums = {name: value.to(device) for name, value in sums.items()}
        return members


Part = tuple[Tensor, Tensor | None]  # an estimate and its spread


def assembled(tiling: Tiling, window: Window | None, part: Callable[[Tile], Part]) -> Part:
    """Return an estimate and its spread, computed a tile after the other.

    Parameters
    ----------
    tiling
        How the image is parted.
    window
        What is wanted of it; None for all.
    part
        Gives estimate and spread of a tile's inner part, (1, C, h, w); all or no spreads are None.
    """
    rows, columns = wanted = tiling.whole if window is None else window
    whole: list[Tensor] = []
    for tile in tiling.tiles(wanted):
        parts = [each for each in part(tile) if each is not None]
        if not whole:
            size = rows.stop - rows.start, columns.stop - columns.start
            whole = [each.new_empty((*each.shape[:2], *size)) for each in parts]
        for image, each in zip(whole, parts, strict=True):
            image[..., *within(tile.inner, wanted)] = each
    return whole[0], whole[1] if len(whole) > 1 else None
