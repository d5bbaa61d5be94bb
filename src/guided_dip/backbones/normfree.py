"""A U-Net from image to image without norm layers, for recorrupted guides.

BatchNorm subtracts and divides by statistics of the whole picture, which serves smooth pictures
and costs rich texture. Without norm layers, as in networks that are trained on many pictures
(DRUNet: Zhang et al., TPAMI 44, 2022), Adam is slow and may diverge on one picture alone; Muon's
even updates are not and do not (`guided_dip.optimizers`).

At each scale: a stride-2 3x3 convolution goes down and another follows; bilinear interpolation
comes back up, is added to what was there on the way down, and two 3x3 convolutions follow.
SiLU after each, zeros around the picture, a 1x1 convolution and a leaky sigmoid at the end. A plain
sigmoid learns nothing more once it is all black, and a dark picture soon gets it there.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from guided_dip.backbones.blocks import check_choice, check_input, upsample, whole_number
from guided_dip.errors import InputError

SMALL = 0.1  # of the output, that is added to the input: it begins near to it
FINALS = ("leaky-sigmoid", "sigmoid", "linear", "residual")
LEAK = 0.02


class NormFree(nn.Module):
    """A U-Net without norm layers.

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
    final
        ``"leaky-sigmoid"``, a sigmoid plus 0.02 times its input; ``"sigmoid"``; ``"linear"`` for an
        output without bounds; ``"residual"`` to add a tenth of that to the input's first channels,
        of which there have to be as many.

    Attributes
    ----------
    multiple, minimum : int
        H and W of the input must be multiples of this, ``2**scales``.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        in_channels: int = 3,
        width: int = 48,
        scales: int = 4,
        final: Literal["leaky-sigmoid", "sigmoid", "linear", "residual"] = "leaky-sigmoid",
    ) -> None:
        super().__init__()
        whole_number("channels", channels)
        whole_number("width", width)
        check_choice("final", final, FINALS)
        self.in_channels = whole_number("in_channels", in_channels)
        if final == "residual" and in_channels < channels:
            raise InputError(
                f"final='residual' needs an input of at least {channels} channels, not "
                f"{in_channels}"
            )
        self.multiple = self.minimum = 2 ** whole_number("scales", scales)
        self.final = final
        self.first = _conv(in_channels, width)
        self.down = nn.ModuleList(
            nn.Sequential(_conv(width, width, stride=2), _conv(width, width)) for _ in range(scales)
        )
        self.up = nn.ModuleList(
            nn.Sequential(_conv(width, width), _conv(width, width)) for _ in range(scales)
        )
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, y: Tensor) -> Tensor:
        """Map an image to an image.

        Parameters
        ----------
        y
            (B, in_channels, H, W), H and W multiples of `multiple`.

        Returns
        -------
        Tensor
            (B, channels, H, W), in [0, 1] when ``final="sigmoid"``.
        """
        check_input(y, self.in_channels, self.multiple, self.minimum)
        x, passed = self.first(y), []
        for down in self.down:
            passed.append(x)
            x = down(x)
        for up in self.up:
            x = up(passed.pop() + upsample(x))
        out: Tensor = self.head(x)
        if self.final == "residual":
            return SMALL * out + y[:, : out.shape[1]]
        if self.final == "linear":
            return out
        bounded = torch.sigmoid(out)
        return bounded if self.final == "sigmoid" else bounded + LEAK * out


def _conv(entry: int, width: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(entry, width, 3, stride, padding=1), nn.SiLU())
