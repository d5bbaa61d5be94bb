"""Pieces the backbones share: checked options, and resampling whose gradient is reproducible.

PyTorch has no deterministic CUDA gradient for reflection padding, and a slow one for bilinear
interpolation. Both are written out here from slices for that case; elsewhere PyTorch's own
kernels do the same arithmetic faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided_dip.errors import InputError, choices


def whole_number(name: str, value: object, least: int = 1) -> int:
    """Check an option that must be a whole number.

    Parameters
    ----------
    name
        The option's name, for the message.
    value
        What was given.
    least
        The smallest value allowed.

    Returns
    -------
    int
        The value.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value


def whole_numbers(name: str, values: object, *, empty: bool = False) -> tuple[int, ...]:
    """Check an option that must be a sequence of whole numbers of at least 1.

    Parameters
    ----------
    name
        The option's name, for the message.
    values
        What was given.
    empty
        Whether an empty sequence will do.

    Returns
    -------
    tuple of int
        The values.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{name} must be a list of whole numbers, not {values!r}")
    if not values and not empty:
        raise InputError(f"{name} must not be empty")
    return tuple(whole_number(f"each of {name}", value) for value in values)


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Check an option that is one of a few values.

    Parameters
    ----------
    name
        The option's name, for the message.
    value
        What was given.
    allowed
        The values.

    Raises
    ------
    InputError
        If it is none of them.
    """
    if value not in allowed:
        hint = choices(str(value), map(str, allowed))
        raise InputError(f"{name} cannot be {value!r}: {hint}")


def check_input(x: Tensor, channels: int, multiple: int, minimum: int) -> None:
    """Refuse an input whose size a bare network cannot take.

    Parameters
    ----------
    x
        The input, wanted as (B, channels, H, W).
    channels
        Number of input channels.
    multiple, minimum
        H and W must be multiples of the one and at least the other.

    Raises
    ------
    InputError
        If the shape is another.
    """
    fits = (
        x.dim() == 4
        and x.shape[1] == channels
        and all(n % multiple == 0 and n >= minimum for n in x.shape[2:])
    )
    if not fits:
        raise InputError(
            f"the network takes (B, {channels}, H, W) with H and W multiples of {multiple} and at "
            f"least {minimum}, not {tuple(x.shape)}; wrap it in PadAndCrop to give it any size"
        )


def native(x: Tensor) -> bool:
    """Tell whether PyTorch's own kernels may be used, or only those with a reproducible gradient.

    Parameters
    ----------
    x
        The tensor to be worked on.

    Returns
    -------
    bool
        True on the CPU, and anywhere while deterministic algorithms are not asked for.
    """
    return x.device.type == "cpu" or not torch.are_deterministic_algorithms_enabled()


def reflect(x: Tensor) -> Tensor:
    """Pad by one pixel on each side, by reflection about the outermost pixels.

    Parameters
    ----------
    x
        (B, C, H, W) with H, W >= 2.

    Returns
    -------
    Tensor
        (B, C, H + 2, W + 2).
    """
    return F.pad(x, (1, 1, 1, 1), mode="reflect") if native(x) else reflect_by_slices(x)


def reflect_by_slices(x: Tensor) -> Tensor:
    """Do what `reflect` does, from slices.

    Parameters
    ----------
    x
        (B, C, H, W) with H, W >= 2.

    Returns
    -------
    Tensor
        (B, C, H + 2, W + 2).
    """
    x = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], dim=2)
    return torch.cat([x[:, :, :, 1:2], x, x[:, :, :, -2:-1]], dim=3)


def upsample(x: Tensor) -> Tensor:
    """Double the size by bilinear interpolation (pixel centres, not corners, are aligned).

    Parameters
    ----------
    x
        (B, C, H, W).

    Returns
    -------
    Tensor
        (B, C, 2 H, 2 W).
    """
    if native(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return upsample_by_slices(x)


def upsample_by_slices(x: Tensor) -> Tensor:
    """Do what `upsample` does, from slices.

    A new pixel lies a quarter of an old pixel's width from the nearest old centre, so it takes
    3/4 of that pixel and 1/4 of the next one on its side (of itself at the border).

    Parameters
    ----------
    x
        (B, C, H, W).

    Returns
    -------
    Tensor
        (B, C, 2 H, 2 W).
    """
    for dim in (2, 3):
        n = x.shape[dim]
        before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, n - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, n - 1), x.narrow(dim, n - 1, 1)], dim)
        pair = torch.stack([x.lerp(before, 0.25), x.lerp(after, 0.25)], dim + 1)
        x = pair.flatten(dim, dim + 1)
    return x


