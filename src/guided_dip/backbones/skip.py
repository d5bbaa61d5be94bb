"""The denoising network of Deep Image Prior (Ulyanov, Vedaldi & Lempitsky, CVPR 2018, `skip`).

An hourglass: at each scale a stride-2 convolution goes down, bilinear interpolation comes back
up, and a 1x1 convolution to a few channels crosses over. Every convolution is followed by
BatchNorm and LeakyReLU(0.2), every 3x3 one is preceded by reflection padding, and the two
branches are joined (crossing branch first) and normalised together.

At the defaults (32 channels in, 3 out) it has 2,217,831 parameters, the number the paper's
denoising notebook prints.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from guided_dip.backbones.blocks import (
    check_choice,
    check_input,
    reflect,
    upsample,
    whole_number,
)
from guided_dip.errors import InputError

SLOPE = 0.2
NORMS = ("batch", "none")
FINALS = ("sigmoid", "linear")


class Reflect(nn.Module):
    """Reflection padding by one pixel: (B, C, H, W) to (B, C, H + 2, W + 2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad `x`: (B, C, H, W) with H, W >= 2."""
        return reflect(x)


class Skip(nn.Module):
    """The paper's hourglass with skip connections.

    Parameters
    ----------
    channels
        Channels of the output.
    in_channels
        Channels of the input.
    width
        Channels of every scale.
    scales
        Number of times the size is halved.
    skip_channels
        Channels that cross over at each scale; 0 for none.
    norm
        ``"batch"``, or ``"none"`` for a network without norm layers.
    final
        ``"sigmoid"``, or ``"linear"`` for an output without bounds.
    residual
        Add the input to the output. Needs ``final="linear"`` and as many channels in as out.

    Attributes
    ----------
    multiple : int
        H and W of the input must be multiples of this, ``2**scales``.
    minimum : int
        And at least this, so that the deepest map is 2x2: reflection padding and BatchNorm can
        both do nothing with a single pixel.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        in_channels: int = 32,
        width: int = 128,
        scales: int = 5,
        skip_channels: int = 4,
        norm: Literal["batch", "none"] = "batch",
        final: Literal["sigmoid", "linear"] = "sigmoid",
        residual: bool = False,
    ) -> None:
        super().__init__()
        whole_number("channels", channels)
        whole_number("width", width)
        whole_number("skip_channels", skip_channels, least=0)
        check_choice("norm", norm, NORMS)
        check_choice("final", final, FINALS)
        check_choice("residual", residual, (True, False))
        if residual and (in_channels != channels or final != "linear"):
            raise InputError(
                "residual=True needs final='linear' and in_channels equal to channels, not "
                f"final={final!r}, in_channels={in_channels} and channels={channels}"
            )
        self.in_channels = whole_number("in_channels", in_channels)
        self.multiple = 2 ** whole_number("scales", scales)
        self.minimum = 2 * self.multiple
        self.residual = residual

        entries = [in_channels] + [width] * (scales - 1)
        self.down = nn.ModuleList(
            nn.Sequential(
                *_conv(entry, width, 3, norm, stride=2),
                *_conv(width, width, 3, norm),
            )
            for entry in entries
        )
        self.across = nn.ModuleList(
            nn.Sequential(*_conv(entry, skip_channels, 1, norm))
            for entry in entries
            if skip_channels
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                *_norm(skip_channels + width, norm),
                *_conv(skip_channels + width, width, 3, norm),
                *_conv(width, width, 1, norm),
            )
            for _ in entries
        )
        self.head = nn.Conv2d(width, channels, 1)
        self.final = nn.Sigmoid() if final == "sigmoid" else nn.Identity()

    def forward(self, z: Tensor) -> Tensor:
        """Map an input to an image.

        Parameters
        ----------
        z
            (B, in_channels, H, W), H and W multiples of `multiple` and at least `minimum`.

        Returns
        -------
        Tensor
            (B, channels, H, W), in [0, 1] when ``final="sigmoid"``.
        """
        check_input(z, self.in_channels, self.multiple, self.minimum)
        x, entries = z, []
        for down in self.down:
            entries.append(x)
            x = down(x)
        crossing = [across(entry) for across, entry in zip(self.across, entries, strict=False)]
        for up in self.up:
            x = upsample(x)
            x = up(torch.cat([crossing.pop(), x], dim=1) if crossing else x)
        out: Tensor = self.final(self.head(x))
        return out + z if self.residual else out


def _conv(entry: int, width: int, kernel: int, norm: str, *, stride: int = 1) -> list[nn.Module]:
    padding: list[nn.Module] = [Reflect()] if kernel == 3 else []
    conv = nn.Conv2d(entry, width, kernel, stride=stride)
    return [*padding, conv, *_norm(width, norm), nn.LeakyReLU(SLOPE, inplace=True)]


def _norm(width: int, norm: str) -> list[nn.Module]:
    return [nn.BatchNorm2d(width)] if norm == "batch" else []
