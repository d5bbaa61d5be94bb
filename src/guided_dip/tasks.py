"""Tasks: what was done to an image, and how a network is shown the measurement of it.

A task has the forward operator ``A``, with which the network's output is compared with what was
measured; it *lifts* a measurement to an image, which is the network's input; and it cuts off what
was restored only because the measurement depends on it.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from guided_dip.jpeg import Rounding
from guided_dip.operators import Blur, Downsample, Gain, Operator, identity, resampled

UP: Literal["bicubic"] = "bicubic"  # how images are made larger
PROJECTIONS = 8
RINGING = 16  # pixels around an image that is filtered as if it went on in a circle


class Task(Protocol):
    """What was done to an image, and how a network is shown the measurement of it."""

    @property
    def operator(self) -> Operator:
        """Forward operator ``A``."""
        ...

    def lift(self, measured: Tensor) -> Tensor:
        """Return a first image (1, C, H, W) from a measurement; linear but for a constant."""
        ...

    def cut(self, image: Tensor) -> Tensor:
        """Return what is wanted of an image."""
        ...

    def finished(self, image: Tensor, measured: Tensor) -> Tensor:
        """Return an estimate of the whole image as it is given back."""
        ...


class Plain:
    """A task whose images are those that are wanted, as they are."""

    def cut(self, image: Tensor) -> Tensor:
        """Return all of it."""
        return image

    def finished(self, image: Tensor, measured: Tensor) -> Tensor:
        """Return what is wanted of the estimate."""
        del measured
        return self.cut(image)


class Denoise(Plain):
    """Noise was added, and nothing else."""

    operator: Operator = identity

    def lift(self, measured: Tensor) -> Tensor:
        """Return the measurement, which is an image."""
        return measured


DENOISE = Denoise()


class Deblur(Plain):
    """The image was blurred by a known kernel.

    Parameters
    ----------
    operator
        The blur.
    damping
        Of the inverse filter that lifts a measurement: frequencies that the blur has left with
        less than its root are damped.
    """

    def __init__(self, operator: Blur, damping: float = 0.01) -> None:
        self.operator: Blur = operator
        self._damping = damping

    def lift(self, measured: Tensor) -> Tensor:
        """Return the measurement, mirrored at its borders, through an inverse filter."""
        down, across = (reach + RINGING for reach in self.operator.reach)
        wide = _mirrored(measured, down, across)
        size = (wide.shape[-2], wide.shape[-1])
        transfer = self.operator.transfer(size, measured)
        spectrum = torch.fft.rfft2(wide) * transfer.conj()
        spectrum = spectrum / (transfer.abs() ** 2 + self._damping)
        # Grey, which the filter would make darker, stays as it is.
        spectrum = spectrum * (1 + self._damping)
        whole: Tensor = torch.fft.irfft2(spectrum, s=size)
        return whole[..., RINGING:-RINGING, RINGING:-RINGING]

    def cut(self, image: Tensor) -> Tensor:
        """Cut off the frame that the measurement depends on and does not show."""
        down, across = self.operator.reach
        height, width = image.shape[-2:]
        return image[..., down : height - down, across : width - across]


class Degain(Plain):
    """Each pixel was multiplied by a known gain.

    Parameters
    ----------
    operator
        The gain.
    """

    def __init__(self, operator: Gain) -> None:
        self.operator: Gain = operator
        gain = operator.gain
        # Where next to nothing was measured, division would leave nothing but noise.
        self._inverse = gain / (gain**2 + (0.05 * gain.abs().max()) ** 2)

    def lift(self, measured: Tensor) -> Tensor:
        """Divide by the gain, as far as that can be done."""
        return measured * self._inverse


class SuperResolve(Plain):
    """The image was made smaller.

    Parameters
    ----------
    operator
        How.

    Attributes
    ----------
    factor, times
        The image is made `factor` times as large, so many times over: what a network learns from
        a small image made smaller still, it learns best of a small factor.
    """

    def __init__(self, operator: Downsample) -> None:
        self.operator: Downsample = operator
        scale = operator.scale
        doublings = scale.bit_length() - 1
        self.factor, self.times = (2, doublings) if scale == 2**doublings else (scale, 1)

    def lift(self, measured: Tensor) -> Tensor:
        """Interpolate."""
        height, width = measured.shape[-2:]
        return resampled(measured, (height * self.operator.scale, width * self.operator.scale), UP)

    def finished(self, image: Tensor, measured: Tensor) -> Tensor:
        """Return the estimate, made to agree with the measurement."""
        return agreeing(image, measured, self.operator)


class Dejpeg(Plain):
    """The image was compressed as a JPEG file.

    Parameters
    ----------
    rounding
        What that did to it.
    """

    operator: Operator = identity

    def __init__(self, rounding: Rounding) -> None:
        self.rounding = rounding

    def lift(self, measured: Tensor) -> Tensor:
        """Return the decoded image."""
        return measured

    def finished(self, image: Tensor, measured: Tensor) -> Tensor:
        """Return the nearest image that the file could have been made from."""
        del measured
        return self.rounding.within(image)


def agreeing(image: Tensor, measured: Tensor, operator: Downsample) -> Tensor:
    """Return an image that looks like another one, and is measured as it should be.

    By iterated back-projection (Irani & Peleg, CVGIP 53, 1991): what the measurement of an estimate
    lacks is interpolated and added.

    Parameters
    ----------
    image
        The estimate.
    measured
        What it should be measured as.
    operator
        How it is measured.
    """
    size = (image.shape[-2], image.shape[-1])
    for _ in range(PROJECTIONS):
        image = image + resampled(measured - operator(image), size, UP)
    return image


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
