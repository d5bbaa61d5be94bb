"""The report's UNet: a small hourglass with narrow skip connections.

Level n is the map after the n-th strided convolution, 1/2**n of the picture's size::

    down   5x5 convolution, stride 2, to widths[n-1] -> BatchNorm -> LeakyReLU(0.01)
    across 5x5 convolution of levels 3, 4, 5 to 4 channels; neither BatchNorm nor activation
    up     4x4 transposed convolution, stride 2, to level n - 1, joined with what crosses there
           (to 124 + 4, 60 + 4, 28 + 4, then 16 and 8) -> BatchNorm -> LeakyReLU(0.01)
    out    4x4 transposed convolution, stride 2, to the image -> BatchNorm -> sigmoid

Every convolution has a bias, those before a BatchNorm too. At 3 channels that makes 1,784,280
weights, 755 biases and 1,510 BatchNorm parameters: 1,786,545, the report's number. BatchNorms on
the crossing branches, or biases left out, would miss it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guided_dip.backbones.blocks import check_input, whole_number, whole_numbers
from guided_dip.errors import InputError

SLOPE = 0.01


class UNet(nn.Module):
    """The report's hourglass with skip connections.

    Parameters
    ----------
    channels
        Channels of the output.
    in_channels
        Channels of the input; None for as many as the output has.
    widths
        Channels of levels 1, 2, ...
    skip_channels
        Channels that cross over at each of `skip_levels`. They are part of a level's width: 124
        come up and 4 cross over where it is 128.
    skip_levels
        Levels that have a crossing branch, from 1 to ``len(widths) - 1``; () for none.

    Attributes
    ----------
    multiple : int
        H and W of the input must be multiples of this, ``2**len(widths)``.
    minimum : int
        And at least this, so that the deepest map is 2x2: BatchNorm cannot normalise a single
        pixel.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        in_channels: int | None = None,
        widths: Sequence[int] = (8, 16, 32, 64, 128, 256),
        skip_channels: int = 4,
        skip_levels: Sequence[int] = (3, 4, 5),
    ) -> None:
        super().__init__()
        whole_number("channels", channels)
        entry = channels if in_channels is None else whole_number("in_channels", in_channels)
        widths = whole_numbers("widths", widths)
        whole_number("skip_channels", skip_channels)
        levels = set(whole_numbers("skip_levels", skip_levels, empty=True))
        _check_levels(levels, widths, skip_channels)
        self.in_channels = entry
        self.multiple = 2 ** len(widths)
        self.minimum = 2 * self.multiple

        self.down = nn.ModuleList()
        self.across = nn.ModuleDict()
        self.up = nn.ModuleList()
        for level, width in enumerate(widths, start=1):
            self.down.append(_down(entry, width))
            entry = width
            if level in levels:
                self.across[str(level)] = nn.Conv2d(width, skip_channels, 5, padding=2)
        for level in range(len(widths) - 1, 0, -1):
            crossing = skip_channels if level in levels else 0
            self.up.append(_Up(entry, widths[level - 1] - crossing, crossing))
            entry = widths[level - 1]
        self.head = nn.Sequential(
            nn.ConvTranspose2d(entry, channels, 4, stride=2, padding=1),
            nn.BatchNorm2d(channels),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map an input to an image.

        Parameters
        ----------
        z
            (B, in_channels, H, W), H and W multiples of `multiple` and at least `minimum`.

        Returns
        -------
        Tensor
            (B, channels, H, W) in [0, 1].
        """
        check_input(z, self.in_channels, self.multiple, self.minimum)
        x, crossing = z, []
        for level, down in enumerate(self.down, start=1):
            x = down(x)
            name = str(level)
            crossing.append([self.across[name](x)] if name in self.across else [])
        for up, aside in zip(self.up, crossing[-2::-1], strict=True):
            x = up(x, aside)
        out: Tensor = self.head(x)
        return out


class _Up(nn.Module):
    """One step up: enlarge, join with what crosses over, normalise."""

    def __init__(self, entry: int, width: int, crossing: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(entry, width, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width + crossing)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: Tensor, crossing: Sequence[Tensor]) -> Tensor:
        x = self.enlarge(x)
        joined = torch.cat([x, *crossing], dim=1) if crossing else x
        out: Tensor = self.act(self.norm(joined))
        return out


def _down(entry: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(entry, width, 5, stride=2, padding=2),
        nn.BatchNorm2d(width),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _check_levels(levels: set[int], widths: Sequence[int], skip_channels: int) -> None:
    if any(level >= len(widths) for level in levels):
        raise InputError(
            f"skip_levels must lie between 1 and {len(widths) - 1} when there are {len(widths)} "
            f"widths, not {sorted(levels)}"
        )
    if any(widths[level - 1] <= skip_channels for level in levels):
        raise InputError(
            f"skip_channels ({skip_channels}) must be fewer than the channels of each of "
            f"skip_levels ({', '.join(str(widths[level - 1]) for level in sorted(levels))})"
        )
