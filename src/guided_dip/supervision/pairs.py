"""What a supervision is: the pair of a step's input and target, and who gives it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from guided_dip.backbones.blocks import extend
from guided_dip.tiling import Window


class Pair(NamedTuple):
    """One step's input of the network and target of its output, both (1, C, H, W).

    They show the part of the image that `window` cuts out, rows and columns; None for all of it.
    Where there is a `weight`, (1, 1 or C, H, W), the measured output is multiplied by it before it
    is compared with the target. What is `apart` shows no part of the image.
    """

    input: Tensor
    target: Tensor
    window: Window | None = None
    weight: Tensor | None = None
    apart: bool = False


class Supervision(Protocol):
    """What the loop asks at each step."""

    def pair(self, stage: int, step: int) -> Pair:
        """Return the input and target of step `step`, which lies in stage `stage` of the plan.

        Parameters
        ----------
        stage
            0-based, of all restarts.
        step
            0-based, of the whole run: what is drawn follows from it, whatever was drawn before.

        Returns
        -------
        Pair
        """
        ...

    def final_input(self, stage: int, draw: int, window: Window | None = None) -> Tensor:
        """Return the input from which draw `draw` of the restoration is computed.

        Of a window of it, if one is given: the same at a pixel in every window.

        Parameters
        ----------
        stage
            The last one that was fitted.
        draw
            0-based.
        window
            Rows and columns of a part of the image; None: all of it.

        Returns
        -------
        Tensor
            (1, Cin, H, W).
        """
        ...

    @property
    def draws_differ(self) -> bool:
        """Whether final inputs differ between draws, so that averaging them helps."""
        ...

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """Return what goes into the network after so many passes; None if the output is final.

        Parameters
        ----------
        output : (1, C, H, W)
            What the network made of the last input.
        passes
            So far, at least 1.
        """
        ...


class Once:
    """A supervision whose network's outputs are final."""

    def again(self, output: Tensor, passes: int) -> Tensor | None:
        """Return None: one pass is enough."""
        del output, passes
        return None


def cut(image: Tensor, window: Window | None, pages: int = 1) -> Tensor:
    """Return a window of an image, which is reflected where the window ends beyond it.

    Of so many pages below one another, where it ends beyond the page that it begins in.

    Parameters
    ----------
    image : (1, C, H, W)
        All of it.
    window
        Rows and columns; None: the image itself.
    pages
        That lie below one another, of equal height.

    Returns
    -------
    Tensor
    """
    if window is None:
        return image
    rows, columns = window
    height = image.shape[-2] // pages
    top = rows.start - rows.start % height
    page = image[..., top : top + height, :]
    rows = slice(rows.start - top, rows.stop - top)
    part = page[..., rows, columns]
    for dim, span in zip((-2, -1), (rows, columns), strict=True):
        part = extend(part, dim, 0, max(0, span.stop - page.shape[dim]))
    return part
