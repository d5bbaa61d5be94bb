"""Tasks: what was done to an image, and how a network learns to undo it.

A task has the forward operator ``A``, with which the network's output is compared with what was
measured; it *lifts* a measurement to an image, which is the network's input; it chooses the guides;
and it cuts off what was restored only because the measurement depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guided_dip.errors import InputError
from guided_dip.guidance import Plan
from guided_dip.hiding import Hiding
from guided_dip.jpeg import Rounding
from guided_dip.noise import LEAST_SIGMA, NoiseModel
from guided_dip.operators import (
    Blur,
    Downsample,
    Gain,
    Operator,
    Weighted,
    agreeing,
    enlarged,
    identity,
    inverted,
    squared_norm,
)
from guided_dip.supervision import (
    Grain,
    RecorruptedGuides,
    SmallerGuides,
    Supervision,
    cut,
)
from guided_dip.tiling import Window

DAMPING, ROUNDS = 0.003, 20  # of a blur's least squares


class Task:
    """What was done to an image: noise was added, and nothing else; others do more.

    Attributes
    ----------
    operator
        Forward operator ``A``.
    compared
        The operator with which a network's output is compared with what recorrupted guides have as
        targets.
    noise
        Noise that the task itself brought about; None where the measurement tells.
    keeps_gray
        Whether an even image is measured as an even one of the same value.
    pictures
        Whether its measurements are pictures, whose noise can be read off them.
    weakest
        Strength at which recorruption ends where nothing else is said; None: as for others.
    hides
        Whether some of the measurement is hidden from the network, which is told how much of it.
    show
        As for `RecorruptedGuides`.
    network
        Options of the project's own network, where they are not given.
    device
        Where its measurements are.
    parted
        Whether it can be done on windows of a measurement, one at a time.
    multiple
        What the rows and columns at which these begin are multiples of.
    reach
        Rows and columns by which its image is larger than a measurement, at each end.
    gain : (1, 1 or C, H, W) or None
        By which outputs are multiplied, after `compared`, before they are compared.
    """

    operator: Operator = identity
    noise: NoiseModel | None = None
    keeps_gray = True
    pictures = True
    weakest: float | None = None
    hides = False
    show: Callable[[Tensor, Tensor], Tensor] | None = None
    network: Mapping[str, Any] = MappingProxyType({})
    device: torch.device = torch.device("cpu")
    parted = True
    multiple = 1
    reach = (0, 0)
    gain: Tensor | None = None

    @property
    def compared(self) -> Operator:
        """As `operator`."""
        return self.operator

    def lift(self, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return a first image (1, C, H, W) from a measurement; linear but for a constant.

        Parameters
        ----------
        measured : (1, C, H, W)
            The measurement.
        window
            Which part of it that is; None: all of it.
        """
        del window
        return measured

    def unrestored(self, measured: Tensor) -> Tensor:
        """Return what one would look at without a restoration, (1, C, H, W).

        Parameters
        ----------
        measured : (1, C, H, W)
            The measurement.
        """
        return measured

    def cut(self, image: Tensor) -> Tensor:
        """Return what is wanted of an image.

        Parameters
        ----------
        image : (1, C, H, W)
            As the network made it.
        """
        return image

    def finished(self, image: Tensor, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return an estimate as it is given back.

        Parameters
        ----------
        image
            The estimate, cut.
        measured : (1, C, H, W)
            The whole measurement.
        window
            Which part of the image the estimate shows; None: all of it.
        """
        del measured, window
        return image

    def guides(
        self,
        y: Tensor,
        plan: Plan,
        *,
        sigma: float,
        seed: int,
        share: Tensor | None = None,
        grain: Grain | None = None,
        hiding: Hiding | None = None,
        pages: int = 1,
        structure: Tensor | None = None,
    ) -> Supervision:
        """Return the supervision of a network that is shown the measurement.

        Parameters
        ----------
        y : (1, C, H, W)
            The measurement.
        plan
            The stages.
        sigma, seed, share, grain, hiding, pages, structure
            As for `RecorruptedGuides`; noise too weak to be told from none counts as such.
        """
        if hiding is None:
            sigma = max(sigma, LEAST_SIGMA)
        elif sigma < LEAST_SIGMA:
            sigma = 0.0
        return RecorruptedGuides(
            y,
            plan,
            sigma=sigma,
            seed=seed,
            share=share,
            grain=grain,
            hiding=hiding,
            lift=self.lift,
            show=self.show,
            pages=pages,
            gain=self.gain,
            structure=structure,
        )


DENOISE = Task()


class Deblur(Task):
    """The image was blurred by a known kernel.

    Parameters
    ----------
    operator
        The blur.
    """

    def __init__(self, operator: Blur) -> None:
        self.operator: Blur = operator
        self.reach = operator.reach

    def lift(self, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return a damped least-squares image, that begins as the measurement itself.

        With its frame, of which the blur says what it can: an inverse filter, which has to be told
        what lies beyond the borders, rings from there all over the image.
        """
        del window
        first = _mirrored(measured, *self.reach)
        left = measured - self.operator(first)
        return first + inverted(
            self.operator, left, first, norm=1.0, damping=DAMPING, rounds=ROUNDS
        )

    def cut(self, image: Tensor) -> Tensor:
        """Cut off the frame that the measurement depends on and does not show."""
        down, across = self.reach
        height, width = image.shape[-2:]
        return image[..., down : height - down, across : width - across]


class Degain(Task):
    """Each pixel was multiplied by a known gain.

    Parameters
    ----------
    operator
        The gain.
    """

    keeps_gray = False

    def __init__(self, operator: Gain) -> None:
        self.operator: Gain = operator
        self.gain = gain = operator.gain
        self.device = gain.device
        # Where next to nothing was measured, division would leave nothing but noise.
        self._inverse = gain / (gain**2 + (0.05 * gain.abs().max()) ** 2)

    @property
    def compared(self) -> Operator:
        """The identity: outputs are multiplied by the gain of the window that they show."""
        return identity

    def lift(self, measured: Tensor, window: Window | None = None) -> Tensor:
        """Divide by the gain, as far as that can be done."""
        return measured * cut(self._inverse, window)

    def unrestored(self, measured: Tensor) -> Tensor:
        """Return the lifted measurement."""
        return self.lift(measured)


class SuperResolve(Task):
    """The image was made smaller.

    Parameters
    ----------
    operator
        How.
    """

    network = MappingProxyType({"final": "residual", "scales": 3})
    parted = False

    def __init__(self, operator: Downsample) -> None:
        self.operator: Downsample = operator

    @property
    def compared(self) -> Operator:
        """The identity: what is fitted to the measurement made smaller has its size."""
        return identity

    def lift(self, measured: Tensor, window: Window | None = None) -> Tensor:
        """Interpolate."""
        del window
        return enlarged(measured, self.operator.scale)

    def unrestored(self, measured: Tensor) -> Tensor:
        """Return the lifted measurement."""
        return self.lift(measured)

    def finished(self, image: Tensor, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return the estimate, made to agree with the measurement."""
        del window
        return agreeing(image, measured, self.operator)

    def guides(
        self, y: Tensor, plan: Plan, *, sigma: float, seed: int, **others: Any
    ) -> Supervision:
        """Return guides that are the measurement made smaller once more."""
        del others
        noise = sigma if sigma >= LEAST_SIGMA else 0.0
        return SmallerGuides(y, self.operator, plan, seed=seed, sigma=noise)


class Dejpeg(Task):
    """The image was compressed as a JPEG file.

    Parameters
    ----------
    rounding
        What that did to it.
    """

    weakest = 1.0  # with less, what is wrong in the model of the noise is learned

    def __init__(self, rounding: Rounding) -> None:
        self._rounding, self.multiple = rounding, rounding.multiple
        self.noise = NoiseModel("gaussian", rounding.sigma)

    def finished(self, image: Tensor, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return the nearest image that the file could have been made from."""
        del measured
        return self._rounding.part(window).within(image)

    def guides(
        self, y: Tensor, plan: Plan, *, sigma: float, seed: int, **others: Any
    ) -> Supervision:
        """Return guides recorrupted by noise such as the rounding's."""
        del sigma, others
        return super().guides(y, plan, sigma=1.0, seed=seed, grain=self._rounding)


class Invert(Task):
    """The image went through an operator of the user's own.

    What the operator takes away, the network learns from what more of the measurement is hidden
    from it (as of pixels in inpainting). It is told how much, by the image of even gray that is
    lifted from the same part of gray's measurement.

    Parameters
    ----------
    operator
        It.
    like : (1, C, H, W)
        An image such as it takes.
    exact
        Whether the measurement has no noise, so that the image has to agree with it.
    """

    keeps_gray = False
    pictures = False
    hides = True
    parted = False

    def __init__(self, operator: Operator, like: Tensor, *, exact: bool = False) -> None:
        self.operator: Operator = operator
        self._zero, self.device = torch.zeros_like(like), like.device
        self._exact = exact
        self._norm = squared_norm(operator, like)
        if not self._norm > 0:
            raise InputError("the operator makes nothing of an image: there is no way back")
        self._gray = operator(torch.ones_like(like))

    def lift(self, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return a damped least-squares image."""
        del window
        return inverted(self.operator, measured, self._zero, norm=self._norm)

    def show(self, measured: Tensor, kept: Tensor) -> Tensor:
        """Return a damped least-squares image of what is kept, and the same of even gray.

        Parameters
        ----------
        measured : (1, C, H, W)
            The measurement.
        kept : (1, 1 or C, H, W)
            1 where it is shown, 0 where it is hidden.
        """
        part = Weighted(self.operator, kept)
        image, gray = (
            inverted(part, whole * kept, self._zero, norm=self._norm)
            for whole in (measured, self._gray)
        )
        return torch.cat([image, gray.mean(1, keepdim=True)], 1)

    def unrestored(self, measured: Tensor) -> Tensor:
        """Return the lifted measurement."""
        return self.lift(measured)

    def finished(self, image: Tensor, measured: Tensor, window: Window | None = None) -> Tensor:
        """Return the estimate, made to agree with a measurement without noise."""
        del window
        if not self._exact:
            return image
        return image + self.lift(measured - self.operator(image))

    def guides(
        self, y: Tensor, plan: Plan, *, sigma: float, seed: int, **others: Any
    ) -> Supervision:
        """Return recorrupted guides of a part of the measurement."""
        whole = torch.ones_like(y[:, :1])
        return super().guides(
            y, plan, sigma=sigma, seed=seed, **(others | {"hiding": Hiding(whole, seed)})
        )


def _mirrored(image: Tensor, down: int, across: int) -> Tensor:
    """Continue an image beyond its borders by its mirror image, as often as it takes."""
    while down or across:
        rows, columns = (
            min(part, side - 1) for part, side in zip((down, across), image.shape[-2:], strict=True)
        )
        if not rows and not columns:
            return F.pad(image, (across, across, down, down), mode="replicate")
        image = F.pad(image, (columns, columns, rows, rows), mode="reflect")
        down, across = down - rows, across - columns
    return image