class PadAndCrop(nn.Module):
    """Let a network take pictures of any size.

    The input is padded evenly on both sides, by reflection about its outermost pixels (again and
    again where it is smaller than the padding; a single pixel is repeated), up to the next size
    the network can take; the output is cropped. A size that fits already is passed straight on.

    The wrapper has no parameters or buffers of its own: its ``state_dict`` is that of `network`,
    with ``network.`` before each name.

    Parameters
    ----------
    network
        The network. Its attributes `multiple` (1 where missing) and `minimum` (`multiple` where
        missing) say which heights and widths it takes.
    channels
        Channels its output must have.
    name
        What to call it in error messages.

    Attributes
    ----------
    network : torch.nn.Module
        The wrapped network.
    multiple, minimum : int
        Sizes that are multiples of the one and at least the other need no padding.
    """

    def __init__(self, network: nn.Module, channels: int, *, name: str = "network") -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.name = name
        multiple = getattr(network, "multiple", 1)
        self.multiple = whole_number("its attribute 'multiple'", multiple)
        minimum = getattr(network, "minimum", multiple)
        self.minimum = whole_number("its attribute 'minimum'", minimum)

    def forward(self, x: Tensor) -> Tensor:
        """Map an input of any size to an image of that size.

        Parameters
        ----------
        x
            (B, in_channels, H, W), H, W >= 1.

        Returns
        -------
        Tensor
            (B, channels, H, W).

        Raises
        ------
        InputError
            If the network's output is no image of its input's size.
        """
        height, width = x.shape[2:]
        top, bottom = self.margins(height)
        left, right = self.margins(width)
        x = extend(extend(x, 2, top, bottom), 3, left, right)
        out: Tensor = self.network(x)
        self._check_output(out, (x.shape[0], self.channels, *x.shape[2:]))
        if x.shape[2:] == (height, width):
            return out
        return out[:, :, top : top + height, left : left + width]

    def margins(self, size: int) -> tuple[int, int]:
        """Say how much is padded before and after a side of the picture.

        Parameters
        ----------
        size
            Its length in pixels.

        Returns
        -------
        tuple of int
            Pixels before and after it.
        """
        wanted = math.ceil(max(size, self.minimum) / self.multiple) * self.multiple
        missing = wanted - size
        return missing // 2, missing - missing // 2

    def _check_output(self, out: object, expected: tuple[int, ...]) -> None:
        if isinstance(out, Tensor) and out.shape == expected:
            return
        given = tuple(out.shape) if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise InputError(
            f"backbone {self.name!r} must turn its input into an image of shape {expected}, not "
            f"{given}; an attribute 'multiple' says which multiples its height and width must be"
        )


def extend(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Pad one dimension by reflection, as often as it takes.

    Parameters
    ----------
    x
        Any tensor.
    dim
        The dimension, of length n.
    before, after
        How much to add on either side.

    Returns
    -------
    Tensor
        The tensor, of length ``before + n + after`` there; `x` itself if nothing is added.
    """
    if before == after == 0:
        return x
    span = x.shape[dim] - 1
    if span == 0:
        sizes = list(x.shape)
        sizes[dim] += before + after
        return x.expand(sizes)
    while before or after:
        n = x.shape[dim]
        # Whole spans at a time, so that an end to reflect about is an end of the picture.
        most = (n - 1) // span * span
        left, right = min(before, most), min(after, most)
        head = x.narrow(dim, 1, left).flip(dim)
        tail = x.narrow(dim, n - 1 - right, right).flip(dim)
        x = torch.cat([head, x, tail], dim)
        before, after = before - left, after - right
    return x
