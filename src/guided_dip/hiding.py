"""Hiding more of what was measured: guides for pixels that are missing.

A network that is to fill in missing pixels learns it from pixels that are known: some of them are
hidden from it, and it is compared with them. Which are hidden must look like which are missing.
Scattered ones are hidden one by one, each with the same probability, as in diffusion with an
absorbing state (Austin et al., "Structured denoising diffusion models in discrete state-spaces",
NeurIPS 2021); larger holes by copies of themselves, moved and turned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from guided_dip import seeds
from guided_dip.tiling import Window

TOGETHER = 0.15  # of the way from chance, where neighbours have nothing to do with each other


class Hiding:
    """Chooses which known pixels are hidden at a step.

    Parameters
    ----------
    known : (1, 1, H, W)
        1 where a pixel was measured, 0 where it is missing.
    seed
        Seed of the run.
    """

    def __init__(self, known: Tensor, seed: int) -> None:
        self.known, self._seed = known, seed
        self.holes = has_holes(known)

    def kept(self, share: float, step: int, window: Window | None = None) -> Tensor:
        """Return which pixels the network is shown: (1, 1, H, W), 1 or 0.

        Parameters
        ----------
        share
            Of the known pixels that is hidden where they are hidden one by one.
        step
            0-based step.
        window
            Rows and columns of a part of the image; None for all of it.
        """
        known = self.known if window is None else self.known[..., window[0], window[1]]
        if self.holes:
            return known * self._moved(step, window)
        generator = seeds.generator(self._seed, "hide", step)
        drawn = torch.rand(known.shape, generator=generator).to(known)
        return known * (drawn >= share)

    def scattered(self, share: float, draw: int, window: Window | None = None) -> Tensor:
        """Return which pixels a draw of the restoration leaves as they are, the others hidden.

        The same at a pixel in every window.

        Parameters
        ----------
        share
            Of the pixels that is hidden.
        draw
            Number of the draw.
        window
            Rows and columns, which may end beyond the image; None for all of it.
        """
        height, width = self.known.shape[-2:]
        rows, columns = (slice(0, height), slice(0, width)) if window is None else window
        drawn = seeds.field(self.known, rows, columns, self._seed, "final hide", draw)
        shown: Tensor = torch.special.ndtr(drawn) >= share
        return shown.to(self.known)

    def _moved(self, step: int, window: Window | None = None) -> Tensor:
        """Return the mask turned and moved around, as if the image went on beyond its borders.

        So far, where only a window is looked at, that some missing pixel comes to lie in it.
        """
        height, width = self.known.shape[-2:]
        turns = 8 if height == width else 4
        k = seeds.derive(self._seed, "hide turn", step) % turns
        if height == width:
            mask = torch.rot90(self.known, k % 4, (-2, -1))
        else:
            mask = torch.rot90(self.known, 2 * (k % 2), (-2, -1))
        if k >= turns // 2:
            mask = mask.flip(-1)
        if window is None:
            down, across = (
                seeds.derive(self._seed, "hide place", step, axis) % size
                for axis, size in enumerate((height, width))
            )
            return torch.roll(mask, (down, across), (-2, -1))
        holes = (mask[0, 0] == 0).nonzero()
        hole = holes[seeds.derive(self._seed, "hide hole", step) % len(holes)].tolist()
        sides = []
        for axis, (part, at, size) in enumerate(zip(window, hole, (height, width), strict=True)):
            length = part.stop - part.start
            place = seeds.derive(self._seed, "hide place", step, axis) % length
            sides.append(((torch.arange(length) - place + at) % size).to(mask.device))
        return mask[..., sides[0][:, None], sides[1]]


def has_holes(known: Tensor) -> bool:
    """Tell whether missing pixels lie together in holes, lines or letters, or are scattered.

    By how much more often a missing pixel's neighbours are missing, too, than chance has it.

    Parameters
    ----------
    known : (1, 1, H, W)
        1 where a pixel was measured, 0 where it is missing.
    """
    missing = 1 - known
    share = float(missing.mean())
    if share in (0.0, 1.0):
        return False
    pairs = [(missing[..., 1:], missing[..., :-1]), (missing[..., 1:, :], missing[..., :-1, :])]
    both = sum(float((one * other).sum()) for one, other in pairs)
    either = sum(float((one + other).sum()) / 2 for one, other in pairs)
    return both / max(either, 1.0) - share > TOGETHER * (1 - share)
